"""From many values to the few that are kept of them, and whether they are of one kind. Pure."""

import statistics
from collections.abc import Sequence

FEWEST = 8
"""Values of which it is told whether they fall into two groups."""
APART = 1.2
"""How many times the lower group's median the upper one's is, at least."""
CLEAR = 8.0
"""How many times as far apart the groups are as the values of one are from its median.

Of values that are spread evenly it is 4, of normal ones some 3.
"""
GAP = 0.4
"""The part of the way from one group's median to the other's where no value lies.

With both, ten values of one kind pass for two groups 2 times in 100 if they are normal, and 7 times
if they are spread evenly; twenty values never do.
"""


def quantile(ordered: Sequence[float], part: float) -> float:
    """Return the value below which ``part`` of them lie; of what is sorted already."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def in_microseconds(seconds: Sequence[float]) -> dict[str, float]:
    """Return what is kept of durations; nothing of none."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    parts = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
    return {name: quantile(ordered, part) * 1e6 for name, part in parts.items()}


def modes(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the medians of the two groups that values fall into, the lower first.

    None if they are of one kind, or too few to tell. A group has at least two values and a fifth
    of all, so that a round that was disturbed is no group.
    """
    ordered = sorted(values)
    least = max(2, -(-len(ordered) // 5))
    if len(ordered) < FEWEST:
        return None
    splits = range(least, len(ordered) - least + 1)
    parts = [(ordered[:at], ordered[at:]) for at in splits]
    low, high = min(parts, key=lambda part: _inside(part[0]) + _inside(part[1]))
    mode, other = statistics.median(low), statistics.median(high)
    width, apart = (_inside(low) + _inside(high)) / len(ordered), other - mode
    clear = apart >= CLEAR * width and high[0] - low[-1] >= GAP * apart
    return (mode, other) if clear and other >= APART * mode else None


def _inside(ordered: Sequence[float]) -> float:
    """Return how far all values of a group are from its median, together."""
    middle = statistics.median(ordered)
    return sum(abs(value - middle) for value in ordered)
