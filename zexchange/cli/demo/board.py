"""What the demo knows: a row per exchange and origin, and at the end who got what.

Pure: deliveries, counts and the time come in, rows and tallies go out. It must not know
processes, nodes, or how anything is shown.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WIDTH = 48
"""So many values make a sparkline at most."""
RATE_OVER = 2.0
LISTENERS = {"metrics": ("analyst", "screen"), "averages": ("screen",)}
"""Who listens to what, by the first level of an exchange's name."""
_BARS = "▁▂▃▄▅▆▇█"
_MOST_ARRIVALS = 200
"""Far more than come in `RATE_OVER` seconds."""


@dataclass(slots=True)
class Row:
    """What came of one origin on one exchange."""

    name: str
    origin: str
    unit: str = ""
    values: deque[float] = field(default_factory=lambda: deque(maxlen=WIDTH))
    arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_ARRIVALS))

    def take(self, reading: Mapping[str, Any], now: float) -> None:
        """Note a reading that came at ``now``."""
        self.values.append(float(reading["value"]))
        self.unit = str(reading["unit"])
        self.arrivals.append(now)

    def rate(self, now: float) -> float:
        """Return how many messages a second came lately."""
        lately = [at for at in self.arrivals if at >= now - RATE_OVER]
        if len(lately) < 2:
            return 0.0
        return len(lately) / min(RATE_OVER, max(now - lately[0], 0.05))


class Board:
    """All rows, and who the origins are."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.labels: dict[str, str] = {}
        self.gone: set[str] = set()
        """The origins that left while others went on."""

    def take(self, name: str, origin: str, reading: Mapping[str, Any], now: float) -> None:
        """Note a reading."""
        self.rows.setdefault((name, origin), Row(name, origin)).take(reading, now)

    def label(self, origin: str) -> str:
        """Return what a node calls itself."""
        return self.labels.get(origin, origin[:8])

    def flows(self, label: str) -> bool:
        """Return whether anything came from the node with this label."""
        return any(self.labels.get(origin) == label for _, origin in self.rows)

    def sorted(self) -> list[Row]:
        """Return the rows: metrics first, by exchange and sender."""
        return sorted(
            self.rows.values(),
            key=lambda row: (not row.name.startswith("metrics"), row.name, self.label(row.origin)),
        )


def sparkline(values: Sequence[float], top: float | None = None) -> str:
    """Return values as bars, from nothing to ``top``, or to the highest of them."""
    top = top or max(values, default=0.0)
    if top <= 0:
        return _BARS[0] * len(values)
    highest = len(_BARS) - 1
    return "".join(_BARS[round(min(max(v, 0.0), top) / top * highest)] for v in values)


def quantity(value: float, unit: str) -> str:
    """Return a value with its unit, in a form of nearly constant width."""
    if unit != "B/s":
        return f"{value:.1f} {unit}"
    for prefix, digits in (("", 0), ("k", 1), ("M", 1)):
        if value < 1000:
            return f"{value:.{digits}f} {prefix}{unit}"
        value /= 1000
    return f"{value:.1f} G{unit}"


@dataclass(frozen=True, slots=True)
class Tally:
    """One line of the final table: an exchange, an origin, and who got how many.

    Attributes:
        sent: what the sender says, None if it was killed before it could.
        received: by receiver, what each of those who listened got.
        lost: what the screen knows to be lost.
    """

    name: str
    sender: str
    sent: int | None
    received: dict[str, int]
    lost: int

    @property
    def whole(self) -> bool:
        """Whether everything arrived everywhere, as far as anybody can know."""
        if self.sent is None:
            return True
        return self.lost == 0 and all(count == self.sent for count in self.received.values())


def tally(
    senders: Mapping[str, tuple[str, Mapping[str, int] | None]],
    receivers: Mapping[str, Mapping[tuple[str, str], int]],
    lost: Mapping[tuple[str, str], int],
) -> list[Tally]:
    """Compare what was sent with what was received.

    Args:
        senders: by origin, its label, and what it sent by exchange, None if it was killed.
        receivers: by label, what it got by (exchange, origin).
        lost: by (exchange, origin).
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
