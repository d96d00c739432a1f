"""The books of one receiver: what of every origin came, what was reported lost, what is wrong.

Each message carries its sender's label and its own number, counted from 1 by the sender;
the library's number beside it has to be the same. Nothing here knows sockets or processes:
a book is fed deliveries and losses in the order in which they came, and keeps the sums.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

Range = tuple[int, int]


@dataclass(slots=True)
class Account:
    """What one receiver has of one origin.

    Attributes:
        label: who the sender says it is.
        start: the number before the first that came; None while nothing has come.
        position: the last number that came or was reported lost.
        received: messages that came for the first time.
        lost: messages that were reported lost.
        silent: the ranges that were passed over without a report.
        duplicates: messages that came again, or after they had been reported lost.
        disorder: messages that came after a later one.
        garbled: messages which are not what their number and origin say.
        losses: the ranges reported lost, in the order of the reports.
    """

    label: str = ""
    start: int | None = None
    position: int = 0
    received: int = 0
    lost: int = 0
    silent: list[Range] = field(default_factory=list)
    duplicates: int = 0
    disorder: int = 0
    garbled: int = 0
    losses: list[Range] = field(default_factory=list)

    @property
    def silently_lost(self) -> int:
        return sum(last - first + 1 for first, last in self.silent)

    def come(self, label: str, number: int, own: int) -> None:
        """Book one message: what it says of itself, and the number it was delivered with."""
        if self.start is None:
            self.start = self.position = number - 1
        self.label = self.label or label
        if label != self.label or own != number:
            self.garbled += 1
        if number == self.position + 1:
            self.received += 1
            self.position = number
        elif number > self.position:
            self.silent.append((self.position + 1, number - 1))
            self.received += 1
            self.position = number
        elif self._take_from_silent(number):
            self.disorder += 1
            self.received += 1
        else:
            self.duplicates += 1

    def miss(self, first: int, last: int) -> None:
        """Book that a range is reported lost."""
        if self.start is None:
            self.start = self.position = first - 1
        self.losses.append((first, last))
        for number in range(first, min(last, self.position) + 1):
            # A report that comes late still is one; of what had come, it is wrong.
            if self._take_from_silent(number):
                self.disorder += 1
                self.lost += 1
            else:
                self.duplicates += 1
        fresh = max(first, self.position + 1)
        if fresh > self.position + 1:
            self.silent.append((self.position + 1, fresh - 1))
        self.lost += max(0, last - fresh + 1)
        self.position = max(self.position, last)

    def _take_from_silent(self, number: int) -> bool:
        for index, (first, last) in enumerate(self.silent):
            if first <= number <= last:
                rest = [(first, number - 1), (number + 1, last)]
                self.silent[index : index + 1] = [r for r in rest if r[0] <= r[1]]
                return True
        return False

    def faults(self, sent: int, promised: int, may_lose: bool) -> Iterator[str]:
        """Yield what does not hold, given what was sent.

        Args:
            sent: the number of the last message.
            promised: the number of the first that has to be here, if not sooner ones too.
            may_lose: whether a report of losses is in order.
        """
        start = self.start if self.start is not None else self.position
        if start >= promised:
            yield f"begins with {start + 1}, promised from {promised}"
        if self.position != sent:
            yield f"ends with {self.position} of {sent}"
        if self.received + self.lost != sent - start:
            yield f"{self.received} received + {self.lost} lost, of {sent - start} sent"
        if self.lost and not may_lose:
            yield f"lost {self.losses[:5]} where nothing may be"
        for what in ("silent", "duplicates", "disorder", "garbled"):
            if value := getattr(self, what):
                yield f"{what}: {value if isinstance(value, int) else value[:5]}"


class Ledger:
    """The accounts of one receiver, by origin."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}

    def account(self, origin: str) -> Account:
        account = self.accounts.get(origin)
        if account is None:
            account = self.accounts[origin] = Account()
        return account

    def reached(self, heads: dict[str, int]) -> bool:
        """Tell whether everything up to these numbers has come or was reported lost."""
        # Another thread books meanwhile.
        return all(
            (account := self.accounts.get(origin)) is not None and account.position >= head
            for origin, head in heads.items()
        )

    def dump(self) -> dict[str, Any]:
        """Return everything as plain values, to be printed as JSON."""
        return {origin: asdict(account) for origin, account in list(self.accounts.items())}


def load(dumped: dict[str, Any]) -> dict[str, Account]:
    """Return the accounts that `Ledger.dump` has written."""
    accounts = {origin: Account(**values) for origin, values in dumped.items()}
    for account in accounts.values():
        account.silent, account.losses = pairs(account.silent), pairs(account.losses)
    return accounts


def pairs(ranges: Iterable[Iterable[int]]) -> list[Range]:
    return [(first, last) for first, last in ranges]
