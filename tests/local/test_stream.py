"""Streams: bounded, counted, read by threads and by asyncio alike."""

import asyncio
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import eventually
from zexchange.errors import Closed, MailboxFull
from zexchange.local import Delivery, Registry
from zexchange.local.process.logs import log
from zexchange.local.subscription import mark
from zexchange.local.tasks.mailbox import Mailbox


@pytest.fixture
def exchange():
    return Registry().get("x")


def test_a_stream_is_iterated_until_it_is_closed(exchange):
    """A reading thread gets every message in order; close ends its loop."""
    got, stream = [], exchange.stream()
    thread = threading.Thread(target=lambda: got.extend(stream))
    thread.start()
    for n in range(1000):
        exchange.send(n)
    eventually(lambda: len(got) == 1000 or not len(stream))
    stream.close()
    thread.join(10)
    assert not thread.is_alive()
    assert got == list(range(len(got)))
    assert stream not in exchange
    with pytest.raises(Closed):
        stream.get()
    stream.close()


def test_get_waits_no_longer_than_its_timeout(exchange):
    """An empty stream raises TimeoutError, also with zero seconds."""
    with exchange.stream() as stream:
        with pytest.raises(TimeoutError):
            stream.get(timeout=0)
        with pytest.raises(TimeoutError):
            stream.get(timeout=0.01)
        exchange.send(1)
        assert stream.get(timeout=0) == 1


def test_a_stream_is_shown_with_its_exchange(exchange):
    """A prompt and a list of subscribers show what it reads, and how much waits."""
    with exchange.stream() as stream:
        exchange.send(1)
        assert repr(stream) == f"<Stream {exchange.name!r}, 1 waiting>"
    assert repr(stream) == f"<Stream {exchange.name!r}, 1 waiting closed>"


@pytest.mark.parametrize(("overflow", "kept"), [("drop_oldest", [2, 3]), ("drop_newest", [0, 1])])
def test_what_is_dropped_is_counted(exchange, overflow, kept):
    """A full stream keeps its bound and says how many it lost."""
    with exchange.stream(maxsize=2, overflow=overflow) as stream:
        for n in range(4):
            exchange.send(n)
        assert stream.dropped == 2
        assert [stream.get(0), stream.get(0)] == kept
        stats = stream.stats()
        assert (stats.received, stats.dropped, stats.blocked, stats.waiting) == (4, 2, 0, 0)


def test_error_tells_the_sender_and_robs_nobody(exchange):
    """MailboxFull, after the other tasks were served."""
    with exchange.stream(maxsize=1, overflow="error"), exchange.record() as got:
        exchange.send(1)
        with pytest.raises(MailboxFull):
            exchange.send(2)
    assert got == [1, 2]


def test_block_has_the_sender_wait_and_loses_nothing(exchange):
    """The sender goes on when a reader made room; that it waited is counted."""
    with exchange.stream(maxsize=2, overflow="block") as stream:
        thread = threading.Thread(target=lambda: [exchange.send(n) for n in range(100)])
        thread.start()
        eventually(lambda: stream.stats().blocked)
        assert [stream.get(10) for _ in range(100)] == list(range(100))
        thread.join(10)
        assert stream.dropped == 0


def test_a_batch_is_given_to_streams_at_once_or_in_step(exchange):
    """Bounds, counts and order hold; who reads two full streams in step is not waited for."""
    one, other = (exchange.stream(maxsize=2, overflow="block") for _ in range(2))
    few = exchange.stream(maxsize=3)
    refuses = exchange.stream(maxsize=4, overflow="error")
    arrives = threading.Thread(target=exchange._deliver, args=(range(10), "o", 1, 0.0))
    arrives.start()
    assert [(one.get(10), other.get(10)) for _ in range(10)] == [(n, n) for n in range(10)]
    arrives.join(10)
    assert [few.get(0) for _ in range(3)] == [7, 8, 9]
    assert few.dropped == 7
    assert [refuses.get(0) for _ in range(4)] == [0, 1, 2, 3]
    assert exchange.stats().errors == 6
    exchange._deliver(range(2), "o", 11, 0.0)
    assert [(one.get(0), other.get(0), few.get(0)) for _ in range(2)] == [(0, 0, 0), (1, 1, 1)]
    assert one.stats().received == 12
    for stream in (one, other, few, refuses):
        stream.close()


def test_close_releases_a_blocked_sender(exchange):
    """It must not wait for a reader who has left."""
    stream = exchange.stream(maxsize=1, overflow="block")
    thread = threading.Thread(target=lambda: [exchange.send(n) for n in range(3)])
    thread.start()
    eventually(lambda: stream.stats().blocked)
    stream.close()
    thread.join(10)
    assert not thread.is_alive()


def test_details_tell_where_a_message_came_from(exchange):
    """Delivery has name, origin, number and time; a notice comes in its place in the order."""
    before = time.time()
    with exchange.stream(details=True) as stream:
        exchange.send("here")
        exchange._deliver(["far", "away"], "o", 7, 1.5)
        exchange._report("lost")
        exchange._deliver(["again"], "o", 12, 2.5)
        first, *rest = [stream.get(0) for _ in range(5)]
    assert (first.name, first.msg, first.origin, first.seq) == ("x", "here", None, None)
    assert before <= first.sent_at <= time.time()
    assert rest == [
        Delivery("x", "far", "o", 7, 1.5),
        Delivery("x", "away", "o", 8, 1.5),
        "lost",
        Delivery("x", "again", "o", 12, 2.5),
    ]


def test_history_goes_beyond_the_bound(exchange):
    """A stream that asks for more history than it holds gets it, without waiting for itself."""
    exchange.registry.retain("x", 10)
    for n in range(10):
        exchange.send(n)
    with exchange.stream(maxsize=2, overflow="block", history=10) as stream:
        assert [stream.get(0) for _ in range(10)] == list(range(10))


@pytest.mark.parametrize("bad", [{"overflow": "explode"}, {"maxsize": 0}])
def test_nonsense_is_refused_and_leaves_nothing_attached(exchange, bad):
    """A ValueError that says what was expected."""
    with pytest.raises(ValueError, match=r"overflow|maxsize"):
        exchange.stream(**bad)
    assert len(exchange) == 0


# asyncio


def test_async_for_gets_what_threads_send(exchange):
    """The same object, awaited: in order, and ended by close."""

    async def read():
        got = []
        async with exchange.stream(overflow="block", maxsize=10) as stream:
            thread = threading.Thread(target=lambda: [exchange.send(n) for n in range(500)])
            thread.start()
            async for msg in stream:
                got.append(msg)
                if msg == 499:
                    stream.close()
        thread.join(10)
        return got

    assert asyncio.run(asyncio.wait_for(read(), 10)) == list(range(500))


def test_a_burst_wakes_the_loop_once(exchange):
    """However many messages come before the reader runs, the loop gets one callback."""

    async def read():
        loop, wakes = asyncio.get_running_loop(), []
        original = loop.call_soon_threadsafe

        def counted(callback, *args, **kwargs):
            wakes.append(callback)
            return original(callback, *args, **kwargs)

        loop.call_soon_threadsafe = counted
        with exchange.stream() as stream:
            reader = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            for n in range(100):
                exchange.send(n)
            assert await reader == 0
            return len(wakes), [await anext(stream) for _ in range(99)]

    wakes, rest = asyncio.run(read())
    assert (wakes, rest) == (1, list(range(1, 100)))


def test_a_loop_that_closed_does_not_raise_into_the_sender(exchange):
    """Its reader is gone; the message stays for the next reader."""
    stream = exchange.stream()
    loop = asyncio.new_event_loop()
    reading = stream.__anext__()

    async def start():
        reading.send(None)  # as far as its wait, and no further: the loop has nothing pending

    loop.run_until_complete(start())
    loop.close()
    exchange.send(1)
    reading.close()
    assert stream.get(0) == 1


def test_a_cancelled_reader_leaves_the_message_to_the_next(exchange):
    """A wake-up that meets a cancelled reader is not lost."""

    async def read():
        with exchange.stream() as stream:
            first, second = (asyncio.ensure_future(anext(stream)) for _ in range(2))
            await asyncio.sleep(0)
            first.cancel()
            exchange.send(1)
            return await asyncio.wait_for(second, 10)

    assert asyncio.run(read()) == 1


def test_waiting_for_oneself_is_an_error(exchange):
    """A full blocking stream whose reader is this very loop raises instead of hanging."""

    async def read():
        with exchange.stream(maxsize=1, overflow="block") as stream:
            exchange.send(1)
            await anext(stream)
            exchange.send(2)
            with pytest.raises(MailboxFull):
                exchange.send(3)

    asyncio.run(read())


@given(
    st.lists(st.one_of(st.just("take"), st.integers())),
    st.integers(1, 3),
    st.sampled_from(["drop_oldest", "drop_newest", "error"]),
)
def test_a_mailbox_keeps_order_bound_and_books(steps, maxsize, overflow):
    """Whatever the order of puts and takes: never more than its bound, every item accounted."""
    mailbox, model, refused, taken = Mailbox(maxsize, overflow), [], 0, 0
    for step in steps:
        if step == "take":
            if model:
                assert mailbox.take(0) == model.pop(0)
                taken += 1
            continue
        full = len(model) == maxsize
        try:
            mailbox.put(step)
        except MailboxFull:
            assert overflow == "error"
            assert full
            refused += 1
            continue
        if not full or overflow == "drop_oldest":
            model = [*model, step][-maxsize:]
    puts = sum(step != "take" for step in steps)
    stats = mailbox.stats()
    assert stats.waiting == len(mailbox) == len(model) <= maxsize
    assert stats.received == puts - refused == taken + stats.dropped + stats.waiting


def test_the_default_says_once_that_it_drops_and_at_the_end_how_many(exchange, caplog):
    """Who chose what happens is not told of it."""
    with exchange.stream(maxsize=2) as stream, exchange.stream(2, "drop_oldest"):
        for n in range(2):
            exchange.send(n)
        log.flush()
        assert not caplog.text
        for n in range(3):
            exchange.send(n)
        eventually(lambda: "beyond 2 messages" in caplog.text)
        assert stream.dropped == 3
    eventually(lambda: "dropped 3 messages in all" in caplog.text)
    assert caplog.text.count("a stream of 'x'") == 2


def test_a_stream_holds_a_thousand_messages_by_default(exchange):
    """Whatever their size; then it drops the oldest, and counts it."""
    with exchange.stream() as stream:
        for n in range(1003):
            exchange.send(n)
        assert (len(stream), stream.dropped, stream.get(timeout=0)) == (1000, 3, 3)
    log.flush()


def test_a_view_says_so_as_well(caplog):
    """By its pattern."""
    registry = Registry()
    with registry.match("a.*").stream(maxsize=1):
        registry.get("a.b").send(1)
        registry.get("a.b").send(2)
    eventually(lambda: "a stream of 'a.*'" in caplog.text)
    assert "in all" not in caplog.text


def test_a_notice_of_before_a_mark_goes_to_the_streams_that_were_there_then():
    """By a name or a pattern; who came later has not missed what it is about."""
    registry = Registry()
    exchange = registry.get("x")
    there = [exchange.stream(details=True), registry.match("**").stream(details=True)]
    made = mark()
    later = exchange.stream(details=True)
    exchange._report("lost", made)
    exchange._report("lost too")
    assert [len(stream) for stream in (*there, later)] == [2, 2, 1]


def test_waiting_without_end_in_a_loop_is_an_error(exchange):
    """A plain read in a coroutine stops the loop: it says what to write instead."""

    async def read():
        with exchange.stream() as stream:
            with pytest.raises(RuntimeError, match="async for"):
                stream.get()
            with pytest.raises(RuntimeError, match="async for"):
                next(iter(stream))
            with pytest.raises(TimeoutError):
                stream.get(timeout=0.01)
            exchange.send(1)
            assert stream.get() == 1

    asyncio.run(read())
