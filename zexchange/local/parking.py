"""What stands in for a bridge while it encodes what was kept before it came.

To encode may call anything of the program's, and takes its time: no lock is held meanwhile, and
sends go on. What they send is encoded here, on the sender's thread, and comes behind that.
"""

import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

from .process import finalizers
from .retained import Kept
from .tasks.dispatch import Backpressure
from .tasks.snapshots import snapshot


class Bridge(Protocol):
    """What carries messages out of this process."""

    @property
    def inherits(self) -> bool:
        """Whether it is given what was kept before it came."""
        return False

    def send(self, msg: Any, /) -> Backpressure | None:
        """Take a message before any task does; return where to wait for room, if need be."""
        ...

    def prepare(self, kept: Sequence[Kept], /) -> list[Any]:
        """Encode what is kept for late joiners already; called outside every lock.

        What cannot be encoded is left out, and told.
        """
        return []

    def inherit(self, prepared: list[Any], /) -> None:
        """Keep that, before the first message; the lock of the exchange is held."""
        return


class Parking:
    """One bridge's stand-in.

    Args:
        bridge: that comes.
        kept: what was kept before.
        lock: of the exchange.
    """

    def __init__(self, bridge: Bridge, kept: Sequence[Kept], lock: threading.RLock) -> None:
        self.bridge = bridge
        self.kept = kept
        self._lock = lock
        self._parked: list[Any] = []
        self._over = False

    def send(self, msg: Any) -> Backpressure | None:
        """Park a message, or pass it on once the bridge is there."""
        if finalizers.here() and finalizers.later(self.send, snapshot(msg), message=True):
            return None
        prepared = self.bridge.prepare([(msg, time.time())])
        with self._lock:
            if not self._over:
                self._parked += prepared
                return None
        return self.bridge.send(msg)

    def end(self, prepared: list[Any]) -> list[Any]:
        """Return what was kept, as it was prepared, and what was parked; the lock is held."""
        self._over = True
        return [*prepared, *self._parked]
