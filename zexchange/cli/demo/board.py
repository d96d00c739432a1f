"""The state of the demo: one row for each exchange and origin, and the final count.

The code is pure: deliveries, counts and the time come in, and rows and tallies go out. It does not
know processes, nodes, or how anything is shown.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WIDTH = 48
"""The most values in a sparkline."""
RATE_OVER = 2.0
"""Seconds over which rates are averaged."""
LISTENERS = {"metrics": ("analyst", "screen"), "averages": ("screen",)}
"""The labels of the receivers, by the first level of an exchange's name."""
_BARS = "▁▂▃▄▅▆▇█"
_MOST_ARRIVALS = 200
"""Far more messages than arrive in `RATE_OVER` seconds."""


@dataclass(slots=True)
class Row:
    """The readings of one origin on one exchange."""

    name: str
    origin: str
    unit: str = ""
    values: deque[float] = field(default_factory=lambda: deque(maxlen=WIDTH))
    arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_ARRIVALS))

    def take(self, reading: Mapping[str, Any], now: float) -> None:
        """Add a reading that arrived at ``now``."""
        self.values.append(float(reading["value"]))
        self.unit = str(reading["unit"])
        self.arrivals.append(now)

    def rate(self, now: float) -> float:
        """Return how many messages per second arrived lately."""
        lately = [at for at in self.arrivals if at >= now - RATE_OVER]
        if len(lately) < 2:
            return 0.0
        return len(lately) / min(RATE_OVER, max(now - lately[0], 0.05))


class Board:
    """All rows, and the labels of the origins."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.labels: dict[str, str] = {}
        self.gone: set[str] = set()
        """The origins that left without a goodbye."""

    def take(self, name: str, origin: str, reading: Mapping[str, Any], now: float) -> None:
        """Add a reading to the row of its exchange and origin."""
        self.rows.setdefault((name, origin), Row(name, origin)).take(reading, now)

    def label(self, origin: str) -> str:
        """Return the label of a node, or the start of its id if that is not known."""
        return self.labels.get(origin, origin[:8])

    def flows(self, label: str) -> bool:
        """Return whether anything came from the node with this label."""
        return any(self.labels.get(origin) == label for _, origin in self.rows)

    def sorted(self) -> list[Row]:
        """Return the rows, metrics first, sorted by exchange and sender."""
        return sorted(
            self.rows.values(),
            key=lambda row: (not row.name.startswith("metrics"), row.name, self.label(row.origin)),
        )


def sparkline(values: Sequence[float], top: float | None = None) -> str:
    """Return values as bars on a scale from 0 to ``top``, by default the highest of them."""
    top = top or max(values, default=0.0)
    if top <= 0:
        return _BARS[0] * len(values)
    highest = len(_BARS) - 1
    return "".join(_BARS[round(min(max(v, 0.0), top) / top * highest)] for v in values)


def quantity(value: float, unit: str) -> str:
    """Return a value with its unit, as text of nearly constant width."""
    if unit != "B/s":
        return f"{value:.1f} {unit}"
    for prefix, digits in (("", 0), ("k", 1), ("M", 1)):
        if value < 1000:
            return f"{value:.{digits}f} {prefix}{unit}"
        value /= 1000
    return f"{value:.1f} G{unit}"


@dataclass(frozen=True, slots=True)
class Tally:
    """One line of the final table, for an exchange and an origin.

    Attributes:
        name: the name of the exchange.
        sender: the label of the origin.
        sent: how many messages the sender reports; None if it was killed before that.
        received: how many messages each receiver got, by its label.
        lost: how many messages the screen knows to be lost.
    """

    name: str
    sender: str
    sent: int | None
    received: dict[str, int]
    lost: int

    @property
    def whole(self) -> bool:
        """Whether every receiver got all messages; True if it is unknown how many were sent."""
        if self.sent is None:
            return True
        return self.lost == 0 and all(count == self.sent for count in self.received.values())


def tally(
    senders: Mapping[str, tuple[str, Mapping[str, int] | None]],
    receivers: Mapping[str, Mapping[tuple[str, str], int]],
    lost: Mapping[tuple[str, str], int],
) -> list[Tally]:
    """Compare the numbers of sent and received messages.

    Args:
        senders: by origin, its label and how many messages it sent by exchange; None instead of
            these if it was killed.
        receivers: by label, how many messages it got by (exchange, origin).
        lost: how many messages were lost, by (exchange, origin).
    """
    keys = {key for came in receivers.values() for key in came} | set(lost)
    keys |= {(name, origin) for origin, (_, sent) in senders.items() for name in sent or ()}
    lines: list[Tally] = []
    for name, origin in sorted(keys, key=lambda k: (not k[0].startswith("metrics"), k)):
        label, sent = senders.get(origin, (origin[:8], None))
        listeners = LISTENERS[name.partition(".")[0]]
        got = {who: receivers.get(who, {}).get((name, origin), 0) for who in listeners}
        count = None if sent is None else sent.get(name, 0)
        lines.append(Tally(name, label, count, got, lost.get((name, origin), 0)))
    return lines
