"""Who goes over a limit of a node is told at the call that does it, and the rest goes on."""

import pytest

from tests.net.conftest import collect
from zexchange import LimitReached, Registry, federate
from zexchange.net import node as node_module
from zexchange.protocol.interest import MAX_PATTERNS

pytestmark = pytest.mark.sockets


def test_one_pattern_too_many_is_an_error_where_it_is_attached() -> None:
    """What is attached goes on, and what is attached later; so does a newcomer."""
    registry, other = Registry(), Registry()
    streams = [registry.match(f"p{n}.*").stream() for n in range(MAX_PATTERNS)]
    with federate("fed", registry=registry) as node:
        with pytest.raises(LimitReached, match=r"1,001 patterns .* 1,000"):
            registry.match("one.more.*").stream()
        assert not registry.match("one.more.*").occupied
        later = collect(registry, "later")
        with federate("fed", registry=other) as newcomer:
            newcomer.wait_subscribers("later", 1)
            newcomer.wait_subscribers("p7.x", 1)
            other.get("later").send(1)
            other.get("p7.x").send(2)
            newcomer.flush()
            assert later == [1]
            assert streams[7].get(5) == 2
            streams.pop().close()
            registry.match("one.more.*").stream()
            node.wait_ready()


def test_too_many_before_are_an_error_of_federate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which leaves nothing behind: with fewer, it joins."""
    monkeypatch.setattr(node_module, "MAX_KEYS", 5)
    registry = Registry()
    tasks = [collect(registry, f"name{n}") for n in range(5)]
    stream = registry.match("**").stream()
    with pytest.raises(LimitReached, match="6 names and patterns"):
        federate("fed", registry=registry)
    stream.close()
    with federate("fed", registry=registry):
        with pytest.raises(LimitReached):
            collect(registry, "another")
        assert not registry.get("another").subscribers
        collect(registry, "name1")
    collect(registry, "another")
    assert len(tasks) == 5
