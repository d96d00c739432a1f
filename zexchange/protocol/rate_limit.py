"""How much each caller may ask for: so much at once, and so much a second from then on.

The rule of this module: a caller that has used up its allowance gets nothing until the allowance
has grown again, and no other caller notices. Time is an argument. Nothing here knows what callers
ask for.
"""

from collections.abc import Hashable

MAX_KNOWN = 4096
"""Callers whose use is remembered. The one that has not asked for the longest time is forgotten
first."""


class TokenBucket:
    """One bucket for each caller, which fills up with time.

    Args:
        at_once: the amount in a full bucket.
        a_second: the amount that flows in each second.
    """

    __slots__ = ("_a_second", "_at_once", "_buckets")

    def __init__(self, at_once: float, a_second: float) -> None:
        self._at_once = at_once
        self._a_second = a_second
        self._buckets: dict[Hashable, tuple[float, float]] = {}

    def left(self, who: Hashable, now: float) -> float:
        """Return what is in a caller's bucket. Any thread."""
        left, since = self._buckets.get(who, (self._at_once, now))
        return min(self._at_once, left + max(0.0, now - since) * self._a_second)

    def take(self, who: Hashable, amount: float, now: float) -> bool:
        """Take an amount from a caller's bucket; return whether there was anything in it.

        An amount that is larger than the rest in the bucket is allowed once. The bucket is then
        below zero, and the caller waits longer.
        """
        left, since = self._buckets.pop(who, (self._at_once, now))
        left = min(self._at_once, left + max(0.0, now - since) * self._a_second)
        allowed = left > 0
        self._buckets[who] = (left - amount if allowed else left, now)
        if len(self._buckets) > MAX_KNOWN:
            del self._buckets[next(iter(self._buckets))]
        return allowed
