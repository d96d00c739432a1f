"""The books of a soak: for each stream, what of every origin and exchange came, and what is wrong.

A message says when it was sent, and when the one before it: by that a stream knows whether it
begins with what it was promised. Its own number counts everything that was sent, also what
nobody wanted and which so has no number of the library's. Nothing here knows sockets.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.faults.ledger import Account


class Message(NamedTuple):
    """What is sent: by whom, the how-manieth on its exchange, when, and when the one before."""

    label: str
    own: int
    sent_at: float
    before_at: float
    fill: str = ""


@dataclass(frozen=True, slots=True)
class Doubt:
    """What is wrong unless its sender knew nobody who wanted it: judged when all is over.

    Attributes:
        what: a text about it.
        since: it is in order if the sender was alone at a moment from here on.
        until: and up to here.
    """

    what: str
    origin: str
    since: float
    until: float


@dataclass(slots=True)
class Sheet:
    """What one stream has of one exchange of one origin."""

    origin: str
    name: str
    account: Account = field(default_factory=Account)
    unnumbered: int = 0
    """How many its sender had sent without a number, at the last message that came."""
    sent_at: float = 0.0
    told: int = 0
    faults: list[str] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)

    def come(self, msg: Message, seq: int, promised_from: float | None) -> None:
        """Book a message.

        Args:
            msg: it.
            seq: the number that it came with.
            promised_from: everything is due that was sent after this moment; None if nothing
                was promised of this origin so far.
        """
        account, unnumbered = self.account, msg.own - seq
        if account.start is None:
            if promised_from is not None and msg.before_at > promised_from:
                self._doubt(f"begins at {seq}", promised_from, msg.sent_at)
        elif unnumbered < self.unnumbered or (account.label and account.label != msg.label):
            self.faults.append(f"{seq} is {msg.label}'s {msg.own}: {self.unnumbered} unnumbered")
        elif unnumbered > self.unnumbered and account.received:
            count = unnumbered - self.unnumbered
            self._doubt(f"{count} unnumbered before {seq}", self.sent_at, msg.sent_at)
        account.come(msg.label, seq, seq)
        self.unnumbered, self.sent_at = unnumbered, msg.sent_at
        self._look(f"at {seq}")

    def miss(self, first: int, last: int) -> None:
        """Book that messages are reported lost."""
        self.account.miss(first, last)
        self._look(f"at Lost({first}, {last})")

    def _doubt(self, what: str, since: float, until: float) -> None:
        self.doubts.append(Doubt(what, self.origin, since, until))

    def _look(self, where: str) -> None:
        """Note a fault when it comes up: once for each that is new."""
        account = self.account
        wrong = account.silently_lost + account.duplicates + account.disorder
        if wrong != self.told:
            self.told = wrong
            self.faults.append(
                f"{where}: silent {account.silent[-3:]}, {account.duplicates} twice,"
                f" {account.disorder} out of order"
            )


@dataclass(slots=True)
class Book:
    """What one stream has of everybody.

    Attributes:
        key: the name or pattern that it is attached to.
        lasting: whether it is there from before its node is until after.
        floors: where the node's other streams were, by origin and exchange, when this one came.
        promised: from when on each origin's messages are due.
    """

    key: str
    lasting: bool = False
    floors: dict[tuple[str, str], int] = field(default_factory=dict)
    promised: dict[str, float] = field(default_factory=dict)
    sheets: dict[tuple[str, str], Sheet] = field(default_factory=dict)

    def sheet(self, origin: str, name: str) -> Sheet:
        """Return the account of an exchange of an origin."""
        sheet = self.sheets.get((origin, name))
        if sheet is None:
            sheet = self.sheets[origin, name] = Sheet(origin, name)
        return sheet

    def come(self, origin: str, name: str, seq: int, msg: Any) -> list[str]:
        """Book a message, and return what is wrong with it."""
        sheet = self.sheet(origin, name)
        before = len(sheet.faults)
        if sheet.account.start is None and seq <= self.floors.get((origin, name), 0):
            sheet.faults.append(f"begins with {seq}, which had come to another stream")
        sheet.come(Message(*msg), seq, self.promised.get(origin))
        return sheet.faults[before:]

    def miss(self, origin: str, name: str, first: int, last: int) -> list[str]:
        """Book a report of losses, and return what is wrong with it."""
        sheet = self.sheet(origin, name)
        before = len(sheet.faults)
        sheet.miss(first, last)
        return sheet.faults[before:]

    def lacks(self, heads: dict[str, dict[str, int]], due: set[str], covers: Any) -> list[str]:
        """Return what is neither here nor lost.

        Args:
            heads: the last numbers, by origin and exchange.
            due: exchanges of which something was sent after this stream was promised all.
            covers: tells whether the key covers an exchange.
        """
        missing = []
        for origin, by_name in heads.items():
            for name, head in by_name.items():
                sheet = self.sheets.get((origin, name))
                if covers(name) and (sheet or name in due):
                    position = sheet.account.position if sheet else 0
                    if position < head:
                        missing.append(f"{self.key}: {name} of {origin[:8]}: {position} of {head}")
        return missing

    def sums(self) -> dict[str, int]:
        """Return the sums over everything."""
        accounts = [sheet.account for sheet in list(self.sheets.values())]
        return {
            "received": sum(a.received for a in accounts),
            "lost": sum(a.lost for a in accounts),
            "silent": sum(a.silently_lost for a in accounts),
            "duplicates": sum(a.duplicates for a in accounts),
            "disorder": sum(a.disorder for a in accounts),
        }
