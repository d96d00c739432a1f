"""What messages that are sent again may cost: who asks for them, and who is sent them unasked.

A request of sixty bytes is answered with 256 KiB, and looked up under the lock that senders
need. Nothing here knows sockets.
"""

from collections.abc import Hashable

from ...protocol.rate_limit import TokenBucket

AT_ONCE, A_SECOND = 64 << 20, 64 << 20
"""Bytes sent again to one asker: at once, and a second."""
REQUEST = 16 << 10
"""What a request is counted for at least."""
RECALL, RECALL_PATTERN = 64 << 10, 1 << 20
"""What asking for the numbers that are kept is counted for, of one name or of many."""
PENDING_BYTES = 64 << 20
"""Bytes that have been sent again to us and that the data thread has not taken yet."""


class ReplayQuota:
    """What those who ask have been sent again."""

    def __init__(self) -> None:
        self._allowance = TokenBucket(AT_ONCE, A_SECOND)

    def allow(self, route: Hashable, cost: int, now: float) -> bool:
        """Tell whether a request is answered now; if not, it will be made again."""
        return self._allowance.take(route, cost, now)

    def sent(self, route: Hashable, size: int, now: float) -> None:
        """Note what a request was answered with."""
        self._allowance.take(route, max(0, size - REQUEST), now)


class ReplayBacklog:
    """What has come on the control thread and waits for the data thread, in bytes."""

    def __init__(self) -> None:
        # One thread writes the one, one the other: no lock.
        self._came = self._taken = 0

    def enter(self, size: int) -> bool:
        """Tell whether there is room, and take it. Control thread only."""
        if self._came - self._taken > PENDING_BYTES:
            return False
        self._came += size
        return True

    def leave(self, size: int) -> None:
        """Give room back. Data thread only."""
        self._taken += size
