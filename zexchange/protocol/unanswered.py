"""The endpoints that the user gave: which of them have never answered, and why.

An endpoint that peers told us of may be out of date: once nothing listens there, nobody waits for
it. An endpoint that the user gave counts as missing until a node has answered there once. After
that, the node is a peer like any other. A host name counts as one endpoint, however many addresses
it stands for. Nothing here dials, and nothing here knows the time.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

REASONS = 3
"""Reasons that are shown for one name, which may stand for many addresses."""
LOOKING_UP = "it is being looked up"
NO_CONNECTION = "there is no connection to it"
NO_ANSWER = "something listens there, and does not answer"
NOTHING_LISTENS = "nothing listens there"


PASSING = ("", "taken")
"""Reasons of a refusal that pass by themselves; the empty one stands for no refusal."""


def refused(reason: str, text: str) -> str:
    """Return why an endpoint that refuses us has not answered, in its own words."""
    return f"it refuses us ({reason}: {text!r})"


@dataclass(frozen=True, slots=True)
class Unanswered:
    """An endpoint that has not answered yet.

    Attributes:
        kind: what should be there: ``peer`` or ``hub``.
        endpoint: as the user gave it.
        why: the reason, as far as it is known.
        live: whether it may still answer: nothing shows that no node is there.
        refused: whether it has refused us, for a reason that stays until somebody acts.
    """

    kind: str
    endpoint: str
    why: str
    live: bool
    refused: bool = False

    def __str__(self) -> str:
        """Return the line that people are shown."""
        return f"the {self.kind} {self.endpoint} has not answered: {self.why}"


class Tried(Protocol):
    """The state of an endpoint that is dialled."""

    @property
    def why(self) -> str:
        """Why it has not answered."""
        ...

    @property
    def live(self) -> bool:
        """Whether it may still answer."""
        ...

    @property
    def refused(self) -> bool:
        """Whether it has refused us, for a reason that stays."""
        ...


@dataclass(slots=True)
class _Endpoint:
    stands_for: tuple[str, ...]
    why: str = ""
    live: bool = True


class Given:
    """The control endpoints that one node was given."""

    def __init__(self, endpoints: Iterable[str] = ()) -> None:
        self._missing = {endpoint: _Endpoint((endpoint,)) for endpoint in endpoints}

    def __contains__(self, endpoint: str) -> bool:
        """Return whether an endpoint was given and has not answered."""
        return endpoint in self._missing

    def looked_up(self, name: str, found: tuple[str, ...], why: str = LOOKING_UP) -> None:
        """Take the addresses that a name stands for now.

        None are ``found`` if the name has no address, or if it is still being looked up.
        """
        missing = self._missing.get(name)
        if missing is not None:
            missing.stands_for, missing.live = found, why == LOOKING_UP
            missing.why = "" if found else why

    def answered(self, endpoint: str) -> None:
        """Take note that a node has answered at an endpoint, or that the endpoint is our own."""
        for given in [g for g, missing in self._missing.items() if endpoint in missing.stands_for]:
            del self._missing[given]

    def covers(self, endpoint: str) -> bool:
        """Return whether an endpoint is dialled on behalf of a given one that has not answered."""
        return any(endpoint in missing.stands_for for missing in self._missing.values())

    def unanswered(self, tried: Mapping[str, Tried]) -> list[Unanswered]:
        """Return the endpoints that have not answered; ``tried`` are all that are dialled."""
        return [self._judge(given, missing, tried) for given, missing in self._missing.items()]

    def _judge(self, given: str, missing: _Endpoint, tried: Mapping[str, Tried]) -> Unanswered:
        if not missing.stands_for:
            return Unanswered("peer", given, missing.why, missing.live)
        found = [tried[endpoint] for endpoint in missing.stands_for if endpoint in tried]
        reasons = list(dict.fromkeys(one.why for one in found))[:REASONS] or [NO_CONNECTION]
        waited_for = [one for one in found if one.live]
        final = bool(waited_for) and all(one.refused for one in waited_for)
        return Unanswered("peer", given, "; ".join(reasons), bool(waited_for), final)


class Neighbours:
    """The hubs that another hub was given: reports which of them do not answer, and which do again.

    A hub that has not answered after ``patience`` seconds is reported once. Later it is reported
    each time it falls silent, and each time it answers again.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._tell_at: dict[str, float] = {}
        self._up: dict[str, bool] = {}

    def given(self, endpoint: str, now: float) -> None:
        """Expect a hub at an endpoint from now on."""
        self._tell_at[endpoint] = now + self._patience

    def look(self, linked: Collection[str], now: float) -> list[str]:
        """Return the lines to report, given the endpoints of the hubs that answer."""
        return [
            text
            for endpoint in self._tell_at
            if (text := self._look(endpoint, endpoint in linked, now))
        ]

    def _look(self, endpoint: str, linked: bool, now: float) -> str:
        before = self._up.get(endpoint)
        if linked is before or (not linked and now < self._tell_at[endpoint]):
            return ""
        self._up[endpoint] = linked
        if linked:
            return "" if before is None else f"the hub {endpoint} answers again"
        what = "has not answered" if before is None else "does not answer any more"
        return f"the hub {endpoint} {what}: it is dialled again and again"
