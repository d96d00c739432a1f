"""pyzmq by hand in its general forms: as a program with many topics uses it.

One receiving thread looks up the topic of each frame. PUB and SUB over Unix sockets, as ours are.
One socket a thread, as its guide says: the topic `bulk`, which a second thread sends on, has a
socket of its own. No high-water marks: nothing shall be dropped that is measured. `plain.py` has
what a program with a single topic writes.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from ..payloads import plain
from .base import Contestant, Ear, Seat, Send
from .loop import Loop

SECOND = "bulk"


class ByHand(Contestant):
    """The part that the forms share: sockets and a receiving thread."""

    needs = ("zmq",)
    quiet = 6.0  # without high-water marks nothing is lost: on a busy machine it is late

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        import zmq

        self._zmq = zmq
        self._context: Any = self._new_context()
        self._pubs = {lane: self._bind(lane) for lane in ("", SECOND)}
        self._takers: dict[bytes, Send] = {}
        self._below: list[tuple[bytes, Send]] = []

    def _new_context(self) -> Any:
        return self._zmq.Context()

    def _at(self, index: int, lane: str) -> str:
        return f"ipc://{self.seat.folder}/{index}{lane}"

    def _bind(self, lane: str) -> Any:
        pub = self._context.socket(self._zmq.PUB)
        pub.set(self._zmq.SNDHWM, 0)
        pub.set(self._zmq.LINGER, 0)
        pub.bind(self._at(self.seat.index, lane))
        return pub

    def _connect(self, topics: Sequence[bytes]) -> Any:
        sub = self._context.socket(self._zmq.SUB)
        sub.set(self._zmq.RCVHWM, 0)
        sub.set(self._zmq.LINGER, 0)
        for topic in topics:
            sub.subscribe(topic)
        for index in self.seat.hears:
            for lane in ("", SECOND):
                sub.connect(self._at(index, lane))
        return sub

    def hear(self, ears: dict[str, Ear], below: dict[str, Ear]) -> None:
        """Subscribe, and read on a thread."""
        for topic, ear in ears.items():
            self._takers[topic.encode()] = self._taker(topic, ear)
        for level, ear in below.items():
            self._below.append((f"{level}.".encode(), self._taker(level, ear)))
        topics = [topic + self.end for topic in self._takers]
        sub = self._connect([*topics, *(start for start, _ in self._below)])
        threading.Thread(target=self._read, args=(sub,), daemon=True).start()

    end = b""
    """The end of a topic, where it shares its frame with more."""

    def _taker(self, topic: str, ear: Ear) -> Send:
        unpack = plain(topic)[1]
        return lambda body: ear.send(unpack(body))

    def _find(self, topic: bytes) -> Send:
        return next(take for start, take in self._below if topic.startswith(start))

    def _read(self, sub: Any) -> None:
        raise NotImplementedError

    def _socket(self, topic: str) -> Any:
        return self._pubs[SECOND if topic == SECOND else ""]

    def close(self) -> None:
        """Let the sockets end with the process: another thread is in one of them."""


class TwoFrames(ByHand):
    """Topic and payload in frames of their own."""

    name = "pyzmq general, two frames"

    def sender(self, topic: str) -> Send:
        """Pack, and send both frames."""
        send, name, pack = self._socket(topic).send_multipart, topic.encode(), plain(topic)[0]
        return lambda msg: send((name, pack(msg)))

    def _read(self, sub: Any) -> None:
        receive, takers, find = sub.recv_multipart, self._takers, self._find
        while True:
            topic, body = receive()
            (takers.get(topic) or find(topic))(body)


class OneFrame(ByHand):
    """Topic, NUL and payload in one frame."""

    name = "pyzmq general, one frame"
    end = b"\0"

    def sender(self, topic: str) -> Send:
        """Pack, and send one frame."""
        send, pack = self._socket(topic).send, plain(topic)[0]
        start = topic.encode() + b"\0"
        return lambda msg: send(start + pack(msg))

    def _read(self, sub: Any) -> None:
        receive, takers, find = sub.recv, self._takers, self._find
        while True:
            topic, _, body = receive().partition(b"\0")
            (takers.get(topic) or find(topic))(body)


class Batched(OneFrame):
    """64 messages in a frame, batched by hand."""

    name = "pyzmq general, 64 batched"
    measures = frozenset({"flood"})
    topics = frozenset({"x"})
    BATCH = 64

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._waiting: dict[str, list[bytes]] = {}

    def sender(self, topic: str) -> Send:
        """Pack; each 64th sends all."""
        send, pack, start = self._socket(topic).send, msgpack.packb, topic.encode() + b"\0"
        waiting = self._waiting.setdefault(topic, [])

        def batch(msg: Any) -> None:
            waiting.append(pack(msg))
            if len(waiting) == self.BATCH:
                send(start + b"".join(waiting))
                waiting.clear()

        return batch

    def flush(self) -> None:
        """Send what waits."""
        for topic, waiting in self._waiting.items():
            if waiting:
                self._socket(topic).send(topic.encode() + b"\0" + b"".join(waiting))
                waiting.clear()

    def _taker(self, topic: str, ear: Ear) -> Send:
        def take(body: bytes) -> None:
            unpacker = msgpack.Unpacker()
            unpacker.feed(body)
            for msg in unpacker:
                ear.send(msg)

        return take


class Uncopied(TwoFrames):
    """Large ones raw: bytes without a copy, an array with the one that makes it safe.

    The receiver of an array looks into the frame, as the guide of pyzmq shows.
    """

    name = "pyzmq copy=False"
    measures = frozenset({"flood"})
    topics = frozenset({"large", "array"})

    def sender(self, topic: str) -> Send:
        """Send the bytes, or the memory of the array, as they are."""
        send, name, pack = self._socket(topic).send_multipart, topic.encode(), plain("")[0]

        def raw(msg: Any) -> None:
            if isinstance(msg, bytes):
                send((name, msg), copy=False)
            elif isinstance(msg, list):  # what the benchmark says to itself
                send((name + b"!", pack(msg)))
            else:
                send((name, msg.data.cast("B")), copy=True)

        return raw

    def _read(self, sub: Any) -> None:
        import numpy as np

        large, array = (self._takers.get(name, id) for name in (b"large", b"array"))
        while True:
            topic, body = sub.recv_multipart(copy=False)
            if topic.bytes == b"large":
                large(body.bytes)
            elif topic.bytes == b"array":
                array(np.frombuffer(body.buffer))
            else:
                (large if topic.bytes == b"large!" else array)(msgpack.unpackb(body.bytes))

    def _taker(self, topic: str, ear: Ear) -> Send:
        return ear.send


class ByHandAsync(OneFrame):
    """`zmq.asyncio`, one frame."""

    name = "pyzmq asyncio"
    measures = frozenset({"flood", "ping"})
    topics = frozenset({"x", "ask", "answer"})

    def __init__(self, seat: Seat) -> None:
        self._loop = Loop()
        super().__init__(seat)

    def _new_context(self) -> Any:
        import zmq.asyncio

        return zmq.asyncio.Context()

    def hear(self, ears: dict[str, Ear], below: dict[str, Ear]) -> None:
        """Subscribe, and read in the loop."""
        for topic, ear in ears.items():
            self._takers[topic.encode()] = self._taker(topic, ear)
        self._loop.start(self._read_all())

    async def _read_all(self) -> None:
        sub = self._connect([topic + b"\0" for topic in self._takers])
        while True:
            topic, _, body = (await sub.recv()).partition(b"\0")
            self._takers[topic](body)

    def _awaited(self, topic: str) -> Callable[[Any], Any]:
        send, start = self._socket(topic).send, topic.encode() + b"\0"
        return lambda msg: send(start + msgpack.packb(msg))

    def sender(self, topic: str) -> Send:
        """Send from inside the loop, or through it."""
        return self._loop.through(self._awaited(topic))

    def flood(self, topics: Sequence[str], make: Callable[[int], Any], count: int) -> float:
        """Send in the loop."""
        return self._loop.run(self._flood(self._awaited(topics[0]), make, count))

    async def _flood(
        self, send: Callable[[Any], Any], make: Callable[[int], Any], count: int
    ) -> float:
        start = time.monotonic()
        for n in range(count):
            await send(make(n))
        return start

    def ping(self, answers: Ear, count: int) -> list[float]:
        """Send and wait in the loop."""
        return self._loop.run(self._loop.ping(self._awaited("ask"), answers, count))
