"""redis-py with redis-server, over its Unix socket, with the parser in C if it is there."""

import threading
from typing import Any

from ..payloads import plain
from .base import Contestant, Ear, Seat, Send


class OneByOne(Contestant):
    """A command a message."""

    name = "redis-py"
    needs = ("redis",)
    server = "redis-server"
    remedy = "pip install 'redis[hiredis]', apt install redis-server"

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        import redis

        self._redis: Any = redis.Redis(unix_socket_path=seat.server, socket_timeout=None)
        self._takers: dict[bytes, Send] = {}
        self._below: list[tuple[bytes, Send]] = []

    def hear(self, ears: dict[str, Ear], below: dict[str, Ear]) -> None:
        """Subscribe, and read on a thread."""
        pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
        for topic, ear in ears.items():
            self._takers[topic.encode()] = self._taker(topic, ear)
            pubsub.subscribe(topic)
        for level, ear in below.items():
            self._takers[f"{level}.*".encode()] = self._taker(level, ear)
            pubsub.psubscribe(f"{level}.*")
        if self._takers:
            threading.Thread(target=self._read, args=(pubsub,), daemon=True).start()

    def _taker(self, topic: str, ear: Ear) -> Send:
        unpack = plain(topic)[1]
        return lambda body: ear.send(unpack(body))

    def _read(self, pubsub: Any) -> None:
        takers = self._takers
        for message in pubsub.listen():
            takers[message["pattern"] or message["channel"]](message["data"])

    def sender(self, topic: str) -> Send:
        """Pack and publish."""
        publish, pack = self._redis.publish, plain(topic)[0]
        return lambda msg: publish(topic, pack(msg))

    def close(self) -> None:
        """Let the connections end with the process: another thread is in one of them."""


class Pipelined(OneByOne):
    """100 commands together."""

    name = "redis-py pipelined"
    measures = frozenset({"flood"})
    BATCH = 100

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._pipe: Any = self._redis.pipeline(transaction=False)
        self._waiting = 0

    def sender(self, topic: str) -> Send:
        """Pack and queue; each 100th sends all."""
        publish, pack = self._pipe.publish, plain(topic)[0]

        def queue(msg: Any) -> None:
            publish(topic, pack(msg))
            self._waiting += 1
            if self._waiting == self.BATCH:
                self.flush()

        return queue

    def flush(self) -> None:
        """Send what waits."""
        if self._waiting:
            self._pipe.execute()
            self._waiting = 0
