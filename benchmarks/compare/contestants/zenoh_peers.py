"""eclipse-zenoh: peers that know each other's addresses, in both ways of congestion.

As it comes, zenoh 1.10 copies payloads of 3 KiB and more into shared memory by itself, between
sessions of one host. So `zenoh block` and `zenoh default` use it, too; `zenoh shared memory`
does without that copy: its sender takes a buffer of shared memory and writes the payload there.
"""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from msgpack import packb, unpackb

from ..payloads import plain
from .base import Contestant, Ear, Seat, Send


def key_of(topic: str) -> str:
    """Return a topic as a key expression, whose levels are between slashes."""
    return topic.replace(".", "/")


class Blocking(Contestant):
    """Declared publishers that wait where a queue is full."""

    name = "zenoh block"
    needs = ("zenoh",)
    remedy = "pip install eclipse-zenoh"
    blocks = True
    more: ClassVar[dict[str, Any]] = {}
    """Settings beside those of all."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        import zenoh

        self._zenoh = zenoh
        config = zenoh.Config()
        settings = {
            "mode": "peer",
            "scouting/multicast/enabled": False,
            "listen/endpoints": [f"tcp/127.0.0.1:{seat.ports[seat.index]}"],
            "connect/endpoints": [f"tcp/127.0.0.1:{seat.ports[index]}" for index in seat.hears],
        }
        settings |= self.more
        for key, value in settings.items():
            config.insert_json5(key, json.dumps(value))
        self._session: Any = zenoh.open(config)
        self._held: list[Any] = []
        self._senders: dict[str, Send] = {}

    def hear(self, ears: dict[str, Ear], below: dict[str, Ear]) -> None:
        """Declare subscribers, called back by a thread of zenoh's."""
        for topic, ear in ears.items():
            self._subscribe(key_of(topic), topic, ear)
        for level, ear in below.items():
            self._subscribe(f"{level}/**", level, ear)

    def _subscribe(self, key: str, topic: str, ear: Ear) -> None:
        unpack = plain(topic)[1]

        def take(sample: Any) -> None:
            ear.send(unpack(sample.payload.to_bytes()))

        self._held.append(self._session.declare_subscriber(key, take))

    def sender(self, topic: str) -> Send:
        """Declare a publisher, once, and pack."""
        if topic in self._senders:
            return self._senders[topic]
        control = self._zenoh.CongestionControl
        publisher = self._session.declare_publisher(
            key_of(topic), congestion_control=control.BLOCK if self.blocks else None
        )
        put, pack = publisher.put, plain(topic)[0]
        send = self._senders[topic] = lambda msg: put(pack(msg))
        return send

    def first(self, topics: Sequence[str], make: Callable[[int], Any]) -> float:
        """Put on each without declaring it, which would be for more than one message."""
        start, put, pack = time.monotonic(), self._session.put, plain("")[0]
        control = self._zenoh.CongestionControl.BLOCK if self.blocks else None
        for n, topic in enumerate(topics):
            put(key_of(topic), pack(make(n)), congestion_control=control)
        return start

    def close(self) -> None:
        """End the session."""
        self._session.close()


class Default(Blocking):
    """As it comes: what finds a full queue is dropped."""

    name = "zenoh default"
    blocks = False


class Shared(Blocking):
    """Bytes written into shared memory by the sender, as they are; lists beside that, packed."""

    name = "zenoh shared memory"
    topics = frozenset({"large"})
    measures = frozenset({"flood"})
    more: ClassVar[dict[str, Any]] = {
        "transport/shared_memory/enabled": True,
        "transport/shared_memory/mode": "init",
    }
    POOL = 64 << 20
    """Bytes that its sender has: as many as are under way elsewhere."""

    def _subscribe(self, key: str, topic: str, ear: Ear) -> None:
        def take(sample: Any) -> None:
            ear.send(sample.payload.to_bytes())

        def take_said(sample: Any) -> None:
            ear.send(unpackb(sample.payload.to_bytes()))

        declare = self._session.declare_subscriber
        self._held += (declare(key, take), declare(f"{key}/said", take_said))

    def sender(self, topic: str) -> Send:
        """Take a buffer, which waits for one that is free again, write and put."""
        if topic in self._senders:
            return self._senders[topic]
        shm: Any = self._zenoh.shm
        put, say = self._putter(key_of(topic)), self._putter(f"{key_of(topic)}/said")
        alloc = shm.ShmProvider.default_backend(self.POOL).alloc
        until_free = shm.BlockOn(shm.GarbageCollect())

        def sending(msg: Any) -> None:
            if isinstance(msg, bytes):
                buffer = alloc(len(msg), until_free)
                buffer[:] = msg
                put(buffer)
            else:
                say(packb(msg))

        self._senders[topic] = sending
        return sending

    def _putter(self, key: str) -> Send:
        control = self._zenoh.CongestionControl.BLOCK
        put: Send = self._session.declare_publisher(key, congestion_control=control).put
        return put
