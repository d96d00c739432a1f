"""What the parts of a node run on: clocks, sockets, descriptors and threads.

A node makes everything here once and asks for it nowhere else. `zexchange.testing` runs the same
node on an environment without sockets and threads, whose clock a test moves.
"""

import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...local.tasks.eventloops import in_thread
from . import descriptors, sockets
from .probes import Probes
from .sockets import Poller, Waker
from .sync import SignalSafeCondition, WakeEvent
from .threads import Loop, Sender, Turn

if TYPE_CHECKING:
    from .sockets import Socket


class Sockets:
    """The sockets of one node, of one ZeroMQ context."""

    def __init__(self) -> None:
        self._context = sockets.new_context()

    def xpub(self) -> "Socket":
        """Return the socket that the node publishes on."""
        return sockets.new_xpub(self._context)

    def sub(self) -> "Socket":
        """Return a socket that receives from one peer."""
        return sockets.new_sub(self._context)

    def router(self) -> "Socket":
        """Return the socket that peers' control links lead to."""
        return sockets.new_router(self._context)

    def dealer(self) -> "Socket":
        """Return the socket of a control link."""
        return sockets.new_dealer(self._context)

    def zap(self) -> "Socket":
        """Return the socket at which libzmq asks whether a key may come in."""
        return sockets.new_zap(self._context)

    def pair(self) -> "Socket":
        """Return a socket that hears of what becomes of another one."""
        return sockets.new_pair(self._context)

    def destroy(self) -> None:
        """Close every socket at once."""
        self._context.destroy(linger=0)

    def term(self) -> None:
        """Wait until what closed sockets still have to send has lingered."""
        self._context.term()


class Environment:
    """This host's clocks, ZeroMQ's sockets, threads and file descriptors."""

    monotonic: Callable[[], float] = staticmethod(time.monotonic)
    """Seconds on a clock that is never set."""
    spent: Callable[[], float] = staticmethod(time.thread_time)
    """Seconds of processor time of the calling thread."""
    time: Callable[[], float] = staticmethod(time.time)
    """Seconds since the Unix epoch."""

    def new_id(self) -> bytes:
        """Return an id that no other node has."""
        return secrets.token_bytes(16)

    def sockets(self) -> Sockets:
        """Return what makes the sockets of one node."""
        return Sockets()

    def poller(self) -> Poller:
        """Return what waits for descriptors."""
        return Poller()

    def waker(self) -> Waker:
        """Return what ends a poller's wait."""
        return Waker()

    def condition(self) -> SignalSafeCondition:
        """Return a lock, with a state under it that can be waited for."""
        return SignalSafeCondition()

    async def aside(self, call: Callable[[], None]) -> None:
        """Have a call that waits made where it does not hold up the event loop; see `in_thread`."""
        await in_thread(call)

    def loop(
        self,
        name: str,
        poller: Poller,
        turn: Turn,
        last: Callable[[], None],
    ) -> Loop:
        """Return a thread, not started yet; see `Loop` for the arguments."""
        return Loop(name, poller, turn, last)

    def bell(self) -> WakeEvent:
        """Return what senders wait for that need room."""
        return WakeEvent()

    def lend(self) -> bool:
        """Prepare to send memory that is not copied; return whether that may be."""
        if not sockets.lends():
            return False
        sockets.start_collector()
        return True

    def sender(self, send: Callable[[], float]) -> Sender:
        """Return a thread, not started yet, that calls ``send`` when asked; see `Sender`."""
        return Sender(send)

    def probes(self, poller: Poller) -> Probes:
        """Return what finds out whether anything listens at an endpoint."""
        return Probes(poller)

    def descriptors(self) -> int | None:
        """Return how many more files and sockets the process may open; None if unknown."""
        return descriptors.left()

    def descriptors_at_most(self, enough: int) -> int | None:
        """Return the same, or ``enough`` if it is more, which is cheap."""
        return descriptors.left_at_most(enough)
