"""The environment that the parts of a node run on: clocks, sockets, descriptors and threads.

A node gets all of these from its environment, and from nowhere else. `zexchange.testing` runs the
same node on an environment without sockets and threads, whose clock a test moves.
"""

import secrets
import time
from collections.abc import Callable

from ...local.tasks.eventloops import in_thread
from .descriptors import left, left_at_most
from .polling import Poller, Waker
from .probes import Probes
from .sockets import Sockets, lends, start_collector
from .sync import SignalSafeCondition, WakeEvent
from .threads import Loop, Sender


class Environment:
    """This host's clocks, ZeroMQ's sockets, threads and file descriptors."""

    monotonic: Callable[[], float] = staticmethod(time.monotonic)
    """Seconds on a clock that is never set."""
    spent: Callable[[], float] = staticmethod(time.thread_time)
    """Seconds of processor time of the calling thread."""
    time: Callable[[], float] = staticmethod(time.time)
    """Seconds since the Unix epoch."""
    descriptors: Callable[[], int | None] = staticmethod(left)
    """Returns how many more files and sockets the process may open; None if unknown."""
    descriptors_at_most: Callable[[int], int | None] = staticmethod(left_at_most)
    """Returns the same, but at most its argument, which is cheap."""
    sockets: type[Sockets] = Sockets
    poller: type[Poller] = Poller
    waker: type[Waker] = Waker
    condition: type[SignalSafeCondition] = SignalSafeCondition
    bell: type[WakeEvent] = WakeEvent
    """Wakes senders that wait for room in the window."""
    loop: type[Loop] = Loop
    sender: type[Sender] = Sender
    probes: type[Probes] = Probes

    def new_id(self) -> bytes:
        """Return an id that no other node has."""
        return secrets.token_bytes(16)

    async def aside(self, call: Callable[[], None]) -> None:
        """Make a blocking call where it does not block the event loop; see `in_thread`."""
        await in_thread(call)

    def lend(self) -> bool:
        """Prepare to send memory without copying it; return whether that is possible."""
        if not lends():
            return False
        start_collector()
        return True
