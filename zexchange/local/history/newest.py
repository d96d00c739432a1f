"""The newest of the messages that several publishers keep, in the order of sending.

Messages of one publisher are ordered by their numbers, those of several by the time of sending on
the publishers' clocks, and at the same time by the publishers' ids. If a publisher's clock goes
back, its messages keep their order: none counts as older than the one before it. If a publisher's
clock is ahead of ours, a message counts as sent no later than when it arrived. Nothing here reads a
clock, or hands out anything.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

Rank = tuple[float, str]
"""The time of sending and the publisher's id: of two messages, the one with the higher rank is
newer."""
NOTHING: Rank = (float("-inf"), "")


@dataclass(frozen=True, slots=True)
class PastMessage:
    """A message that a publisher keeps.

    Attributes:
        name: the exchange.
        origin: the publisher's id.
        number: its number among the publisher's messages on that exchange.
        sent_at: when it was sent, but no later than when it arrived, in seconds since the epoch.
        item: the message, in any form.
    """

    name: str
    origin: str
    number: int
    sent_at: float
    item: Any


class Latest:
    """The ranks of the newest message given on an exchange, and of the newest by another publisher.

    These two are enough to say for any publisher how new the messages of all others were.
    """

    __slots__ = ("_first", "_second")

    def __init__(self) -> None:
        self._first = self._second = NOTHING

    def note(self, sent_at: float, origin: str) -> None:
        """Note a message that is given."""
        rank, first = (sent_at, origin), self._first
        if origin == first[1]:
            if rank > first:
                self._first = rank
        elif rank > first:
            self._first, self._second = rank, first
        elif rank > self._second:
            self._second = rank

    def copy(self) -> "Latest":
        """Return a copy."""
        copied = Latest()
        copied._first, copied._second = self._first, self._second
        return copied

    def beside(self, origin: str) -> Rank:
        """Return the rank of the newest message that was given from any other publisher."""
        return self._second if origin == self._first[1] else self._first


def everything(name: str, origin: str) -> Rank:
    """Return the lowest rank: the bound for a task that was given nothing before."""
    return NOTHING


def newest(
    kept: Iterable[PastMessage], most: int, beyond: Callable[[str, str], Rank] = everything
) -> list[PastMessage]:
    """Return the ``most`` newest messages of each exchange, once each, in the order of sending.

    Their ``sent_at`` is the time at which each counts as sent: no earlier than the one before it.

    Args:
        kept: messages of any exchanges and publishers, in any order.
        most: how many of each exchange at most.
        beyond: returns, by exchange and publisher, a rank that messages have to exceed.
    """
    numbered: dict[tuple[str, str], dict[int, PastMessage]] = {}
    for one in kept:
        numbered.setdefault((one.name, one.origin), {})[one.number] = one
    ranked: dict[str, list[PastMessage]] = {}
    for (name, origin), by_number in numbered.items():
        latest, old = NOTHING[0], beyond(name, origin)
        for number in sorted(by_number):
            latest = max(latest, by_number[number].sent_at)
            if (latest, origin) > old:
                ranked.setdefault(name, []).append(replace(by_number[number], sent_at=latest))
    chosen = [one for of in ranked.values() for one in sorted(of, key=_rank)[-most:]]
    return sorted(chosen, key=_rank)


def _rank(one: PastMessage) -> tuple[float, str, int, str]:
    return one.sent_at, one.origin, one.number, one.name
