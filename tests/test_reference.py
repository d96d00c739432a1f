"""The reference: what it shows of the public names is there to be shown, and true."""

import ast
import dataclasses
import inspect
import re
import sys
import textwrap
import tomllib
import typing
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest

import zexchange
from tests.support import ROOT
from zexchange import AsyncNode, Node, federate
from zexchange.contrib.outbox import HELD
from zexchange.history import HELD_MOST, UNDER_WAY, WINDOW
from zexchange.local.rounds import DEFERRED_MOST
from zexchange.net import config as plan
from zexchange.net.node.lifetime import EXIT_TIMEOUT
from zexchange.net.transport.descriptors import A_PEER
from zexchange.net.transport.endpoints import IPC_PATH_MAX
from zexchange.protocol.codec.attachments import LARGE
from zexchange.protocol.delivery.recovery import PARKED_MOST
from zexchange.protocol.hub.core import MAX_MEMBERS, MAX_TOPICS
from zexchange.protocol.hub.topology import MAX_HUBS
from zexchange.protocol.session.events import Event
from zexchange.protocol.session.peers import MAX_PEERS
from zexchange.protocol.wire import limits
from zexchange.protocol.wire.data import MAX_BODY_BYTES
from zexchange.testing import Network

REFERENCE = ROOT / "docs" / "reference"
EXPORTED = {name: getattr(zexchange, name) for name in zexchange.__all__}
SHOWN = {**EXPORTED, "testing.Network": Network}


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield every function and method that users are shown."""
    for name, value in SHOWN.items():
        if inspect.isclass(value):
            members = inspect.getmembers(value, inspect.isfunction)
            yield from ((f"{name}.{n}", f) for n, f in members if not n.startswith("_"))
        elif inspect.isfunction(value):
            yield name, value


@pytest.mark.parametrize(("name", "function"), list(functions()))
def test_defaults_are_values(name: str, function: Callable[..., Any]) -> None:
    """No name of a constant, which nobody can look up."""
    if not (function.__module__ or "").startswith("zexchange"):
        return
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
    for default in [*tree.args.defaults, *filter(None, tree.args.kw_defaults)]:
        names = [node.id for node in ast.walk(default) if isinstance(node, ast.Name)]
        assert not names, f"{name} has a default {ast.unparse(default)}"


def test_the_defaults_of_federate_are_those_of_a_plan() -> None:
    """Adapters, commands and simulated nodes join by a plan, without `federate`."""
    shown = inspect.signature(federate).parameters
    of_a_plan = plan.NodeConfig("fed")
    simulated = inspect.signature(Network.node).parameters
    for name in ("replay_messages", "replay_bytes", "stall", "recovery_timeout"):
        default = getattr(of_a_plan, name)
        assert shown[name].default == simulated[name].default == default


def test_the_guarantees_name_the_defaults() -> None:
    """In their table, and in the sentences before it."""
    page = " ".join((ROOT / "docs" / "guide" / "guarantees.md").read_text().split())
    shown = inspect.signature(federate).parameters
    mib = shown["replay_bytes"].default >> 20
    assert f"`replay_bytes=` higher (default {mib} MiB)" in page
    assert f"`stall=` higher (default {shown['stall'].default:g} second)" in page
    assert f"`recovery_timeout=` (default {shown['recovery_timeout'].default:g} seconds)" in page
    assert f"for `stall` seconds (default {shown['stall'].default:g})" in page
    window = f"at least {UNDER_WAY} frames with more than {WINDOW >> 20} MiB"
    assert window in page
    assert f"{HELD_MOST:,} frames of any size" in page


JOIN_TIMEOUT = inspect.signature(federate).parameters["join_timeout"].default
NAMES = limits.MAX_INTEREST_BYTES // (20 + limits.KEY_OVERHEAD)


@pytest.mark.parametrize(
    ("page", "figure"),
    [
        ("concepts", f"after `join_timeout` ({JOIN_TIMEOUT:g} second)"),
        ("concepts", f"If more than {DEFERRED_MOST:,} messages are deferred"),
        ("types", f"`bytes` of {LARGE >> 10} KiB and more are not copied"),
        ("frameworks", f"are held, up to {HELD:,}."),
        ("troubleshooting", f"tries this for {EXIT_TIMEOUT:g} second at its end"),
        ("operations", f"up to `replay_bytes` ({plan.NodeConfig('fed').replay_bytes >> 20} MiB)"),
        ("operations", f"earlier ones of a peer | up to {PARKED_MOST >> 20} MiB for each peer"),
        ("operations", f"{A_PEER} file descriptors for each (`ulimit -n`)"),
        ("operations", f"never more than {MAX_PEERS:,}"),
        ("operations", f"{NAMES // 1000},000 of 20 bytes; {limits.MAX_PATTERNS:,} patterns"),
        ("operations", f"| one message | {MAX_BODY_BYTES >> 20} MiB |"),
        ("operations", f"| {MAX_MEMBERS:,}; {MAX_TOPICS:,}; {MAX_HUBS} |"),
        ("operations", f"The path of a socket has at most {IPC_PATH_MAX} bytes"),
    ],
)
def test_the_guide_names_the_bounds(page: str, figure: str) -> None:
    """Whoever changes a constant changes the page as well."""
    text = (ROOT / "docs" / "guide" / f"{page}.md").read_text(encoding="utf-8")
    assert figure in " ".join(text.split())


@pytest.mark.parametrize("event", get_args(Event))
def test_each_field_of_an_event_is_described(event: type[Any]) -> None:
    """And each event is on its page."""
    assert f"::: zexchange.{event.__name__}" in (REFERENCE / "events.md").read_text()
    described = re.findall(
        r"^    (\w+):", (inspect.getdoc(event) or "").partition("Attributes:")[2], re.M
    )
    assert described == [field.name for field in dataclasses.fields(event)]


def test_the_table_of_timeouts_is_true() -> None:
    """For nodes and their twins for coroutines."""
    page = (REFERENCE / "federation.md").read_text()
    rows = re.findall(r"^\| (`.*`) \| ([\d.]+) \|$", page, re.M)
    shown = {
        name: float(seconds) for names, seconds in rows for name in re.findall(r"`(\w+)", names)
    }
    assert shown.pop("federate") == inspect.signature(federate).parameters["join_timeout"].default
    for kind in (Node, AsyncNode):
        waits = {
            name: inspect.signature(function).parameters["timeout"].default
            for name, function in inspect.getmembers(kind, inspect.isfunction)
            if "timeout" in inspect.signature(function).parameters and not name.startswith("_")
        }
        assert waits == shown


def test_what_names_the_readme_leads_to_no_other_page() -> None:
    """It is not part of the site."""
    for page in sorted((ROOT / "docs").rglob("*.md")):
        links = re.findall(r"\[([^\]]*)\]\(([^)]*)\)", page.read_text())
        assert not [link for link in links if "README" in link[0] and "README" not in link[1]]
        for sentence in re.findall(r"README has \[.*?\]\((.*?)\)", page.read_text()):
            raise AssertionError(f"{page.name}: the README has {sentence}")


def test_long_signatures_have_a_line_for_each_argument() -> None:
    """What builds the site folds them by a formatter, where there is one, and a template."""
    environment = (ROOT / "tox.ini").read_text().partition("[testenv:docs]")[2].partition("\n[")[0]
    assert re.search(r"^    ruff>=", environment, re.M)
    settings = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["plugins"]
    assert settings["mkdocstrings"]["handlers"]["python"]["options"]["line_length"] <= 60
    templates = ROOT / settings["mkdocstrings"]["custom_templates"]
    assert (templates / "python" / "material" / "signature.html.jinja").exists()


def shown() -> Iterator[tuple[str, type[Any], list[str]]]:
    """Yield each class that is on a page, with the members that are shown of it."""
    for page in sorted(REFERENCE.glob("*.md")):
        found = re.findall(r"^::: zexchange\.(\w+)$\n((?: .*\n)*)", page.read_text() + "\n", re.M)
        for name, options in found:
            value = EXPORTED[name]
            if inspect.isclass(value):
                said = re.search(r"^ +members:((?:.|\n)*)", options, re.M)
                every = [n for n in dir(value) if not n.startswith("_")]
                yield name, value, re.findall(r"\w+", said[1]) if said else every


def returned(owner: type[Any], member: str) -> Iterator[type[Any]]:
    """Yield the classes of this package that a member is, or gives."""
    value = inspect.getattr_static(owner, member, None)  # None of what only an object has
    function = value.fget if isinstance(value, property) else value
    if not inspect.isfunction(function):
        return
    # Some of what annotations name is imported for type checkers alone.
    modules = [m for name, m in list(sys.modules.items()) if name.startswith("zexchange.")]
    known = {name: there for module in modules for name, there in vars(module).items()}
    said = typing.get_type_hints(function, localns={**known, **vars(zexchange)})
    waiting = [said.get("return")]
    while waiting:
        kind = waiting.pop()
        waiting += typing.get_args(kind)
        kind = typing.get_origin(kind) or kind
        if inspect.isclass(kind) and kind.__module__.startswith("zexchange"):
            yield kind
            if dataclasses.is_dataclass(kind):
                waiting += typing.get_type_hints(kind).values()


def inherits(page: str, name: str) -> bool:
    """Return whether a page shows what a class has from its bases."""
    block = page.split(f"::: zexchange.{name}\n", 1)[1].split(":::", 1)[0].split("\n## ", 1)[0]
    return "inherited_members: true" in block


@pytest.mark.parametrize(("name", "owner", "members"), list(shown()), ids=lambda value: str(value))
def test_listed_members_are_shown(name: str, owner: type[Any], members: list[str]) -> None:
    """The tool that builds the site says nothing of one that a base class has and leaves it out."""
    (page,) = (
        text
        for path in REFERENCE.glob("*.md")
        if f"::: zexchange.{name}\n" in (text := path.read_text())
    )
    if "members:" in page.split(f"::: zexchange.{name}\n", 1)[1].split(":::", 1)[0]:
        of_a_base = [m for m in members if m not in vars(owner) and m in dir(owner)]
        assert not of_a_base or inherits(page, name)


@pytest.mark.parametrize(("name", "owner", "members"), list(shown()), ids=lambda value: str(value))
def test_what_public_calls_return_is_exported(
    name: str, owner: type[Any], members: list[str]
) -> None:
    """So that a program can name it; and what that holds, and so on."""
    for member in members:
        for kind in returned(owner, member):
            assert EXPORTED.get(kind.__name__) is kind, f"{name}.{member} returns {kind}"


PAGES = {
    "Exchange": "exchanges",
    "View": "exchanges",
    "Registry": "exchanges",
    "Node": "federation",
}
UNDOCUMENTED = {
    "Exchange": {"name", "registry", "type"},
    "View": {"pattern", "registry"},
    "Node": {"aio", "node"},
    "AsyncNode": {"endpoints", "id", "name", "peers", "registry", "stats"},
    "Registry": set[str](),
}
"""Attributes that their class or another one explains, and what both kinds of node have."""


def listed(page: str, name: str) -> set[str]:
    """The members of a class that a page of the reference lists."""
    text = (REFERENCE / f"{page}.md").read_text()
    block = text.split(f"::: zexchange.{name}\n", 1)[1].split("\n:::", 1)[0].split("\n## ", 1)[0]
    return set(re.findall(r"(?<!_)\b[a-z]\w+", block.split("members:")[-1]))


@pytest.mark.parametrize("name", UNDOCUMENTED)
def test_public_names_are_documented(name: str) -> None:
    """Whatever has no underscore is in the reference, and what is there exists."""
    page = PAGES.get(name, "federation")
    public = {member for member in dir(getattr(zexchange, name)) if not member.startswith("_")}
    documented = {member for member in listed(page, name) if not member.startswith("_")}
    assert public == (documented - {"events"}) | UNDOCUMENTED[name]
