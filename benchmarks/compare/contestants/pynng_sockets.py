"""pynng: Pub0 and Sub0 over Unix sockets, with the largest buffers that it takes."""

import threading
from typing import Any

from ..payloads import plain
from .base import Contestant, Ear, Seat, Send

BUFFER = 8192
"""Messages; nng takes no more. A message that finds it full is dropped."""


class Pynng(Contestant):
    """Topic, NUL and payload, as its subscriptions by prefix want."""

    name = "pynng"
    needs = ("pynng",)
    remedy = "pip install pynng"

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        import pynng

        self._pynng: Any = pynng
        self._pub: Any = pynng.Pub0(listen=self._at(seat.index), send_buffer_size=BUFFER)
        self._takers: dict[bytes, Send] = {}
        self._below: list[tuple[bytes, Send]] = []

    def _at(self, index: int) -> str:
        return f"ipc://{self.seat.folder}/{index}"

    def hear(self, ears: dict[str, Ear], below: dict[str, Ear]) -> None:
        """Subscribe, dial until there is an answer, and read on a thread."""
        sub = self._pynng.Sub0(recv_buffer_size=BUFFER, recv_max_size=0)
        for topic, ear in ears.items():
            self._takers[topic.encode()] = self._taker(topic, ear)
            sub.subscribe(topic.encode() + b"\0")
        for level, ear in below.items():
            self._below.append((f"{level}.".encode(), self._taker(level, ear)))
            sub.subscribe(f"{level}.")
        for index in self.seat.hears:
            sub.dial(self._at(index), block=False)
        threading.Thread(target=self._read, args=(sub,), daemon=True).start()

    def _taker(self, topic: str, ear: Ear) -> Send:
        unpack = plain(topic)[1]
        return lambda body: ear.send(unpack(body))

    def _find(self, topic: bytes) -> Send:
        return next(take for start, take in self._below if topic.startswith(start))

    def _read(self, sub: Any) -> None:
        receive, takers, find = sub.recv, self._takers, self._find
        while True:
            topic, _, body = receive().partition(b"\0")
            (takers.get(topic) or find(topic))(body)

    def sender(self, topic: str) -> Send:
        """Pack, and send one message."""
        send, pack, start = self._pub.send, plain(topic)[0], topic.encode() + b"\0"
        return lambda msg: send(start + pack(msg))

    def close(self) -> None:
        """Let the sockets end with the process: another thread is in one of them."""
