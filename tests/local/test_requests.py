"""Requests and headers inside one process, without any federation."""

import asyncio
import copy
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.eventloops import run_asyncio, run_trio
from tests.support import eventually
from zexchange import (
    Delivery,
    ExchangeError,
    NoResponders,
    NotASubscriber,
    NotAttached,
    Registry,
    Reply,
    RequestFailed,
    RequestTimeout,
    ResponderLost,
    to_call,
)

in_every_loop = pytest.mark.parametrize("run", [run_asyncio, run_trio])


@pytest.fixture
def registry() -> Registry:
    """Return a registry of its own."""
    return Registry()


def test_nobody_answers(registry: Registry) -> None:
    """A request on an exchange without responders is an error at once; asking all yields none."""
    exchange = registry.get("x")
    exchange.attach(to_call(print))  # a plain subscriber answers nothing
    exchange.detach(exchange.subscribers[0])
    with pytest.raises(NoResponders, match="'x'"):
        exchange.request(1)
    assert list(exchange.request_all(1)) == []


def test_one_answers(registry: Registry) -> None:
    """A request returns what its responder returned; `detach` undoes the responder."""
    exchange = registry.get("x")

    @exchange.responder
    def double(msg: int) -> int:
        return 2 * msg

    assert exchange.request(21) == 42
    assert exchange.subscribers == (double,)
    exchange.detach(double)
    with pytest.raises(NoResponders):
        exchange.request(21)
    with pytest.raises(NotAttached):
        exchange.detach(double)


def test_a_responder_gets_questions_only_and_subscribers_get_both(registry: Registry) -> None:
    """Plain subscribers see a question as a message; a responder sees no plain message."""
    exchange, asked = registry.get("x"), list[str]()
    exchange.responder()(asked.append)
    with exchange.record() as seen:
        exchange.send("told")
        exchange.request("asked")
    assert (seen, asked) == (["told", "asked"], ["asked"])


def test_in_turn_among_equals(registry: Registry) -> None:
    """Each of three responders gets a third of the requests."""
    exchange = registry.get("x")
    for name in "abc":
        exchange.responder(lambda msg, name=name: name)
    assert [exchange.request(n) for n in range(6)] == list("abcabc")
    assert list(exchange.request_all(1)) == [Reply(name, None, "") for name in "abc"]


def test_what_a_responder_raises_names_it(registry: Registry) -> None:
    """`RequestFailed` has the type's name and the text, and here the exception as its cause."""
    exchange = registry.get("x")

    @exchange.responder
    def fail(msg: str) -> None:
        raise KeyError(msg)

    with pytest.raises(RequestFailed, match="KeyError: 'k'") as caught:
        exchange.request("k")
    assert (caught.value.error, caught.value.reason) == ("KeyError", "'k'")
    assert isinstance(caught.value.__cause__, KeyError)


def test_asking_all_raises_after_the_other_answers(registry: Registry) -> None:
    """One failing responder does not rob the asker of the others' answers."""
    exchange = registry.get("x")

    @exchange.responder
    def fail(msg: object) -> None:
        raise ValueError("no")

    exchange.responder(lambda msg: "yes")
    got = list[Reply]()
    with pytest.raises(RequestFailed, match="no"):
        got.extend(exchange.request_all(1))
    exchange.responder(lambda msg: 1 / 0)
    with pytest.raises(ExceptionGroup, match="2 responders"):
        got.extend(exchange.request_all(1))
    assert [reply.value for reply in got] == ["yes", "yes"]


def test_answers_of_all_come_as_they_arrive(registry: Registry) -> None:
    """A slow responder does not hold up the answer of a quick one that was declared after it."""
    exchange, got = registry.get("x"), list[str]()

    async def main() -> None:
        go_on = asyncio.Event()

        @exchange.responder
        async def slow(msg: int) -> str:
            await go_on.wait()
            return "slow"

        @exchange.responder
        async def quick(msg: int) -> str:
            return "quick"

        async for reply in exchange.aio.request_all(1, timeout=60):
            got.append(reply.value)
            go_on.set()

    asyncio.run(main())
    assert got == ["quick", "slow"]


@in_every_loop
def test_coroutines_ask_and_answer(run: Callable[[Any], None], registry: Registry) -> None:
    """An async responder runs on its loop, for askers there and on threads."""
    exchange = registry.get("x")

    async def main() -> None:
        @exchange.responder
        async def double(msg: int) -> int:
            return 2 * msg

        assert await exchange.aio.request(4) == 8
        replies = [reply async for reply in exchange.aio.request_all(5)]
        assert [reply.value for reply in replies] == [10]
        with pytest.raises(RuntimeError, match=r"exchange\.aio\.request\(\.\.\.\)"):
            exchange.request(1)
        with pytest.raises(RuntimeError, match=r"exchange\.aio\.request_all"):
            exchange.request_all(1)

        @exchange.responder
        async def fail(msg: int) -> int:
            raise LookupError("none")

        exchange.detach(double)
        with pytest.raises(RequestFailed, match="LookupError: none"):
            await exchange.aio.request(4)

    run(main)
    assert not len(registry._asking)


def test_a_thread_asks_a_coroutine(registry: Registry) -> None:
    """A request of a thread is answered on the responder's loop, and dies with that."""
    exchange, threads = registry.get("x"), list[threading.Thread]()

    async def main() -> int:
        @exchange.responder
        async def double(msg: int) -> int:
            threads.append(threading.current_thread())
            return 2 * msg

        return await asyncio.to_thread(exchange.request, 4, 60)

    assert asyncio.run(main()) == 8
    assert threads == [threading.main_thread()]
    with pytest.raises(ResponderLost, match="event loop has ended"):
        exchange.request(1)


def test_an_async_responder_that_is_cancelled_is_lost(registry: Registry) -> None:
    """A loop that ends while its responder works leaves no asker waiting."""
    exchange = registry.get("x")
    asked = threading.Event()

    async def main() -> None:
        @exchange.responder
        async def hang(msg: int) -> None:
            asked.set()
            await asyncio.sleep(3600)

        await asyncio.to_thread(asked.wait, 60)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(exchange.request, 1, 60, 60)
        asyncio.run(main())
        with pytest.raises(ResponderLost, match="may have done some or all"):
            future.result(60)


def test_too_late(registry: Registry) -> None:
    """An answer that comes after `RequestTimeout` is dropped, counted, and takes no memory."""
    exchange = registry.get("x")

    async def main() -> None:
        go_on = asyncio.Event()

        @exchange.responder
        async def wait(msg: int) -> None:
            await go_on.wait()

        with pytest.raises(RequestTimeout, match="no answer from 1 of those asked within 0 s"):
            await exchange.aio.request(1, timeout=0)
        with pytest.raises(RequestTimeout):
            [_ async for _ in exchange.aio.request_all(1, timeout=0)]
        assert not len(registry._asking)
        go_on.set()
        async with asyncio.timeout(60):
            while registry._asking.late < 2:
                await asyncio.sleep(0)

    asyncio.run(main())
    assert issubclass(RequestTimeout, TimeoutError)
    assert issubclass(RequestTimeout, ExchangeError)


def test_waiting_for_a_responder(registry: Registry) -> None:
    """With ``wait=`` a request waits for the first responder, and no longer than that."""
    exchange = registry.get("x")
    with pytest.raises(NoResponders, match=r"after 0\.01 s"):
        exchange.request(1, wait=0.01)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(exchange.request, 4, 60, 60)
        eventually(lambda: registry._asking._hopeful)
        exchange.responder(lambda msg: msg)
        assert future.result(60) == 4
    assert not registry._asking._hopeful


def test_a_bound_on_an_async_responder(registry: Registry) -> None:
    """The asker of one question too many hears of the limit at once."""
    exchange = registry.get("x")

    async def main() -> None:
        go_on = asyncio.Event()

        @exchange.responder(most=1)
        async def wait(msg: int) -> int:
            await go_on.wait()
            return msg

        first = asyncio.create_task(exchange.aio.request(1, timeout=60))
        while not len(registry._asking):
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(RequestFailed, match="LimitReached"):
            await exchange.aio.request(2, timeout=60)
        go_on.set()
        assert await first == 1

    asyncio.run(main())


def test_requests_of_many_threads_are_not_mixed_up(registry: Registry) -> None:
    """10,000 requests, 64 under way: each gets its own answer, and no memory is left."""
    exchange = registry.get("x")
    for _ in range(3):
        exchange.responder(lambda msg: -msg)
    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(exchange.request, range(10_000))) == [-n for n in range(10_000)]
    assert not len(registry._asking)
    assert not registry._asking.waited_for()
    assert registry._asking.late == 0


def test_what_cannot_answer_is_refused(registry: Registry) -> None:
    """Neither a mere object nor an async function without a loop is a responder."""
    exchange = registry.get("x")
    with pytest.raises(NotASubscriber):
        exchange.responder(7)  # type: ignore[call-overload]

    async def answer(msg: object) -> None: ...

    with pytest.raises(RuntimeError, match="no event loop runs on this thread: declare"):
        exchange.responder(answer)
    with pytest.raises(ValueError, match="at least 1"):
        exchange.responder(most=0)(print)


def test_detach_undoes_the_latest(registry: Registry) -> None:
    """A function that is attached in several ways is detached from the latest one first."""
    exchange, got = registry.get("x"), list[object]()

    def both(msg: object) -> str:
        got.append(msg)
        return "answer"

    exchange.handler(both)
    exchange.responder(both)
    assert exchange.request(1) == "answer"
    assert got == [1, 1]
    exchange.detach(both)
    exchange.send(2)
    assert got == [1, 1, 2]
    with pytest.raises(NoResponders):
        exchange.request(3)


# ------------------------------------------------------------------------------ headers


def test_headers_come_with_details(registry: Registry) -> None:
    """A stream with details has the headers of each message, late joiners too; others do not."""
    registry.retain("x", 10)
    exchange = registry.get("x")
    headers = {"text": "a", "bytes": b"b", "number": 1, "fraction": 0.5}
    with exchange.stream(details=True) as stream, exchange.record() as seen:
        exchange.send_with(1, headers=headers)
        exchange.send(2)
        exchange.send_with(3, headers={})
        got = [stream.get(0) for _ in range(3)]
    with exchange.stream(details=True, history=3) as late:
        again = [late.get(0) for _ in range(3)]
    assert seen == [1, 2, 3]
    for found in (got, again):
        assert [dict(d.headers) for d in found if isinstance(d, Delivery)] == [headers, {}, {}]


def test_headers_are_copied_and_forwarded(registry: Registry) -> None:
    """A change after the call has no effect; an exchange attached as a task passes them on."""
    exchange, other = registry.get("x"), registry.get("y")
    exchange.attach(other)
    headers = {"a": 1}
    with other.stream(details=True) as stream:
        exchange.send_with(1, headers=headers)
        headers["a"] = 2
        found = stream.get(0)
    assert isinstance(found, Delivery)
    assert found.headers == {"a": 1}


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({1: "a"}, TypeError),
        ({"a": None}, TypeError),
        ({"a": True}, TypeError),
        ([("a", 1)], TypeError),
        ({"a": 1 << 64}, ValueError),
        ({"a": "x" * 128}, ValueError),
        ({str(n): 1 for n in range(9)}, ValueError),
        ({"\ud800": 1}, ValueError),
    ],
)
def test_headers_are_checked_at_the_call(
    registry: Registry, headers: Any, error: type[Exception]
) -> None:
    """Headers of another type, or too many, are refused before any task gets the message."""
    exchange = registry.get("x")
    with exchange.record() as seen:
        with pytest.raises(error):
            exchange.send_with(1, headers=headers)
        with pytest.raises(error):
            exchange.request(1, headers=headers)
    assert not seen


def test_a_delivery_without_headers_is_a_plain_value() -> None:
    """It can be hashed, compared, copied and pickled."""
    delivery = Delivery("x", 1, None, None, 0.0)
    assert hash(delivery) == hash(copy.deepcopy(delivery))
    assert pickle.loads(pickle.dumps(delivery)) == delivery
    assert dict(delivery.headers) == {}


def test_messages_with_headers_take_their_turn(registry: Registry) -> None:
    """What a task sends while it is called comes after the message that it was called with."""
    exchange = registry.get("x")

    def answer(msg: str) -> None:
        if msg == "question":
            exchange.send_with("answer", headers={"n": 1})

    exchange.handler(answer)
    with exchange.record() as seen:
        exchange.send_with("question", headers={"n": 0})
        exchange.send("question")
    assert seen == ["question", "answer"] * 2


def test_errors_of_tasks_are_raised_as_by_any_send(registry: Registry) -> None:
    """All tasks are called, and the error of one is raised with a note of whose it is."""
    exchange = registry.get("x")
    exchange.handler(lambda msg: 1 / 0)
    with exchange.record() as seen, pytest.raises(ZeroDivisionError) as caught:
        exchange.send_with(1, headers={"a": 1})
    assert seen == [1]
    assert "exchange 'x'" in caught.value.__notes__[0]
