"""pyzmq by hand in its plainest form: as a program with one topic writes it.

Such a program knows each message's topic without looking: a frame is the topic and the packed
message, and the receiver cuts off as many bytes as the topic has. Each topic here has a socket and
a thread of its own, as it has in a program that hears nothing else.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from msgpack import packb, unpackb

from .base import Ear, Send
from .by_hand import ByHand


class Plain(ByHand):
    """One frame a message: no look-up, no search for the end of the topic."""

    name = "pyzmq plain"
    topics = frozenset({"x", "ask", "answer", "large"})
    measures = frozenset({"flood", "ping", "oneway", "paced", "burner", "heard", "first", "cost"})

    def hear(self, ears: dict[str, Ear], below: dict[str, Ear]) -> None:
        """Subscribe, with a thread for each topic."""
        for topic, ear in ears.items():
            sub = self._connect([topic.encode()])
            of_topic = (sub.recv, len(topic.encode()), ear.send)
            threading.Thread(target=self._hear, args=of_topic, daemon=True).start()

    @staticmethod
    def _hear(receive: Callable[[], bytes], start: int, call: Send) -> None:
        while True:
            call(unpackb(receive()[start:]))

    def sender(self, topic: str) -> Send:
        """Pack, and send one frame."""
        send, start = self._socket(topic).send, topic.encode()
        return lambda msg: send(start + packb(msg))

    def flood(self, topics: Sequence[str], make: Callable[[int], Any], count: int) -> float:
        """Send in a loop that calls nothing else."""
        send, topic = self._socket(topics[0]).send, topics[0].encode()
        start = time.monotonic()
        for n in range(count):
            send(topic + packb(make(n)))
        return start


class PlainBatched(Plain):
    """64 messages a frame: packed as one list, and unpacked as one.

    A list that is packed at once takes half as long as messages that are packed each and joined
    (`Batched`), and is less to write.
    """

    name = "pyzmq plain, 64 batched"
    topics = frozenset({"x"})
    measures = frozenset({"flood"})
    BATCH = 64

    @staticmethod
    def _hear(receive: Callable[[], bytes], start: int, call: Send) -> None:
        while True:
            for msg in unpackb(receive()[start:]):
                call(msg)

    def sender(self, topic: str) -> Send:
        """Send a batch of one: what the benchmark says to itself."""
        send, start = self._socket(topic).send, topic.encode()
        return lambda msg: send(start + packb([msg]))

    def flood(self, topics: Sequence[str], make: Callable[[int], Any], count: int) -> float:
        """Collect 64, and send them."""
        send, topic, size = self._socket(topics[0]).send, topics[0].encode(), self.BATCH
        batch: list[Any] = []
        start = time.monotonic()
        for n in range(count):
            batch.append(make(n))
            if len(batch) == size:
                send(topic + packb(batch))
                batch.clear()
        if batch:
            send(topic + packb(batch))
        return start
