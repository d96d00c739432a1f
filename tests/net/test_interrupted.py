"""Exceptions out of nowhere: Ctrl-C in the middle of a send loses nothing and stops nobody."""

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
import zmq

from tests.support import Program
from zexchange.history import Body, Bulk, Frame, Retained, Ring
from zexchange.net.engine.environment import NodeEnvironment
from zexchange.net.outbound.publisher import Publisher
from zexchange.protocol.codec.attachments import LARGE, decode_frame, encode_attaching
from zexchange.protocol.codec.values import encode
from zexchange.protocol.wire.data import arrived_whole, read_data, topic

PEER = b"p" * 16


Encode = Callable[[int], Body]


def in_parts(number: int) -> Body:
    """A number with three large parts."""
    large = bytes([number]) * LARGE
    return encode_attaching([number, large, large, (bytearray(large),)])


def content(body: Body) -> object:
    return body if isinstance(body, bytes) else (body.packed, body.buffers)


class Stop(BaseException):
    """What a signal handler raises."""


class Lane:
    def __init__(self, name: str) -> None:
        self.name = name
        self.topic = topic(name)
        self.kept: Retained | None = Retained(1000)
        self.bodies: list[Body] = []
        self.listed = self.noted = False
        self.conflated = False


def interrupted(act: Callable[[], object], at: int) -> bool:
    """Run something and raise `Stop` in it behind call number ``at``; tell whether it came to that.

    Where a call of a C function returns is where CPython looks for signals; so does pyzmq
    within its calls.
    """
    seen = 0

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal seen
        caller = frame.f_back
        of_ours = event == "c_return" and "/zexchange/" in frame.f_code.co_filename
        of_zmq = event == "return" and frame.f_code.co_qualname == "Socket.send"
        if of_ours or (of_zmq and caller and "/zexchange/" in caller.f_code.co_filename):
            seen += 1
            if seen == at:
                raise Stop

    sys.setprofile(profile)
    try:
        act()
    except Stop:
        return True
    finally:
        sys.setprofile(None)
    return False


class Bench:
    """An outbound whose frames can be read, and the ring that it keeps them in."""

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", number: int, encode: Encode = encode
    ) -> None:
        self.encode = encode
        self.sub = context.socket(zmq.SUB)
        self.sub.subscribe(b"")
        xpub = context.socket(zmq.XPUB)
        xpub.bind(f"inproc://{number}")
        self.sub.connect(f"inproc://{number}")
        assert xpub.recv() == b"\x01"
        self.ring = Ring(4 << 20, 1000, 1 << 20)
        self.outbound = Publisher(
            xpub, b"o" * 16, lambda: None, self.ring, lambda: False, NodeEnvironment()
        )
        self.outbound.window.promise(PEER, ["x", "y"])
        self.lanes = Lane("x"), Lane("y")
        self.returned: list[tuple[str, int]] = []
        self.broken_off = 0

    def submit(self, *numbers: int) -> None:
        for n in numbers:
            lane = self.lanes[n % 2]
            body = self.encode(n)
            lane.bodies.append(body)
            self.outbound.see_to(lane, len(body))
            self.returned.append((lane.name, n))

    def received(self) -> dict[str, list[int]]:
        """What a receiver is left with that drops by number what it has had."""
        got: dict[str, list[int]] = {"x": [], "y": []}
        while self.sub.poll(0):
            first, *others = (part.buffer for part in self.sub.recv_multipart(copy=False))
            frame = Bulk(bytes(first), tuple(others))
            if not frame.packed:
                continue  # only here: no node subscribes to everything
            batch = read_data(frame.packed)
            if not arrived_whole(batch, frame):
                self.broken_off += 1
                continue
            values = decode_frame(frame, batch.body, batch.count)
            values = [value[0] if isinstance(value, list) else value for value in values]
            have = len(got[batch.name])
            assert batch.first <= have + 1, "no gap"
            got[batch.name] += values[have + 1 - batch.first :]
        return got

    def check_ring(self, got: dict[str, list[int]]) -> None:
        """Everything sent is in it, held for the peer, counted right, and kept for joiners."""
        size = 0
        for lane in self.lanes:
            head = len(got[lane.name])
            frames: list[Frame] = self.ring.replay(lane.name, 1, head, 1 << 30)
            numbers = [n for f in frames for n in range(f.first, f.last + 1)]
            assert numbers == list(range(1, head + 1))
            assert all(frame.waiting == {PEER} for frame in frames)
            size += sum(frame.size for frame in frames)
            assert lane.kept is not None
            kept = [body for run in lane.kept.runs(1, head, 1 << 30) for body in run.bodies]
            assert list(map(content, kept)) == [content(self.encode(n)) for n in got[lane.name]]
        assert self.ring.bytes == self.ring.held_bytes == size
        assert self.ring.messages == sum(map(len, got.values()))

    def close(self) -> None:
        self.outbound.start()  # only now: what it would send, the test sends
        self.outbound.close(0)
        self.sub.close()


@pytest.fixture
def context() -> Iterator["zmq.Context[zmq.Socket[bytes]]"]:
    with zmq.Context() as context:
        yield context


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("twice", [False, True])
def test_an_exception_behind_any_call_loses_nothing(
    context: "zmq.Context[zmq.Socket[bytes]]", twice: bool
) -> None:
    """Whatever was queued before is sent once and in order, and what comes next as well."""
    at, going = 0, True
    while going:
        at += 1
        bench = Bench(context, at)
        bench.outbound.pace.direct_at = float("inf")
        bench.submit(0, 1, 2)
        bench.outbound.pace.direct_at = 0.0
        going = interrupted(lambda bench=bench: bench.submit(3), at)
        # Right away: the next to come may be an acknowledgement, which trusts the ring.
        assert bench.ring.bytes == sum(frame.size for frame in bench.ring._order)
        if twice:
            interrupted(bench.outbound._drain, at // 3)
        assert not bench.outbound._lock.locked()
        bench.submit(4)
        bench.outbound.catch_up()
        got = bench.received()
        bench.check_ring(got)
        assert got["x"] == [0, 2, 4]
        assert got["y"] in ([1, 3], [1])
        assert (3 in got["y"]) or ("y", 3) not in bench.returned
        bench.close()
    assert at > 30


@pytest.mark.usefixtures("without_collector")
def test_an_exception_between_the_parts_of_a_message(
    context: "zmq.Context[zmq.Socket[bytes]]",
) -> None:
    """What was begun is ended in a way that shows, and comes again in whole."""
    at, going, broken_off = 0, True, 0
    while going:
        at += 1
        bench = Bench(context, at, in_parts)
        bench.submit(0)
        going = interrupted(lambda bench=bench: bench.submit(1, 2), at)
        assert not bench.outbound._lock.locked()
        bench.submit(4)
        bench.outbound.catch_up()
        got = bench.received()
        bench.check_ring(got)
        assert got["x"] in ([0, 2, 4], [0, 4])
        assert got["y"] in ([1], [])
        assert all(n in got[name] for name, n in bench.returned)
        broken_off += bench.broken_off
        bench.close()
    assert broken_off > 3  # of twice three places between parts: the clock shifts the calls


@pytest.mark.usefixtures("without_collector")
def test_an_exception_while_the_newest_message_is_offered(
    context: "zmq.Context[zmq.Socket[bytes]]",
) -> None:
    """All get their numbers, the last one is kept, and there is an offer that shows it."""
    at, going = 0, True
    while going:
        at += 1
        bench = Bench(context, at, lambda number: Bulk(encode(number), ()))
        for lane in bench.lanes:
            lane.conflated = True
        outbound = bench.outbound
        bench.submit(0)  # on x, as 2 and 4
        outbound.latest.renew()
        outbound.pace.direct_at = 0.0
        going = interrupted(lambda bench=bench: bench.submit(2), at)
        assert not outbound._lock.locked()
        outbound.catch_up()
        newest = outbound.latest.newest["x"]
        queued = newest.last
        batch = read_data(newest.data)
        assert decode_frame(newest.data, batch.body, 1) == [0 if queued == 1 else 2]
        assert outbound.numbering.heads["x"] == queued == batch.first
        assert (queued == 2) or ("x", 2) not in bench.returned
        offered = 0
        while bench.sub.poll(0):
            offered = read_data(bench.sub.recv()).first - 1
        assert offered == queued
        assert not bench.ring.bytes
        bench.close()
    assert at > 25


@pytest.mark.sockets
@pytest.mark.parametrize("size", [0, 70_000])
def test_ctrl_c_all_the_time(rendezvous: object, size: int) -> None:
    """Hundreds of exceptions at any moment: the node goes on, and the sums add up."""
    with (
        Program(
            """
import zexchange
got = []
zexchange.get_exchange("x").handler(lambda msg: got.append(msg[0]))
with zexchange.federate("fed") as node:
    print("ready", flush=True)
    sys.stdin.readline()
    (tally,) = node.stats().received.values()
    print(tally.received, tally.lost, got == sorted(set(got)), flush=True)
"""
        ) as receiver,
        Program(
            """
import zexchange
x, sending, returned = zexchange.get_exchange("x"), False, []
class Stop(BaseException): pass
def interrupt(*_):
    global sending
    signal.setitimer(signal.ITIMER_REAL, 0.0007)
    if sending:
        sending = False
        raise Stop
signal.signal(signal.SIGALRM, interrupt)
with zexchange.federate("fed") as node:
    node.wait_subscribers("x", 1)
    n = stops = 0
    signal.setitimer(signal.ITIMER_REAL, 0.0007)
    while stops < 400:
        n += 1
        try:
            sending = True
            x.send((n, bytes(int(sys.argv[1]))))
            sending = False
            returned.append(n)
        except Stop:
            stops += 1
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    node.flush(30)
    print(node.stats().sent["x"], len(returned), n, flush=True)
""",
            size,
            asked=False,
        ) as sender,
    ):
        receiver.expect("ready")
        sent, returned, tried = map(int, sender.line(60).split())
        assert returned <= sent <= tried
        receiver.say()
        receiver.expect(f"{sent} 0 True")


def test_a_ring_that_is_mended_is_what_its_frames_say() -> None:
    """Whatever the rest has come to; one frame is left out."""
    ring = Ring(1 << 20, 1000, 1 << 19)
    frames = [Frame("x", n, n, bytes(10), {PEER} if n > 2 else ()) for n in range(1, 4)]
    for frame in frames:
        ring.append(frame)
    ring.bytes, ring.messages, ring.held_bytes = 7, 7, 7
    ring._frames.clear()
    ring.mend(frames[1])
    assert ring.replay("x", 1, 9, 1 << 30) == [frames[0], frames[2]]
    assert (ring.bytes, ring.messages) == (frames[0].size + frames[2].size, 2)
    assert ring.held_bytes == frames[2].size
    assert ring.holders() == {PEER: "x"}
