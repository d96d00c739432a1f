"""The books of a soak: for each stream, what of every sender and exchange came, and what is wrong.

A message says when it was sent, and when the one before it: by that a stream knows whether it
begins with what it was promised. Its own number counts everything that was sent, also what
nobody wanted and which so has no number of the library's. Nothing here knows sockets.
"""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.faults.ledger import Account


class Message(NamedTuple):
    """What is sent: by whom, the how-manieth on its exchange, when, and when the one before."""

    label: str
    own: int
    sent_at: float
    before_at: float
    fill: str = ""


IDLE = 60.0
"""Seconds after which nothing more comes on a name that was used for a while."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """What is wrong unless its sender knew nobody who wanted it: judged when all is over.

    Attributes:
        what: a text about it.
        source: the sender, with the number of its life.
        since: it is in order if the sender was alone at a moment from here on.
        until: and up to here.
    """

    what: str
    source: str
    since: float
    until: float


@dataclass(slots=True)
class Sheet:
    """What one stream has of one exchange of one sender.

    Attributes:
        news: what was found to be wrong, or in doubt, and is not told yet.
    """

    source: str
    name: str
    account: Account = field(default_factory=Account)
    unnumbered: int = 0
    """How many its sender had sent without a number, at the last message that came; less the number
    after which the exchange starts, if its sender has forgotten names before."""
    sent_at: float = 0.0
    told: int = 0
    news: list[str | Doubt] = field(default_factory=list)

    def come(self, msg: Message, seq: int, promised_from: float | None) -> None:
        """Book a message.

        Args:
            msg: it.
            seq: the number that it came with.
            promised_from: everything is due that was sent after this moment; None if nothing
                was promised of this sender so far.
        """
        account, unnumbered = self.account, msg.own - seq
        if account.start is None:
            if promised_from is not None and msg.before_at > promised_from:
                self._doubt(f"begins at {seq}", promised_from, msg.sent_at)
        elif unnumbered < (least := self._least()) or account.label not in ("", msg.label):
            self.news.append(f"{seq} is {msg.label}'s {msg.own}: {least} unnumbered")
        elif unnumbered > self.unnumbered and account.received:
            count = unnumbered - self.unnumbered
            self._doubt(f"{count} unnumbered before {seq}", self.sent_at, msg.sent_at)
        account.come(msg.label, seq, seq)
        self.unnumbered, self.sent_at = unnumbered, msg.sent_at
        self._look(f"at {seq}")

    def miss(self, first: int, last: int, late: bool) -> None:
        """Book that messages are reported lost.

        One federation may have promised more than another had brought first, and have been late
        (``late``): that is told then, though it was before all that came.
        """
        account = self.account
        if late and account.start is not None and last <= account.start:
            account.lost += last - first + 1
            return
        account.miss(first, last)
        self._look(f"at Lost({first}, {last})")

    def _least(self) -> int:
        """Return what `unnumbered` is at least when the next message comes.

        If only losses came so far, nobody knows where the exchange starts: at the latest before
        the first of them. All numbers from there on are of messages that its sender has counted.
        """
        return self.unnumbered if self.account.received else -(self.account.start or 0)

    def _doubt(self, what: str, since: float, until: float) -> None:
        self.news.append(Doubt(what, self.source, since, until))

    def _look(self, where: str) -> None:
        """Note a fault when it comes up: once for each that is new."""
        account = self.account
        wrong = account.silently_lost + account.duplicates + account.disorder
        if wrong != self.told:
            self.told = wrong
            self.news.append(
                f"{where}: silent {account.silent[-3:]}, {account.duplicates} twice,"
                f" {account.disorder} out of order"
            )


SUMS = ("received", "lost", "silent", "duplicates", "disorder")


@dataclass(slots=True)
class Book:
    """What one stream has of everybody.

    Attributes:
        key: the name or pattern that it is attached to.
        lasting: whether it is there from before its node is until after.
        floors: where the node's other streams were, by sender and exchange, when this one came.
        promised: from when on each sender's messages are due.
        past: the sums of sheets that were closed.
        read: how many items its reader has taken from the stream, and is done with.
        lock: held by who books, and by who looks at all sheets.
    """

    key: str
    lasting: bool = False
    floors: dict[tuple[str, str], int] = field(default_factory=dict)
    promised: dict[str, float] = field(default_factory=dict)
    sheets: dict[tuple[str, str], Sheet] = field(default_factory=dict)
    past: Counter[str] = field(default_factory=Counter)
    read: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def sheet(self, source: str, name: str) -> Sheet:
        """Return the account of an exchange of a sender."""
        sheet = self.sheets.get((source, name))
        if sheet is None:
            sheet = self.sheets[source, name] = Sheet(source, name)
        return sheet

    def come(self, source: str, name: str, seq: int, msg: Message) -> list[str | Doubt]:
        """Book a message, and return what is wrong with it."""
        with self.lock:
            return self._come(self.sheet(source, name), seq, msg)

    def _come(self, sheet: Sheet, seq: int, msg: Message) -> list[str | Doubt]:
        source, name = sheet.source, sheet.name
        if sheet.account.start is None and seq <= self.floors.get((source, name), 0):
            sheet.news.append(f"begins with {seq}, which had come to another stream")
        sheet.come(msg, seq, self.promised.get(source))
        return _told(sheet)

    def miss(
        self, source: str, name: str, first: int, last: int, late: bool = False
    ) -> list[str | Doubt]:
        """Book a report of losses, and return what is wrong with it."""
        with self.lock:
            sheet = self.sheet(source, name)
            sheet.miss(first, last, late)
            return _told(sheet)

    def lacks(
        self, heads: dict[str, dict[str, int]], due: set[str], covers: Callable[[str], bool]
    ) -> list[str]:
        """Return what is neither here nor lost.

        Args:
            heads: the last numbers, by sender and exchange.
            due: exchanges of which something was sent after this stream was promised all.
            covers: tells whether the key covers an exchange.
        """
        missing = []
        for source, by_name in heads.items():
            for name, head in by_name.items():
                sheet = self.sheets.get((source, name))
                if covers(name) and (sheet or name in due):
                    position = sheet.account.position if sheet else 0
                    if position < head:
                        missing.append(f"{self.key}: {name} of {source}: {position} of {head}")
        return missing

    def retire(self, before: float, for_good: Callable[[str], bool], lossy: bool = False) -> None:
        """Close sheets of names that are used no more, if nothing of theirs was lost.

        Args:
            before: the last message was sent before this moment.
            for_good: tells whether a name may be one of those.
            lossy: close those with losses, too: nobody compares them with what the node tells.
        """
        with self.lock:
            for key, sheet in list(self.sheets.items()):
                old = sheet.sent_at < before and for_good(sheet.name)
                if old and (lossy or not sheet.account.losses):
                    self.past.update(_sums(sheet.account))
                    del self.sheets[key]

    def sums(self) -> Counter[str]:
        """Return the sums over everything."""
        with self.lock:
            sums = Counter(self.past)
            for sheet in self.sheets.values():
                sums.update(_sums(sheet.account))
            return sums


def _told(sheet: Sheet) -> list[str | Doubt]:
    news, sheet.news = sheet.news, []
    return news


def _sums(account: Account) -> dict[str, int]:
    a = account
    values = a.received, a.lost, a.silently_lost, a.duplicates, a.disorder
    return dict(zip(SUMS, values, strict=True))
