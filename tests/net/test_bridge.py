"""The way of a message to its exchange's lane, and who is told that something is there."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from zexchange.errors import EncodeError
from zexchange.net.outbound.bridge import SMALL_BYTES, Bridge
from zexchange.net.outbound.pacing import SendPacer
from zexchange.protocol.codec.values import encode


class Out:
    """An outbound of which every call is noted, at a time that stands still."""

    def __init__(self) -> None:
        self.pace = SendPacer()
        self.window = SimpleNamespace(room="room")
        self.lanes: list[object] = ["another"]
        self.seen: list[tuple[Bridge, int]] = []
        self.alone: list[tuple[Bridge, int]] = []
        self.monotonic = lambda: 5.0

    def see_to(self, bridge: Bridge, size: int) -> None:
        """Note what was queued."""
        self.seen.append((bridge, size))

    def send_alone(self, bridge: Bridge, size: int) -> None:
        """Note what was queued with nothing before it."""
        self.alone.append((bridge, size))


@pytest.fixture
def out() -> Out:
    out = Out()
    out.pace.quiet_until = 9.0
    return out


@pytest.fixture
def bridge(out: Any) -> Bridge:
    bridge = Bridge("x", out)
    bridge.wanted = bridge.listed = True
    return bridge


Put = Callable[[Bridge, object], object]


@pytest.fixture(params=["as a value", "as bytes"])
def put(request: pytest.FixtureRequest) -> Put:
    """Send a message as any exchange does, or as one with a type that becomes bytes at once."""
    if request.param == "as a value":
        return lambda bridge, msg: bridge.send(msg)

    def packed(bridge: Bridge, msg: object) -> object:
        assert bridge.packed is not None
        return bridge.packed(encode(msg))

    return packed


def test_what_is_seen_to_is_only_queued(bridge: Bridge, out: Out, put: Put) -> None:
    """Most messages of a flood end here."""
    assert put(bridge, "a") is None
    assert (bridge.bodies, out.seen) == ([encode("a")], [])


@pytest.mark.parametrize("change", ["unlisted", "late", "large", "taken"])
def test_what_nobody_sees_to_is_told(bridge: Bridge, out: Any, change: str, put: Put) -> None:
    """A lane that is not listed, a time that is over, a large message: each on its own."""
    if change == "unlisted":
        bridge.listed = False
    elif change == "late":
        out.pace.quiet_until = 5.0
    elif change == "taken":

        class Taken(list[Any]):
            """Somebody takes what is queued at the moment of the append."""

            def append(self, body: Any) -> None:
                bridge.listed = False
                super().append(body)

        bridge.bodies = Taken()
        bridge._begin()
    put(bridge, bytes(SMALL_BYTES) if change == "large" else "a")
    assert [seen for seen, _ in out.seen] == [bridge]


def test_what_nothing_is_queued_before_goes_alone(bridge: Bridge, out: Out, put: Put) -> None:
    """By the shorter way, and by that only: not where its lane is listed, or another."""
    put(bridge, "a")
    bridge.listed = False
    put(bridge, "b")
    assert (len(out.seen), out.alone) == (1, [])
    out.lanes.clear()
    put(bridge, "c")
    assert ([seen for seen, _ in out.alone], len(out.seen)) == ([bridge], 1)


def test_what_nobody_wants_is_not_queued(bridge: Bridge, out: Out, put: Put) -> None:
    """It is encoded: in dev mode an error shows on one machine already."""
    bridge.wanted = False
    assert put(bridge, "a") is None
    assert (bridge.bodies, out.seen) == ([], [])
    with pytest.raises(EncodeError, match="exchange 'x'"):
        bridge.send(object())


def test_an_exception_behind_the_append_leaves_nothing_unseen(
    bridge: Bridge, out: Out, put: Put
) -> None:
    """What a signal handler raises reaches the caller, and what is queued is told of."""

    def interrupted() -> float:
        raise KeyboardInterrupt

    out.monotonic = interrupted
    bridge._begin()
    with pytest.raises(KeyboardInterrupt):
        put(bridge, "a")
    assert len(bridge.bodies) == 1
    assert [seen for seen, _ in out.seen] == [bridge]


def test_a_message_that_is_too_large_is_not_queued(
    bridge: Bridge, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it comes, the error names the exchange, and the limit."""
    monkeypatch.setattr("zexchange.net.outbound.bridge.MAX_BODY_BYTES", 1 << 20)
    put(bridge, "x" * 100_000)
    with pytest.raises(EncodeError, match=r"exchange 'x': msg: 1048581 bytes encoded, over 1 MiB"):
        put(bridge, "x" * (1 << 20))
    assert len(bridge.bodies) == 1
