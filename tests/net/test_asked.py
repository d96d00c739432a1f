"""Code of a program that a node calls may ask for everything, and so may what it waits for."""

import threading
from collections.abc import Callable

import pytest

from tests.locks import Asking, held
from tests.net.conftest import Joiner
from tests.support import PATIENCE, eventually
from zexchange import Node, register, to_call

pytestmark = pytest.mark.sockets


@pytest.fixture
def everything() -> Callable[[Node], None]:
    """Ask a node for everything, on this thread and on another one, which must not wait for it."""

    def ask(node: Node) -> None:
        assert held() == []
        answered = threading.Event()

        def elsewhere() -> None:
            questions(node)
            answered.set()

        threading.Thread(target=elsewhere).start()
        assert answered.wait(PATIENCE / 2)
        questions(node)

    return ask


def questions(node: Node) -> None:
    """Ask for everything that can be asked for, also of the registry that is federated."""
    _ = node.peers, node.stats(), node.id, node.endpoints, repr(node), node.bridge("asked")
    exchange, task = node.registry.get("asked"), Asking()
    exchange.attach(to_call(lambda msg: None))
    exchange.handler(task.emit)
    exchange.send(1)
    exchange.detach(task.emit)
    exchange.detach(exchange.subscribers[0])
    node.registry.match("asked.*").stream().close()
    waits = [node.wait_ready, node.wait_peers, node.flush, lambda: node.diagnose("asked", 0.1)]
    for wait in waits if node._would_wait_for_itself() else ():
        with pytest.raises(RuntimeError, match="wait for itself"):
            wait()


def test_a_subscriber_of_events_may_ask_for_everything(
    join: Joiner,
    everything: Callable[[Node], None],
) -> None:
    """Whoever joins, leaves, is refused or loses something."""
    node, here = join()
    told: list[str] = []
    wrong: list[BaseException] = []

    @node.events.handler
    def tell(event: object) -> None:
        try:
            everything(node)
        except BaseException as error:
            wrong.append(error)
        told.append(type(event).__name__)

    for _ in range(2):
        other, there = join()
        there.get("x").handler(lambda msg: None)
        node.wait_subscribers("x")
        here.get("x").send(1)
        other.close()
    assert node._engine is not None
    node._engine.post(lambda: node._engine.session.reject("somebody", "for nothing"))  # type: ignore[union-attr]
    eventually(lambda: told.count("PeerLeft") == 2 and "Rejected" in told)
    assert wrong == []


class Thing:
    """Something that is encoded by the program."""


@pytest.mark.parametrize("thread", ["zexchange-control", "MainThread"])
def test_what_encodes_may_ask_for_everything(
    join: Joiner,
    everything: Callable[[Node], None],
    thread: str,
) -> None:
    """On whichever thread what was kept before is encoded for a bridge that comes."""
    node, here = join()
    wrong: list[BaseException] = []
    threads: list[str] = []

    def encode(thing: Thing) -> int:
        threads.append(threading.current_thread().name)
        try:
            everything(node)
        except BaseException as error:
            wrong.append(error)
        return 1

    register(Thing, encode, lambda value: Thing(), name="tests.Thing")
    exchange = here.get("x")
    if thread == "MainThread":
        exchange.send(Thing())
        here.retain("x", 5)
        exchange.send(Thing())
    else:
        here.retain("x", 5)
        exchange.detach_bridge(node.bridge("x"))
        exchange.send(Thing())
        _, there = join()
        got = there.get("x").stream(history=5)
        assert isinstance(got.get(PATIENCE), Thing)
    assert thread in threads
    assert wrong == []
