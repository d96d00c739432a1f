"""nats-py with nats-server: a client of asyncio, used inside its loop."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from ..payloads import plain
from .base import ASKING, REQUESTS, Contestant, Ear, Seat, Send
from .loop import Loop


class Nats(Contestant):
    """Callbacks; publishing that its client gathers."""

    name = "nats-py"
    needs = ("nats",)
    server = "nats-server"
    remedy = "pip install nats-py, apt install nats-server"
    measures = frozenset({"flood", "ping", "names"}) | ASKING

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._loop = Loop()
        self._client: Any = self._loop.run(self._connect(seat.server))

    async def _connect(self, server: str) -> Any:
        import nats

        # The buffer before publishing waits for the socket, as large as messages are here.
        return await nats.connect(server, pending_size=32 << 20)

    def hear(self, ears: dict[str, Ear], below: dict[str, Ear]) -> None:
        """Subscribe, without a limit to what waits for its callback."""
        for topic, ear in ears.items():
            self._loop.run(self._subscribe(topic, topic, ear))
        for level, ear in below.items():
            self._loop.run(self._subscribe(f"{level}.>", level, ear))
        self._loop.run(self._client.flush())

    async def _subscribe(self, subject: str, topic: str, ear: Ear) -> None:
        unpack = plain(topic)[1]

        async def take(msg: Any) -> None:
            ear.send(unpack(msg.data))

        await self._client.subscribe(
            subject, cb=take, pending_msgs_limit=-1, pending_bytes_limit=-1
        )

    def _awaited(self, topic: str) -> Callable[[Any], Any]:
        publish, pack = self._client.publish, plain(topic)[0]
        return lambda msg: publish(topic, pack(msg))

    def sender(self, topic: str) -> Send:
        """Publish from inside the loop, or through it."""
        return self._loop.through(self._awaited(topic))

    def flood(self, topics: Sequence[str], make: Callable[[int], Any], count: int) -> float:
        """Publish in the loop, and flush at the end."""
        return self._loop.run(self._flood([self._awaited(t) for t in topics], make, count))

    async def _flood(
        self, sends: list[Callable[[Any], Any]], make: Callable[[int], Any], count: int
    ) -> float:
        start, several = time.monotonic(), len(sends)
        for n in range(count):
            await sends[n % several](make(n))
        await self._client.flush(60)
        return start

    def first(self, topics: Sequence[str], make: Callable[[int], Any]) -> float:
        """Publish on each, in the loop."""
        return self._loop.run(self._first(topics, make))

    async def _first(self, topics: Sequence[str], make: Callable[[int], Any]) -> float:
        start = time.monotonic()
        for n, topic in enumerate(topics):
            await self._awaited(topic)(make(n))
        await self._client.flush(60)
        return start

    def ping(self, answers: Ear, count: int) -> list[float]:
        """Publish and wait in the loop."""
        return self._loop.run(self._loop.ping(self._awaited("ask"), answers, count))

    def respond(self) -> None:
        """Subscribe, and answer in the loop."""
        self._loop.run(self._respond())

    async def _respond(self) -> None:
        pack, unpack = plain(REQUESTS)

        async def answer(msg: Any) -> None:
            await msg.respond(pack(unpack(msg.data)))

        await self._client.subscribe(REQUESTS, cb=answer)
        await self._client.flush()

    def request(self, count: int) -> list[float]:
        """Ask and wait in the loop."""
        return self._loop.run(self._request(count))

    async def _request(self, count: int) -> list[float]:
        pack, unpack = plain(REQUESTS)
        ask, taken = self._client.request, list[float]()
        for n in range(count):
            start = time.perf_counter()
            unpack((await ask(REQUESTS, pack(n), timeout=10)).data)
            taken.append(time.perf_counter() - start)
        return taken

    def close(self) -> None:
        """Let the connection end with the process."""
        self._loop.close()
