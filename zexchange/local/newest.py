"""Which of the messages that several publishers keep are the newest, and in which order.

Messages of one publisher are in the order of their numbers, those of several in the order of
sending, by the publishers' clocks; at the same moment, by their ids. A clock that goes back does
not turn a publisher's messages round: none counts as older than the one before it. What was sent
after it arrived, by a clock that is ahead of ours, counts as sent when it arrived. Nothing here
asks a clock, or hands out anything.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

Rank = tuple[float, str]
"""When a message was sent, and by whom: of two messages, the one with the higher is newer."""
NOTHING: Rank = (float("-inf"), "")


@dataclass(frozen=True, slots=True)
class PastMessage:
    """A message that a publisher keeps.

    Attributes:
        name: the exchange.
        origin: the publisher's id.
        number: among its messages there.
        sent_at: when it was sent, at the latest when it arrived.
        item: the message, in whatever form.
    """

    name: str
    origin: str
    number: int
    sent_at: float
    item: Any


class Latest:
    """How new the newest is that was given on an exchange, and the newest of another publisher.

    More need not be known to say of any publisher what is newer than all that others sent.
    """

    __slots__ = ("_first", "_second")

    def __init__(self) -> None:
        self._first = self._second = NOTHING

    def note(self, sent_at: float, origin: str) -> None:
        """Take note of a message that is given."""
        rank, first = (sent_at, origin), self._first
        if origin == first[1]:
            if rank > first:
                self._first = rank
        elif rank > first:
            self._first, self._second = rank, first
        elif rank > self._second:
            self._second = rank

    def beside(self, origin: str) -> Rank:
        """Return how new the newest is that was given of others than a publisher."""
        return self._second if origin == self._first[1] else self._first


def everything(name: str, origin: str) -> Rank:
    """Return how new messages have to be where nothing was given before."""
    return NOTHING


def newest(
    kept: Iterable[PastMessage], most: int, beyond: Callable[[str, str], Rank] = everything
) -> list[PastMessage]:
    """Return the ``most`` newest of each exchange, all in the order of sending, each once.

    With the time at which each counts as sent: no earlier than the one before it.

    Args:
        kept: of any exchanges and publishers, in any order.
        most: how many of an exchange at most.
        beyond: returns, by exchange and publisher, how new they have to be.
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
