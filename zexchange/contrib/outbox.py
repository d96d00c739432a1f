"""Sending that never waits and never joins: for what may be called in the middle of anything.

A logging handler is called with logging's locks held, in a process that has just been forked, in
an event loop. So a thread joins, and sends where there is no room; what waits for it is held here,
and is sent before anything else is.
"""

import _thread
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any

from .. import Exchange, ExchangeError, Node
from ..local.process import finalizers
from ..local.process.fork import end_as_child, track
from ..local.process.logs import log
from ..local.tasks.dispatch import without_waiting

# All that a node needs to join. Or the thread would import it, and a process that is forked
# meanwhile would wait for that import for ever.
from .membership import JOIN_TIMEOUT, Membership

HELD = 10_000
"""Messages that may wait for the thread; more are dropped, and counted."""
LATE_TIMEOUT = 10.0
"""Seconds for which messages are held beyond the time to join, where somebody is not ready then."""
RETRY = 5.0
"""Seconds after which it is tried again to join a federation that could not be joined."""


class Outbox:
    """Sends on one exchange. `send` and `settle` may be called by any thread.

    Args:
        membership: in what is to be joined, with the first message.
        exchange: to send on.
        failed: called where a message cannot be sent, while the exception is handled, with what
            was given along with the message.
    """

    def __init__(
        self, membership: Membership, exchange: Exchange[Any], failed: Callable[[Any], object]
    ) -> None:
        self._membership = membership
        self._exchange = exchange
        self._failed = failed
        self.dropped = 0
        """How many messages were dropped because too many were held, or for too long."""
        track(self)._after_fork()

    def _after_fork(self) -> None:
        """Leave to the parent what it holds; join anew with the first message."""
        self._held: deque[tuple[Any, Any]] = deque()
        self._turn = threading.Lock()  # only ever tried
        self._sender = 0
        self._working = False
        self._told = False
        self._retry_at = 0.0

    def send(self, msg: object, context: object) -> None:
        """Send a message now, or as soon as the node has joined and has room. Never waits."""
        if finalizers.later(self.send, msg, context, message=True):
            return
        node = self._membership.enlist(self)
        if len(self._held) >= HELD:
            self._drop(1)
            return
        self._held.append((msg, context))
        if node._has_joined and node._has_room:
            with without_waiting():
                self._send_held(lambda: node._has_room)
        if self._held and not self._working and time.monotonic() >= self._retry_at:
            self._working = True
            try:
                # In two steps: `Thread.start` waits for the thread, which may first run a
                # finaliser that waits for a lock that is held here.
                _thread.start_new_thread(self._start, ())
                end_as_child()
            except RuntimeError:  # no more threads: with a later message
                self._working = False

    def _drop(self, n: int) -> None:
        """Count what is dropped, and tell of the first."""
        self.dropped += n
        if n and not self._told:
            self._told = True
            log.warning(
                "messages for exchange %r of federation %r are dropped: it cannot be joined, or "
                "its peers take them too slowly",
                *(self._exchange.name, self._membership.federation),
            )

    def _start(self) -> None:
        try:
            # No daemon: a program that ends at once still sends what it has logged.
            threading.Thread(target=self._work, name="zexchange-outbox", daemon=False).start()
        except RuntimeError:
            self._working = False

    def _work(self) -> None:
        """Join, and send what is held, waiting for room, until nothing is."""
        try:
            while self._held:  # else it was closed meanwhile, and would join again for nothing
                node = self._membership.enlist(self)
                node.registry._wake()
                node._revive()
                if not node._has_joined:
                    self._wait_for_the_rest(node, LATE_TIMEOUT)
                while not self._send_held():
                    time.sleep(0.001)
                # What is held behind the last look starts another thread, or is seen here.
                self._working = False
        except ExchangeError as error:
            self._retry_at = time.monotonic() + RETRY
            name = self._membership.federation
            log.warning("federation %r cannot be joined, messages are held: %s", name, error)
        except Exception:
            self._retry_at = time.monotonic() + RETRY
            log.exception("messages for exchange %r are held", self._exchange.name)
        finally:
            self._working = False

    def _wait_for_the_rest(self, node: Node, timeout: float) -> None:
        """Wait for those who are not ready; if nobody is then, drop what would reach nobody."""
        if not node._wait_for_the_rest(timeout):
            self._drop(len(self._held))
            self._held.clear()

    def settle(self, patience: float) -> None:
        """Send what is held, or wait so many seconds for the thread that does.

        Called by the node when it has joined, before anybody is told so: who joins and then
        flushes has flushed this, too.
        """
        node = self._membership.enlist(self)
        if node._incomplete:
            return  # the thread waits for those who are not ready yet
        until = time.monotonic() + patience
        with nullcontext() if patience else without_waiting():
            while not self._send_held() and time.monotonic() < until:
                time.sleep(0.001)

    def _send_held(self, may: Callable[[], bool] = lambda: True) -> bool:
        """Send what is held, in order; return False if another thread is at it."""
        held, free = self._held, True
        if self._sender == threading.get_ident():
            return True
        while held and free and may():
            free = False
            try:
                # Not `acquire`, then `try`: an exception of a signal handler would come between.
                for free in iter(self._try_turn, False):  # noqa: B007
                    self._sender = threading.get_ident()
                    while held and may():
                        self._send(*held.popleft())
                    break
            finally:
                if free:
                    self._sender = 0
                    self._turn.release()
        return free and not self._turn.locked()

    def _try_turn(self) -> bool:
        return self._turn.acquire(False)

    def _send(self, msg: object, context: object) -> None:
        try:
            self._exchange.send(msg)
        except Exception:
            self._failed(context)

    def finish(self, patience: float) -> None:
        """Wait so many seconds until what is held has been sent; no more of it is held then."""
        until = time.monotonic() + patience
        while self._working and time.monotonic() < until:
            time.sleep(0.001)
        node = self._membership.enlist(self) if self._held else None
        if node is not None and node._incomplete:
            with suppress(ExchangeError, RuntimeError):  # it is closed, or this is an event loop
                self._wait_for_the_rest(node, 0.0)
        if node is not None and node._has_joined:
            self.settle(max(0.0, until - time.monotonic()))
        self._drop(len(self._held))
        self._held.clear()
        log.flush()

    def close(self) -> None:
        """Send what is held, and leave the federation; the next message joins anew."""
        self.finish(JOIN_TIMEOUT)
        self._membership.leave(self)
