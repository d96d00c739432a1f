"""A queue of messages for callers that must never wait: logging handlers.

A logging handler is called while locks of the logging package are held, in a process that has just
been forked, in an event loop, or in a finaliser. In none of these places may it wait for peers, as
joining a federation does, or for room in the send window. It works as follows:

1. `Outbox.send` appends the message to a bounded queue; if the queue is full, the message is
   dropped and counted. If the node has joined and its window has room, the caller then sends the
   queue by itself, oldest message first. This is the usual case, and needs no other thread.
2. If messages remain in the queue, a thread is started, unless one is at work. It joins, waits for
   room in the window as any sender does, and ends when the queue is empty. If it cannot join, the
   messages stay in the queue, and no thread is started for `RETRY` seconds.
3. Only one thread at a time sends from the queue, so the messages stay in order. The right to do so
   is a lock that is only ever tried: a caller that does not get it leaves its message to the
   thread that has it, or to the one of step 2.
4. When the node has joined, it calls `Outbox.settle` before `federate` returns to the program. When
   the process ends, `Outbox.finish` is called; it drops the messages that cannot be sent in time.

A forked child begins with an empty queue, since the parent sends what was in it.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any

from .. import Exchange, ExchangeError, Node
from ..local.process import finalizers
from ..local.process.fork import end_as_child
from ..local.process.logs import log
from ..local.process.worker import Worker
from ..local.tasks.dispatch import without_waiting

# This imports all that joining needs. If the thread imported it, a process that is forked
# meanwhile would wait for ever for the lock of that import.
from .membership import JOIN_TIMEOUT, Membership

HELD = 10_000
"""Messages that may wait in the queue; more are dropped and counted."""
LATE_TIMEOUT = 10.0
"""Seconds for which messages are held after joining, if some peers are not ready then."""
RETRY = 5.0
"""Seconds to wait after a failure to join before a message may start the next attempt."""


class Outbox(Worker[tuple[Any, Any]]):
    """Sends on one exchange without waiting. `send` and `settle` may be called by any thread.

    Args:
        membership: joins with the first message.
        exchange: the exchange to send on.
        failed: called with the ``context`` of a message that cannot be sent, while the exception
            is being handled.
    """

    daemon = False  # a program that ends at once still sends what it has logged

    def __init__(
        self, membership: Membership, exchange: Exchange[Any], failed: Callable[[Any], object]
    ) -> None:
        self._membership = membership
        self._exchange = exchange
        self._failed = failed
        self.dropped = 0
        """How many messages were dropped because too many were held, or for too long."""
        super().__init__("zexchange-outbox")

    def _after_fork(self) -> None:
        """Empty the queue, which the parent sends, and join again with the first message."""
        self.waiting.clear()
        self._told = False
        self._retry_at = 0.0
        super()._after_fork()

    def send(self, msg: object, context: object) -> None:
        """Send a message now, or as soon as the node has joined and has room. It never waits.

        Args:
            msg: the message.
            context: passed to ``failed`` if the message cannot be sent.
        """
        if finalizers.later(self.send, msg, context, message=True):
            return  # called by a finaliser: another thread will call this again
        node = self._membership.enlist(self)
        if len(self.waiting) >= HELD:
            self._drop(1)
            return
        self.waiting.append((msg, context))
        if node._has_joined and node._has_room:
            with without_waiting():
                self.work(lambda: node._has_room)
        if self.waiting and time.monotonic() >= self._retry_at:
            self.wake()
            end_as_child()

    def _drop(self, n: int) -> None:
        """Count dropped messages, and log the first drop."""
        self.dropped += n
        if n and not self._told:
            self._told = True
            log.warning(
                "messages for exchange %r of federation %r are dropped: it cannot be joined, or "
                "its peers take them too slowly",
                *(self._exchange.name, self._membership.federation),
            )

    def _run(self) -> None:
        """Join, and send the queue, waiting for room, until it is empty."""
        try:
            while self.waiting:  # empty if it was closed meanwhile: joining again would be useless
                node = self._membership.enlist(self)
                node.registry._wake()
                node._revive()
                if not node._has_joined:
                    self._wait_for_the_rest(node, LATE_TIMEOUT)
                while not self.work():
                    time.sleep(0.001)
                # A message queued from here on starts another thread; one queued before is seen
                # by the condition of the loop.
                self._coming = False
        except ExchangeError as error:
            self._retry_at = time.monotonic() + RETRY
            name = self._membership.federation
            log.warning("federation %r cannot be joined, messages are held: %s", name, error)
        except Exception:
            self._retry_at = time.monotonic() + RETRY
            log.exception("messages for exchange %r are held", self._exchange.name)
        finally:
            self._coming = False

    def _wait_for_the_rest(self, node: Node, timeout: float) -> None:
        """Wait for peers that are not ready; if no peer is then, drop the queue."""
        if not node._wait_for_the_rest(timeout):
            self._drop(len(self.waiting))
            self.waiting.clear()

    def settle(self, patience: float) -> None:
        """Send the queue, or wait up to ``patience`` seconds for the thread that does.

        The node calls this when it has joined, before it reports that: a program that joins and
        then calls `Node.flush` has flushed these messages, too.
        """
        node = self._membership.enlist(self)
        if node._incomplete:
            return  # the thread waits for the peers that are not ready yet
        until = time.monotonic() + patience
        with nullcontext() if patience else without_waiting():
            while not self.work() and time.monotonic() < until:
                time.sleep(0.001)

    def _do(self, item: tuple[Any, Any]) -> None:
        msg, context = item
        try:
            self._exchange.send(msg)
        except Exception:
            self._failed(context)

    def finish(self, patience: float) -> None:
        """Wait up to ``patience`` seconds until the queue is sent; drop the rest of it."""
        until = time.monotonic() + patience
        while self._coming and time.monotonic() < until:
            time.sleep(0.001)
        node = self._membership.enlist(self) if self.waiting else None
        if node is not None and node._incomplete:
            with suppress(ExchangeError, RuntimeError):  # the node is closed, or in an event loop
                self._wait_for_the_rest(node, 0.0)
        if node is not None and node._has_joined:
            self.settle(max(0.0, until - time.monotonic()))
        self._drop(len(self.waiting))
        self.waiting.clear()
        log.flush()

    def close(self) -> None:
        """Send the queue, and leave the federation; the next message joins again.

        It may wait up to `JOIN_TIMEOUT` seconds.
        """
        self.finish(JOIN_TIMEOUT)
        self._membership.leave(self)
