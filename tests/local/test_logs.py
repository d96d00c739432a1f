"""What the package logs: said by a thread of its own, as if it were logged where it was said."""

import _thread
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import PATIENCE, eventually
from zexchange.local.process import logs
from zexchange.local.process.logs import Log


class Handler(logging.Handler):
    """Lists what it is given, after doing what a test wants."""

    def __init__(self, act: Any = None) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.act = act

    def emit(self, record: logging.LogRecord) -> None:
        if self.act is not None:
            self.act(record)
        self.records.append(record)

    def texts(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def log() -> Log:
    return Log("zexchange-log")


@pytest.fixture
def handler() -> Iterator[Handler]:
    logger, handler = logging.getLogger("zexchange"), Handler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_a_record_shows_where_it_was_said(log: Log, handler: Handler) -> None:
    """The place, the thread and the exception, though another thread hands it on."""
    try:
        raise ValueError("bad")
    except ValueError:
        log.exception("failed with %d", 3)
    log.flush()
    (record,) = handler.records
    assert record.getMessage() == "failed with 3"
    assert (record.levelname, record.name) == ("ERROR", "zexchange")
    assert (record.filename, record.funcName) == (
        "test_logs.py",
        "test_a_record_shows_where_it_was_said",
    )
    assert record.threadName == threading.current_thread().name
    assert record.thread == threading.get_ident()
    assert record.exc_info
    assert isinstance(record.exc_info[1], ValueError)


def test_records_keep_their_order_and_no_thread_stays(log: Log, handler: Handler) -> None:
    """A burst is said in order; then the thread ends."""
    for n in range(100):
        log.info("%d", n)
        log.warning("%d", n)
    eventually(lambda: len(handler.records) == 200)
    assert handler.texts() == [str(n) for n in range(100) for _ in range(2)]
    eventually(lambda: not [t for t in threading.enumerate() if t.name == "zexchange-log"])


def test_what_nobody_wants_starts_no_thread(
    log: Log, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the logger's level, and where logging is disabled."""
    monkeypatch.setattr(log, "wake", lambda: pytest.fail("a thread for nothing"))
    logging.getLogger("zexchange").setLevel(logging.ERROR)
    log.warning("unwanted")
    logging.disable(logging.ERROR)
    try:
        log.error("unwanted")
    finally:
        logging.disable(logging.NOTSET)


def test_nobody_is_held_up_by_loggings_own_lock(log: Log, handler: Handler) -> None:
    """As `logging.config` has it while it constructs handlers: it is said behind that."""
    said = threading.Event()

    def say() -> None:
        log.warning("meanwhile")
        said.set()

    logger = logging.getLogger("zexchange")
    logging._acquireLock() if hasattr(logging, "_acquireLock") else logging._lock.acquire()  # type: ignore[attr-defined]
    try:
        logger.setLevel(logging.INFO)  # empties what loggers remember of levels
        threading.Thread(target=say).start()
        assert said.wait(PATIENCE)
        assert handler.records == []
    finally:
        logging._releaseLock() if hasattr(logging, "_releaseLock") else logging._lock.release()  # type: ignore[attr-defined]
    eventually(lambda: handler.texts() == ["meanwhile"])


def test_a_handler_that_does_not_return_holds_nobody_up(
    log: Log, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many records wait for it, and how many were dropped is told when it does return."""
    monkeypatch.setattr(logs, "WAITING", 50)
    go_on = threading.Event()
    handler.act = lambda record: go_on.wait(PATIENCE)
    log.warning("first")
    eventually(log._turn.locked)
    eventually(lambda: not log.waiting)
    for n in range(logs.WAITING + 7):
        log.warning("%d", n)
    log.flush()
    go_on.set()
    eventually(lambda: len(handler.records) == logs.WAITING + 2)
    assert handler.texts()[-1] == "7 records were not logged: handlers took too long"


def test_a_handler_may_log_and_flush(log: Log, handler: Handler) -> None:
    """It is on the thread that says, and waits for nobody."""

    def act(record: logging.LogRecord) -> None:
        if len(handler.records) < 3:
            log.warning("again")
            log.flush()

    handler.act = act
    log.warning("first")
    eventually(lambda: handler.texts() == ["first", "again", "again", "again"])


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_a_filter_that_raises_ends_nothing(
    log: Log, handler: Handler, error: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is shown on stderr, and what follows is said."""

    def judge(record: logging.LogRecord) -> bool:
        if record.msg == "bad":
            raise error("rude")
        return True

    handler.addFilter(judge)
    log.warning("bad")
    log.warning("good")
    eventually(lambda: handler.texts() == ["good"])
    assert "rude" in capsys.readouterr().err


def test_without_a_thread_it_is_said_later(
    log: Log, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be started, the next record takes along what waits."""

    def none_left(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", none_left)
        log.warning("first")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        log.warning("second")
        eventually(lambda: not log._coming)
    log.warning("third")
    eventually(lambda: handler.texts() == ["first", "second", "third"])


def test_a_forked_child_says_what_is_its_own(log: Log, handler: Handler) -> None:
    """What waited in the parent is said there."""
    go_on = threading.Event()
    handler.act = lambda record: go_on.wait(PATIENCE)
    log.warning("parent's")
    eventually(log._turn.locked)
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        handler.act = lambda record: os.write(write, record.getMessage().encode())
        log.warning("child's")
        log.flush()
        os._exit(0)
    go_on.set()
    os.waitpid(pid, 0)
    assert os.read(read, 100) == b"child's"
    eventually(lambda: handler.texts() == ["parent's"])
    os.close(read)
    os.close(write)
