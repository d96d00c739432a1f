"""Several nodes in one process, each with a registry of its own."""

import gc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.net.keyrings import Keyrings
from tests.support import PATIENCE, patience, tcp
from zexchange import Node, Registry, federate
from zexchange.net.engine.waits import NodeWaits
from zexchange.net.hub.hub import Hub

Joiner = Callable[..., tuple[Node, Registry]]


@pytest.fixture
def without_collector() -> Iterator[None]:
    """For what raises anywhere: CPython swallows that while the collector calls back."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def join() -> Iterator[Joiner]:
    """Join a federation with a registry of its own or a given one; all nodes are closed then."""
    nodes = []

    def make(name: str = "fed", **arguments: object) -> tuple[Node, Registry]:
        registry = arguments.pop("registry", None) or Registry()
        assert isinstance(registry, Registry)
        arguments.setdefault("join_timeout", patience(1.0))  # the usual one, on a busy machine too
        node = federate(name, registry=registry, **arguments)  # type: ignore[arg-type]
        nodes.append(node)
        return node, registry

    yield make
    for node in nodes:
        node.close()


def collect(registry: Registry, name: str) -> list[object]:
    """Attach a list to an exchange and return it."""
    got: list[object] = []
    registry.get(name).handler(got.append)
    return got


def publish(node: Node, messages: Callable[[bytes], Iterable[list[bytes]]]) -> int:
    """Have a node publish what it never would, given its id; return how many messages."""
    engine = node._engine
    assert engine is not None
    made = list(messages(engine.me))
    with engine.outbound._lock:
        for parts in made:
            engine.outbound._socket.send_multipart(parts)
    return len(made)


def on_control(node: Node, command: Callable[[], None]) -> None:
    """Have a node's control thread run a command, and wait for it."""
    engine = node._engine
    assert engine is not None
    waiter = NodeWaits(engine, PATIENCE)
    assert waiter.wait(waiter.run(command))


@pytest.fixture
def keyed_hub(keyrings: Keyrings) -> Iterator[Callable[..., Hub]]:
    """Make hubs with keys in this process, which end with the test; name it before `join`."""
    hubs = []

    def make(name: str = "relay", peers: tuple[str, ...] = (), listen: str = tcp(0)) -> Hub:
        hubs.append(Hub("fed", listen, peers=peers, keys=keyrings(name)))
        return hubs[-1]

    yield make
    for made in hubs:
        made.close()


@pytest.fixture
def keyrings(tmp_path: Path) -> Keyrings:
    """Key directories by name."""
    return Keyrings(tmp_path)
