"""The bench on which faults are tried: processes under load, and the check of all their books.

A `Lab` starts senders and receivers, measures how long they take to recover, and in the end
settles: every account has to add up with what was sent, message by message.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.faults.ledger import Account, load, pairs
from tests.faults.processes import Process, Receiver, Sender

BULKY = (20_000, 60_000)
"""Sizes of messages that fill queues soon."""
onlookers: list[Callable[[str], None]] = []
"""Told by what takes minutes how it stands."""


def progress(text: str) -> None:
    """Tell those who look on how a long run stands."""
    for tell in onlookers:
        tell(text)


@dataclass(slots=True)
class Figures:
    """What one run comes to, over all its receivers and origins.

    A message counts as sent once for each receiver that it was due to.
    """

    sent: int = 0
    received: int = 0
    recovered: int = 0
    lost: int = 0
    silent: int = 0
    duplicates: int = 0
    disorder: int = 0
    slowest: float = 0.0

    def add(self, account: Account, sent: int, stats: dict[str, int]) -> None:
        self.sent += sent - (account.start or 0)
        self.received += account.received
        self.recovered += stats["recovered"]
        self.lost += account.lost
        self.silent += account.silently_lost
        self.duplicates += account.duplicates
        self.disorder += account.disorder


@dataclass
class Lab:
    """One run of one fault.

    Attributes:
        chance: what varies by the seed comes from here.
        full: whether this is a run at full size.
        may_lose: the (receiver, sender) pairs, by label, that may report losses.
    """

    seed: int
    full: bool
    chance: random.Random = field(init=False)
    senders: list[Sender] = field(default_factory=list)
    receivers: list[Receiver] = field(default_factory=list)
    may_lose: set[tuple[str, str]] = field(default_factory=set)
    figures: Figures = field(default_factory=Figures)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    # ------------------------------------------------------------------------ the bench

    def size(self, small: int, full: int) -> int:
        """Return a number of messages: about ``small``, or at full size about ``full``."""
        mean = full if self.full else small
        return self.chance.randint(mean * 3 // 4, mean * 5 // 4)

    def sender(
        self,
        label: str,
        subscribers: int,
        *,
        sizes: tuple[int, int] = (10, 1500),
        pause: float = 0.0,
        inside: Sequence[str] = (),
        **federate: Any,
    ) -> Sender:
        """Start a sender, which waits for so many subscribers."""
        options = {
            "label": label,
            "seed": self.seed,
            "subscribers": subscribers,
            "sizes": sizes,
            "pause": pause,
            "lots": 0,
            "federate": {"label": label, **federate},
        }
        self.senders.append(Sender("sender", options, inside))
        return self.senders[-1]

    def receiver(self, label: str, *, inside: Sequence[str] = (), **federate: Any) -> Receiver:
        """Start a receiver."""
        options = {"label": label, "federate": {"label": label, **federate}}
        self.receivers.append(Receiver("receiver", options, inside))
        return self.receivers[-1]

    def ready(self) -> None:
        """Wait until everybody is."""
        for process in [*self.receivers, *self.senders]:
            process.ready()
        for sender in self.senders:
            if not sender.sent:
                sender.at(0)
                sender.sent = 0

    def start(self, *numbers: int) -> None:
        """Have every sender send up to numbers, of which all but the last are waited for."""
        for sender in self.senders:
            if not sender.dead:
                sender.to(*numbers)

    def at(self, number: int) -> None:
        """Wait until every sender has sent that far."""
        for sender in self.senders:
            if not sender.dead:
                sender.at(number)

    def living(self) -> list[Receiver]:
        return [receiver for receiver in self.receivers if not receiver.dead]

    # ----------------------------------------------------------------------- the books

    def healed(self, but: Process | None = None) -> None:
        """Note how long it takes, from now, until all have what was sent before now.

        Args:
            but: who is not asked: it is not healed yet.
        """
        since = time.monotonic()
        heads = {s.id: s.marked() - 1 for s in self.senders if not s.dead and s is not but}
        self._all_through(heads, but)
        self.figures.slowest = max(self.figures.slowest, time.monotonic() - since)

    def settle(self, epilogue: int = 100) -> Figures:
        """Wait until all is through, send some more, and check every account."""
        self._all_through({s.id: s.sent for s in self.senders if not s.dead and s.sent})
        for sender in self.senders:
            if not sender.dead and epilogue:
                sender.to(sender.sent + epilogue)
                sender.at(sender.sent)
        self._all_through({s.id: s.sent for s in self.senders if not s.dead and s.sent})
        wrong = [text for receiver in self.living() for text in self._wrong(receiver)]
        for sender in self.senders:
            if not sender.dead:
                report = sender.ask(report=True)
                if report["sent"] != sender.sent:
                    wrong.append(f"{sender.label} says that it sent {report['sent']}")
        assert not wrong, f"seed {self.seed}:\n" + "\n".join(wrong)
        return self.figures

    def _all_through(self, heads: dict[str, int], but: Process | None = None) -> None:
        receivers = [r for r in self.receivers if not r.dead and r is not but]
        for receiver in receivers:
            receiver.tell(reach=heads)
        for receiver in receivers:
            receiver.expecting("reach")

    def _wrong(self, receiver: Receiver) -> Iterator[str]:
        report = receiver.ask(report=True)
        books, stats = load(report["books"]), report["stats"]
        if report["dropped"]:
            yield f"{receiver.label}: {report['dropped']} dropped by its own stream"
        known = {sender.id: sender for sender in self.senders}
        if strangers := set(books) - set(known):
            yield f"{receiver.label}: messages of nobody: {strangers}"
        for origin, sender in known.items():
            account = books.get(origin, Account())
            if origin not in stats:
                if account.position:
                    yield f"{receiver.label} of {sender.label}: no stats"
                continue
            events = pairs(
                (e["first"], e["last"])
                for e in report["events"]
                if e["event"] == "Lost" and e["origin"] == origin
            )
            sent = sender.sent
            if sender.dead:
                # Nobody knows how far it came; what came of it has no silent hole.
                sent = max(account.position, receiver.at_least.get(origin, 0))
            self.figures.add(account, sent, stats[origin])
            for text in self._faults(receiver, sender, account, sent, stats[origin], events):
                yield f"{receiver.label} of {sender.label}: {text}"

    def _faults(
        self,
        receiver: Receiver,
        sender: Sender,
        account: Account,
        sent: int,
        stats: dict[str, int],
        events: list[tuple[int, int]],
    ) -> Iterator[str]:
        promised = receiver.promised.get(sender.id, 1)
        may_lose = (receiver.label, sender.label) in self.may_lose
        yield from account.faults(sent, promised, may_lose)
        if events != account.losses:
            yield f"Lost events {events[:5]}, in the stream {account.losses[:5]}"
        if (stats["received"], stats["lost"]) != (account.received, account.lost):
            yield f"stats say {stats}, came {account.received}, lost {account.lost}"

    def end(self, by_force: bool) -> None:
        """See every process end, all at the same time; unless by force, of its own will."""
        processes = [*self.senders, *self.receivers]
        for process in processes:
            assert process.process.stdin is not None
            with suppress(BrokenPipeError):
                process.process.stdin.close()
        for process in processes:
            process.finish(by_force)
        if not by_force:
            ended = {p.label: p.process.returncode for p in processes if not p.dead}
            assert not any(ended.values()), f"exit status: {ended}"
