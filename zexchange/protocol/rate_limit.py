"""How much somebody may ask of us: so much at once, and so much a second from then on.

The rule of this module: a caller over its allowance gets nothing until that has grown again,
and nobody else notices. Time is an argument; nothing here knows what is asked.
"""

from collections.abc import Hashable

MAX_KNOWN = 4096
"""Those whose use is remembered; whoever has used nothing for longest is forgotten first."""


class TokenBucket:
    """A bucket for each who asks, which fills up with time.

    Args:
        at_once: what a full bucket holds.
        a_second: what flows in.
    """

    __slots__ = ("_a_second", "_at_once", "_buckets")

    def __init__(self, at_once: float, a_second: float) -> None:
        self._at_once = at_once
        self._a_second = a_second
        self._buckets: dict[Hashable, tuple[float, float]] = {}

    def take(self, who: Hashable, amount: float, now: float) -> bool:
        """Take an amount from somebody's bucket; tell whether there was anything in it.

        What is larger than what is left is allowed once, and paid for by waiting longer.
        """
        left, since = self._buckets.pop(who, (self._at_once, now))
        left = min(self._at_once, left + max(0.0, now - since) * self._a_second)
        allowed = left > 0
        self._buckets[who] = (left - amount if allowed else left, now)
        if len(self._buckets) > MAX_KNOWN:
            del self._buckets[next(iter(self._buckets))]
        return allowed
