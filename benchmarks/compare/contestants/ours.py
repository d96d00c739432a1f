"""This project, as its README shows it."""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import zexchange

from ..payloads import tick
from .base import ASKING, OURS, REQUESTS, Contestant, Ear, Seat, Send
from .loop import Loop


class Ours(Contestant):
    """Tasks attached to exchanges; `send`."""

    name = "zexchange"
    quiet = 6.0  # what can be recovered has come within `recovery_timeout`
    measures = Contestant.measures | OURS | ASKING

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        os.environ["ZEXCHANGE_DIR"] = str(seat.folder)
        self.nodes: list[zexchange.Node] = []

    def hear(self, ears: dict[str, Ear], below: dict[str, Ear]) -> None:
        """Attach, then join: what is attached before is wanted from the first moment."""
        for topic, ear in ears.items():
            zexchange.get_exchange(topic).attach(ear)
        for level, ear in below.items():
            zexchange.match(f"{level}.**").attach(ear)
        self.join()

    def join(self) -> zexchange.Node:
        """Join the federation that all of a group are in."""
        node = zexchange.federate("benchmark", label=str(self.seat.index), join_timeout=30)
        self.nodes.append(node)
        return node

    def leave(self) -> None:
        """Leave without waiting."""
        while self.nodes:
            self.nodes.pop().close(0.01)

    def exchange(self, name: str, ear: Ear) -> object:
        """Make an exchange that has a task."""
        exchange = zexchange.get_exchange(name)
        exchange.attach(ear)
        return exchange

    def sender(self, topic: str) -> Send:
        """Return the method itself."""
        return zexchange.get_exchange(topic).send

    def respond(self) -> None:
        """Declare a responder."""
        zexchange.get_exchange(REQUESTS).responder(lambda msg: msg)

    def request(self, count: int) -> list[float]:
        """Ask on the thread that calls this."""
        ask, taken = zexchange.get_exchange(REQUESTS).request, list[float]()
        for n in range(count):
            start = time.perf_counter()
            ask(n, 10.0, 10.0)
            taken.append(time.perf_counter() - start)
        return taken

    def close(self) -> None:
        """Leave."""
        self.leave()


class OursTyped(Ours):
    """Structs of msgspec on an exchange that is declared for them."""

    name = "zexchange typed"
    needs = ("msgspec",)
    remedy = "pip install msgspec"
    measures = frozenset({"flood"})
    topics = frozenset({"structs"})

    def hear(self, ears: dict[str, Ear], below: dict[str, Ear]) -> None:
        """Declare the type first: an exchange has it from the first task on."""
        zexchange.get_exchange("structs", type=tick())
        super().hear(ears, below)

    def probe(self, topic: str, said: list[Any]) -> None:
        """Put it into the fields of a struct: the exchange takes nothing else."""
        _, _, index, number = said
        self.sender(topic)(tick()(sym="probe", px=float(index), qty=number, side=topic, seq=0))

    def said(self, msg: Any) -> Any:
        """Return the list from the fields of a struct."""
        return [msg.sym, msg.side, int(msg.px), msg.qty]


class OursCrowded(Ours):
    """The same, while many other nodes are in the federation."""

    name = "zexchange, crowded"
    measures = frozenset({"flood", "ping"})
    crowded = True


class OursStream(Ours):
    """The process that answers or is flooded reads a stream in a coroutine; the rest is equal."""

    name = "zexchange stream"
    measures = frozenset({"flood", "ping"})
    topics = frozenset({"x", "ask", "answer"})
    streamed = frozenset({"x", "ask"})

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._loop = Loop()

    def hear(self, ears: dict[str, Ear], below: dict[str, Ear]) -> None:
        """Read streams, attach to what is left, then join."""
        for topic, ear in ears.items():
            if topic in self.streamed:
                stream = zexchange.get_exchange(topic).stream(10_000, "block")
                self._loop.start(self._read(stream, ear))
        super().hear({t: ear for t, ear in ears.items() if t not in self.streamed}, {})

    async def _read(self, stream: "zexchange.Stream[Any]", ear: Ear) -> None:
        async for msg in stream:
            ear.send(msg)

    def close(self) -> None:
        """Leave, and end the loop."""
        super().close()
        self._loop.close()


class OursAsync(OursStream):
    """The sender, or the process that asks, is a coroutine, too."""

    name = "zexchange asyncio"
    streamed = OursStream.topics

    def flood(self, topics: Sequence[str], make: Callable[[int], Any], count: int) -> float:
        """Send in the loop, which `flush` holds back now and then."""
        return self._loop.run(self._flood(zexchange.get_exchange(topics[0]).send, make, count))

    async def _flood(self, send: Send, make: Callable[[int], Any], count: int) -> float:
        start = time.monotonic()
        for n in range(count):
            send(make(n))
            if n % 10_000 == 9_999:
                await self.nodes[0].aio.flush()
        return start

    def ping(self, answers: Ear, count: int) -> list[float]:
        """Send and wait in the loop."""
        return self._loop.run(self._loop.ping(self.sender("ask"), answers, count))
