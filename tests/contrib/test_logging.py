"""Log records between processes: what survives, what is not sent, and what becomes of errors."""

import logging
import logging.handlers
import queue
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import PATIENCE, Program, eventually
from zexchange import Lost, Node, Registry, federate
from zexchange.contrib.logging import ExchangeHandler, ExchangeListener
from zexchange.contrib.records import fields_of
from zexchange.local.process.logs import log

pytestmark = pytest.mark.sockets


class Kept(logging.Handler):
    """A handler that lists what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.failed: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def texts(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of this test's own, with a handler that keeps."""
    logger = logging.Logger("collected", logging.DEBUG)
    yield logger
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()


@pytest.fixture
def node(rendezvous: Path) -> Iterator[Node]:
    with federate("logs", registry=Registry()) as node:
        yield node


def keep(logger: logging.Logger) -> Kept:
    kept = Kept()
    logger.addHandler(kept)
    return kept


WORKER = """
import logging, decimal
from zexchange.contrib.logging import ExchangeHandler

class Thing:
    def __str__(self): return "a thing"

logging.basicConfig(handlers=[ExchangeHandler("fed")], level=logging.DEBUG)
log = logging.getLogger("shop.till")
log.info("%d of %s at %s", 3, "bicycles", decimal.Decimal("1.50"), extra={"customer": ("Ada", 7)})
log.warning("%(what)s", {"what": 1.5})
log.error("saw %s", Thing())
log.critical(Thing())
try:
    {}["missing"]
except KeyError:
    log.exception("failed")
log.debug("stack", stack_info=True)
logging.getLogger("zexchange").error("about itself")
logging.getLogger("zexchange.net").error("about itself")
log.info("last")
"""


def test_what_survives(rendezvous: Path, logger: logging.Logger) -> None:
    """Level, name, place, text, extra and traceback arrive; objects arrive as their text."""
    kept = keep(logger)
    with ExchangeListener("fed", logger), Program(WORKER) as worker:
        eventually(lambda: kept.texts()[-1:] == ["last"])
        pid = worker.pid
    first, second, third, fourth, failed, stack, last = kept.records
    assert (first.name, first.levelname, first.process) == ("shop.till", "INFO", pid)
    assert (first.msg, first.args) == ("3 of bicycles at 1.50", None)
    assert first.customer == ("Ada", 7)  # type: ignore[attr-defined]
    assert first.getMessage() == "3 of bicycles at 1.50"
    assert (second.args, second.getMessage()) == (None, "1.5")
    assert (third.getMessage(), fourth.getMessage()) == ("saw a thing", "a thing")
    assert failed.exc_text is not None
    assert failed.exc_text.startswith("Traceback")
    assert failed.exc_text.endswith("KeyError: 'missing'")
    assert failed.exc_text in logging.Formatter().format(failed)
    assert stack.stack_info
    assert last.zexchange_arrived is True  # type: ignore[attr-defined]
    assert last.funcName == "<module>"


def test_the_loggers_level_is_minded(rendezvous: Path, logger: logging.Logger) -> None:
    """A listener's logger gets only what its level lets pass."""
    kept = keep(logger)
    logger.setLevel(logging.ERROR)
    with ExchangeListener("fed", logger), Program(WORKER):
        eventually(lambda: len(kept.records) >= 3)
    assert {record.levelname for record in kept.records} == {"ERROR", "CRITICAL"}


def test_a_record_that_cannot_be_sent(node: Node, logger: logging.Logger) -> None:
    """A text that cannot be formatted is dealt with by handleError; an object goes as its text."""
    other = Registry()
    failed: list[logging.LogRecord] = []
    handler = ExchangeHandler(node=node)
    handler.handleError = failed.append  # type: ignore[method-assign]
    logger.addHandler(handler)
    with federate("logs", registry=other) as there, other.get("logs").record() as heard:
        there.wait_ready()
        logger.info("with a handle", extra={"handle": Registry, "seen": [1, {"two": Registry}]})
        logger.info("%d", "no number")
        logger.info("good")
        eventually(lambda: len(heard) > 1)
    assert [fields["msg"] for fields in heard] == ["with a handle", "good"]
    assert (heard[0]["handle"], heard[0]["seen"]) == (str(Registry), str([1, {"two": Registry}]))
    assert [record.msg for record in failed] == ["%d"]


def test_what_is_no_record_is_counted(
    node: Node, logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody in the federation may send anything: records go on, and one warning tells of it."""
    kept, other = keep(logger), Registry()
    record = logging.LogRecord("shop", logging.INFO, "till.py", 7, "good", None, None)
    with ExchangeListener(node=node, logger=logger) as listener:
        with federate("logs", registry=other) as there:
            there.wait_subscribers("logs", 1, 30)
            for junk in (None, "text", {"msg": "%500000000d", "args": (1,)}):
                other.get("logs").send(junk)
            other.get("logs").send(fields_of(record, "another process"))
            eventually(lambda: kept.texts() == ["good"])
        assert listener.rejected == 3
    log.flush()
    assert caplog.text.count("not taken for a log record on 'logs'") == 1


TALKER = """
import logging
from zexchange.contrib.logging import ExchangeHandler, ExchangeListener

class Chatty(logging.Handler):
    "Keeps everything, and logs about it, as a handler with a library behind it does."
    records = []
    def emit(self, record):
        if record.name in "abc":
            self.records.append((record.name, hasattr(record, "zexchange_arrived")))
            logging.getLogger("about").warning("handled %s", record.name)

me = sys.argv[1]
logging.basicConfig(handlers=[Chatty(), ExchangeHandler("fed")], level=logging.INFO)
with ExchangeListener("fed"):
    print("up", flush=True)
    sys.stdin.readline()
    logging.getLogger(me).info("hello")
    eventually(lambda: len(Chatty.records) >= 3)
    print(sorted(Chatty.records), flush=True)
    sys.stdin.readline()
    print(len(Chatty.records), flush=True)
"""


def test_records_go_in_no_circle(rendezvous: Path) -> None:
    """Where all send and all listen, each record is handled once in each process."""
    names = ["a", "b", "c"]
    started = [Program(TALKER, name) for name in names]
    failed = True
    try:
        for program in started:
            program.expect("up")
        for program in started:
            program.say()
        for program, me in zip(started, names, strict=True):
            program.expect(str([(name, name != me) for name in names]))
        for program in started:
            program.say()
        for program in started:
            program.expect("3")
        failed = False
    finally:
        for program in started:
            program.finish(failed)


def test_a_record_that_has_arrived_is_not_sent_again(node: Node, logger: logging.Logger) -> None:
    """Also by another thread than the listener's, as where it goes through a queue."""
    other, waiting = Registry(), queue.SimpleQueue[Any]()
    logger.addHandler(logging.handlers.QueueHandler(waiting))
    handler = ExchangeHandler(node=node)
    with ExchangeListener(node=node, logger=logger), federate("logs", registry=other) as there:
        there.wait_subscribers("logs", 1)
        with other.get("logs").record() as heard:
            there.wait_ready()
            theirs, ours = (
                logging.LogRecord("shop", logging.INFO, "till.py", 7, text, None, None)
                for text in ("theirs", "ours")
            )
            other.get("logs").send(fields_of(theirs, "there"))
            handler.handle(waiting.get(timeout=PATIENCE))
            handler.handle(ours)
            eventually(lambda: any(fields["msg"] == "ours" for fields in heard))
    assert [fields["msg"] for fields in heard] == ["theirs", "ours"]
    handler.close()


FORKING = """
import logging
from zexchange.contrib.logging import ExchangeHandler, ExchangeListener
tell = lambda *words: os.write(1, (" ".join(map(str, words)) + "\\n").encode())

class Telling(logging.Handler):
    def emit(self, record):
        tell(os.getpid() == parent, record.getMessage())

parent = os.getpid()
logger = logging.Logger("collected")
logger.addHandler(Telling())
log = logging.getLogger("worker")
log.addHandler(ExchangeHandler("fed"))
with ExchangeListener("fed", logger):
    for n in range(3):
        if os.fork() == 0:
            log.warning("hello from %d", n)
            from zexchange import federate
            federate("fed").flush()
            sys.stdin.read()
            os._exit(0)
    sys.stdin.read()
"""


@pytest.mark.leaves_files
def test_forked_workers(rendezvous: Path) -> None:
    """Children of a process that listens log to it, and do not listen themselves."""
    with Program(FORKING) as program:
        lines = sorted(program.line() for _ in range(3))
        assert lines == [f"True hello from {n}" for n in range(3)]


CONFIGURED = """
import logging.config
began = time.monotonic()
for again in range(2):  # the second time, dictConfig closes what the first has made
    logging.config.dictConfig({
        "version": 1,
        "handlers": {
            "all": {"class": "zexchange.contrib.logging.ExchangeHandler", "federation": "fed"}},
        "root": {"handlers": ["all"], "level": "DEBUG"},
        "disable_existing_loggers": False,
    })
    logging.getLogger("app").warning("hello %d", again)
"""


def test_dict_config(rendezvous: Path, logger: logging.Logger) -> None:
    """Handlers are constructed, and closed, with logging's own lock held, while peers are there."""
    kept = keep(logger)
    with ExchangeListener("fed", logger), Program(CONFIGURED):
        eventually(lambda: kept.texts() == ["hello 0", "hello 1"])


CLOSED = """
import logging
from zexchange.contrib.logging import ExchangeHandler
log, handler = logging.getLogger("shop"), ExchangeHandler("fed")
log.addHandler(handler)
log.warning("before")
handler.close()
log.warning("after")
"""


def test_a_handler_that_was_closed_goes_on(rendezvous: Path, logger: logging.Logger) -> None:
    """As those of logging itself do: uvicorn closes every handler that is attached."""
    kept = keep(logger)
    with ExchangeListener("fed", logger), Program(CLOSED):
        eventually(lambda: kept.texts() == ["before", "after"])


ROOT_AT_INFO = """
import logging, multiprocessing
from zexchange.contrib.logging import ExchangeHandler

def work(n):
    logging.getLogger("worker").info("hello from %d", n)

logging.basicConfig(handlers=[ExchangeHandler("fed")], level=logging.INFO)
work(0)
if sys.argv[1] == "fork":
    for n in range(1, 4):
        if os.fork() == 0:
            work(n)
            from zexchange import federate
            federate("fed").flush()
            os._exit(0)
        os.wait()
else:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=[n]) for n in range(1, 4)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
"""


@pytest.mark.leaves_files
@pytest.mark.parametrize("how", ["fork", "multiprocessing"])
def test_forked_workers_at_info(rendezvous: Path, logger: logging.Logger, how: str) -> None:
    """What a child's node logs of itself holds nobody up, and its first record arrives."""
    kept = keep(logger)
    with ExchangeListener("fed", logger), Program(ROOT_AT_INFO, how):
        eventually(lambda: len(kept.records) >= 4)
    assert sorted(kept.texts()) == [f"hello from {n}" for n in range(4)]


def test_who_logs_does_not_wait_for_a_listener(
    rendezvous: Path, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in the same process, whose thread is held up, has no use for these records."""
    monkeypatch.setattr("zexchange.contrib.logging.WAITING", 2)
    with federate("fed", registry=Registry()) as node:
        log, handler = logging.Logger("mine"), ExchangeHandler(node=node)
        log.addHandler(handler)
        with ExchangeListener(logger=logger, node=node) as listener:
            monkeypatch.setattr(listener, "_handle", lambda fields: time.sleep(PATIENCE))
            for n in range(10):
                log.warning("%d", n)
            assert listener._task is not None
            assert listener._task.stats().received == 0
        handler.close()


def test_nothing_is_lost_in_a_flood(rendezvous: Path, logger: logging.Logger) -> None:
    """Records come faster than they are handled, and all come, in order."""
    flood = """
import logging
from zexchange import federate
from zexchange.contrib.logging import ExchangeHandler
log = logging.getLogger("flood")
log.addHandler(ExchangeHandler("fed"))
with federate("fed"):
    for n in range(30_000):
        log.warning("%d", n)
"""
    kept = keep(logger)
    events: list[Any] = []
    with federate("fed") as node, ExchangeListener(logger=logger, node=node), Program(flood):
        node.events.handler(events.append)
        eventually(lambda: len(kept.records) >= 30_000)
    assert kept.texts() == [str(n) for n in range(30_000)]
    assert not [event for event in events if isinstance(event, Lost)]


def test_a_listener_that_has_not_started_takes_nothing(rendezvous: Path) -> None:
    """It may be attached to a further exchange before: senders there get no error."""
    listener = ExchangeListener("fed")
    assert listener.send({"msg": "early"}) is None
    assert listener.rejected == 0
