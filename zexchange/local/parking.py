"""The stand-in for a bridge while the bridge encodes the messages kept before it came.

Encoding takes time and may call code of the program, so no lock is held meanwhile and sends go on.
Messages sent meanwhile are encoded here, on the sender's thread, and follow the kept ones.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from .history.retained import Kept
from .process import finalizers
from .tasks.dispatch import Backpressure
from .tasks.noted import Noted
from .tasks.snapshots import snapshot


class Bridge(Protocol):
    """Carries messages out of this process."""

    @property
    def inherits(self) -> bool:
        """Whether the bridge is given the messages kept before it came."""
        return False

    @property
    def packed(self) -> Callable[[bytes], Backpressure | None] | None:
        """Takes a message that is MessagePack already, as `send`; None if that cannot be."""
        return None

    def send(self, msg: Any, /) -> Backpressure | None:
        """Take a message before any task does; return where to wait for room, if need be."""
        ...

    def send_noted(self, noted: Noted, /) -> Backpressure | None:
        """Take a message with headers, or a question, as `send` takes others."""
        return self.send(noted.msg)

    def prepare(self, kept: Sequence[Kept], /) -> list[Any]:
        """Encode messages that are kept for late joiners already; called outside every lock.

        Messages that cannot be encoded are left out, and reported.
        """
        return []

    def inherit(self, prepared: list[Any], /) -> None:
        """Keep the result of `prepare`, before the first message; the exchange's lock is held."""
        return


class Parking:
    """The stand-in for one bridge.

    Args:
        bridge: the bridge that is being attached.
        kept: the messages kept before.
        lock: the lock of the exchange.
    """

    def __init__(self, bridge: Bridge, kept: Sequence[Kept], lock: threading.RLock) -> None:
        self.bridge = bridge
        self.kept = kept
        self._lock = lock
        self._parked: list[Any] = []
        self._over = False

    def send(self, msg: Any) -> Backpressure | None:
        """Encode and park a message, or pass it on once the bridge is attached."""
        if finalizers.here() and finalizers.later(self.send, snapshot(msg), message=True):
            return None
        prepared = self.bridge.prepare([(msg, time.time())])
        with self._lock:
            if not self._over:
                self._parked += prepared
                return None
        return self.bridge.send(msg)

    def send_noted(self, noted: Noted) -> Backpressure | None:
        """Do as `send` for a message with headers, or a question."""
        prepared = self.bridge.prepare([(noted, time.time())])
        with self._lock:
            if not self._over:
                self._parked += prepared
                return None
        return self.bridge.send_noted(noted)

    def end(self, prepared: list[Any]) -> list[Any]:
        """Return the kept messages, as prepared, and the parked ones; the lock is held."""
        self._over = True
        return [*prepared, *self._parked]
