"""The adapters: callables, queues, async functions, threads, and the displaying task."""

import asyncio
import io
import multiprocessing
import queue
import subprocess
import sys
import threading

import pytest

from tests.support import eventually, patience
from zexchange.errors import Closed, MailboxFull, NotASubscriber
from zexchange.local import DisplayMessages, Registry, to_async, to_call, to_queue, to_thread
from zexchange.local.tasks import buffered


class Task:
    def __init__(self):
        self.got = []

    def send(self, msg):
        self.got.append(msg)


class Custom(BaseException):
    """No `Exception`, as some libraries have them."""


class Held(Task):
    """Keeps its thread until it is let go."""

    def __init__(self):
        super().__init__()
        self.inside = threading.Event()
        self.resume = threading.Event()

    def send(self, msg):
        self.inside.set()
        assert self.resume.wait(10)
        super().send(msg)


@pytest.fixture
def exchange():
    return Registry().get("x")


async def coroutine_function(msg):
    pass


def test_to_call_calls_and_is_the_handle_to_detach(exchange):
    """A plain callable becomes a task; an async one is refused by name of the adapter."""
    got = []
    task = to_call(got.append)
    exchange.attach(task)
    exchange.send(1)
    exchange.detach(task)
    exchange.send(2)
    assert got == [1]
    assert "append" in repr(task)
    for bad, advice in ((coroutine_function, "to_async"), (3, "callable")):
        with pytest.raises(NotASubscriber, match=advice):
            to_call(bad)


@pytest.mark.parametrize(
    "make", [queue.Queue, queue.SimpleQueue, multiprocessing.Queue, multiprocessing.SimpleQueue]
)
@pytest.mark.parametrize("overflow", ["block", "drop_oldest", "drop_newest", "error"])
def test_to_queue_fills_every_kind_of_queue(exchange, make, overflow):
    """Those of `queue` and of `multiprocessing`, with room, whatever the overflow."""
    q = make()
    with exchange.subscribe(to_queue(q, overflow=overflow)):
        exchange.send(1)
        exchange.send(2)
    assert [q.get(), q.get()] == [1, 2]
    for end in ("close", "join_thread"):
        getattr(q, end, lambda: None)()


@pytest.mark.parametrize(
    ("overflow", "kept", "dropped"), [("drop_oldest", [2, 3], 2), ("drop_newest", [0, 1], 2)]
)
def test_a_full_queue_drops_as_told_and_counts(exchange, overflow, kept, dropped):
    """What was dropped is not waited for by `join` either."""
    q = queue.Queue(2)
    task = to_queue(q, overflow=overflow)
    with exchange.subscribe(task):
        for n in range(4):
            exchange.send(n)
    assert task.dropped == dropped
    assert [q.get(), q.get()] == kept
    q.task_done()
    q.task_done()
    q.join()


def test_a_full_queue_may_be_an_error_or_block(exchange):
    """`error` raises MailboxFull to the sender; `block` has it wait for a reader."""
    q = queue.Queue(1)
    with exchange.subscribe(to_queue(q, overflow="error")):
        exchange.send(1)
        with pytest.raises(MailboxFull):
            exchange.send(2)
    with exchange.subscribe(to_queue(q)):
        thread = threading.Thread(target=exchange.send, args=(3,))
        thread.start()
        assert [q.get(timeout=10), q.get(timeout=10)] == [1, 3]
        thread.join(10)


def test_what_is_no_thread_safe_queue_is_refused():
    """An asyncio.Queue is pointed to to_async; nonsense is refused too."""
    with pytest.raises(NotASubscriber, match="to_async"):
        to_queue(asyncio.Queue())
    with pytest.raises(NotASubscriber, match="put"):
        to_queue([])
    with pytest.raises(ValueError, match="overflow"):
        to_queue(queue.Queue(), overflow="explode")


def test_to_thread_serves_in_order_on_its_own_thread(exchange):
    """The sender does not wait for the task; close waits until all is served."""
    held = Held()
    task = to_thread(held)
    exchange.attach(task)
    for n in range(5):
        exchange.send(n)
    assert held.inside.wait(10)
    assert held.got == []
    held.resume.set()
    task.close()
    assert held.got == [0, 1, 2, 3, 4]
    with pytest.raises(Closed):
        exchange.send(5)
    assert task.stats().received == 5


def test_the_end_of_a_program_waits_for_threads_while_others_begin(monkeypatch):
    """That there are more of them meanwhile is no error, and keeps nobody from being waited for."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    monkeypatch.setattr(buffered, "FINISHING", 0)
    over, kept = threading.Event(), [to_thread(Task()) for _ in range(20)]

    def begin():
        while not over.is_set():
            kept[0] = task = to_thread(Task())
            task.send(1)
            task.close()

    beginner = threading.Thread(target=begin)
    beginner.start()
    try:
        for task in kept[1:]:
            task.send(1)
        for _ in range(300):
            buffered.catch_up()
    finally:
        over.set()
        beginner.join()
        sys.setswitchinterval(interval)
        for task in kept:
            task.close()


def test_to_thread_starts_no_thread_before_the_first_message():
    """An adapter that is never used costs no thread, and closes at once."""
    before = threading.active_count()
    task = to_thread(Task())
    assert threading.active_count() == before
    task.close()


def test_errors_on_the_thread_are_logged_and_counted(exchange, caplog):
    """The thread lives on; an awaitable answer is an error there too."""
    got = []

    def call(msg):
        got.append(msg)
        if msg == 3:
            raise SystemExit
        if msg == 4:
            raise asyncio.CancelledError
        return coroutine_function(msg) if msg == 1 else 1 / msg

    task = to_thread(to_call(call))
    with exchange.subscribe(task):
        for n in (0, 1, 3, 4, 2):
            exchange.send(n)
        eventually(lambda: len(got) == 5)
    task.close()
    assert task.errors == 4
    assert "to_async" in caplog.text
    with pytest.raises(NotASubscriber):
        to_thread(object())


def test_a_generator_that_finishes_on_the_thread_closes_it(exchange):
    """It takes no more, and says so to the sender."""

    def one():
        yield

    generator = one()
    next(generator)
    task = to_thread(generator)
    task.send(1)
    eventually(lambda: task._mailbox.closed)
    with pytest.raises(Closed):
        task.send(2)


def test_a_full_thread_drops_as_told(exchange):
    """The bound is that of the mailbox."""
    held = Held()
    task = to_thread(held, maxsize=1, overflow="drop_newest")
    task.send(0)
    assert held.inside.wait(10)
    for n in (1, 2, 3):
        task.send(n)
    assert task.dropped == 2
    held.resume.set()
    task.close()
    assert held.got == [0, 1]


def test_to_async_awaits_in_order_on_its_loop(exchange, caplog):
    """From any thread, one at a time; an error is logged, counted, and ends nothing."""

    async def main():
        got, done, loop = [], asyncio.Event(), asyncio.get_running_loop()

        async def fn(msg):
            await asyncio.sleep(0)
            assert asyncio.get_running_loop() is loop
            got.append(msg)
            if msg == 99:
                done.set()
            if msg == 5:
                raise ValueError("five")
            if msg == 6:
                raise Custom

        task = to_async(fn, maxsize=10)
        with exchange.subscribe(task):
            thread = threading.Thread(target=lambda: [exchange.send(n) for n in range(100)])
            thread.start()
            await asyncio.wait_for(done.wait(), 10)
            thread.join(10)
        return got, task

    got, task = asyncio.run(main())
    assert got == list(range(100))
    assert task.errors == 2
    assert "five" in caplog.text


def test_after_its_loop_has_ended_messages_are_dropped_and_counted(exchange, caplog):
    """The sender is not bothered, the log says it once."""

    async def main():
        exchange.attach(to_async(coroutine_function))

    asyncio.run(main())
    exchange.send(1)
    exchange.send(2)
    (task,) = exchange.subscribers
    assert task.dropped == 2
    assert caplog.text.count("ended") == 1


def test_to_async_needs_a_running_loop_and_a_callable():
    """There is nothing to guess a loop from."""
    with pytest.raises(RuntimeError):
        to_async(coroutine_function)
    with pytest.raises(NotASubscriber):
        to_async(3)


def test_to_async_full_on_its_own_loop_is_an_error_not_a_hang(exchange):
    """A sender on the loop that would have to wait for itself gets MailboxFull."""

    async def main():
        task = to_async(coroutine_function, maxsize=1)
        await asyncio.sleep(0)
        task.send(1)
        with pytest.raises(MailboxFull):
            task.send(2)
        task.close()
        await task._reader

    asyncio.run(main())


def test_display_messages_counts_and_prints(exchange, capsys):
    """To the file given, or to what stdout is at that moment."""
    file = io.StringIO()
    display = DisplayMessages(file)
    with exchange.subscribe(display, DisplayMessages()):
        exchange.send("hello")
        exchange.send({"px": 1})
    assert file.getvalue() == capsys.readouterr().out == "msg[1]: 'hello'\nmsg[2]: {'px': 1}\n"
    assert display.count == 2


UNFINISHED = """
import time, zexchange
from zexchange.local.tasks import buffered
class Writer:
    def send(self, n):
        if n == 20 and {stuck}:
            time.sleep(1000)
        print(n, flush=True)
buffered.FINISHING = 0.3 if {stuck} else buffered.FINISHING
task = zexchange.to_thread(Writer())
for n in range(100):
    task.send(n)
"""


@pytest.mark.parametrize("stuck", [False, True])
def test_the_end_of_a_program_waits_for_threads(stuck):
    """A line says how many messages are left to one that does not come to an end."""
    command = [sys.executable, "-c", UNFINISHED.format(stuck=stuck)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=patience())
    assert done.stdout.split() == [str(n) for n in range(20 if stuck else 100)]
    assert ("79 messages are not handed on" in done.stderr) is stuck


def _in_a_child(path):
    class Writer:
        def send(self, n):
            with open(path, "a") as file:
                file.write(f"{n}\n")

    task = to_thread(Writer())
    for n in range(100):
        task.send(n)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_a_forked_child_waits_for_them_as_well(tmp_path):
    """Which ends without atexit."""
    child = multiprocessing.get_context("fork").Process(target=_in_a_child, args=(tmp_path / "f",))
    child.start()
    child.join(patience())
    assert (tmp_path / "f").read_text().split() == [str(n) for n in range(100)]
