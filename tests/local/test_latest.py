"""Streams that keep only the newest message: `local/tasks/latest.py`."""

import asyncio
import threading

import pytest

from zexchange import Closed, Delivery, Lost, Registry


def test_a_reader_gets_the_newest_message_and_the_others_are_counted_as_conflated():
    """What a newer message has replaced is no drop: the reader has asked for that."""
    exchange = Registry().get("camera")
    with exchange.stream(latest=True) as stream:
        for n in range(100):
            exchange.send(n)
        assert stream.get(timeout=0) == 99
        with pytest.raises(TimeoutError):
            stream.get(timeout=0)
        stats = stream.stats()
        assert (stats.received, stats.conflated, stats.dropped) == (100, 99, 0)


@pytest.mark.parametrize("bound", [{"maxsize": 1}, {"maxsize": 1000}, {"overflow": "block"}])
def test_a_bound_or_a_rule_beside_latest_is_refused(bound):
    """One message is kept, whatever else is said; and the refused stream is not attached."""
    registry = Registry()
    for source in registry.get("camera"), registry.match("camera.**"):
        with pytest.raises(TypeError, match="latest=True"):
            source.stream(latest=True, **bound)
        assert not len(source)


def test_a_view_keeps_the_newest_of_all_its_exchanges():
    """There is one place for all exchanges that the pattern covers."""
    registry = Registry()
    with registry.match("camera.*").stream(names=True, latest=True) as stream:
        registry.get("camera.front").send(1)
        registry.get("camera.back").send(2)
        assert stream.get(timeout=0) == ("camera.back", 2)
        assert stream.stats().conflated == 1


def test_a_burst_that_arrives_counts_all_but_its_last_message():
    """The messages of a frame are put in together, and counted each."""
    exchange = Registry().get("camera")
    with exchange.stream(latest=True) as stream:
        exchange._deliver([1, 2, 3], "origin", 1, 0.0)
        exchange._deliver([4, 5], "origin", 4, 0.0)
        assert stream.get(timeout=0) == 5
        assert (stream.stats().received, stream.stats().conflated) == (5, 4)


def test_what_was_lost_takes_the_place_of_no_message():
    """A loss that comes after an unread message does not push it out."""
    exchange = Registry().get("camera")
    with exchange.stream(latest=True, details=True) as stream:
        exchange._deliver([1], "origin", 1, 0.0)
        exchange._report(Lost("camera", "origin", 2, 3, "test"), None)
        got = stream.get(timeout=0)
        assert isinstance(got, Delivery)
        assert got.msg == 1
        with pytest.raises(TimeoutError):
            stream.get(timeout=0)


def test_history_is_replaced_by_what_comes_after_it():
    """Of several retained messages, the last one is read."""
    registry = Registry()
    registry.retain("config", 3)
    exchange = registry.get("config")
    for n in range(3):
        exchange.send(n)
    with exchange.stream(history=3, latest=True) as stream:
        assert stream.get(timeout=0) == 2
        exchange.send(3)
        assert stream.get(timeout=0) == 3


def test_nothing_is_taken_after_close():
    """A message that comes too late is not counted."""
    exchange = Registry().get("camera")
    stream = exchange.stream(latest=True)
    exchange.send(1)
    stream.close()
    exchange.send(2)
    exchange._deliver([3], "origin", 1, 0.0)
    with pytest.raises(Closed):
        stream.get(timeout=0)
    assert stream.stats().received == 1


def test_what_was_read_and_what_was_conflated_add_up_while_others_send():
    """Each message of a sender in another thread is read or counted, in order."""
    exchange, read = Registry().get("camera"), []

    async def main():
        async with exchange.stream(latest=True) as stream:
            sender = threading.Thread(target=lambda: [exchange.send(n) for n in range(20_000)])
            sender.start()
            async for n in stream:
                read.append(n)
                if n == 19_999:
                    break
            sender.join()
            return stream.stats()

    stats = asyncio.run(main())
    assert read == sorted(set(read))
    assert len(read) + stats.conflated == stats.received == 20_000
