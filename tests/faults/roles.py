"""The processes that a fault happens to: one that sends under load, one that keeps books.

Run as ``python -m tests.faults.roles sender|receiver OPTIONS`` with options in JSON. Each
reads commands, one in JSON a line, and answers likewise. Only what zexchange promises to
everybody is used here.
"""

import itertools
import json
import queue
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import zexchange
from tests.faults.ledger import Ledger
from tests.support import eventually

NAME = "load"
LONG = 60.0
"""Seconds for what has to happen in the end, on a busy machine."""
clock = time.time


_speaking = threading.Lock()


def say(**answer: object) -> None:
    line = json.dumps(answer) + "\n"
    with _speaking:  # two threads answer, and what is long goes into a pipe in parts
        sys.stdout.write(line)
        sys.stdout.flush()


def commands() -> Iterator[dict[str, Any]]:
    """Yield what is asked for, until there is nothing more."""
    yield from map(json.loads, sys.stdin)


def jump(seconds: float) -> None:
    """Have the wall clock of this process jump: to so many seconds from the true time."""
    time.time = lambda: clock() + seconds


class Role:
    """A node, the events that it has told of, and what can be asked of it."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.events: list[dict[str, Any]] = []
        self.exchange: zexchange.Exchange[Any] = zexchange.get_exchange(NAME)
        self.node = zexchange.federate("faults", **options["federate"])
        self.node.events.handler(self._note)

    def _note(self, event: Any) -> None:
        values = {k: v for k, v in asdict(event).items() if k != "label"}
        self.events.append({"event": type(event).__name__, **values})

    def answer(self, command: dict[str, Any]) -> None:
        """Do one thing and say so."""
        match command:
            case {"jump": seconds}:
                jump(seconds)
                say(jump=seconds)
            case {"event": wanted}:
                eventually(lambda: any(wanted.items() <= e.items() for e in self.events), LONG)
                say(event=wanted)
            case {"events": wanted}:
                say(events=sum(wanted.items() <= e.items() for e in self.events))
            case _:
                raise ValueError(f"nobody knows how to do {command}")

    def serve(self) -> None:
        """Answer until the input ends, then leave."""
        for command in commands():
            self.answer(command)
        self.node.close()


class Sender(Role):
    """Sends numbered messages, up to the number that it was told last."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self.number = 0
        self._targets: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._sizes = random.Random(options["seed"])
        self.node.wait_subscribers(NAME, options["subscribers"], LONG)
        say(ready=(self.node.id, self.node.endpoints))
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        label, (least, most) = self.options["label"], self.options["sizes"]
        fill = "x" * most
        pause, lots = self.options["pause"], self.options["lots"]
        send, sizes = self.exchange.send, [self._sizes.randint(least, most) for _ in range(997)]
        for n in itertools.count(1):
            while n > lots:
                say(at=lots)
                lots = self._targets.get()
            self.number = n
            send((label, n, fill[: sizes[n % 997]]))
            if pause and n % 10 == 0:
                time.sleep(10 * pause)

    def answer(self, command: dict[str, Any]) -> None:
        match command:
            case {"to": target}:
                self._targets.put(target)
            case {"mark": _}:
                say(mark=self.number)
            case {"flush": seconds}:
                self.node.flush(seconds)
                say(flush=self.number)
            case {"report": _}:
                stats = self.node.stats()
                say(report={"sent": stats.sent.get(NAME, 0), "events": self.events})
            case _:
                super().answer(command)


class Receiver(Role):
    """Reads everything in detail and books it; its tasks can be told to be slow."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.ledger = Ledger()
        self._gate = threading.Event()
        self._gate.set()
        self._lag = 0.0
        # Attached first: what is sent from the moment we are ready on is ours.
        exchange: zexchange.Exchange[Any] = zexchange.get_exchange(NAME)
        self.stream = exchange.stream(maxsize=5_000, overflow="block", details=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        super().__init__(options)
        self.node.wait_ready(LONG)
        say(ready=(self.node.id, self.node.endpoints))

    def _task(self, msg: object) -> None:
        """Hold the node's data thread, if so told."""
        if not self._gate.is_set():
            self._gate.wait(LONG)
        if self._lag:
            time.sleep(self._lag)

    def _read(self) -> None:
        account = self.ledger.account
        for item in self.stream:
            if isinstance(item, zexchange.Lost):
                account(item.origin).miss(item.first, item.last)
            else:
                label, own, _ = item.msg
                account(item.origin).come(label, item.seq, own)

    def answer(self, command: dict[str, Any]) -> None:
        match command:
            case {"reach": heads}:
                self._reach(heads)
                say(reach=heads)
            case {"slow task": _}:
                self.exchange.attach(zexchange.to_call(self._task))
                say(**command)
            case {"gate": is_open}:
                (self._gate.set if is_open else self._gate.clear)()
                say(gate=is_open)
            case {"lag": seconds}:
                self._lag = seconds
                say(lag=seconds)
            case {"report": _}:
                stats = self.node.stats().received.items()
                report = {
                    "books": self.ledger.dump(),
                    "dropped": self.stream.dropped,
                    "stats": {origin: asdict(r) for (name, origin), r in stats if name == NAME},
                    "events": self.events,
                }
                say(report=report)
            case _:
                super().answer(command)

    def _reach(self, heads: dict[str, int]) -> None:
        try:
            eventually(lambda: self.ledger.reached(heads), LONG)
        except AssertionError as error:
            error.add_note(f"wanted {heads}, has {self.ledger.dump()}")
            error.add_note(f"{self.node.stats()}\n{self.node.peers}\n{self.events}")
            raise

    def serve(self) -> None:
        super().serve()
        self.stream.close()
        self._reader.join()


if __name__ == "__main__":
    {"sender": Sender, "receiver": Receiver}[sys.argv[1]](json.loads(sys.argv[2])).serve()
