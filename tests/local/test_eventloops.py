"""Streams in event loops: no message is lost to a cancellation, no subscription is left behind."""

import asyncio
import gc
import logging
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from tests.eventloops import Main, run_anyio_on_trio, run_asyncio, run_trio, run_uvloop
from tests.support import eventually
from zexchange import Exchange, MailboxFull, Registry, to_async
from zexchange.local.tasks import eventloops

CANCELS = 10_000


@pytest.fixture
def exchange() -> Exchange[Any]:
    return Registry().get("x")


in_every_loop = pytest.mark.parametrize(
    "run", [run_asyncio, run_uvloop, run_trio, run_anyio_on_trio]
)
in_asyncio = pytest.mark.parametrize("run", [run_asyncio, run_uvloop])


def feeding(exchange: Exchange[Any], count: int) -> threading.Thread:
    """Start a thread that sends numbers."""
    thread = threading.Thread(target=lambda: [exchange.send(n) for n in range(count)])
    thread.start()
    return thread


# --------------------------------------------------------------------------- cancellation


async def sleep(seconds: float) -> None:
    """Sleep in whatever runs."""
    await sys.modules["trio" if type(eventloops.home()).__name__ == "_Trio" else "asyncio"].sleep(
        seconds
    )


@in_asyncio
@pytest.mark.parametrize("how", ["wait_for", "timeout", "cancel"])
def test_cancelled_receives_lose_nothing(
    exchange: Exchange[Any], run: Callable[[Main], Any], how: str
) -> None:
    """10,000 are cancelled at any moment while messages flow: each of those comes, in order."""
    got: list[int] = []
    cancelled = 0

    async def receive(stream: Any, n: int) -> None:
        nonlocal cancelled
        patience = (n % 7) * 5e-6
        try:
            if how == "wait_for":
                got.append(await asyncio.wait_for(anext(stream), patience))
            elif how == "timeout":
                async with asyncio.timeout(patience):
                    got.append(await anext(stream))
            else:
                task = asyncio.ensure_future(anext(stream))
                for _ in range(n % 4):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                if task.cancelled():
                    raise TimeoutError
                got.append(task.result())
        except TimeoutError:
            cancelled += 1

    async def main() -> None:
        async with exchange.stream(50, "block") as stream:
            over, sent = threading.Event(), [0]

            def feed() -> None:
                while not over.is_set():
                    exchange.send(sent[0])
                    sent[0] += 1
                    over.wait(0.0002 if sent[0] % 3 else 0)

            thread = threading.Thread(target=feed)
            thread.start()
            n = 0
            while cancelled < CANCELS:
                await receive(stream, n)
                n += 1
            over.set()
            while thread.is_alive() or len(stream):
                if len(stream):
                    got.append(await anext(stream))
                await asyncio.sleep(0)
            thread.join()
            assert got == list(range(sent[0]))

    run(main)
    assert len(exchange) == 0


def test_cancelled_receives_in_trio_lose_nothing(exchange: Exchange[Any]) -> None:
    """The same in trio, where a cancelled scope cancels at every await."""
    trio = pytest.importorskip("trio")
    got: list[int] = []

    async def main() -> None:
        cancelled = 0
        async with exchange.stream(50, "block") as stream:
            thread = feeding(exchange, 3000)
            while len(got) < 3000:
                with trio.move_on_after((len(got) % 7) * 1e-5) as scope:
                    got.append(await anext(stream))
                cancelled += scope.cancelled_caught
            thread.join()
        assert cancelled

    trio.run(main)
    assert got == list(range(3000))
    assert len(exchange) == 0


@in_every_loop
def test_a_cancelled_reader_leaves_no_subscription(
    exchange: Exchange[Any], run: Callable[[Main], Any]
) -> None:
    """Whoever leaves the block by a cancellation is detached."""
    anyio = pytest.importorskip("anyio")

    async def read() -> None:
        async with exchange.stream() as stream:
            async for _ in stream:
                pass

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(read)
            while len(exchange) < 10:
                await anyio.sleep(0.001)
            exchange.send(1)
            group.cancel_scope.cancel()

    run(main)
    assert len(exchange) == 0


# --------------------------------------------------------------------------- many at once


@in_every_loop
def test_several_loops_in_several_threads(
    exchange: Exchange[Any], run: Callable[[Main], Any]
) -> None:
    """Each loop reads a stream of its own, and all of them get everything."""
    got: list[list[int]] = [[] for _ in range(4)]

    def work(mine: list[int]) -> None:
        async def main() -> None:
            async with exchange.stream(10, "block") as stream:
                async for msg in stream:
                    mine.append(msg)
                    if msg == 1999:
                        return

        run(main)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in got]
    for thread in threads:
        thread.start()
    eventually(lambda: len(exchange) == 4)
    feeding(exchange, 2000).join()
    for thread in threads:
        thread.join(30)
    assert got == [list(range(2000))] * 4
    assert len(exchange) == 0


@in_every_loop
def test_two_loops_share_a_stream(exchange: Exchange[Any], run: Callable[[Main], Any]) -> None:
    """Each message is read once, by one of them."""
    stream = exchange.stream(10, "block")
    got: list[int] = []

    async def main() -> None:
        async for msg in stream:
            got.append(msg)  # noqa: PERF401 - as it comes

    threads = [threading.Thread(target=run, args=(main,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    feeding(exchange, 2000).join()
    eventually(lambda: len(got) == 2000)
    stream.close()
    for thread in threads:
        thread.join(30)
    assert sorted(got) == list(range(2000))


@in_every_loop
def test_a_flood_leaves_the_loop_to_others(
    exchange: Exchange[Any], run: Callable[[Main], Any]
) -> None:
    """A reader that never has to wait lets other tasks run, and can be cancelled."""
    anyio = pytest.importorskip("anyio")
    turns = []

    async def main() -> None:
        async with exchange.stream(100_000) as stream, anyio.create_task_group() as group:
            for n in range(100_000):
                exchange.send(n)

            async def other() -> None:
                while True:
                    turns.append(len(stream))
                    await anyio.sleep(0)

            async def read() -> None:
                async for _ in stream:
                    if len(turns) > 5:
                        group.cancel_scope.cancel()

            group.start_soon(other)
            group.start_soon(read)

    run(main)
    assert len(turns) > 5
    assert turns[-1] > 10_000


@in_asyncio
def test_streams_of_one_loop_share_a_wake_up(
    exchange: Exchange[Any], run: Callable[[Main], Any]
) -> None:
    """A burst over many streams is one callback on their loop."""

    async def main() -> tuple[int, int]:
        streams = [exchange.stream() for _ in range(20)]
        reading = [asyncio.ensure_future(anext(stream)) for stream in streams]
        await asyncio.sleep(0)
        home, posts = eventloops.home(), []
        post = home._post
        home._post = lambda call: posts.append(call) or post(call)  # type: ignore[func-returns-value]
        for n in range(50):
            exchange.send(n)
        got = await asyncio.gather(*reading)
        for stream in streams:
            stream.close()
        return len(posts), sum(got)

    assert run(main) == (1, 0)


def test_two_that_answer_each_other_do_not_keep_the_loop(exchange: Exchange[Any]) -> None:
    """Coroutines that wake each other on one loop leave turns to the rest of it."""
    registry = exchange.registry
    ping, pong = registry.get("ping"), registry.get("pong")

    async def answer(here: Exchange[Any], there: Exchange[Any]) -> None:
        async with here.stream() as stream:
            async for msg in stream:
                there.send(msg + 1)

    async def main() -> None:
        tasks = [asyncio.ensure_future(answer(*pair)) for pair in ((ping, pong), (pong, ping))]
        await asyncio.sleep(0)
        ping.send(0)
        for _ in range(100):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    asyncio.run(asyncio.wait_for(main(), 30))


# ------------------------------------------------------------------------- loops that end


@in_every_loop
def test_a_loop_that_ends_while_messages_flow(
    exchange: Exchange[Any], run: Callable[[Main], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Senders go on, nothing is raised into them, nothing is left un-awaited; drops are counted."""
    over, failed, sent = threading.Event(), list[BaseException](), [0]

    def feed() -> None:
        try:
            while not over.is_set():
                exchange.send(sent[0])
                sent[0] += 1
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=feed)
    thread.start()
    kept = []

    async def main() -> None:
        stream = exchange.stream(10)  # left open, as by a program that does not close
        kept.append(stream)
        for _ in range(200):
            await anext(stream)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            run(main)
        gc.collect()
    before = sent[0]
    eventually(lambda: sent[0] > before + 100)
    over.set()
    thread.join(30)
    assert not failed
    for stream in kept:
        stats = stream.stats()
        assert stats.received == 200 + stats.dropped + stats.waiting
        assert stats.waiting == 10
        stream.close()


@in_asyncio
def test_a_blocked_sender_goes_on_when_its_readers_loop_has_ended(
    exchange: Exchange[Any], run: Callable[[Main], Any]
) -> None:
    """It waits for nobody, and what it sends is counted as dropped."""
    stream = exchange.stream(2, "block")

    async def main() -> None:
        exchange.send(0)
        await anext(stream)

    run(main)
    feeding(exchange, 5).join(30)
    assert stream.stats().dropped == 3
    stream.close()


def test_a_blocked_sender_goes_on_when_trio_has_ended(exchange: Exchange[Any]) -> None:
    """The same where a loop can only be asked by giving it something to do."""
    stream = exchange.stream(2, "block")

    async def main() -> None:
        exchange.send(0)
        await anext(stream)

    run_trio(main)
    feeding(exchange, 5).join(30)
    assert stream.stats().dropped == 3
    stream.close()


@in_every_loop
def test_waiting_for_oneself_is_an_error(
    exchange: Exchange[Any], run: Callable[[Main], Any]
) -> None:
    """Who enters a blocking stream on a loop cannot fill it there, before the first read either."""

    async def main() -> None:
        async with exchange.stream(1, "block"):
            exchange.send(1)
            with pytest.raises(MailboxFull):
                exchange.send(2)

    run(main)


def test_what_waits_in_a_loop_needs_one(exchange: Exchange[Any]) -> None:
    """Outside of every event loop it says so."""
    with exchange.stream() as stream, pytest.raises(RuntimeError, match="no event loop"):
        anext(stream).send(None)  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------ to_async


@in_asyncio
def test_to_async_can_be_waited_for(exchange: Exchange[Any], run: Callable[[Main], Any]) -> None:
    """After close, wait_closed returns when everything that came has been awaited."""
    got = []

    async def slow(msg: int) -> None:
        await asyncio.sleep(0)
        got.append(msg)

    async def main() -> None:
        task = to_async(slow, maxsize=10)
        with exchange.subscribe(task):
            await asyncio.to_thread(lambda: [exchange.send(n) for n in range(100)])
        task.close()
        await task.wait_closed()

    run(main)
    assert got == list(range(100))


def test_a_function_that_was_cancelled_inside_is_an_error_like_any_other(
    exchange: Exchange[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Only whoever cancels the adapter's own task ends it."""
    got = []

    async def awaits_what_is_cancelled(msg: int) -> None:
        if msg == 0:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        got.append(msg)

    async def main() -> int:
        task = to_async(awaits_what_is_cancelled)
        with exchange.subscribe(task):
            exchange.send(0)
            exchange.send(1)
        task.close()
        await task.wait_closed()
        return task.errors

    with caplog.at_level(logging.ERROR, logger="zexchange"):
        assert asyncio.run(main()) == 1
    assert got == [1]


def test_to_async_under_trio_says_what_to_do() -> None:
    """There is no place to start the function in; a nursery is one."""

    async def main() -> None:
        with pytest.raises(RuntimeError, match="nursery"):
            to_async(sleep)

    run_trio(main)


def test_the_threads_own_calls_are_never_made_on_a_thread_without_a_loop() -> None:
    """`in_thread` begins at once, gives back what was raised, and goes on when cancelled."""
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(30)
        ended.set()

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await eventloops.in_thread(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(eventloops.in_thread(work), 0.01)

    asyncio.run(main())
    assert begun.is_set()
    assert not ended.is_set()
    go_on.set()
    assert ended.wait(30)
