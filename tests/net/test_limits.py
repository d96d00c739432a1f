"""Who goes over a limit of a node is told at the call that does it, and the rest goes on."""

import pytest

from tests.net.conftest import collect
from zexchange import LimitReached, Registry, federate
from zexchange.net.node import observer as observer_module
from zexchange.net.outbound.subscription_quota import OVERHEAD, TOPICS_BYTES
from zexchange.protocol.wire.data import MAX_CONTROL_BYTES, topic
from zexchange.protocol.wire.limits import KEY_OVERHEAD, MAX_INTEREST_BYTES, MAX_PATTERNS

pytestmark = pytest.mark.sockets


def test_one_pattern_too_many_is_an_error_where_it_is_attached() -> None:
    """What is attached goes on, and what is attached later; so does a newcomer."""
    registry, other = Registry(), Registry()
    streams = [registry.match(f"p{n}.*").stream() for n in range(MAX_PATTERNS)]
    with federate("fed", registry=registry) as node:
        with pytest.raises(LimitReached, match=r"1,001 patterns .* 1,000"):
            registry.match("one.more.*").stream()
        assert not registry.match("one.more.*")._subscriptions()
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
    monkeypatch.setattr(observer_module, "MAX_KEYS", 5)
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


def test_a_label_that_peers_would_cut_is_an_error_of_federate() -> None:
    """One of 255 characters arrives whole; what is no text is an error, too."""
    with pytest.raises(LimitReached, match="at most 255 characters, this one 256"):
        federate("fed", label="x" * 256)
    with pytest.raises(TypeError, match="label is a str, not int"):
        federate("fed", label=3)  # type: ignore[arg-type]
    with federate("fed", label="ü" * 255), federate("fed", registry=Registry()) as other:
        other.wait_peers(1)
        assert [peer.name for peer in other.peers] == ["ü" * 255]


def test_too_many_bytes_of_names_are_an_error_where_one_more_is_attached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Peers would cut the connection that subscribes to them, and tell nobody here."""
    name = "a.name.of.twenty.{:03}"
    most = 10 * (len(name.format(0)) + KEY_OVERHEAD)
    monkeypatch.setattr(observer_module, "MAX_INTEREST_BYTES", most)
    registry = Registry()
    for n in range(10):
        collect(registry, name.format(n))
    with federate("fed", registry=registry):
        text = rf"{most + 1 + KEY_OVERHEAD:,} bytes of 11 names .* {most:,}"
        with pytest.raises(LimitReached, match=text):
            collect(registry, "x")
        registry.get(name.format(3)).detach(registry.get(name.format(3)).subscribers[0])
        collect(registry, "x")
        with pytest.raises(LimitReached):
            registry.match("of.two.topics.**").stream()


def test_what_may_be_attached_is_what_peers_take() -> None:
    """As bytes of subscriptions, and as a control message that names all of it."""
    assert MAX_INTEREST_BYTES < TOPICS_BYTES
    assert len(b"\1" + topic("")) + OVERHEAD == KEY_OVERHEAD
    assert MAX_INTEREST_BYTES < MAX_CONTROL_BYTES


def test_what_peers_would_not_read_of_a_hello_is_an_error_of_federate() -> None:
    """They would refuse all of it, and nobody here would be told."""
    patterns = [f"p{n}.*" for n in range(MAX_PATTERNS + 1)]
    with pytest.raises(LimitReached, match=r"exchanges= has 1,001 patterns, and peers read 1,000"):
        federate("fed", registry=Registry(), exchanges=patterns)
    names = [f"name{n}" for n in range(MAX_PATTERNS + 1)]
    federate("fed", registry=Registry(), exchanges=names).close()
    far = f"tcp://{'a' * 600}.example:7400"
    with pytest.raises(LimitReached, match=r"has 619 characters, and peers read 512"):
        federate("fed", registry=Registry(), listen="tcp://127.0.0.1:0", advertise=far)
