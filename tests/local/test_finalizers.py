"""What finalisers ask for while the collector is at work is done soon, by another thread."""

import gc
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import PATIENCE, eventually
from zexchange import DisplayMessages, Exchange, Registry, TooManyDeferred, to_queue, to_thread
from zexchange.local.process import finalizers
from zexchange.local.tasks.mailbox import Mailbox


class Task:
    """A task that notes what it gets, and on which thread."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.threads: set[str] = set()

    def send(self, msg: object) -> None:
        self.got.append(msg)
        self.threads.add(threading.current_thread().name)


@pytest.fixture(autouse=True)
def nothing_waits() -> Iterator[None]:
    yield
    finalizers.settle(PATIENCE)
    eventually(lambda: not [t for t in threading.enumerate() if t.name == "zexchange-finaliser"])


def finally_(call: Callable[[], object]) -> list[BaseException]:
    """Have the collector, on this thread, run a finaliser that makes a call; return its errors."""
    wrong: list[BaseException] = []

    class Circle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            assert finalizers.here()
            try:
                call()
            except BaseException as error:
                wrong.append(error)

    Circle()
    gc.collect()
    return wrong


def test_only_what_the_collector_runs_is_a_finaliser() -> None:
    """Neither what is run at once by the last reference, nor other threads meanwhile."""
    seen: list[bool] = []

    class Last:
        def __del__(self) -> None:
            seen.append(finalizers.here())

    Last()

    def elsewhere() -> None:
        thread = threading.Thread(target=lambda: seen.append(finalizers.here()))
        thread.start()
        thread.join()

    assert finally_(elsewhere) == []
    assert seen == [False, False]
    assert finalizers.collecting is None


ACTS: dict[str, Callable[[Registry, Exchange[Any], Task, Task], object]] = {
    "attach": lambda r, x, there, new: x.attach(new),
    "handler": lambda r, x, there, new: x.handler(new.send),
    "detach": lambda r, x, there, new: x.detach(there),
    "view": lambda r, x, there, new: r.match("x.*").attach(new, names=True),
    "subscribe": lambda r, x, there, new: subscribed(x, new),
    "stream": lambda r, x, there, new: x.stream().close(),
    "send": lambda r, x, there, new: x.send(1),
    "retain": lambda r, x, there, new: r.retain("x.*", 2),
    "get": lambda r, x, there, new: r.get("new").send(1),
    "type": lambda r, x, there, new: r.get("typed", type=int).send(1),
    "match": lambda r, x, there, new: r.match("new.*").stream(),
    "stats": lambda r, x, there, new: (x.stats(), x.subscribers, len(x), there in x, repr(x)),
    "find": lambda r, x, there, new: r.find("x.y"),
}


def subscribed(exchange: Exchange[Any], task: Task) -> None:
    with exchange.subscribe(task):
        exchange.send(1)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("kind", ["plain", "changed", "retained", "several"])
def test_a_finaliser_waits_for_no_lock(act: str, kind: str) -> None:
    """Inside a lock that another thread waits for, which has all that the finaliser wants."""
    registry, there, new = Registry(), Task(), Task()
    exchange, other = registry.get("x.y"), registry.get("other")
    view = registry.match("x.*")
    if kind == "retained":
        registry.retain("x.*", 1)
    for task in [there, Task()] if kind == "several" else [there]:
        exchange.attach(task)
    if kind != "changed":
        exchange.send(0)
    taken, over, wrong = threading.Event(), threading.Event(), list[BaseException]()

    def hold() -> None:
        with exchange._lock, view._lock, registry._lock:
            taken.set()
            with other._lock:
                pass

    def strike() -> None:
        with other._lock:
            holder = threading.Thread(target=hold, daemon=True)
            holder.start()
            assert taken.wait(PATIENCE)
            wrong.extend(finally_(lambda: ACTS[act](registry, exchange, there, new)))
        holder.join()
        over.set()

    threading.Thread(target=strike, daemon=True).start()
    assert over.wait(PATIENCE)
    assert wrong == []


def test_all_of_it_is_done_in_order() -> None:
    """By a thread, with nothing held."""
    registry, task = Registry(), Task()
    exchange = registry.get("x")

    def ask() -> None:
        exchange.attach(task)
        exchange.send(1)
        registry.get("new").attach(task)
        registry.get("new").send(2)
        registry.match("y.*").attach(task)
        registry.get("y.z").send(3)
        exchange.handler(task.send)
        exchange.detach(task)
        exchange.send(4)

    assert finally_(ask) == []
    eventually(lambda: task.got == [1, 2, 3, 4])
    assert task.threads == {"zexchange-finaliser"}
    assert exchange.subscribers == (task.send,)
    assert registry.get("new").subscribers == (task,)


def test_a_table_is_not_changed_under_the_hands_of_its_own_thread() -> None:
    """A finaliser that runs while its thread is attaching something itself."""
    registry, inner, outer = Registry(), Task(), Task()
    exchange = registry.get("x")

    class Observer:
        seen: tuple[object, ...] = (None,)

        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *args: None

        def interest_changed(self, key: str, wanted: bool) -> None:  # with the table's lock held
            finally_(lambda: exchange.attach(inner))
            self.seen = tuple(s.task for s in exchange._subscriptions())

    observer: Any = Observer()
    registry._observe(observer)
    exchange.attach(outer)
    assert observer.seen == ()
    eventually(lambda: exchange.subscribers == (outer, inner))


def test_what_is_sent_is_what_it_was() -> None:
    """A buffer that the finaliser fills again is copied."""
    stream = Registry().get("x").stream()
    exchange, buffer = stream._feed, bytearray(b"before")

    def ask() -> None:
        exchange.keep(buffer)
        buffer[:] = b"after!"

    assert finally_(ask) == []
    assert stream.get(PATIENCE) == b"before"


@pytest.mark.parametrize("way", ["stream", "to_queue", "to_thread", "display", "generator"])
def test_tasks_of_ours_wait_for_no_lock(way: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What a sole task is, is called at once: it may be one of ours, that has a lock."""
    import queue

    registry = Registry()
    exchange, got = registry.get("x"), list[Any]()

    def generator() -> Iterator[None]:
        while True:
            got.append((yield))

    ready: Any = generator()
    next(ready)
    q: queue.Queue[object] = queue.Queue(1)
    q.put(0)
    tasks: dict[str, Any] = {
        "stream": exchange.stream if way == "stream" else None,
        "to_queue": to_queue(q, "drop_newest"),
        "to_thread": to_thread(Task()),
        "display": DisplayMessages(),
        "generator": ready,
    }
    task = tasks[way]() if way == "stream" else tasks[way]
    if way != "stream":
        exchange.attach(task)
    lock = {
        "stream": lambda: task._mailbox._lock,
        "to_queue": lambda: task._lock.lock,
        "to_thread": lambda: task._lock,
        "display": lambda: task._lock.lock,
        "generator": lambda: exchange._subscriptions()[0].accept.__self__._turn.lock,  # type: ignore[attr-defined]
    }[way]()
    exchange._current()
    taken, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            go_on.wait(2 * PATIENCE)

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(PATIENCE)
    done = threading.Event()

    def strike() -> None:
        finally_(lambda: exchange.send(1))
        done.set()

    threading.Thread(target=strike, daemon=True).start()
    assert done.wait(PATIENCE)
    go_on.set()
    holder.join()
    expected: dict[str, Callable[[], bool]] = {
        "stream": lambda: len(task) == 1,
        "to_queue": lambda: task.dropped == 1,
        "to_thread": lambda: task._task.got == [1],
        "display": lambda: task.count == 1,
        "generator": lambda: got == [1],
    }
    eventually(expected[way])
    if way == "to_thread":
        task.close()


def test_the_end_of_a_collection_that_was_missed_makes_no_work_without_end() -> None:
    """Ctrl-C may come just where the collector tells that it has ended."""
    calls, done = 0, list[bool]()

    def call() -> None:
        nonlocal calls
        calls += 1
        assert calls < 100
        if not finalizers.later(call):
            done.append(True)

    finalizers.collecting = threading.get_ident()
    call()
    finalizers.settle(PATIENCE)
    assert not finalizers.here()
    assert done == [True]


def test_an_error_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """There is no caller to raise to."""
    exchange = Registry().get("x")
    assert finally_(lambda: exchange.detach(Task())) == []
    eventually(lambda: "what a finaliser asked for has failed" in caplog.text)
    assert "is not attached to 'x'" in caplog.text


def test_too_many_messages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """And told to who sends them; what changes tables is always done."""
    monkeypatch.setattr(finalizers, "MOST", 2)
    go_on, task = threading.Event(), Task()
    exchange = Registry().get("x")
    box: Mailbox[int] = Mailbox(9, "block")

    def flood() -> None:
        finalizers.later(go_on.wait, PATIENCE)
        eventually(lambda: finalizers._deeds._turn.locked() and not finalizers._deeds.waiting)
        for n in range(3):
            box.put(n)

    def attach() -> None:
        exchange.attach(task)

    wrong = finally_(flood)
    assert [type(error) for error in wrong] == [TooManyDeferred]
    assert finally_(attach) == []
    go_on.set()
    eventually(lambda: exchange.subscribers == (task,))
    assert len(box) == 2


def test_messages_are_left_to_the_parent() -> None:
    """What changes tables is done in a forked child, too."""
    registry, task, early = Registry(), Task(), Task()
    exchange = registry.get("x")
    exchange.attach(early)
    exchange.send(0)
    exchange.detach(exchange.handler(lambda msg: None))  # so that a send takes a lock
    turn = finalizers._deeds._turn
    with turn:  # the thread is about to come

        def ask() -> None:
            exchange.attach(task)
            exchange.send(1)

        assert finally_(ask) == []
        pid = os.fork()
        if not pid:
            try:
                finalizers.settle(PATIENCE)
                good = exchange.subscribers == (early, task) and early.got == [0]
                os._exit(not good)
            finally:
                os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0
    finalizers.settle(PATIENCE)
    eventually(lambda: early.got == [0, 1])
