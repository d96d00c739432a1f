"""No lock of the package is held while somebody else's code runs, and every lock is known."""

import ast
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.locks import MADE, NAMES, PARTS, held, part
from tests.net.conftest import Joiner, join  # noqa: F401
from tests.support import ROOT
from zexchange import DisplayMessages, Registry, to_queue
from zexchange.errors import MailboxFull
from zexchange.local.tasks.mailbox import Mailbox

OURS = ("cli", "testing")
"""Rooms that only programs of ours use, or that have no threads."""


def test_every_lock_is_known() -> None:
    """Whoever makes one has it looked at, too, by what looks who holds one."""
    found = {}
    for path in sorted((ROOT / "zexchange").rglob("*.py")):
        if path.relative_to(ROOT / "zexchange").parts[0] not in OURS:
            made = set(locks(ast.parse(path.read_text(encoding="utf-8"))))
            if made:
                found[str(path.relative_to(ROOT / "zexchange"))] = made
    assert found == MADE


def locks(tree: ast.AST) -> Iterator[str]:
    """Yield what each lock that is made in a module is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Return) and is_lock(node.value):
            yield "return"
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            targets = getattr(node.targets[0], "elts", [])
            pairs = zip(targets, node.value.elts, strict=False)
            yield from (ast.unparse(target) for target, value in pairs if is_lock(value))
        elif isinstance(node, ast.Assign | ast.AnnAssign) and is_lock(node.value):
            yield ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)


def is_lock(node: ast.AST | None) -> bool:
    """Tell whether an expression makes a lock."""
    return isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in {
        "Lock", "RLock", "Condition", "SignalSafeCondition", "Semaphore", "BoundedSemaphore",
        "Barrier",
    }  # fmt: skip


# ------------------------------------------------------------------------------ in process


class Foreign:
    """Something of a program's: its code notes which locks are held whenever it runs."""

    ran: list[list[str]]

    def __init__(self, name: object = "") -> None:
        self.name = name

    def __init_subclass__(cls) -> None:
        cls.ran = []

    def run(self) -> None:
        self.ran.append(held())

    def __repr__(self) -> str:
        self.run()
        return f"<{self.name}>"

    def __del__(self) -> None:
        self.run()


@pytest.fixture
def foreign() -> type[Foreign]:
    class Ours(Foreign):
        pass

    return Ours


def test_what_looks_for_locks_finds_them() -> None:
    """Those of a registry and an exchange, for instance; and none where none is held."""
    registry = Registry()
    assert held() == []
    with registry._lock, registry.get("x")._lock:
        assert sorted(held()) == ["Exchange._lock", "Registry._lock"]
    elsewhere: list[list[str]] = []
    with registry._lock:
        other = threading.Thread(target=lambda: elsewhere.append(held()))
        other.start()
        other.join()
    assert elsewhere == [[]]


def test_every_part_of_an_engine_is_looked_at(join: Joiner) -> None:  # noqa: F811
    """One that is called otherwise by now would not be missed: a start has only some of them."""
    engine: Any = join()[0]._engine
    for path in PARTS:
        assert any(hasattr(part(engine, path), name) for name in NAMES), path


def kept(registry: Registry, foreign: type[Foreign]) -> None:
    registry.retain("x", 2)
    for n in range(4):
        registry.get("x").send(foreign(n))
    registry.retain("x", 1)
    registry.retain("x", 0)


def joined_late(registry: Registry, foreign: type[Foreign]) -> None:
    """A joiner that is detached by what it is given first, with the rest still to come."""
    registry.retain("*", 9)
    exchange = registry.get("x")

    class Leaving:
        def send(self, msg: object) -> None:
            registry.retain("*", 0)  # so that nothing else has the rest
            with suppress(KeyError):
                source.detach(self)

    for source in (exchange, registry.match("*")):
        for n in range(3):
            exchange.send(foreign(n))
        registry.retain("*", 9)
        source.attach(Leaving(), history=9)


class Owing:
    """An observer that lets a joiner wait for ever for what it asked for."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args: None

    def history_added(self, key: str, catch_up: Any) -> None:
        catch_up.begin("o")


def owed(registry: Registry, foreign: type[Foreign]) -> None:
    observer: Any = Owing()
    registry._observe(observer)
    exchange = registry.get("x")
    stream = exchange.stream(history=3)
    exchange._deliver([foreign(1), foreign(2)], "o", 1, 0.0)
    stream.close()


def attached(registry: Registry, foreign: type[Foreign]) -> None:
    class Task(foreign):  # type: ignore[misc, valid-type]
        def send(self, msg: object) -> None:
            self.run()

    Task.ran = foreign.ran
    for source in (registry.get("x"), registry.match("**")):
        source.attach(Task())
        registry.get("x").send(1)
        registry.get("x")._deliver([1], "o", 1, 0.0)
        source.detach(source.subscribers[0])


def mailboxes(registry: Registry, foreign: type[Foreign]) -> None:
    for overflow in ("drop_oldest", "drop_newest", "error"):
        box: Mailbox[Foreign] = Mailbox(2, overflow)  # type: ignore[arg-type]
        for n in range(4):
            for put in (box.put, box.keep):
                with suppress(MailboxFull):
                    put(foreign(n))
        box.abandon()
        box.close()
        box.put(foreign())


def queues(registry: Registry, foreign: type[Foreign]) -> None:
    class Queue(queue.Queue[object]):
        def _put(self, item: object) -> None:
            foreign.ran.append(held())
            super()._put(item)

    for overflow in ("drop_oldest", "drop_newest"):
        task = to_queue(Queue(2), overflow)  # type: ignore[arg-type]
        for n in range(4):
            task.send(foreign(n))
        assert task.dropped == 2


def shown(registry: Registry, foreign: type[Foreign]) -> None:
    task = DisplayMessages()
    task.send(foreign())


@pytest.mark.parametrize("way", [kept, joined_late, owed, attached, mailboxes, queues, shown])
def test_nothing_of_a_program_runs_with_a_lock_held(
    way: Callable[[Registry, type[Foreign]], None], foreign: type[Foreign]
) -> None:
    """Neither its tasks, nor its messages' finalisers and texts."""
    way(Registry(), foreign)
    assert foreign.ran
    assert [locks for locks in foreign.ran if locks] == []
