"""What comes from one peer, without sockets: when it is acknowledged, and late joiners."""

import time

import pytest

from zexchange import Lost, Registry, to_call
from zexchange.history import Bulk
from zexchange.net.inbound import peer_stream
from zexchange.net.inbound.context import ReceiveContext, ReceiverEvents
from zexchange.net.inbound.peer_stream import PeerReceiver
from zexchange.net.outbound.send_queue import frame_parts
from zexchange.protocol.codec.values import encode
from zexchange.protocol.delivery.sequence import ReceiveCounts
from zexchange.protocol.wire.data import data_head, ready_frame, topic
from zexchange.protocol.wire.messages import Ready, Recall, Replay

ME, PEER = b"m" * 16, b"p" * 16
KIB, MIB = 1 << 10, 1 << 20


class Control(ReceiverEvents):
    """Notes how far the peer is told that we are."""

    def __init__(self) -> None:
        self.told: list[int | None] = []
        self.asked: list[Replay | Recall] = []

    def proven(self, peer: bytes, epoch: int) -> None:
        """See `ReceiverEvents`."""

    def consumed(self, peer: bytes, positions: dict[str, int]) -> None:
        """See `ReceiverEvents`."""
        self.told.append(positions.get("x"))

    def lost(self, event: Lost) -> None:
        """See `ReceiverEvents`."""

    def ask(self, peer: bytes, request: Replay | Recall) -> None:
        """See `ReceiverEvents`."""
        self.asked.append(request)


def take_large(peer_receiver: PeerReceiver, number: int, size: int) -> None:
    """Have a peer receiver take a message that is attached to its frame."""
    body = bytes(size)
    # As `buffers` packs what stands for the first attached frame.
    stands = b"\xd7\x0f" + (0).to_bytes(4, "big") + size.to_bytes(4, "big")
    parts = frame_parts(topic("x"), PEER, number, [Bulk(stands, (body,))], 0.0)
    assert peer_receiver.take(Bulk(*parts)) is None


@pytest.mark.parametrize(
    ("asked", "size", "told"),
    [
        ((0, 0), 100 * KIB, [21, 42]),
        ((0, 0), 300 * KIB, [8, 16, 24, 32, 40]),
        ((0, 0), MIB, [8, 16, 24, 32, 40]),
        ((0, 0), 3 * MIB, [3, 6, 9]),
        ((0, 0), 9 * MIB, [1, 2, 3]),
        ((128 * KIB, 0), 100 * KIB, [6, 12, 18]),
        ((0, 4), MIB, [4, 8, 12, 16]),
    ],
)
def test_large_messages_are_acknowledged_together(
    asked: tuple[int, int], size: int, told: list[int]
) -> None:
    """Eight at a time, or as many as fill the peer's window; many of them by their bytes."""
    control = Control()
    registry = Registry()
    receive_context = ReceiveContext(ME, registry, lambda name: True, control, 5.0, time.monotonic)
    peer_receiver = PeerReceiver(PEER, receive_context, asked)
    peer_receiver.expect(1, ("x",), ())
    peer_receiver.take(ready_frame(Ready(ME, 1, PEER, {"x": 0})))
    for number in range(1, told[-1] + 1):
        take_large(peer_receiver, number, size)
    assert control.told == told


def test_history_reaches_to_what_came_by_another_key() -> None:
    """A pattern brings a message and ends before the name's ready: what comes is followed on."""
    control, registry, got = Control(), Registry(), list[object]()
    receive_context = ReceiveContext(ME, registry, lambda name: True, control, 5.0, time.monotonic)
    peer_receiver = PeerReceiver(PEER, receive_context)

    def frame(number: int) -> bytes:
        packed, _ = frame_parts(topic("a.x"), PEER, number, [encode(number)], 0.0)
        return packed

    peer_receiver.expect(1, ("a.*",), ())
    peer_receiver.take(ready_frame(Ready(ME, 1, PEER, {"a.x": 1})))
    registry.get("a.x").attach(to_call(got.append), history=9)
    peer_receiver.expect(2, ("a.x",), ())
    ((_, catch_up),) = registry._joiners()
    peer_receiver.history_fetcher.recall("a.x", catch_up)
    peer_receiver.take(frame(2))
    peer_receiver.expect(3, (), ("a.*",))
    peer_receiver.take(frame(3))
    peer_receiver.take(ready_frame(Ready(ME, 2, PEER, {"a.x": 3})))
    assert control.asked == [Recall(ME, 1, "a.x")]
    peer_receiver.take(frame(4))
    peer_receiver.history_fetcher.recounted(1, {"a.x": (1, 4)})
    assert control.asked[1:] == [Replay(ME, "a.x", 1, 1, 1)]
    peer_receiver.replayed(frame(1))
    peer_receiver.resent("a.x", 1, 1, 1)
    peer_receiver.take(frame(5))
    assert got == [1, 2, 3, 4, 5]


def test_a_node_that_was_stopped_for_too_long_is_told_so() -> None:
    """What was missing before is lost by its numbers, what was parked comes; then nobody knows."""
    told = list[Lost]()
    control, registry, got = Control(), Registry(), list[object]()
    control.lost = told.append  # type: ignore[method-assign]
    receive_context = ReceiveContext(ME, registry, lambda name: True, control, 5.0, time.monotonic)
    peer_receiver = PeerReceiver(PEER, receive_context)

    def frame(number: int) -> bytes:
        packed, _ = frame_parts(topic("x"), PEER, number, [encode(number)], 0.0)
        return packed

    def ready(head: int, account: int) -> None:
        peer_receiver.take(ready_frame(Ready(ME, 1, PEER, {"x": head}, account=account)))

    registry.get("x").attach(to_call(got.append))
    peer_receiver.expect(1, ("x",), ())
    ready(0, account=3)
    peer_receiver.take(frame(1))
    peer_receiver.take(frame(4))
    ready(4, account=3)
    assert not told
    for head in (5, 5, 6):  # the first of them again, and one after a reconnect
        ready(head, account=4)
    peer_receiver.take(frame(7))
    peer_receiver.take(frame(6))
    peer_receiver.take(frame(8))
    assert [(lost.first, lost.last) for lost in told] == [(2, 3), (0, 5)]
    assert got == [1, 4, 6, 7, 8]
    assert peer_receiver.positions.counted()["x"] == ReceiveCounts(received=5, lost=2)


class Counted(dict[str, int]):
    """Counts how often somebody asks where we stand."""

    asked = 0

    def get(self, name: str, otherwise: int | None = None) -> int | None:  # type: ignore[override]
        """Return where we stand on an exchange."""
        self.asked += 1
        return super().get(name, otherwise)


@pytest.mark.parametrize("answered", [True, False])
def test_a_gap_on_each_of_many_exchanges_costs_the_same_for_each(answered: bool) -> None:
    """After a cut: whatever comes of one exchange has no other one looked at."""

    def asked(count: int) -> int:
        control, registry, got = Control(), Registry(), list[object]()
        receive_context = ReceiveContext(ME, registry, lambda name: True, control, 5.0, lambda: 0.0)
        peer_receiver, names = PeerReceiver(PEER, receive_context), [f"x{n}" for n in range(count)]
        for name in names:
            registry.get(name).attach(to_call(got.append))
        peer_receiver.expect(1, tuple(names), ())
        peer_receiver.take(ready_frame(Ready(ME, 1, PEER, dict.fromkeys(names, 0))))
        positions = peer_receiver.positions.positions = Counted(peer_receiver.positions.positions)
        peer_receiver.take(ready_frame(Ready(ME, 1, PEER, dict.fromkeys(names, 1))))
        for name in names:
            peer_receiver.take(data_head(topic(name), PEER, 2, 0, 0.0))
        for name in names:
            if answered:
                packed, _ = frame_parts(topic(name), PEER, 1, [encode(name)], 0.0)
                peer_receiver.replayed(packed)
                peer_receiver.resent(name, 1, 1, 0)
            else:
                peer_receiver.resent(name, 2, 1, 0)
        assert got == (names if answered else [])
        assert sum(tally.lost for tally in peer_receiver.positions.tallies.values()) == count - len(
            got
        )
        assert len(control.asked) == count
        return positions.asked

    assert asked(1000) <= 11 * asked(100)


def test_of_many_exchanges_the_latest_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest one makes room, and not all of them at once."""
    monkeypatch.setattr(peer_stream, "EXCHANGES_MOST", 3)
    registry, control = Registry(), Control()
    context = ReceiveContext(ME, registry, lambda name: True, control, 5.0, time.monotonic)
    registry.match("x.*").attach(to_call(lambda msg: None))
    peer_receiver = PeerReceiver(PEER, context)
    peer_receiver.expect(1, ("x.*",), ())
    peer_receiver.take(ready_frame(Ready(ME, 1, PEER, {})))
    for n in range(10):
        peer_receiver.take(data_head(topic(f"x.{n}"), PEER, 1, 1, 1.0) + b"\xc0")
        latest = [f"x.{m}" for m in range(max(0, n - 2), n + 1)]
        assert list(peer_receiver._exchanges) == latest
        assert list(peer_receiver._plain) == list(map(topic, latest))
