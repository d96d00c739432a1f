"""The log records of all processes, in one logger: a handler that sends, a listener that receives.

Every process adds a handler; one of them listens, and hands what comes to a logger::

    logging.getLogger().addHandler(ExchangeHandler("shop"))      # in each worker

    with ExchangeListener("shop", logging.getLogger("shop")):    # in one process
        ...

No record is sent twice: not one that arrived, nor one that was logged while an arrived one
was handled, nor those of zexchange itself, which would be about their own sending.
"""

import logging
import os
import threading
import uuid
from typing import Any

from .. import Exchange, to_call, to_thread
from ..kinds import is_mapping
from ..local.process.fork import track
from ..local.process.logs import log
from .membership import AnyNode, Membership
from .outbox import Outbox
from .records import ARRIVED, PROCESS, fields_of, record_of

WAITING = 10_000
"""Records that may wait for the listener's thread. With more, whoever sends waits."""
_handling = threading.local()


class ExchangeHandler(logging.Handler):
    """A handler that sends each record to whoever listens, in any process of a federation.

    Whoever logs never waits, whatever is held or has just been forked: a thread joins when the
    first record is there, and records until then are held, up to a bound, and sent first of all.
    The text of a record is formatted here; where that fails, `logging.Handler.handleError` is
    called. A value in ``extra=`` that cannot travel arrives as its text. Where nobody listens,
    nothing is sent. After `close`, as ``logging.config`` calls it for handlers that stay attached,
    too, the next record joins anew.

    Args:
        federation: the name of the federation to join, with the first record.
        exchange: the name of the exchange that carries the records.
        level: of records below it nothing is sent.
        node: a node of the program's own instead of ``federation``.
    """

    def __init__(
        self,
        federation: str | None = None,
        exchange: str = "logs",
        level: int | str = logging.NOTSET,
        *,
        node: AnyNode | None = None,
    ) -> None:
        super().__init__(level)
        membership = Membership(federation, node, exchange)
        self._outbox = Outbox(membership, membership.registry.get(exchange), self._failed)

    @property
    def dropped(self) -> int:
        """How many records were dropped because the federation was not joined in time."""
        return self._outbox.dropped

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record; called by logging, on the thread that logs."""
        if record.name.partition(".")[0] == "zexchange" or hasattr(record, ARRIVED):
            return
        if getattr(_handling, "record", False):
            return
        try:
            self._outbox.send(fields_of(record, _process.id), record)
        except Exception:
            self.handleError(record)

    def _failed(self, record: logging.LogRecord) -> None:
        self.handleError(record)

    def close(self) -> None:
        """Send what is held, and leave; called by `logging.shutdown` and ``logging.config``."""
        self._outbox.close()
        super().close()


class ExchangeListener:
    """Hands the records of all other processes to a logger, on a thread of its own.

    Use it in a ``with`` block, or call `start` and `stop`. Records of this process are left
    out: they have reached its loggers already. Arrived ones have an attribute
    ``zexchange_arrived``. A forked child does not listen.

    Args:
        federation: the name of the federation to join.
        logger: who gets the records that its level lets pass; the root logger if None.
        exchange: the name of the exchange that carries them.
        node: a node of the program's own instead of ``federation``.
    """

    def __init__(
        self,
        federation: str | None = None,
        logger: logging.Logger | None = None,
        exchange: str = "logs",
        *,
        node: AnyNode | None = None,
    ) -> None:
        self._membership = Membership(federation, node, exchange)
        self._exchange: Exchange[dict[str, Any]] = self._membership.registry.get(exchange)
        self._logger = logger or logging.getLogger()
        self._task: to_thread | None = None
        self.rejected = 0
        """How many messages arrived that are no records; the first is told in a warning."""
        self._pid = os.getpid()

    def start(self) -> None:
        """Listen from here on: who logs after this returns is heard.

        Raises:
            ExchangeError: the federation cannot be joined.
        """
        if self._task is None:
            self._pid = os.getpid()
            self._task = to_thread(to_call(self._handle), WAITING)
            self._exchange.attach(self)
            self._membership.attached()
            self._membership.enter()

    def stop(self) -> None:
        """Listen no more, and leave the federation; what has come is still handed on."""
        task, self._task = self._task, None
        if task is not None:
            self._exchange.detach(self)
            self._membership.leave()
            task.close()

    def send(self, fields: Any) -> None:
        """Leave a record for the thread; called by the node that it has arrived at.

        Not one of this process, which is sent by whoever logs: that must not wait for room.
        """
        task = self._task
        if self._pid != os.getpid():
            self._renounce()
        elif task is not None and not (is_mapping(fields) and fields.get(PROCESS) == _process.id):
            task.send(fields)

    def _handle(self, fields: dict[str, Any]) -> None:
        """Hand one record on; called by the thread."""
        try:
            record = record_of(fields)
        except ValueError as error:
            self.rejected += 1
            if self.rejected == 1:
                log.warning("not taken for a log record on %r: %s", self._exchange.name, error)
            return
        if self._logger.isEnabledFor(record.levelno):
            _handling.record = True
            try:
                self._logger.handle(record)
            finally:
                _handling.record = False

    def _renounce(self) -> None:
        """In a forked child, which has inherited the task and is no listener: ask for no more."""
        task, self._task = self._task, None
        if task is not None:
            self._exchange.detach(self)

    def __enter__(self) -> "ExchangeListener":
        """Start."""
        self.start()
        return self

    def __exit__(self, *reason: object) -> None:
        """Stop."""
        self.stop()


class _Process:
    """What tells this process from all others; a forked child is another one."""

    def __init__(self) -> None:
        track(self)._after_fork()

    def _after_fork(self) -> None:
        self.id = uuid.uuid4().hex


_process = _Process()
