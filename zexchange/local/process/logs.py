"""Log records of this package, given to `logging` by a thread of its own.

A logging handler is a user's code. It takes a lock that other threads may hold while they wait for
us, asks a node for its peers, or does not return for a minute; and `logging.config` constructs
handlers with the lock of `logging` held. So the thread that logs only queues a record, whatever
locks it holds, and the thread ``zexchange-log`` calls the handlers. Nothing here knows the contents
of the records.
"""

import logging
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from types import CodeType, TracebackType
from typing import Any

from .worker import Worker

WAITING = 1000
"""How many records may wait for handlers; further ones are dropped and counted."""
FLUSHING = 0.5
"""Seconds for which `Log.flush` waits for handlers."""
Failure = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
_logger = logging.getLogger("zexchange")


@dataclass(frozen=True, slots=True)
class _Said:
    """One record, and its origin, which only the thread that made it knows."""

    level: int
    text: str
    args: tuple[Any, ...]
    failure: Failure | None
    code: CodeType
    line: int
    at: float
    thread: int
    thread_name: str


class Log(Worker[_Said]):
    """Takes records. Every method but `flush` may be called with any lock held."""

    def _after_fork(self) -> None:
        """Leave waiting records to the parent."""
        self.waiting.clear()
        self._counting = threading.RLock()
        self._dropped = 0
        super()._after_fork()

    def info(self, text: str, *args: object) -> None:
        """Log normal operation."""
        self._say(logging.INFO, text, args)

    def warning(self, text: str, *args: object) -> None:
        """Log a condition that somebody may have to look at."""
        self._say(logging.WARNING, text, args)

    def error(self, text: str, *args: object) -> None:
        """Log a condition that somebody has to look at."""
        self._say(logging.ERROR, text, args)

    def exception(self, text: str, *args: object) -> None:
        """Log an error together with the exception that is being handled."""
        self._say(logging.ERROR, text, args, sys.exc_info())

    def _say(
        self, level: int, text: str, args: tuple[Any, ...], failure: Failure | None = None
    ) -> None:
        # Not `isEnabledFor`, which now and then takes the lock of `logging`.
        if level < _logger.getEffectiveLevel() or level <= _logger.manager.disable:
            return
        if len(self.waiting) >= WAITING:
            with self._counting:
                self._dropped += 1
            return
        frame, here = sys._getframe(2), threading.current_thread()
        code, line = frame.f_code, frame.f_lineno
        ident = here.ident or 0
        said = _Said(level, text, args, failure, code, line, time.time(), ident, here.name)
        self.waiting.append(said)
        self.wake()

    def _do(self, item: _Said) -> None:
        _hand_on(item)
        if self._dropped and not self.waiting:
            self._tell_dropped()

    def flush(self) -> None:
        """Wait up to `FLUSHING` seconds until queued records are logged.

        The caller holds no lock of ours, but may hold one of its own that the handlers want, so
        this does not call them. Only at the end of the program it does: from Python 3.12 on, no
        thread can start then.
        """
        until = time.monotonic() + FLUSHING
        while (self.waiting or self._turn.locked()) and time.monotonic() < until:
            if self._doer == threading.get_ident():
                return
            self.wake()
            if not self._coming and not threading.main_thread().is_alive():
                self.work()
            time.sleep(0.001)

    def _tell_dropped(self) -> None:
        with self._counting:
            dropped, self._dropped = self._dropped, 0
        self.warning("%d records were not logged: handlers took too long", dropped)


def _hand_on(said: _Said) -> None:
    """Give a record to the handlers as if the thread that made it had logged it itself."""
    if not _logger.isEnabledFor(said.level):
        return
    try:
        record = _logger.makeRecord(
            _logger.name, said.level, said.code.co_filename, said.line, said.text, said.args,
            said.failure, said.code.co_name,
        )  # fmt: skip
        record.relativeCreated += (said.at - record.created) * 1000
        record.created, record.msecs = said.at, said.at % 1 * 1000
        record.thread, record.threadName = said.thread, said.thread_name
        _logger.handle(record)
    except BaseException:  # raised by a filter or a handler: it must not end this thread
        if logging.raiseExceptions and sys.stderr:  # show it, as `logging` does
            with suppress(Exception):
                traceback.print_exc()


log = Log("zexchange-log")
"""Logs to ``zexchange``, for callers that may hold a lock or must not be delayed by handlers."""
