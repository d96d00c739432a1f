"""Buffers that are filled again after `send`, and whoever reads their messages later."""

import array
import asyncio
import queue
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import eventually
from zexchange.local import Registry, to_async, to_call, to_queue, to_thread
from zexchange.local.tasks import snapshots
from zexchange.local.tasks.snapshots import settled, snapshot

np = pytest.importorskip("numpy")

BUFFERS = {
    "bytearray": lambda: bytearray(4),
    "memoryview": lambda: memoryview(bytearray(4)),
    "memoryview of ints": lambda: memoryview(array.array("i", [0] * 4)),
    "every other": lambda: memoryview(bytearray(8))[::2],
    "array": lambda: array.array("d", [0.0] * 4),
    "numpy": lambda: np.zeros(4, "i2"),
    "subclass": lambda: type("Frame", (bytearray,), {})(4),
}
buffers = pytest.mark.parametrize("make", BUFFERS.values(), ids=BUFFERS)


@pytest.fixture
def exchange():
    return Registry().get("x")


def fill_again(exchange, buffer):
    """Send a buffer twice, with 1 and 2 in it, and then put 3 there."""
    for n in (1, 2):
        buffer[0] = n
        exchange.send(buffer)
    buffer[0] = 3


@buffers
def test_streams_have_what_was_sent(exchange, make):
    """In each of their forms, and by a pattern."""
    view = exchange.registry.match("*")
    with (
        exchange.stream() as plain,
        exchange.stream(details=True) as detailed,
        view.stream(names=True) as named,
        exchange.record() as recorded,
    ):
        fill_again(exchange, make())
        assert [plain.get(0)[0] for _ in range(2)] == [1, 2]
        assert [detailed.get(0).msg[0] for _ in range(2)] == [1, 2]
        assert [named.get(0)[1][0] for _ in range(2)] == [1, 2]
        assert [msg[0] for msg in recorded] == [1, 2]


@buffers
def test_adapters_have_what_was_sent(exchange, make):
    """A queue, a thread, a coroutine: all read later."""
    q, got, go_on = queue.Queue(), [], threading.Event()
    slow = to_thread(to_call(lambda msg: (go_on.wait(10), got.append(msg))))

    async def run():
        awaited = []

        async def take(msg):
            awaited.append(msg)

        task = to_async(take)
        with exchange.subscribe(to_queue(q), slow, task):
            fill_again(exchange, make())
        task.close()
        await task.wait_closed()
        return awaited

    awaited = asyncio.run(run())
    go_on.set()
    eventually(lambda: len(got) == 2)
    slow.close()
    assert [msg[0] for msg in awaited] == [1, 2]
    assert [msg[0] for msg in got] == [1, 2]
    assert [q.get_nowait()[0] for _ in range(2)] == [1, 2]


@buffers
def test_what_is_kept_for_late_joiners_is_what_was_sent(exchange, make):
    """Also while one catches up."""
    exchange.registry.retain("x", 5)
    buffer, got = make(), []
    fill_again(exchange, buffer)

    def join(msg):
        got.append(msg[0])
        if len(got) == 1:
            fill_again(exchange, buffer)

    exchange.attach(to_call(join), history=5)
    assert got == [1, 2, 1, 2]


def test_tasks_that_are_called_get_the_very_object(exchange):
    """They have it before `send` returns; so do those beside a stream."""
    got, buffer, frames = [], bytearray(4), [bytearray(4)]
    exchange.handler(got.append)
    with exchange.stream() as stream:
        exchange.send(buffer)
        exchange.send(frames)
        assert got[0] is buffer
        assert stream.get(0) is not buffer
        assert stream.get(0) is frames  # what is inside something is as that is


def test_what_arrives_is_not_copied(exchange):
    """Nobody else has it."""
    frame = np.zeros(4)
    q, got = queue.Queue(), []
    with (
        exchange.stream() as stream,
        exchange.registry.match("*").stream(names=True) as named,
        exchange.subscribe(to_queue(q), to_call(got.append)),
    ):
        exchange._deliver([frame], "them", 1, 0.0)
        assert stream.get(0) is frame
        assert named.get(0)[1] is frame
        assert q.get_nowait() is got[0] is frame


@buffers
def test_a_copy_is_like_what_it_is_of(make):
    """Type, format and content; and it is written to apart."""
    buffer = make()
    for copy in (settled(buffer), snapshot([buffer])[0]):
        assert isinstance(copy, bytearray if isinstance(buffer, bytearray) else type(buffer))
        assert list(copy) == list(buffer)
        assert memoryview(copy).format == memoryview(buffer).format
        copy[0] = 7
        assert list(copy) != list(buffer)
    frozen = settled(memoryview(b"abc"))
    assert frozen == b"abc"
    assert frozen.readonly


def test_types_that_are_no_longer_there_are_not_remembered_without_end(monkeypatch):
    """A program that makes classes makes no table grow."""
    monkeypatch.setattr(snapshots, "TYPES_MOST", 10)
    for _ in range(100):
        made = type("Made", (), {})()
        assert settled(made) is made
    assert len(snapshots._copies) <= 10


CHANGING = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.binary(max_size=3).map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.integers(), inner, max_size=3)
        | st.sets(st.integers(), max_size=3)
    ),
)


def changing(value):
    """Return every part of a value that can change."""
    own = [value] if isinstance(value, bytearray | list | dict | set) else []
    if isinstance(value, list | tuple):
        return own + [part for item in value for part in changing(item)]
    if isinstance(value, dict):
        return own + [part for item in value.values() for part in changing(item)]
    return own


@given(CHANGING)
def test_a_snapshot_is_equal_and_shares_nothing_that_changes(value):
    """However lists, dicts, sets and buffers are nested."""
    copy = snapshot(value)
    assert copy == value
    assert not {id(part) for part in changing(copy)} & {id(part) for part in changing(value)}
    if not changing(value):
        assert copy is value


def test_a_snapshot_of_what_has_itself_inside():
    """Ends, and has itself inside."""
    loop = [1, {}]
    loop[1]["again"] = loop
    copy = snapshot(loop)
    assert copy is not loop
    assert copy[1]["again"] is copy
