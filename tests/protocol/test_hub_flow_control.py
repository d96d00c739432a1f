"""How far nodes have read: the hub waits for who reads, and for nobody else."""

from zexchange.protocol.hub.flow_control import (
    BYTES_MOST,
    FRAMES_MOST,
    MARK_BYTES,
    MARK_FRAMES,
    STALL,
    UNREAD_BYTES,
    FlowControl,
)

A, B = b"a" * 16, b"b" * 16


X = b"\x01x\0"


def passing(reading: FlowControl, frames: int, size: int = 10) -> None:
    for _ in range(frames):
        reading.passed(X, size)


def connected(*nodes: bytes, topics: set[bytes] | None = None) -> FlowControl:
    reading = FlowControl()
    for node in nodes:
        reading.connected(node, {X} if topics is None else topics, 0.0)
    return reading


def test_marks_come_by_frames_and_by_bytes() -> None:
    """A mark is due behind so many frames, or so many bytes."""
    reading = connected(A)
    assert [n for n in range(1, 2 * MARK_FRAMES + 1) if reading.passed(X, 1)] == [
        MARK_FRAMES,
        2 * MARK_FRAMES,
    ]
    assert reading.passed(X, MARK_BYTES)
    assert not reading.passed(b"\x01y\0", 2 * MARK_BYTES)


def test_who_wants_nothing_of_it_is_not_waited_for() -> None:
    """Only what is for a node is before it: prefixes count, and changes."""
    topics: set[bytes] = set()
    reading = connected(A, topics=topics)
    passing(reading, 2 * FRAMES_MOST)
    assert not reading.waits(0.1)
    topics.add(X[:2])
    reading.subscribed()
    passing(reading, FRAMES_MOST)
    assert reading.waits(0.1)


def test_it_waits_for_who_reads() -> None:
    """With much before a node the hub waits, and goes on when that has been read."""
    reading = connected(A)
    passing(reading, FRAMES_MOST)
    assert reading.waits(0.1)
    reading.confirmed(A, MARK_FRAMES, 0.2)
    assert not reading.waits(0.2)


def test_large_frames_are_waited_for_as_well() -> None:
    """A few that are large are as much as many small ones; who reads them is never cut."""
    reading = connected(A)
    assert [reading.waits(0.1) for _ in range(10) if reading.passed(X, BYTES_MOST // 4)] == [
        *[False] * 3,
        *[True] * 7,
    ]
    assert reading.overdue(reading.audience(X)) == []
    reading.confirmed(A, reading.frames, 0.2)
    assert not reading.waits(0.2)


def test_it_waits_for_nobody_who_does_not_read() -> None:
    """Who has read nothing for a while is slow, and waited for again once it has read half."""
    reading = connected(A, B)
    passing(reading, FRAMES_MOST)
    reading.confirmed(B, FRAMES_MOST, 0.1)
    assert reading.waits(STALL - 0.1)
    assert not reading.waits(STALL)
    passing(reading, MARK_FRAMES)
    reading.confirmed(B, FRAMES_MOST + MARK_FRAMES, STALL)
    reading.confirmed(A, FRAMES_MOST // 2 - MARK_FRAMES, STALL)
    assert not reading.waits(STALL + 0.1)
    reading.confirmed(A, FRAMES_MOST // 2 + 2 * MARK_FRAMES, STALL + 0.2)
    passing(reading, FRAMES_MOST - 4 * MARK_FRAMES)
    reading.confirmed(B, reading.frames, STALL + 0.2)
    assert reading.waits(STALL + 0.3)


def test_a_hub_that_was_stopped_has_yet_to_read_how_far_they_are() -> None:
    """Its own stop makes nobody slow."""
    reading = connected(A)
    passing(reading, FRAMES_MOST)
    assert reading.waits(0.1)
    assert reading.waits(20.0)
    looks = [20.0 + n / 4 for n in range(1, int(4 * STALL) + 1)]
    assert [reading.waits(now) for now in looks] == [True] * (len(looks) - 1) + [False]


def test_who_reads_slowly_is_waited_for() -> None:
    """On a machine that does too much each gets past a mark now and then; nobody is let go."""
    reading = connected(A)
    passing(reading, BYTES_MOST // MARK_BYTES, MARK_BYTES)
    for mark in range(1, BYTES_MOST // MARK_BYTES // 2):
        assert reading.waits(mark * (STALL - 0.1))
        reading.confirmed(A, mark, mark * (STALL - 0.1))
        passing(reading, 1, MARK_BYTES)
    assert MARK_BYTES / STALL <= 128 << 10


def test_a_node_that_was_idle_has_its_time() -> None:
    """A long time without data does not make a node slow when there is much at once."""
    reading = connected(A)
    assert not reading.waits(100.0)
    passing(reading, FRAMES_MOST)
    assert reading.waits(100.1)


def test_who_does_not_read_is_cut() -> None:
    """Bytes that are before a node which reads nothing are bounded, whoever else has read them."""
    reading = connected(A, B)
    passing(reading, UNREAD_BYTES // MARK_BYTES + 1, MARK_BYTES)
    reading.confirmed(B, reading.frames, 0.1)
    assert reading.overdue(reading.audience(X)) == []
    assert not reading.waits(STALL)
    assert reading.overdue(reading.audience(X)) == [A]
    reading.connected(A, {X}, 0.2)
    assert reading.overdue(reading.audience(X)) == []
