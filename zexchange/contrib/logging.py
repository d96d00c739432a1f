"""The log records of all processes in one logger: a handler sends them, a listener receives them.

Every process adds a handler. One process listens, and passes the records to a logger::

    logging.getLogger().addHandler(ExchangeHandler("shop"))      # in each worker

    with ExchangeListener("shop", logging.getLogger("shop")):    # in one process
        ...

Some records are not sent, so that none goes round in circles: those that have arrived from other
processes, those that are logged while one of these is handled, and those of zexchange itself, which
may be about the sending of records.
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
"""Records that may wait for the listener's thread. At the limit, senders wait."""
_handling = threading.local()


class ExchangeHandler(logging.Handler):
    """A handler that sends each record to all listeners, in any process of a federation.

    A thread that logs never waits, whatever locks are held, and even directly after a fork. With
    the first record, another thread begins to join the federation. Until it has joined, up to
    10,000 records are held; they are sent first. If nobody listens, nothing is sent.

    The text of a record is formatted in the process that logs it. If that fails,
    `logging.Handler.handleError` is called. A value in ``extra=`` that cannot be sent arrives as
    its text.

    After `close`, the next record joins the federation again: ``logging.config`` also closes
    handlers that stay attached.

    Args:
        federation: the name of the federation to join with the first record.
        exchange: the name of the exchange that carries the records.
        level: records below this level are not sent.
        node: a node of the program's own, to use instead of ``federation``.
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
        self._outbox = Outbox(
            membership, membership.registry.get(exchange), lambda r: self.handleError(r)
        )

    @property
    def dropped(self) -> int:
        """How many records were dropped, because too many were held, or for too long."""
        return self._outbox.dropped

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record; called by the logging package on the thread that logs."""
        if record.name.partition(".")[0] == "zexchange" or hasattr(record, ARRIVED):
            return
        if getattr(_handling, "record", False):
            return
        try:
            self._outbox.send(fields_of(record, _process.id), record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Send the held records and leave the federation.

        Called by `logging.shutdown` and ``logging.config``.
        """
        self._outbox.close()
        super().close()


class ExchangeListener:
    """Passes the records of all other processes to a logger, on a thread of its own.

    Use it in a ``with`` block, or call `start` and `stop`. Records of this process are left out,
    since they have reached its loggers already. Each record that is passed on has an attribute
    ``zexchange_arrived``. A forked child does not listen.

    Args:
        federation: the name of the federation to join.
        logger: gets the records that are enabled by its level; the root logger if None.
        exchange: the name of the exchange that carries the records.
        node: a node of the program's own, to use instead of ``federation``.
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
        self._pid = os.getpid()
        self.rejected = 0
        """How many messages arrived that are no log records; the first is logged as a warning."""

    def start(self) -> None:
        """Listen: records that are logged elsewhere after this returns are received.

        Does nothing if it listens already. In a running event loop it does not wait until the
        subscription is in force at every peer.

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
        """Stop listening, and leave the federation; records that have arrived are passed on."""
        task, self._task = self._task, None
        if task is not None:
            self._exchange.detach(self)
            self._membership.leave()
            task.close()

    def send(self, fields: Any) -> None:
        """Pass a record to the listener's thread; called by the exchange, as of any task.

        Records of this process are left out here already: they come on a thread that logs, which
        must not wait for room.
        """
        task = self._task
        if self._pid != os.getpid():
            self._renounce()
        elif task is not None and not (is_mapping(fields) and fields.get(PROCESS) == _process.id):
            task.send(fields)

    def _handle(self, fields: dict[str, Any]) -> None:
        """Pass one record to the logger; called by the listener's thread."""
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
        """Detach in a forked child, which has inherited the task but is no listener."""
        task, self._task = self._task, None
        if task is not None:
            self._exchange.detach(self)

    def __enter__(self) -> "ExchangeListener":
        self.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self.stop()


class _Process:
    """A random id of this process; a forked child gets another one."""

    def __init__(self) -> None:
        track(self)._after_fork()

    def _after_fork(self) -> None:
        self.id = uuid.uuid4().hex


_process = _Process()
