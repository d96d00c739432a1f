"""What tasks send on the exchange that they are called by, and whose errors come of it."""

import array
import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zexchange.errors import NotASubscriber, TaskFailed, TooManyDeferred
from zexchange.local import Backpressure, Registry, rounds, to_call


@pytest.fixture(params=[True, False], ids=["quick", "careful"])
def exchange(request, monkeypatch):
    """An exchange, and one under an interpreter that promises less."""
    monkeypatch.setattr(rounds, "QUICK", request.param)
    return Registry().get("x")


def answering(exchange, answers, got=None):
    """Return a task that sends what ``answers`` has for a message, in this very call."""

    def take(msg):
        if got is not None:
            got.append(msg)
        for answer in answers.get(msg, ()):
            exchange.send(answer)

    return to_call(take)


def listening(exchange, got):
    exchange.attach(to_call(got.append))
    return got


def test_every_task_gets_the_question_before_the_answer(exchange):
    """Those before the one that answers, that one, and those after it."""
    before, own, after = listening(exchange, []), [], []
    exchange.attach(answering(exchange, {"q": ["a", "b"], "a": ["c"]}, own))
    listening(exchange, after)
    for _ in range(3):  # the first after a change goes another way than the others
        exchange.send("q")
    assert before == own == after == ["q", "a", "b", "c"] * 3


def test_a_lone_task_is_called_at_once(exchange):
    """Whatever it sends: there is nobody whose order could be another."""
    order = []

    def countdown(n):
        order.append(n)
        if n:
            exchange.send(n - 1)
            order.append(-n)

    exchange.handler(countdown)
    exchange.send(2)
    assert order == [2, 1, 0, -1, -2]


def test_a_bridge_numbers_in_the_order_of_the_tasks(exchange):
    """What leaves the process is in the one order that all see, with one task and with two."""

    class Bridge:
        def __init__(self):
            self.got = []

        def send(self, msg):
            self.got.append(msg)

    bridge, first, second = Bridge(), [], []
    exchange._attach_bridge(bridge)
    exchange.attach(answering(exchange, {"q": ["a"]}, first))
    exchange.send("q")
    assert bridge.got == first == ["q", "a"]
    listening(exchange, second)
    exchange.send("q")
    assert bridge.got == first == ["q", "a"] * 2
    assert second == ["q", "a"]


def test_views_retained_ones_and_typed_ones_alike():
    """However a task came to the exchange, and whatever that keeps or converts."""

    @dataclass(frozen=True)
    class Word:
        text: str

    registry = Registry()
    registry.retain("a.kept", 10)
    exchanges = [
        registry.get("a.plain"),
        registry.get("a.kept"),
        registry.get("a.typed", type=Word),
    ]
    for exchange in exchanges:
        q, a = (Word("q"), Word("a")) if exchange.type else ("q", "a")
        got, viewed, late = [], [], []
        exchange.attach(answering(exchange, {q: [a]}))
        with registry.match("a.*").subscribe(to_call(viewed.append)):
            listening(exchange, got)
            exchange.send(q)
            exchange.send(q)
        assert got == viewed == [q, a] * 2
        exchange.attach(to_call(late.append), history=10)
        assert late == ([q, a] * 2 if exchange.name == "a.kept" else [])


def test_exchanges_attached_to_exchanges(exchange):
    """The answer to the source waits for the round of the target, or for its own."""
    source = exchange.registry.get("source")
    source.attach(exchange)
    got = []
    exchange.attach(answering(source, {"q": ["a"]}))
    listening(exchange, got)
    for _ in range(2):
        source.send("q")
    assert got == ["q", "a"] * 2
    beside = listening(source, [])
    source.send("q")
    assert got[4:] == beside == ["q", "a"]


def test_two_exchanges_that_answer_each_other(exchange):
    """From a to b and back: a task at either sees what was sent there first, first."""
    other = exchange.registry.get("other")
    here, there = [], []
    exchange.attach(answering(other, {3: ["3"], 2: ["2"], 1: ["1"]}))
    other.attach(answering(exchange, {"3": [2], "2": [1]}))
    listening(exchange, here)
    listening(other, there)
    exchange.send(3)
    assert here == [3, 2, 1]
    assert there == ["3", "2", "1"]


def test_generators_may_send_to_themselves_where_others_listen(exchange):
    """They are asked again after they have asked for more."""
    got = []

    def countdown():
        while True:
            n = yield
            got.append(n)
            if n:
                exchange.send(n - 1)

    generator = countdown()
    next(generator)
    exchange.attach(generator)
    others = listening(exchange, [])
    exchange.send(3)
    assert got == others == [3, 2, 1, 0]


def test_what_arrives_is_answered_after_all_had_it(exchange):
    """On the thread that delivers, message by message, also where it is told in detail."""
    first, last = listening(exchange, []), []
    exchange.attach(answering(exchange, {1: ["one"], 2: ["two"]}))
    listening(exchange, last)
    with exchange.stream(details=True) as stream:
        exchange._deliver([1, 2, 3], "them", 7, 0.0)
        told = [stream.get(0).msg for _ in range(5)]
    assert first == last == told == [1, "one", 2, "two", 3]


def test_errors_with_what_was_deferred_upon_arrival_are_logged(exchange, caplog):
    """There is no caller."""
    exchange.attach(answering(exchange, {1: ["bad"]}))
    exchange.attach(to_call({1: 1}.__getitem__))
    exchange._deliver([1], "them", 1, 0.0)
    assert "message lost" in caplog.text
    assert exchange.stats().errors == 1


def test_errors_of_deferred_messages_are_raised_by_the_outer_send(exchange):
    """The task that sent gets none; they come with the others, and say which they are."""
    raised = []

    def ask(msg):
        if msg == "q":
            try:
                exchange.send("a")
            except Exception as error:
                raised.append(error)
            raise ValueError("its own")

    def fail(msg):
        if msg == "a":
            raise KeyError("a")

    exchange.handler(ask)
    exchange.handler(fail)
    for _ in range(2):
        with pytest.raises(ExceptionGroup) as caught:
            exchange.send("q")
        own, deferred = caught.value.exceptions
        assert (type(own), type(deferred)) == (ValueError, KeyError)
        assert any("that was deferred" in note for note in deferred.__notes__)
        assert any("fail" in note for note in deferred.__notes__)
        assert not any("that was deferred" in note for note in own.__notes__)
    assert raised == []


def test_room_for_what_was_deferred_is_waited_for_at_the_end(exchange):
    """After all tasks had all of it."""
    order = []

    class Full(Backpressure):
        def wait(self):
            order.append("room")

    class Bridge:
        def send(self, msg):
            return Full()

    exchange._attach_bridge(Bridge())
    exchange.attach(answering(exchange, {"q": ["a"]}))
    listening(exchange, order)
    exchange.send("q")
    assert order == ["q", "a", "room", "room"]


def test_who_answers_without_end_is_told(exchange):
    """With the limit, inside the task: what it sent before is handed on."""
    got = listening(exchange, [])
    told = []

    def again(n):
        try:
            exchange.send(n + 1)
        except TooManyDeferred as error:
            told.append(error)

    exchange.handler(again)
    for _ in range(2):
        exchange.send(0)
    assert got == list(range(1001)) * 2
    assert isinstance(told[0], RecursionError)
    assert "'x'" in str(told[0])
    assert len(told) == 2


def test_what_may_change_is_copied_when_it_waits(exchange):
    """A task may fill its buffer, or its list, again for the next one."""
    np = pytest.importorskip("numpy")
    buffers = [
        bytearray(b"\0\0"),
        memoryview(bytearray(b"\0\0")),
        array.array("i", [0, 0]),
        np.zeros(2, "i4"),
        [0],
        {0: 0},
    ]
    got = []

    def fill(msg):
        if type(msg) is str:
            for buffer in buffers:
                for n in (1, 2):
                    buffer[0] = n
                    exchange.send({"in": buffer} if n == 2 else buffer)
                buffer[0] = 3

    exchange.handler(fill)
    exchange.handler(got.append)
    exchange.send("go")
    assert [m["in"][0] if type(m) is dict and "in" in m else m[0] for m in got[1:]] == [1, 2] * 6
    assert [type(m) for m in got[1::2]] == [type(buffer) for buffer in buffers]
    word = object()
    exchange.detach(fill)
    exchange.attach(answering(exchange, {"go": [word]}))
    exchange.send("go")
    assert got[-1] is word


def test_other_threads_do_not_wait(exchange):
    """What they send while a round is under way goes out at once; theirs have an order, too."""
    inside, go_on, here, there = threading.Event(), threading.Event(), [], []

    def hold(msg):
        if msg == "hold":
            inside.set()
            assert go_on.wait(10)
            exchange.send("answer to hold")
        if msg == "q":
            exchange.send("a")

    def note(msg):
        (here if threading.current_thread().name == "holder" else there).append(msg)

    exchange.handler(hold)
    exchange.handler(note)
    exchange.send("first")
    there.clear()
    holder = threading.Thread(target=exchange.send, args=("hold",), name="holder")
    holder.start()
    assert inside.wait(10)
    exchange.send("q")
    exchange._deliver(["q"], "them", 1, 0.0)
    assert there == ["q", "a"] * 2
    go_on.set()
    holder.join(10)
    assert here == ["hold", "answer to hold"]
    exchange.send("q")
    assert there[4:] == ["q", "a"]


def test_changes_in_the_middle_of_a_round(exchange):
    """Who comes or goes meanwhile changes neither what waits nor its order."""
    got, late = [], []

    def change(msg):
        got.append(msg)
        if msg == "q":
            exchange.send("a")
            exchange.detach(other)
            exchange.send("b")
            exchange.handler(late.append)
            exchange.send("c")
        if msg == "c":
            exchange.detach(late.append)

    other = to_call([].append)
    for _ in range(2):
        got.clear()
        late.clear()
        exchange.handler(change)
        exchange.attach(other)
        exchange.send("q")
        assert got == ["q", "a", "b", "c"]
        assert late == ["a", "b", "c"]
        exchange.detach(change)
    exchange.handler(got.append)
    exchange.send(1)
    assert got[-1] == 1


def test_a_round_that_is_over_defers_nothing(exchange):
    """Though its frame is on the stack yet, where its sender waits for room."""
    got = listening(exchange, [])

    class Full(Backpressure):
        def wait(self):
            if got == ["q"]:
                exchange.send("meanwhile")
                got.append("waited")

    class Bridge:
        def send(self, msg):
            return Full()

    exchange._attach_bridge(Bridge())
    exchange.handler(lambda msg: None)
    exchange.send("q")
    assert got == ["q", "meanwhile", "waited"]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers")
def test_signal_handlers_that_send_lose_nothing(exchange):
    """Wherever they interrupt a round: what they send comes once, to all, in one order."""
    first, second, sent, running = listening(exchange, []), listening(exchange, []), [], []

    def tick(number, frame):
        msg = object()  # not the last of them: that may be another handler's by then
        sent.append(msg)
        running.append(msg)
        if len(running) < 3:  # others may interrupt this one, but not without end
            signal.setitimer(signal.ITIMER_REAL, 0.0005)
        exchange.send(msg)
        running.pop()
        signal.setitimer(signal.ITIMER_REAL, 0.0005)

    before = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 0.0005)
    try:
        n = 0
        while len(sent) < 100:
            exchange.send(n)
            n += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert first == second
    assert [m for m in first if type(m) is int] == list(range(n))
    others = [m for m in first if type(m) is not int]
    assert sorted(others, key=id) == sorted(sent, key=id)  # handlers interrupt one another


def test_an_interrupt_between_tasks_leaves_nothing_behind(exchange):
    """After it, rounds are as before."""
    got = listening(exchange, [])
    exchange.attach(answering(exchange, {"q": ["a"]}))

    def interrupt(msg):
        raise KeyboardInterrupt

    exchange.handler(interrupt)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            exchange.send("q")
    exchange.detach(interrupt)
    got.clear()
    exchange.send("q")
    exchange.send("r")
    assert got == ["q", "a", "r"]
    assert exchange._active is None


def test_a_child_that_is_forked_in_a_round_goes_on_with_it(exchange):
    """Its own round ends there as in the parent; those of other threads are not its own."""
    inside, go_on = threading.Event(), threading.Event()
    got, out = [], os.pipe()

    def take(msg):
        got.append(msg)
        if msg == "hold":
            inside.set()
            assert go_on.wait(10)
        if msg == "fork":
            exchange.send("deferred")
            children.append(os.fork())

    children = []
    exchange.handler(take)
    exchange.handler(lambda msg: None)
    exchange.send("first")
    holder = threading.Thread(target=exchange.send, args=("hold",))
    holder.start()
    assert inside.wait(10)
    exchange.send("fork")
    if children == [0]:
        exchange.send("after")
        os.write(out[1], repr((got, exchange._active)).encode())
        os._exit(0)
    os.waitpid(children[0], 0)
    go_on.set()
    holder.join(10)
    said = os.read(out[0], 1000).decode()
    for end in out:
        os.close(end)
    assert said == repr((["first", "hold", "fork", "deferred", "after"], None))
    assert got == ["first", "hold", "fork", "deferred"]


def test_in_an_event_loop(exchange):
    """Coroutines are not in a round: only what they call is."""
    got = listening(exchange, [])
    exchange.attach(answering(exchange, {"q": ["a"]}))

    async def send(msg):
        exchange.send(msg)
        await asyncio.sleep(0)
        exchange.send("q")

    async def run():
        await asyncio.gather(send(1), send(2))

    asyncio.run(run())
    assert got == [1, 2, "q", "a", "q", "a"]


def test_nothing_refers_to_a_round_that_is_over(exchange):
    """Neither its messages nor its frames stay."""

    class Message:
        count = 0

        def __init__(self):
            Message.count += 1

        def __del__(self):
            Message.count -= 1

    exchange.handler(lambda msg: exchange.send(Message()) if msg == "q" else None)
    exchange.handler(lambda msg: None)
    gc.disable()
    try:
        for _ in range(3):
            exchange.send("q")
            exchange.send(Message())
        assert Message.count == 0
    finally:
        gc.enable()
    assert rounds._waiting.by_frame == {}


MESSAGES = st.integers(0, 7)
SCRIPTS = st.dictionaries(
    MESSAGES,
    st.lists(st.tuples(st.sampled_from(["send", "fail", "cancel", "attach", "detach"]), MESSAGES)),
    max_size=4,
)


@given(st.lists(SCRIPTS, min_size=1, max_size=4), st.lists(MESSAGES, max_size=4), st.booleans())
def test_all_see_one_order_whatever_tasks_do(scripts, messages, arriving):
    """What one task gets is what any other gets, less what was sent while it was not there."""
    exchange, log, budget = Registry().get("x"), [[] for _ in scripts], [40]

    def task_of(number, script):
        def take(msg):
            log[number].append(msg)
            for what, argument in script.get(msg[0], ()):
                if what == "send" and budget[0]:
                    budget[0] -= 1
                    exchange.send((argument, budget[0]))
                elif what == "fail":
                    raise ValueError
                elif what == "cancel":
                    raise asyncio.CancelledError
                elif what == "attach" and extra not in exchange:
                    exchange.attach(extra)
                elif what == "detach" and extra in exchange:
                    exchange.detach(extra)

        return to_call(take)

    seen = []
    extra = to_call(seen.append)
    exchange.attach(extra)
    for number, script in enumerate(scripts):
        exchange.attach(task_of(number, script))
    for n, msg in enumerate(messages, 100):
        if arriving:
            exchange._deliver([(msg, n)], "them", n, 0.0)
            continue
        with contextlib.suppress(ValueError, TaskFailed, ExceptionGroup):
            exchange.send((msg, n))
    assert exchange._active is None
    if len(exchange) > 1 and len(scripts) > 1:
        assert all(got == log[0] for got in log)
        assert len(set(log[0])) == len(log[0]) == len(messages) + 40 - budget[0]
        order = {msg: place for place, msg in enumerate(log[0])}
        places = [order[msg] for msg in seen]
        assert places == sorted(places)


def test_threads_that_ask_and_answer(exchange):
    """Each thread's questions and answers come in the order of that thread, once, to all."""
    logs = [[], []]

    def answer(msg):
        logs[0].append((threading.current_thread(), msg))
        if msg % 2 == 0:
            exchange.send(msg + 1)

    exchange.handler(answer)
    exchange.handler(lambda msg: logs[1].append((threading.current_thread(), msg)))
    threads = [
        threading.Thread(target=lambda: [exchange.send(n) for n in range(0, 1000, 2)])
        for _ in range(3)
    ]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    for log in logs:
        for one in threads:
            assert [msg for thread, msg in log if thread is one] == list(range(1000))
    assert exchange._active is None


def test_targets_that_another_thread_has_worked_out_are_not_worked_out_again(exchange):
    """Else the exchange would look idle in the middle of that thread's round: answers were lost."""
    inside, go_on, idle = threading.Event(), threading.Event(), []

    def hold(msg):
        if msg == "held":
            inside.set()
            go_on.wait(60)

    exchange.handler(hold)
    exchange.handler(lambda msg: None)
    other = threading.Thread(target=lambda: [exchange.send(msg) for msg in ("first", "held")])
    wake = exchange.registry._wake

    def late():
        exchange.registry._wake = wake
        other.start()
        inside.wait(60)

    exchange.registry._wake = late  # between our look and the lock, the other has done it all
    exchange._current()
    idle.append(exchange._idle)
    go_on.set()
    other.join(60)
    assert idle == [False]


def test_an_answer_that_nobody_awaits_is_an_error_when_deferred_too(exchange):
    """As any other, for the outer sender."""

    async def coroutine():
        pass

    exchange.attach(answering(exchange, {"q": ["a"]}))
    exchange.handler(lambda msg: coroutine() if msg == "a" else None)
    with pytest.raises(NotASubscriber):
        exchange.send("q")


class ChangingLock:
    """A lock after whose release something happens twice: as in another thread's turn."""

    def __init__(self, lock, after, change):
        self.lock, self.change = lock, change
        self.due = {after, after + 1}
        self.depth = self.released = 0

    def __enter__(self):
        self.lock.__enter__()
        self.depth += 1

    def __exit__(self, *exc):
        self.depth -= 1
        free = not self.depth
        self.lock.__exit__(*exc)
        if free and self.due:
            self.released += 1
            if self.released in self.due:
                self.due.discard(self.released)
                released, self.released = self.released, -100  # not by the change's own
                self.change()
                self.released = released


@pytest.mark.parametrize("retained", [0, 2])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("after", range(1, 8))
def test_a_change_as_a_lock_is_let_go_of_robs_nobody(retained, count, after):
    """Whatever was attached before another thread attaches something gets every message."""
    registry = Registry()
    if retained:
        registry.retain("x", retained)
    exchange, got = registry.get("x"), [[] for _ in range(count)]

    def more(msg):
        got[0].append(msg)
        if msg == 0:  # in the middle of a round here, so that the other one has to count
            thread = threading.Thread(target=lambda: [exchange.send(n) for n in (1, 2, 3)])
            thread.start()
            thread.join(30)

    exchange.attach(to_call(more))
    for each in got[1:]:
        exchange.attach(to_call(each.append))
    exchange._lock = ChangingLock(exchange._lock, after, lambda: exchange.attach(to_call(id)))
    exchange.send(0)
    assert [sorted(each) for each in got] == [[0, 1, 2, 3]] * count
