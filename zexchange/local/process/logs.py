"""What this package logs, handed to logging by a thread of its own.

A logging handler is a user's code: it takes a lock that other threads hold while they wait
for us, asks a node for its peers, or does not return for a minute; `logging.config` constructs
handlers with logging's own lock held. So the thread that has something to say only queues it,
whatever locks it holds, and `zexchange-log` says it. Nothing here knows what is said, or why.
"""

import _thread
import logging
import sys
import threading
import time
import traceback
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from types import CodeType, TracebackType
from typing import Any

from .fork import track

WAITING = 1000
"""Records that may wait for handlers; more are dropped, and counted."""
FLUSHING = 0.5
"""Seconds that `Log.flush` waits for handlers."""
Failure = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
_logger = logging.getLogger("zexchange")


@dataclass(frozen=True, slots=True)
class _Said:
    """One record, with what only the thread knows that has said it."""

    level: int
    text: str
    args: tuple[Any, ...]
    failure: Failure | None
    code: CodeType
    line: int
    at: float
    thread: int
    thread_name: str


class Log:
    """Takes what is to be logged. Every method but `flush` may be called with any lock held."""

    def __init__(self) -> None:
        track(self)._after_fork()

    def _after_fork(self) -> None:
        """Leave to the parent what it has still to say."""
        self._said: deque[_Said] = deque()
        self._turn = threading.Lock()
        self._counting = threading.RLock()
        self._speaker = 0
        self._coming = False
        self._dropped = 0

    def info(self, text: str, *args: object) -> None:
        """Log something that is as it should be."""
        self._say(logging.INFO, text, args)

    def warning(self, text: str, *args: object) -> None:
        """Log something that somebody may have to look at."""
        self._say(logging.WARNING, text, args)

    def error(self, text: str, *args: object) -> None:
        """Log something that somebody has to look at."""
        self._say(logging.ERROR, text, args)

    def exception(self, text: str, *args: object) -> None:
        """Log an error, and with it the exception that is being handled."""
        self._say(logging.ERROR, text, args, sys.exc_info())

    def _say(
        self, level: int, text: str, args: tuple[Any, ...], failure: Failure | None = None
    ) -> None:
        # `isEnabledFor` would ask for logging's own lock now and then.
        if level < _logger.getEffectiveLevel() or level <= _logger.manager.disable:
            return
        if len(self._said) >= WAITING:
            with self._counting:
                self._dropped += 1
            return
        frame, here = sys._getframe(2), threading.current_thread()
        code, line = frame.f_code, frame.f_lineno
        ident = here.ident or 0
        said = _Said(level, text, args, failure, code, line, time.time(), ident, here.name)
        self._said.append(said)
        self._wake()

    def _wake(self) -> None:
        """Have a thread say what is queued; if one has the turn, it looks again after that."""
        if self._coming or self._turn.locked():
            return
        self._coming = True
        try:
            # In two steps, since `Thread.start` waits for the thread, which may run a
            # finaliser first that waits for a lock of ours.
            _thread.start_new_thread(self._start, ())
        except RuntimeError:  # no more threads: the next one, or `flush`, says it
            self._coming = False

    def _start(self) -> None:
        try:
            threading.Thread(target=self._run, name="zexchange-log", daemon=True).start()
        except RuntimeError:
            self._coming = False

    def _run(self) -> None:
        self._coming = False
        try:
            self._speak()
        except BaseException:  # SystemExit of a handler, for instance: nothing else is to end
            _complain()
            self._wake()

    def _speak(self) -> None:
        """Hand on all there is, one thread at a time."""
        while self._said or self._dropped:
            if not self._turn.acquire(False):
                return
            self._speaker = threading.get_ident()
            try:
                while self._said:
                    _hand_on(self._said.popleft())
                if self._dropped:
                    self._tell_dropped()
            finally:
                self._speaker = 0
                self._turn.release()

    def flush(self) -> None:
        """Wait until what was said is logged, but not for long. No lock is held then.

        Handlers are not called here: the caller may have a lock of its own, and they want it.
        Only as the program ends they are, for from Python 3.12 on no thread starts then.
        """
        until = time.monotonic() + FLUSHING
        while (self._said or self._turn.locked()) and time.monotonic() < until:
            if self._speaker == threading.get_ident():
                return
            self._wake()
            if not self._coming and not threading.main_thread().is_alive():
                self._speak()
            time.sleep(0.001)

    def _tell_dropped(self) -> None:
        with self._counting:
            dropped, self._dropped = self._dropped, 0
        self.warning("%d records were not logged: handlers took too long", dropped)


def _hand_on(said: _Said) -> None:
    """Give a record to the handlers, as if it were logged where it was said."""
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
    except Exception:  # of a filter, or a handler without manners
        _complain()


def _complain() -> None:
    """Show on stderr what a handler has raised, as logging does."""
    if logging.raiseExceptions and sys.stderr:
        with suppress(Exception):
            traceback.print_exc()


log = Log()
"""The logger ``zexchange``, for whoever may hold a lock, or must not be held up."""
