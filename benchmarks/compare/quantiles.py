"""From many durations to the few figures that are kept of them. Pure."""

from collections.abc import Sequence


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
