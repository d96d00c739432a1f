"""What comes from one peer, without sockets: when it is acknowledged."""

import time

import pytest

from zexchange import Registry
from zexchange.history import Bulk
from zexchange.net.desk import Desk, Reports
from zexchange.net.inlet import Inlet
from zexchange.net.sendqueue import frame_parts
from zexchange.protocol.values import Ready
from zexchange.protocol.wire import ready_frame, topic

ME, PEER = b"m" * 16, b"p" * 16
KIB, MIB = 1 << 10, 1 << 20


class Control(Reports):
    """Notes how far the peer is told that we are."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def proven(self, peer: bytes, epoch: int) -> None:
        """See `Reports`."""

    def consumed(self, peer: bytes, positions: dict[str, int]) -> None:
        """See `Reports`."""
        self.told.append(positions["x"])


def take_large(inlet: Inlet, number: int, size: int) -> None:
    """Have an inlet take a message that is attached to its frame."""
    body = bytes(size)
    # As `buffers` packs what stands for the first attached frame.
    stands = b"\xd7\x0f" + (0).to_bytes(4, "big") + size.to_bytes(4, "big")
    parts = frame_parts(topic("x"), PEER, number, [Bulk(stands, (body,))], 0.0)
    assert inlet.take(Bulk(*parts)) is None


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
    desk = Desk(ME, registry, lambda name: True, control, 5.0, time.monotonic)
    inlet = Inlet(PEER, desk, asked)
    inlet.expect(1, ("x",), ())
    inlet.take(ready_frame(Ready(ME, 1, PEER, {"x": 0})))
    for number in range(1, told[-1] + 1):
        take_large(inlet, number, size)
    assert control.told == told
