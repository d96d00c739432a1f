"""Streams that nobody refers to any more."""

import asyncio
import gc
import queue
import threading
import warnings

import pytest

from tests.support import eventually
from zexchange.local import Registry, to_call
from zexchange.local.tasks import feeds


@pytest.fixture
def exchange():
    return Registry().get("x")


def broken_off(exchange, stream):
    """Read one message of a stream, and leave it there."""
    opened = stream()
    exchange.send("first")
    for _ in opened:
        break


WAYS = {
    "stream": lambda exchange: exchange.stream(),
    "details": lambda exchange: exchange.stream(details=True),
    "view": lambda exchange: exchange.registry.match("*").stream(),
    "names": lambda exchange: exchange.registry.match("*").stream(names=True),
    "full": lambda exchange: exchange.stream(1, "drop_oldest"),
}
USES = {
    "send": lambda exchange: exchange.send("next"),
    "arrival": lambda exchange: exchange._deliver(["next"], "them", 1, 0.0),
    "attach": lambda exchange: exchange.registry.get("y").attach(to_call(print)),
    "new": lambda exchange: exchange.registry.get("z"),
    "len": len,
    "subscribers": lambda exchange: exchange.subscribers,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("beside", [0, 2])
def test_what_is_left_is_detached_by_the_next_use(exchange, way, use, beside):
    """At once where messages come; else by any use, of whichever exchange."""
    got = []
    for _ in range(beside):
        exchange.attach(to_call(got.append))
    broken_off(exchange, lambda: WAYS[way](exchange))
    USES[use](exchange)
    view = exchange.registry.match("*")
    assert [len(exchange._table), len(view._table)] == [beside, 0]
    assert "*" not in exchange.registry._interest
    assert got.count("first") == beside


def test_wherever_it_is_attached(exchange):
    """More than once, and to more than one."""
    other, view = exchange.registry.get("other"), exchange.registry.match("*")

    def client():
        stream = exchange.stream()
        for place in (exchange, other, view):
            place.attach(stream)
        view.attach(stream, names=True)
        view.detach(stream)
        assert stream in exchange
        assert exchange.subscribers == (stream,)

    client()
    exchange.send(1)
    assert [len(place._table) for place in (exchange, other, view)] == [0, 0, 0]


def test_a_stream_in_a_circle_goes_with_the_collector(exchange):
    """As what an object refers to that refers to itself."""

    class Client:
        def __init__(self):
            self.me = self
            self.stream = exchange.stream()

    Client()
    gc.collect()
    exchange.send(1)
    assert len(exchange._table) == 0


def test_what_is_read_stays(exchange):
    """By a loop, by a thread, by a coroutine that nobody names."""
    got, ready = queue.Queue(), threading.Event()

    def read():
        for msg in exchange.stream():
            got.put(msg)
            if msg == 2:
                break

    def wait():
        ready.set()
        got.put(exchange.stream().get(10))

    async def main():
        async def read():
            async for msg in exchange.stream():
                got.put(msg)
                break

        task = asyncio.ensure_future(read())
        await asyncio.sleep(0)
        gc.collect()
        exchange.send(2)
        await task

    for target in (read, wait):
        thread = threading.Thread(target=target)
        thread.start()
        eventually(lambda: len(exchange._table) == 1)
        gc.collect()
        exchange.send(2)
        thread.join(10)
        eventually(lambda: len(exchange) == 0)
    asyncio.run(main())
    assert [got.get(timeout=1) for _ in range(3)] == [2, 2, 2]


def test_the_finaliser_takes_no_lock(exchange):
    """It runs anywhere: while another thread holds every lock there is, too."""
    stream, view = exchange.stream(), exchange.registry.match("*")
    locks = [exchange._lock, view._lock, exchange.registry._lock, stream._mailbox._lock]
    held, go_on = threading.Event(), threading.Event()

    def hold():
        for lock in locks:
            lock.acquire()
        held.set()
        go_on.wait(10)
        for lock in reversed(locks):
            lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    del stream
    assert not go_on.is_set()
    go_on.set()
    thread.join(10)
    assert len(exchange) == 0


def test_a_sender_that_waits_for_room_goes_on(exchange):
    """Nobody will make any."""
    streams = [exchange.stream(1, "block")]
    exchange.send(1)
    sender = threading.Thread(target=exchange.send, args=(2,))
    sender.start()
    eventually(lambda: streams[0].stats().blocked == 1)
    streams.clear()
    sender.join(10)
    assert not sender.is_alive()
    exchange.send(3)
    assert len(exchange._table) == 0


def test_in_the_middle_of_a_round(exchange):
    """A task drops the last reference: those after it are served all the same."""
    streams, got = [], []
    exchange.attach(to_call(lambda msg: streams.clear()))
    streams.append(exchange.stream())
    exchange.attach(to_call(got.append))
    for n in range(3):
        exchange.send(n)
    assert got == [0, 1, 2]
    assert len(exchange._table) == 2


def test_python_is_told_in_its_dev_mode(exchange, monkeypatch):
    """Once for each, with what it was of; not of one that was closed, nor in other modes."""

    def told():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for way in WAYS.values():
                broken_off(exchange, lambda way=way: way(exchange))
                exchange.send(1)
                exchange.send(2)
            exchange.stream().close()
            exchange.send(3)
        return [str(warning.message) for warning in caught]

    assert told() == []
    monkeypatch.setattr(feeds, "WARNS", True)
    texts = told()
    assert len(texts) == len(WAYS)
    assert [("'*'" in text, "'x'" in text) for text in texts[1:3]] == [(False, True), (True, False)]
