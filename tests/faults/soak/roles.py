"""The processes of a soak: senders, receivers whose streams come and go, hubs.

Run as ``python -m tests.faults.soak.roles sender|receiver|hub OPTIONS``. They answer commands,
one in JSON a line, and tell of what happens as it does, with the time by the machine's
monotonic clock, which is the same in all processes.
"""

import ctypes
import json
import logging
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import zexchange
from tests.faults.roles import LONG
from tests.support import eventually
from zexchange.local import registry
from zexchange.names import matches
from zexchange.net.engine import memory
from zexchange.net.hub.hub import Hub
from zexchange.net.inbound import peer_stream as peer_receiver
from zexchange.protocol.delivery import departed, sequence
from zexchange.protocol.delivery.merging import LATE

from .books import IDLE, SUMS, Book, Doubt, Message

FEDERATION, SECOND = "soak", "soak-second"
NAMES = ("soak.a", "soak.b", "soak.c.d", "soak.c.e")
KEYS = (*NAMES, "soak.*", "soak.c.*", "soak.c.**", "soak.fresh.**", "soak.**", "**")
"""What a receiver that changes its mind attaches to."""
FRESH = "soak.fresh."
OTHER = "other"
"""The exchange of the second federation, which has a registry of its own, unless `together`."""
LAST = "the last event before the report"
TRIM_EVERY = 2.0
"""Seconds from one `trim` to the next."""
clock = time.monotonic
_speaking = threading.Lock()


def say(**what: object) -> None:
    line = json.dumps({"at": round(clock(), 3), **what}) + "\n"
    with _speaking:  # several threads speak, and what is long goes into a pipe in parts
        sys.stdout.write(line)
        sys.stdout.flush()


class _Clocked(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return f"{clock():.3f}"


def log_to(path: str) -> None:
    """Write what the library says into a file, with the times of the timeline."""
    handler = logging.FileHandler(path)
    handler.setFormatter(_Clocked("%(asctime)s %(threadName)s %(levelname)s %(message)s"))
    logging.getLogger("zexchange").addHandler(handler)
    logging.getLogger("zexchange").setLevel(logging.INFO)


def bound(names: int, seconds: float) -> None:
    """Have this process remember fewer names than others do, and who is away for less long."""
    memory.REMEMBERED = registry.AWAKE = sequence.IDLE_MOST = peer_receiver.EXCHANGES_MOST = names
    departed.REMEMBERED = seconds


def second_registry(options: dict[str, Any]) -> zexchange.Registry:
    """Return the registry of the second federation; that of the first one if ``together``."""
    return registry.default_registry if options["together"] else zexchange.Registry()


def trim() -> None:
    """Give back to the system what is free: what the C library keeps of it is of no interest."""
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


class Role:
    """A node, or one in each of two federations, that tells of its events."""

    registry: zexchange.Registry
    """Of the second federation."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options, self.label = options, f"{options['label']}.{options['life']}"
        if options["bounds"]:
            bound(*options["bounds"])
            threading.Thread(target=self._trim, daemon=True).start()
        self.chance = random.Random(options["seed"])
        self.lost: list[tuple[str, str, int, int]] = []
        self._told = threading.Semaphore(0)
        self.who: dict[str, str] = {}
        """The labels of nodes, by their ids; a label says which life it is."""
        self.node = zexchange.federate(FEDERATION, label=self.label, **options["federate"])
        self.nodes = [self.node]
        if options["second"] is not None:
            second = {"registry": self.registry, "label": self.label, **options["second"]}
            self.nodes.append(zexchange.federate(SECOND, **second))
        for node in self.nodes:
            node.events.handler(self._note)
            for peer in node.peers:  # joined before anybody could be told
                self.who[peer.id] = peer.name
                say(event="PeerJoined", who=peer.name, peer=peer.id)
        say(ready=self.node.id)

    def _note(self, event: Any) -> None:
        if getattr(event, "reason", "") == LAST:
            self._told.release()
            return
        values = {k: v for k, v in asdict(event).items() if k != "label"}
        if isinstance(event, zexchange.PeerJoined):
            self.who[event.peer] = event.label.name
        if isinstance(event, zexchange.Lost):
            source = self.who.get(event.origin, event.origin)
            self.lost.append((source, event.exchange, event.first, event.last))
        label = getattr(event, "label", None)
        say(event=type(event).__name__, who=label.name if label else "", **values)

    def _hear_out(self) -> str:
        """Wait until all events are told that are on their way; return what is wrong."""
        for node in self.nodes:
            engine = node._engine
            assert engine is not None
            engine.lost(zexchange.Lost("", "", 0, 0, LAST))
        told = all(self._told.acquire(timeout=LONG) for _ in self.nodes)
        return "" if told else "events are not told"

    def _trim(self) -> None:
        while True:
            time.sleep(TRIM_EVERY)
            trim()

    def answer(self, what: str, value: Any) -> object:
        """Do one thing, and return what to answer."""
        if what == "meet":
            return self._within(lambda node: node.wait_peers(value, LONG))
        if what == "read":
            return self._hear_out()
        raise ValueError(f"nobody knows how to do {what}")

    def _within(self, wait: Callable[[zexchange.Node], None]) -> str:
        """Wait for something at each node, and return what is wrong if it does not come."""
        for node in self.nodes:
            try:
                wait(node)
            except zexchange.NotReady as error:
                return f"{error}; {node.peers}"
        return ""

    def serve(self) -> None:
        """Answer until the input ends, then leave."""
        for line in sys.stdin:
            ((what, value),) = json.loads(line).items()
            try:
                say(answer=what, value=self.answer(what, value))
            except BaseException as error:
                say(answer=what, value=f"{type(error).__name__}: {error}")
                raise
        for node in self.nodes:
            node.close()


class Sender(Role):
    """Sends on several exchanges, at a moderate rate and in bursts; some names come and go."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.registry = second_registry(options)
        super().__init__(options)
        self.own: dict[str, int] = {}
        self._at: dict[str, float] = {}
        self._over = threading.Event()
        self._worker = threading.Thread(target=self._work, daemon=True)

    def _send(self, name: str) -> None:
        own = self.own[name] = self.own.get(name, 0) + 1
        before, now = self._at.get(name, 0.0), clock()
        self._at[name] = now
        fill = "x" * self.chance.randint(*self.options["sizes"])
        source = self.registry.get(name) if name == OTHER else zexchange.get_exchange(name)
        source.send((self.label, own, now, before, fill))

    def _work(self) -> None:
        rate, begun, fresh = self.options["rate"], clock(), ""
        while not self._over.is_set():
            if self.chance.random() < self.options["fresh"] or not fresh:
                if self.options["forgets"]:
                    self.own.pop(fresh, None)
                    self._at.pop(fresh, None)
                fresh = f"{FRESH}{self.label}.{self.chance.randrange(10**9)}"
            burst = self.chance.choice(self.options["bursts"])
            for _ in range(burst):
                self._send(self.chance.choice([*NAMES, *NAMES, fresh]))
            if len(self.nodes) > 1:
                self._send(OTHER)
            begun = max(begun + burst / rate, clock() - 1.0)
            self._over.wait(max(0.0, begun - clock()))

    def _heads(self) -> dict[str, int]:
        """Return the last number of each exchange."""
        heads: dict[str, int] = {}
        for node in self.nodes:
            for name, head in node.stats().sent.items():
                heads[name] = max(head, heads.get(name, 0))
        return heads

    def answer(self, what: str, value: Any) -> object:
        match what:
            case "go":
                self._worker.start()
            case "finish":
                self._over.set()
                self._worker.join(LONG)
                if self._worker.is_alive():
                    return "send does not return"
            case "epilogue":
                for _ in range(value):
                    for name in (*NAMES, OTHER)[: None if len(self.nodes) > 1 else -1]:
                        self._send(name)
                return self._heads()
            case "flush":
                return self._within(lambda node: node._flush(value, given=False))
            case "report":
                sent_to = self.node.stats().sent_to.items()
                rows = [[name, peer, s.sent, s.unacknowledged] for (name, peer), s in sent_to]
                return {"own": self.own, "sent": self._heads(), "sent_to": rows}
            case _:
                return super().answer(what, value)
        return ""


class Receiver(Role):
    """Keeps a book for each of its streams; attaches and detaches while it lives, if told to."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.books: list[Book] = []
        self.past: Counter[str] = Counter()
        self.open: list[tuple[Book, zexchange.Stream[Any]]] = []
        self._over = threading.Event()
        self.registry = second_registry(options)
        for key in options["lasting"]:
            self._attach(Book(key, lasting=True))
        super().__init__(options)
        self._churner = threading.Thread(target=self._churn, daemon=True)
        if options["churn"]:
            self._churner.start()
        threading.Thread(target=self._tell, daemon=True).start()

    # ------------------------------------------------------------------------- streams

    def _attach(self, book: Book) -> None:
        self.books.append(book)
        source: Any
        if book.key == OTHER:
            source = self.registry.get(book.key)
        elif "*" in book.key:
            source = zexchange.match(book.key)
        else:
            source = zexchange.get_exchange(book.key)
        stream = source.stream(maxsize=20_000, overflow="block", details=True)
        self.open.append((book, stream))
        threading.Thread(target=self._read, args=(book, stream), daemon=True).start()

    def _read(self, book: Book, stream: "zexchange.Stream[Any]") -> None:
        for item in stream:
            if isinstance(item, zexchange.Lost):
                source, name = self.who.get(item.origin, item.origin), item.exchange
                # What one way has lost, after the other began behind it, has a reason of its own.
                late = item.reason == LATE or self.options["together"]
                wrong = book.miss(source, name, item.first, item.last, late)
            else:
                msg, name = Message(*item.msg), item.name
                source = self.who.setdefault(item.origin, msg.label)
                wrong = book.come(source, name, item.seq, msg)
            for news in wrong:
                if isinstance(news, Doubt):
                    say(doubt=asdict(news), key=book.key)
                else:
                    say(fault=f"{book.key}: {name} of {source}: {news}")
            book.read += 1

    def _floors(self) -> dict[tuple[str, str], int]:
        """Return how far this node's streams are."""
        floors: dict[tuple[str, str], int] = {}
        for book in list(self.books):
            with book.lock:
                sheets = list(book.sheets.items())
            for key, sheet in sheets:
                floors[key] = max(floors.get(key, 0), sheet.account.position)
        return floors

    def _churn(self) -> None:
        while not self._over.wait(self.chance.choice([0.0, 0.05, 0.5, 2.0])):
            changing = [one for one in self.open if not one[0].lasting]
            if changing and self.chance.random() < len(changing) / 4:
                one = self.chance.choice(changing)
                self.open.remove(one)
                one[1].close()
                say(detach=one[0].key)
                if self.options["forgets"]:
                    self.past.update(one[0].sums())
                    self.books.remove(one[0])
                continue
            book = Book(self.chance.choice(KEYS), floors=self._floors())
            self._attach(book)
            say(attach=book.key)
            if self.chance.random() < 0.7:
                self._promise(book, 1.0)

    def _promise(self, book: Book, timeout: float) -> None:
        """Note what a stream is owed, if it is in force in time."""
        with suppress(zexchange.NotReady):
            for node in self.nodes:
                node._wait_ready(timeout, given=False)  # some may not be there yet
            at = clock()
            ready = [{p.name for p in node.peers if p.ready} for node in self.nodes]
            book.promised = dict.fromkeys(set.intersection(*ready), at)
            say(promised=book.key, by=sorted(book.promised))

    # ------------------------------------------------------------------------- answers

    def _sums(self) -> dict[str, int]:
        each = [book.sums() for book in list(self.books)]
        return {key: sum(sums[key] for sums in (*each, self.past)) for key in SUMS}

    def _tell(self) -> None:
        while True:
            say(sums=self._sums())
            time.sleep(0.5)
            if self.options["forgets"]:
                for book in list(self.books):
                    lossy = len(self.nodes) > 1  # then only sums are compared
                    book.retire(clock() - IDLE, lambda name: name.startswith(FRESH), lossy)

    def _settle(self) -> str:
        self._over.set()
        if self._churner.is_alive():
            self._churner.join(LONG)
        return self._within(lambda node: node._wait_ready(LONG, given=False))

    def _lacks(self, heads: dict[str, dict[str, int]]) -> Iterator[str]:
        for book, _ in self.open:
            other = book.key == OTHER

            def covers(name: str, key: str = book.key, other: bool = other) -> bool:
                return matches(key, name) and (name == OTHER) is other

            yield from book.lacks(heads, {*NAMES, OTHER}, covers)

    def _reach(self, heads: dict[str, dict[str, int]]) -> str:
        with suppress(AssertionError):
            eventually(lambda: not list(self._lacks(heads)), LONG)
        return "; ".join(self._lacks(heads))

    def _hear_out(self) -> str:
        def unread() -> list[str]:
            stats = [(book, stream.stats()) for book, stream in self.open]
            return [book.key for book, s in stats if s.received - s.dropped > book.read]

        with suppress(AssertionError):
            eventually(lambda: not unread(), LONG)
        return super()._hear_out() or ", ".join(unread())

    def _report(self) -> dict[str, object]:
        stats = self.node.stats()
        return {
            "federations": len(self.nodes),
            "sums": self._sums(),
            "stats": [
                [name, self.who.get(origin, origin), r.received, r.lost]
                for (name, origin), r in stats.received.items()
            ],
            "recovered": sum(r.recovered for r in stats.received.values()),
            "lost": self.lost,
            "books": [
                {
                    "key": book.key,
                    "lasting": book.lasting,
                    "open": any(book is other for other, _ in self.open),
                    "sheets": [
                        [s.name, s.source, a.received, a.lost, a.losses, s.unnumbered]
                        for s in list(book.sheets.values())
                        for a in [s.account]
                    ],
                }
                for book in self.books
            ],
            "dropped": sum(stream.dropped for _, stream in self.open),
        }

    def answer(self, what: str, value: Any) -> object:
        match what:
            case "settle":
                return self._settle()
            case "reach":
                return self._reach(value)
            case "report":
                return self._report()
            case _:
                return super().answer(what, value)


def carry(options: dict[str, Any]) -> None:
    """Be a hub until the input ends."""
    hub = Hub(FEDERATION, options["listen"], advertise=options["advertise"], peers=options["peers"])
    say(ready="")
    sys.stdin.read()
    hub.close()


def died(args: threading.ExceptHookArgs) -> None:
    """Have a thread that ends by an error be a fault: what it did is not done any more."""
    say(fault=f"{args.thread} ended: {args.exc_type.__name__}: {args.exc_value}")
    threading.__excepthook__(args)


def main(role: str, options: dict[str, Any]) -> None:
    threading.excepthook = died
    log_to(options["log"])
    if role == "hub":
        carry(options)
    else:
        {"sender": Sender, "receiver": Receiver}[role](options).serve()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
