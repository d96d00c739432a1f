"""The exchange, and every rule that the plain recipe breaks."""

import asyncio
import contextlib
import gc
import sys
import threading

import naive
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zexchange.errors import NotASubscriber, NotAttached, TaskFailed
from zexchange.local import Backpressure, Registry, to_call


class Task:
    def __init__(self):
        self.got = []

    def send(self, msg):
        self.got.append(msg)


class Failing:
    def __init__(self, error):
        self.error = error

    def __hash__(self):
        return 0

    def send(self, msg):
        raise self.error


class Placed(Task):
    def __init__(self, place):
        super().__init__()
        self.place = place

    def __hash__(self):
        return self.place


class Equal(Task):
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 1


class Unhashable(Task):
    __hash__ = None

    def __eq__(self, other):
        return self is other


@pytest.fixture
def exchange():
    return Registry().get("x")


def both(broken):
    """Run a rule against an exchange, and against the plain recipe, which breaks it."""
    mark = pytest.mark.xfail(raises=broken, strict=True)
    params = [
        pytest.param(lambda: Registry().get("x"), id="zexchange"),
        pytest.param(naive.Exchange, id="naive", marks=mark),
    ]
    return pytest.mark.parametrize("make", params)


# Rules that the plain recipe breaks.


@both(RuntimeError)
def test_a_task_may_attach_and_detach_during_send(make):
    """A task that attaches others and detaches itself in the middle of a send harms nobody."""
    exchange, late, others = make(), [Task() for _ in range(3)], [Task() for _ in range(5)]

    class Changing:
        def send(self, msg):
            exchange.detach(self)
            for task in late:
                exchange.attach(task)

    for task in (*others, Changing()):
        exchange.attach(task)
    exchange.send(1)
    exchange.send(2)
    assert [task.got for task in others] == [[1, 2]] * 5
    assert [task.got for task in late] == [[2]] * 3


@both(RuntimeError)
def test_another_thread_may_attach_and_detach_in_the_middle_of_a_send(make):
    """The message that is under way reaches every steady subscriber all the same."""
    exchange, others = make(), [Task() for _ in range(5)]

    class Meanwhile:
        def send(self, msg):
            thread = threading.Thread(target=change)
            thread.start()
            thread.join(10)

    def change():
        for _ in range(3):
            exchange.attach(Task())
        exchange.detach(leaving)

    leaving = Task()
    for task in (leaving, *others, Meanwhile()):
        exchange.attach(task)
    exchange.send(1)
    assert [task.got for task in others] == [[1]] * 5


def test_churn_from_other_threads_robs_no_steady_subscriber(exchange):
    """While other threads attach and detach, a steady task gets every message, in order."""
    steady = Task()
    exchange.attach(steady)
    ended = threading.Event()

    def churn():
        while not ended.is_set():
            tasks = [Task() for _ in range(20)]
            for task in tasks:
                exchange.attach(task)
            for task in tasks:
                exchange.detach(task)

    threads = [threading.Thread(target=churn) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for n in range(3000):
            exchange.send(n)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    assert steady.got == list(range(3000))
    assert len(exchange) == 1


@both(KeyError)
def test_leaving_an_inner_block_keeps_the_outer_one(make):
    """A task subscribed twice is counted: it gets each message once, until both blocks end."""
    exchange, task = make(), Task()
    with exchange.subscribe(task):
        with exchange.subscribe(task, task):
            exchange.send(1)
        exchange.send(2)
    exchange.send(3)
    assert task.got == [1, 2]


@both(KeyError)
def test_detaching_inside_a_block_does_not_mask_its_exception(make):
    """What the body of a `with subscribe` raises comes out, though the task is detached."""
    exchange, task = make(), Task()

    def body():
        with exchange.subscribe(task):
            exchange.detach(task)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()


@both(AssertionError)
def test_a_failed_attach_in_subscribe_rolls_back(make):
    """When one of several tasks is refused, those before it are not left attached."""
    exchange, task, body_ran = make(), Task(), []

    def body():
        with exchange.subscribe(task, object()):
            body_ran.append(True)

    with contextlib.suppress(NotASubscriber):
        body()
    assert not body_ran
    exchange.send(2)
    assert task.got == []


@both(AssertionError)
def test_equal_but_distinct_tasks_both_receive(make):
    """Tasks are told apart by identity, whatever they think they equal."""
    exchange, first, second = make(), Equal(), Equal()
    exchange.attach(first)
    exchange.attach(second)
    exchange.send(1)
    assert (first.got, second.got) == ([1], [1])


@both(TypeError)
def test_unhashable_tasks_work(make):
    """A task without a hash is attached, served and detached like any other."""
    exchange, task = make(), Unhashable()
    with exchange.subscribe(task):
        exchange.send(1)
    exchange.send(2)
    assert task.got == [1]


@both(AssertionError)
def test_a_failing_task_does_not_rob_the_others(make):
    """All tasks are served, then a lone error is raised as itself."""
    exchange, error = make(), ValueError("mine")
    tasks = [Placed(n) for n in range(1, 9)]  # the set of the plain recipe goes by the hash
    exchange.attach(Failing(error))
    for task in tasks:
        exchange.attach(task)
    with pytest.raises(ValueError, match="mine") as caught:
        exchange.send(1)
    assert caught.value is error
    assert [task.got for task in tasks] == [[1]] * 8
    assert "'x'" in error.__notes__[0]


def sent(exchange, msg):
    """Send and return the errors that the sender got."""
    try:
        exchange.send(msg)
    except Exception as error:
        return [error]
    return []


class AsyncTask:
    async def send(self, msg):
        pass


async def coroutine_function(msg):
    pass


@both(pytest.fail.Exception)
def test_a_task_with_an_async_send_is_refused_at_attach(make):
    """The refusal names the adapter, instead of losing messages in un-awaited coroutines."""
    with pytest.raises(TypeError, match="to_async"):
        make().attach(AsyncTask())


@both(pytest.fail.Exception)
def test_a_coroutine_object_is_refused(make):
    """A coroutine has a `send` that is not for messages."""
    coroutine = coroutine_function(1)
    try:
        with pytest.raises(TypeError, match="to_async"):
            make().attach(coroutine)
    finally:
        coroutine.close()


@both(AssertionError)
def test_an_awaitable_answer_is_closed_and_an_error_for_the_sender(make):
    """A message does not vanish into a coroutine that nobody awaits."""
    exchange, made, after = make(), [], Task()

    class Sneaky:
        def send(self, msg):
            made.append(coroutine_function(msg))
            return made[-1]

    exchange.attach(Sneaky())
    exchange.attach(after)
    errors = sent(exchange, 1)
    closed = made[0].cr_frame is None
    made[0].close()
    assert closed
    assert [type(error) for error in errors] == [NotASubscriber]
    assert "to_async" in str(errors[0])
    assert after.got == [1]


def listener(got):
    while True:
        got.append((yield))


@both(pytest.fail.Exception)
def test_an_unprimed_generator_is_refused_at_attach(make):
    """The refusal says what to do; the plain recipe fails at the first send."""
    with pytest.raises(NotASubscriber, match=r"next\(\)"):
        make().attach(listener([]))


@both(StopIteration)
def test_a_generator_that_finishes_is_detached(make):
    """It takes its last message, then it is no subscriber any more, and no error."""
    exchange, got = make(), []

    def one():
        got.append((yield))

    generator = one()
    next(generator)
    exchange.attach(generator)
    exchange.send(1)
    exchange.send(2)
    assert got == [1]
    assert len(exchange) == 0


@both(AssertionError)
def test_a_generator_shared_by_threads_is_served_one_at_a_time(make):
    """Two exchanges, two threads, one generator: no "already executing", nothing missed."""
    exchanges, inside, resume, got, errors = (make(), make()), *_events(2), [], []

    def slow():
        while True:
            msg = yield
            if msg == 0:
                inside.set()
                resume.wait(10)
            got.append(msg)

    generator = slow()
    next(generator)
    for exchange in exchanges:
        exchange.attach(generator)

    def send(exchange, msg):
        try:
            exchange.send(msg)
        except ValueError as error:
            errors.append(error)

    first = threading.Thread(target=send, args=(exchanges[0], 0))
    second = threading.Thread(target=send, args=(exchanges[1], 1))
    first.start()
    assert inside.wait(10)
    second.start()
    # The recipe fails at once; otherwise the second is now waiting for its turn.
    second.join(0.05)
    resume.set()
    first.join(10)
    second.join(10)
    assert errors == []
    assert got == [0, 1]


def _events(n):
    return [threading.Event() for _ in range(n)]


def test_a_generator_that_sends_to_itself_is_an_error(exchange):
    """Re-entry by its own thread raises instead of stopping the thread for good."""

    def echo():
        while True:
            exchange.send((yield))

    generator = echo()
    next(generator)
    exchange.attach(generator)
    with pytest.raises(ValueError, match="already executing"):
        exchange.send(1)


def test_send_holds_no_lock_while_it_calls_tasks(exchange):
    """Another thread can attach while a task is in the middle of a message."""
    inside, attached = _events(2)

    class Waiting:
        def send(self, msg):
            inside.set()
            assert attached.wait(10)

    exchange.attach(Waiting())
    thread = threading.Thread(target=exchange.send, args=(1,))
    thread.start()
    assert inside.wait(10)
    exchange.attach(Task())
    attached.set()
    thread.join(10)
    assert len(exchange) == 2


def test_tasks_are_held(exchange):
    """A task that nobody else refers to still receives: references are strong."""
    got = []
    exchange.attach(to_call(got.append))
    gc.collect()
    exchange.send(1)
    assert got == [1]


# The rest of the exchange.


def test_detaching_a_stranger_names_it(exchange):
    """NotAttached is also a KeyError and says who is not attached to what."""
    with pytest.raises(KeyError, match="not attached to 'x'"):
        exchange.detach(Task())


def test_an_exchange_is_true_and_tells_its_tasks(exchange):
    """`len`, `in` and `subscribers` know tasks, not bridges; an empty exchange is true."""
    bridge, task = Task(), Task()
    exchange._attach_bridge(bridge)
    assert exchange
    assert len(exchange) == 0
    exchange.attach(task)
    exchange.attach(task)
    assert exchange.subscribers == (task,)
    assert task in exchange
    assert bridge not in exchange
    assert len(exchange) == exchange.stats().tasks == 1


def test_several_errors_are_a_group_with_the_bridge_last(exchange):
    """Each error names exchange and task; a bridge, though served first, fails last."""
    first, second, carried = ValueError(), KeyError(), OSError()
    exchange.attach(Failing(first))
    exchange.attach(Failing(second))
    exchange._attach_bridge(Failing(carried))
    with pytest.raises(ExceptionGroup) as caught:
        exchange.send(1)
    assert caught.value.exceptions == (first, second, carried)
    assert all("'x'" in e.__notes__[0] for e in (first, second, carried))
    assert exchange.stats().errors == 3


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_reaches_the_sender_after_all_were_served(exchange, kind):
    """As itself, with the other errors as its cause."""
    end, other, after = kind(), ValueError("mine"), Task()
    exchange.attach(Failing(other))
    exchange.attach(Failing(end))
    exchange.attach(after)
    with pytest.raises(kind) as caught:
        exchange.send(1)
    assert caught.value is end
    assert caught.value.__cause__ is other
    assert after.got == [1]
    exchange.detach(exchange.subscribers[0])
    with pytest.raises(kind):
        exchange.send(2)
    assert after.got == [1, 2]


class Custom(BaseException):
    pass


@pytest.mark.parametrize("error", [asyncio.CancelledError("far"), GeneratorExit(), Custom()])
@pytest.mark.parametrize("tasks", [1, 2])
def test_what_is_no_exception_is_one_for_the_sender(exchange, error, tasks):
    """It robs nobody, and would end the coroutine, or the generator, that sends."""
    after = Task()
    exchange.attach(Failing(error))
    for task in [after][: tasks - 1]:
        exchange.attach(task)
    for n in range(2):
        with pytest.raises(TaskFailed, match=type(error).__name__) as caught:
            exchange.send(n)
        assert caught.value.__cause__ is error
        assert "Failing" in caught.value.__notes__[0]
    assert after.got == [0, 1][: 2 * (tasks - 1)]


def test_what_a_signal_handler_raises_in_a_bridge_is_no_error_of_a_task(exchange):
    """It reaches the sender as itself, after the tasks were served."""
    error, after = Custom(), Task()
    exchange._attach_bridge(Failing(error))
    for tasks in range(3):
        with pytest.raises(Custom) as caught:
            exchange.send(tasks)
        assert caught.value is error
        if tasks < 2:
            exchange.attach([after, Task()][tasks])
    assert after.got == [1, 2]


def test_a_cancelled_future_does_not_cancel_the_coroutine_that_sends(exchange):
    """Which would end without a word to anybody."""

    async def run():
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        exchange.handler(lambda msg: future.result())
        sender = asyncio.create_task(send())
        await asyncio.wait([sender])
        return sender

    async def send():
        exchange.send(1)

    sender = asyncio.run(run())
    assert not sender.cancelled()
    assert isinstance(sender.exception(), TaskFailed)


def test_a_joiner_that_raises_no_exception_still_gets_the_rest(exchange):
    """Its history goes on, then what is sent, and what ends the program comes at the end."""
    exchange.registry.retain("x", 3)
    for n in range(3):
        exchange.send(n)
    got = []

    class Joiner:
        def send(self, msg):
            got.append(msg)
            if msg == 0:
                raise asyncio.CancelledError
            if msg == 1:
                raise SystemExit(5)

    with pytest.raises(SystemExit):
        exchange.attach(Joiner(), history=3)
    assert got == [0, 1, 2]
    exchange.send(3)
    assert got == [0, 1, 2, 3]
    assert exchange.stats().errors == 1


def test_the_bridge_comes_first_once_and_room_is_waited_for_last(exchange):
    """A bridge sees the message before every task; its wait comes after them, even failing."""
    order = []

    class Slow(Backpressure):
        def wait(self):
            order.append("room")

    class Bridge:
        def send(self, msg):
            order.append("bridge")
            return Slow()

    bridge = Bridge()
    exchange.attach(to_call(lambda msg: order.append("task")))
    exchange.attach(Failing(ValueError()))
    exchange._attach_bridge(bridge)
    exchange._attach_bridge(bridge)
    with pytest.raises(ValueError):  # noqa: PT011 - the failing task's own
        exchange.send(1)
    assert order == ["bridge", "task", "room"]
    exchange._detach_bridge(bridge)
    exchange._detach_bridge(bridge)
    with pytest.raises(ValueError):  # noqa: PT011
        exchange.send(1)
    assert order[3:] == ["task"]


def test_what_a_task_returns_does_not_matter(exchange):
    """Like a socket's byte count, an answer is ignored, and the later tasks are served."""
    after = Task()
    exchange.attach(to_call(lambda msg: 17))
    exchange.attach(to_call(lambda msg: object()))
    exchange.attach(after)
    exchange.send(1)
    assert after.got == [1]


def test_two_adapters_of_one_function_both_call_it(exchange):
    """Adapters are told apart though they call the very same object, errors included."""
    got = []
    exchange.attach(to_call(got.append))
    shared = Failing(ValueError()).send
    tasks = [to_call(shared), to_call(shared)]
    for task in tasks:
        exchange.attach(task)
    append = got.append
    for _ in range(2):
        exchange.attach(to_call(append))
    with pytest.raises(ExceptionGroup) as caught:
        exchange.send(1)
    assert len(caught.value.exceptions) == 2
    assert got == [1, 1, 1]


def test_a_function_attached_twice_that_fails_the_second_time_is_not_called_again(exchange):
    """The round goes on where it was, not after the first task that calls the same object."""
    calls, after = [], Task()

    def fn(msg):
        calls.append(msg)
        if len(calls) == 4:
            raise ValueError("mine")

    for task in (to_call(fn), to_call(fn), after):
        exchange.attach(task)
    exchange.send(0)  # the first after a change goes the long way
    with pytest.raises(ValueError, match="mine"):
        exchange.send(1)
    assert (calls, after.got) == ([0, 0, 1, 1], [0, 1])


@pytest.mark.parametrize(
    ("task", "advice"),
    [
        (print, "to_call"),
        (coroutine_function, "to_async"),
        (__import__("queue").Queue(), "to_queue"),
        (__import__("asyncio").Queue(), "to_async"),
        (object(), "to_call"),
        (Task, "instance"),
    ],
)
def test_a_refusal_names_what_to_attach_instead(exchange, task, advice):
    """NotASubscriber is a TypeError that names the adapter."""
    with pytest.raises(TypeError, match=advice):
        exchange.attach(task)
    assert len(exchange) == 0


def test_a_handler_is_called_and_undone_by_detach(exchange):
    """`handler` returns the function; a bound method is the same at each mention."""
    got = []

    @exchange.handler
    def handle(msg):
        got.append(msg)

    task = Task()
    exchange.handler(task.send)
    assert handle in exchange
    assert task.send in exchange
    exchange.send(1)
    exchange.detach(handle)
    exchange.detach(task.send)
    exchange.send(2)
    assert (got, task.got) == ([1], [1])
    with pytest.raises(NotASubscriber, match="to_async"):
        exchange.handler(coroutine_function)


def test_record_lists_what_passes(exchange):
    """The list has the messages of the block, and can be read after it."""
    with exchange.record() as got:
        exchange.send(1)
        exchange._deliver([2], "o", 1, 0.0)
    exchange.send(3)
    assert got == [1, 2]


# What arrives from peers.


def test_arriving_messages_skip_bridges_and_exchanges(exchange):
    """They go to every other task; `to_call(y.send)` is such a task."""
    bridge, task, chained, called = Task(), Task(), Registry().get("y"), Registry().get("z")
    exchange._attach_bridge(bridge)
    exchange.attach(chained)
    exchange.attach(to_call(called.send))
    exchange.attach(task)
    with chained.record() as at_y, called.record() as at_z:
        exchange._deliver([1, 2], "o", 1, 0.0)
        exchange.send(3)
    assert task.got == at_z == [1, 2, 3]
    assert at_y == bridge.got == [3]


def test_an_error_of_an_arriving_message_is_logged_and_robs_nobody(exchange, caplog):
    """There is no caller: the log names exchange and task, once an error, and stats count."""
    after, failing = Task(), Failing(ValueError("mine"))
    exchange.attach(failing)
    exchange.attach(after)
    exchange._deliver([1, 2], "o", 1, 0.0)
    assert after.got == [1, 2]
    assert exchange.stats().errors == 2
    lines = [record.getMessage() for record in caplog.records if record.name == "zexchange"]
    assert len(lines) == 2
    assert all("'x'" in line and repr(failing) in line for line in lines)


def test_a_task_may_leave_or_come_in_the_middle_of_a_batch(exchange):
    """One that detaches itself gets no more of the batch, one that comes gets the rest."""
    late = Task()

    class Once(Task):
        def send(self, msg):
            super().send(msg)
            exchange.detach(self)
            exchange.attach(late)

    once = Once()
    exchange.attach(once)
    exchange._deliver([1, 2, 3], "o", 1, 0.0)
    assert (once.got, late.got) == ([1], [2, 3])


# Chains.


def test_a_chain_that_would_close_a_circle_is_refused():
    """To itself, over others, or by way of a view: the attach fails and changes nothing."""
    registry = Registry()
    a, b, c = map(registry.get, ("a", "b", "c"))
    a.attach(b)
    b.attach(c)
    for source, task in ((a, a), (c, a), (b, a), (registry.match("*"), c)):
        with pytest.raises(NotASubscriber, match="circle"):
            source.attach(task)
    registry.match("later.*").attach(a)
    with pytest.raises(NotASubscriber, match="circle"):
        c.attach(registry.get("later.x"))
    with c.record() as got:
        registry.get("later.y").send(1)
    assert got == [1]


# Any order of calls.

STEPS = st.lists(
    st.tuples(st.sampled_from(["attach", "detach", "send", "deliver"]), st.integers(0, 2))
)


@given(STEPS)
def test_counting_holds_in_any_order_of_calls(steps):
    """A task gets a message exactly if it was attached more often than detached."""
    registry = Registry()
    exchange, tasks = registry.get("x"), [Task() for _ in range(3)]
    counts, expected = [0, 0, 0], [[], [], []]
    for number, (step, which) in enumerate(steps):
        if step == "attach":
            exchange.attach(tasks[which])
            counts[which] += 1
        elif step == "detach" and counts[which]:
            exchange.detach(tasks[which])
            counts[which] -= 1
        elif step == "detach":
            with pytest.raises(NotAttached):
                exchange.detach(tasks[which])
        else:
            exchange.send(number) if step == "send" else exchange._deliver([number], "o", 1, 0.0)
            for i in range(3):
                expected[i] += [number] if counts[i] else []
    assert [task.got for task in tasks] == expected
    assert len(exchange) == sum(map(bool, counts))
