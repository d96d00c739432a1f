"""The threads of a node: loops, which have a turn when a descriptor is ready, and the sender.

The owner of a thread decides what is done in a turn. Nothing here knows sockets.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence

from ...local.process.logs import log

Ready = Sequence[tuple[int, int]]
"""Descriptors that are ready, each with its events."""
Turn = Callable[[Ready], float | None]
Handler = Callable[[], object]
"""Called when a descriptor is ready."""
FOREVER = -1.0
"""A timeout: wait until a descriptor is ready."""


class NodeThread(threading.Thread):
    """A thread that can tell whether the caller runs in it."""

    number = 0
    """By `threading.get_ident`; 0 before it runs."""

    @property
    def current(self) -> bool:
        """Whether the caller runs in this thread."""
        return self.number == threading.get_ident()


class Loop(NodeThread):
    """A thread that waits for descriptors and takes turns until one is the last.

    Args:
        name: of the thread.
        wait: returns the descriptors that are ready, after the given seconds at most.
        turn: called with the descriptors that are ready, perhaps none. Returns how many seconds the
            next wait may take; None if this was the last turn.
        last: called after the last turn.
    """

    def __init__(
        self,
        name: str,
        wait: Callable[[float], Ready],
        turn: Turn,
        last: Callable[[], None],
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._wait = wait
        self._turn = turn
        self._last = last

    def run(self) -> None:
        """Take turns; one that fails does not end the thread."""
        self.number = threading.get_ident()
        wait, turn = self._wait, self._turn
        patience: float | None = 0.0
        while patience is not None:
            try:
                patience = turn(wait(patience))
            except BaseException:  # SystemExit too: it would end the thread silently
                log.exception("the thread %s failed and goes on", self.name)
                time.sleep(0.05)
                patience = 0.0
        self._last()


class Sender(NodeThread):
    """A thread that sends queued messages when it is asked to.

    Args:
        send: called when asked; returns the seconds after which to call it again, or 0.
    """

    def __init__(self, send: Callable[[], float]) -> None:
        super().__init__(name="zexchange-sender", daemon=True)
        self._send = send
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def ask(self) -> None:
        """Have queued messages sent. Any thread, even from a signal handler."""
        self._asked.put(True)

    def end(self) -> None:
        """End the thread, after all that it was asked before."""
        self._asked.put(False)

    def run(self) -> None:
        """Send when asked; a send that fails does not end the thread."""
        self.number = threading.get_ident()
        while self._asked.get():
            try:
                while seconds := self._send():
                    time.sleep(seconds)
            except BaseException:
                log.exception("the thread %s failed and goes on", self.name)
