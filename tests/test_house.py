"""The order of the house, read from the imports of every module.

A module imports only from floors below its own, or from its own folder. Inside a folder its
packages have an order of their own, and no modules import one another in a circle. Imports count
wherever they are: inside functions, and under ``TYPE_CHECKING`` too.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import zexchange

ROOT = Path(zexchange.__file__).parent
FLOORS = {
    "errors": 0,  # below the rest of its floor: names raise them
    "kinds": 0,
    "names": 1,
    "collisions": 1,
    "history": 1,
    "questions": 1,
    "lost": 1,
    "imports": 1,
    "seconds": 1,
    "groups": 1,
    "sendable": 1,
    "local": 2,
    "protocol": 2,
    "net": 3,
    "face": 4,  # zexchange itself: what programs import, and so do the rooms above
    "cli": 7,
    "__main__": 8,
    "contrib": 6,
    "testing": 5,
    "display": 5,
}
FORBIDDEN = {
    "errors": {"zmq", "msgpack", "socket"},
    "names": {"zmq", "msgpack", "socket"},
    "collisions": {"zmq", "msgpack", "socket"},
    "history": {"zmq", "msgpack", "socket", "select", "threading"},
    "questions": {"zmq", "msgpack", "socket", "threading", "time"},
    "groups": {"zmq", "msgpack", "socket", "select", "threading", "time"},
    "local": {"zmq", "msgpack", "socket", "select", "selectors", "socketserver"},
    "protocol": {"zmq", "socket", "select", "selectors", "socketserver", "asyncio", "time"},
    "testing": {"zmq", "socket"},
    "face": {"zmq", "msgpack", "socket"},
    "cli": {"zmq", "msgpack"},
    "display": {"zmq", "msgpack", "socket", "select", "threading", "asyncio", "time"},
    "contrib": {"zmq", "msgpack"},
}
PACKAGES = {
    "local": [{"process"}, {"tasks"}, {"typed"}, {"history", "sharing"}, {""}],
    "protocol": [
        {"wire", "elapsed", "rate_limit", "timing", "unanswered"},
        {"codec", "requests", "security", "traffic"},
        {"hub", "interest"},
        {"delivery"},
        {"session"},
        {""},
    ],
    "net": [
        {"transport"},
        {"config", "security"},
        {"inbound", "outbound", "peering"},
        {"engine"},
        {"doctor", "hub"},
        {"node"},
        {""},
    ],
}
"""By floor, its packages from the lowest level up. Those of one level do not know one another.

A module that lies in the folder itself stands for a package, or is of the last level.
"""
MODULES = sorted(ROOT.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = set(map(module_name, MODULES))
PACKAGE_FILES = [
    path
    for path in MODULES
    if path.name == "__init__.py" and path.relative_to(ROOT).parts[0] in PACKAGES
]


def room(module: str) -> str:
    """The room of a dotted module name: its first part below the package."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "face"


def imports(source: str, module: str, package: bool) -> Iterator[str]:
    """Every module that a source imports, wherever in it, by its dotted name."""
    home = module.split(".") if package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = home[: len(home) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield name if name in NAMES or base == "zexchange" else base


def violations(source: str, module: str, package: bool = False) -> list[str]:
    """Say which imports of a source break a floor or bring in what its room must not know."""
    here = room(module)
    broken = []
    for name in set(imports(source, module, package)):
        outside = name.split(".")[0]
        if outside != "zexchange":
            if outside in FORBIDDEN.get(here, set()):
                broken.append(f"{module} must not know {outside}")
            continue
        there = room(name)
        if there not in FLOORS:  # a name of the face, not a room
            there = "face"
        if there != here and FLOORS[there] >= FLOORS[here]:
            broken.append(f"{module} (floor {FLOORS[here]}) imports {name}")
    return broken


def level(module: str) -> int:
    """The level of a module's package on its floor."""
    _, floor, *rest = module.split(".")
    names = {name: n for n, level in enumerate(PACKAGES[floor]) for name in level}
    return names.get(rest[0] if rest else "", names[""])


def package(module: str) -> str:
    """The package of a module: its folder on its floor, or the floor itself."""
    floor, *rest = module.split(".")[1:]
    known = set().union(*PACKAGES[floor])
    return rest[0] if rest and rest[0] in known else ""


def upward(source: str, module: str, is_package: bool = False) -> list[str]:
    """Say which imports of a source lead to a package that is not below that of its module."""
    floor = room(module)
    if floor not in PACKAGES:
        return []
    return [
        f"{module} imports {name}"
        for name in set(imports(source, module, is_package))
        if name.split(".")[:2] == ["zexchange", floor]
        and package(name) != package(module)
        and level(name) >= level(module)
    ]


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_floors(path: Path) -> None:
    """A module imports only from floors below, or from its own folder."""
    module = module_name(path)
    assert room(module) in FLOORS, f"{module} is on no floor: give its room one"
    assert not violations(path.read_text(), module, path.name == "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_packages(path: Path) -> None:
    """A module imports only from packages below its own, so there is no circle of packages."""
    assert not upward(path.read_text(), module_name(path), path.name == "__init__.py")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("zexchange.net.transport.sockets", "from ..engine.engine import Engine"),
        ("zexchange.net.inbound.receiver", "from ..outbound import publisher"),
        ("zexchange.net.inbound.receiver", "def f():\n    from ..node.node import Node"),
        (
            "zexchange.net.engine.engine",
            "if TYPE_CHECKING:\n    from ..doctor.rules import diagnose",
        ),
        ("zexchange.protocol.wire.data", "from ..session.session import Session"),
        ("zexchange.protocol.hub.core", "from ..interest import interest"),
        ("zexchange.local.tasks.stream", "from ..exchange import Exchange"),
        ("zexchange.net.config", "from .security.guard import Guard"),
    ],
)
def test_imports_upward_are_found(module: str, source: str) -> None:
    """An import from the same level or above, at any place in a module, is found."""
    assert upward(source, module)


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Return modules that import one another in a circle, each from the one after it."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_one_another_in_a_circle() -> None:
    """And one that is there for a type alone is found."""
    arrows = {
        name: set(imports(path.read_text(), name, path.name == "__init__.py")) & NAMES
        for path in MODULES
        if (name := module_name(path))
    }
    assert not circle(arrows)
    view = "zexchange.local.view"
    upwards = "if TYPE_CHECKING:\n    from .registry import Registry"
    arrows[view] |= set(imports(upwards, view, False))
    assert {view, "zexchange.local.registry"} <= set(circle(arrows))


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=module_name)
def test_packages_are_small_and_explained(path: Path) -> None:
    """A package says what it is for, and has few enough modules to be read at one go."""
    assert ast.get_docstring(ast.parse(path.read_text()))
    assert len(list(path.parent.glob("*.py"))) - 1 <= 16


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("zexchange.local.exchange", "from ..protocol.codec import encode"),
        ("zexchange.local.exchange", "import zexchange.protocol.wire.data"),
        ("zexchange.protocol.session.session", "from zexchange.net.node.node import node"),
        ("zexchange.protocol.session.session", "def f():\n    from ...net.node.node import Node"),
        ("zexchange.protocol.session.session", "from ... import get_exchange"),
        ("zexchange.protocol.session.session", "import zmq"),
        ("zexchange.protocol.session.session", "from time import monotonic"),
        ("zexchange.local.tasks.stream", "import socket"),
        ("zexchange.local.tasks.stream", "from msgpack import packb"),
        ("zexchange.net.node.node", "from ...cli import main"),
        ("zexchange.errors", "from .names import check_name"),
        ("zexchange.net.engine.environment", "from ...testing import Network"),
        ("zexchange.testing.sockets", "import zmq"),
        ("zexchange", "import zmq"),
    ],
)
def test_broken_floors_are_found(module: str, source: str) -> None:
    """An import from the same floor or above, at any place in a module, is found."""
    assert violations(source, module, module == "zexchange")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("zexchange.net.engine.engine", "from ...local.exchange import Exchange\nimport zmq"),
        ("zexchange.local.exchange", "from .stream import Delivery\nfrom ..errors import Closed"),
        ("zexchange.cli.tail", "from .. import federate\nfrom zexchange import match"),
        ("zexchange.net.node.node", "import socket, os"),
    ],
)
def test_good_floors_pass(module: str, source: str) -> None:
    """An import from below or from the own folder is no violation."""
    assert not violations(source, module)


def test_only_net_imports_zmq() -> None:
    """No module outside net imports zmq, at any place."""
    guilty = {
        room(module_name(path))
        for path in MODULES
        for name in imports(path.read_text(), module_name(path), path.name == "__init__.py")
        if name.split(".")[0] == "zmq"
    }
    assert guilty <= {"net"}


def test_nothing_is_unpickled() -> None:
    """No module imports what runs code that it reads, or calls it."""
    runs = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle"}
    found = {}
    for path in MODULES:
        source, name = path.read_text(), module_name(path)
        known = {i.split(".")[0] for i in imports(source, name, path.name == "__init__.py")}
        called = {
            node.func.id
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        if guilty := known & runs | called & {"eval", "exec", "__import__"}:
            found[name] = guilty
    assert found == {}


def unguarded(tree: ast.AST, guarded: bool = False, inside: bool = False) -> Iterator[int]:
    """Yield the lines of a source with imports inside functions and without `importing`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and inside and not guarded:
            yield node.lineno
        held = isinstance(node, ast.With) and ast.unparse(node.items[0]) == "importing()"
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from unguarded(node, guarded or held, inside or function)


def test_nothing_is_imported_in_the_middle_of_a_fork() -> None:
    """What is imported when it is needed, on whatever thread, is imported with the lock held."""
    of_programs = ("cli", "testing")
    found = {
        module_name(path): lines
        for path in MODULES
        if path.relative_to(ROOT).parts[0] not in of_programs
        and (lines := list(unguarded(ast.parse(path.read_text()))))
    }
    assert found == {}


def test_importing_is_cheap() -> None:
    """``import zexchange`` brings in neither zmq nor NumPy: who stays local pays for none."""
    code = (
        "import sys, zexchange; zexchange.get_exchange('a').send(1); "
        "print(sorted({'zmq', 'numpy', 'click', 'rich', 'psutil'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=ROOT.parent,
    )
    assert done.stdout.strip() == "[]"


def test_one_process_needs_no_thread_and_no_socket() -> None:
    """What the README shows of one process has the thread that it began with, and opens nothing."""
    code = (
        "import os, threading, zexchange\n"
        "def opened():\n"
        "    for fd in os.listdir('/proc/self/fd'):\n"
        "        if os.path.lexists(path := f'/proc/self/fd/{fd}'):\n"
        "            yield os.readlink(path)\n"
        "with zexchange.match('prices.**').stream(names=True) as stream:\n"
        "    zexchange.get_exchange('prices.AAPL').send(191.25)\n"
        "    assert stream.get(timeout=1) == ('prices.AAPL', 191.25)\n"
        "    print(threading.active_count(), [name for name in opened() if 'socket' in name])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
        check=True,
        cwd=ROOT.parent,
    )
    assert done.stdout.strip() == "1 []"
