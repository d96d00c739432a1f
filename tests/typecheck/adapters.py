"""Every adapter, attached and read in every way, as type checkers see it. It is never run.

A line that ends in ``# error: CODE`` must be an error, see `programs.py`; with ``deprecated`` as
the code it is one in strict mode alone: the object is taken by type, and refused when it runs.
"""

import asyncio
import multiprocessing
import queue
from dataclasses import dataclass
from typing import Any, assert_type

from zexchange import (
    Delivery,
    DisplayMessages,
    Exchange,
    Lost,
    Registry,
    Stream,
    View,
    get_exchange,
    match,
    to_async,
    to_call,
    to_queue,
    to_thread,
)


@dataclass
class Trade:
    sym: str
    px: float


trades = get_exchange("trades", type=Trade)
plain = get_exchange("plain")
view = match("trades.**")


def show(trade: Trade) -> None:
    print(trade.px)


def show_all(msg: object) -> bool:
    return bool(msg)


def show_text(text: str) -> None:
    print(text)


async def wait(trade: Trade) -> None:
    print(trade.px)


# Callables.

trades.attach(to_call(show))
trades.attach(to_call(show_all))
trades.attach(to_call(print))
trades.attach(to_call(lambda trade: print(trade)))
trades.attach(to_call(show_text))  # error: arg-type
plain.attach(to_call(show))
view.attach(to_call(show_all))
view.attach(to_call(show))
with trades.subscribe(to_call(show), to_call(show_all)):
    pass
with trades.subscribe(to_call(show_text)):  # error: arg-type
    pass
to_call(3)  # error: call-overload
to_call(wait)  # error: deprecated

# Queues.

threads: queue.Queue[Trade] = queue.Queue()
texts: queue.Queue[str] = queue.Queue()
simple: queue.SimpleQueue[Trade] = queue.SimpleQueue()
processes: multiprocessing.Queue[Trade] = multiprocessing.Queue()
anything: queue.Queue[Any] = queue.Queue()
trades.attach(to_queue(threads))
trades.attach(to_queue(simple))
trades.attach(to_queue(processes))
trades.attach(to_queue(anything))
trades.attach(to_queue(threads, "drop_oldest"))
trades.attach(to_queue(queue.Queue()))
trades.attach(to_queue(texts))  # error: arg-type
to_queue(threads, "sometimes")  # error: call-overload
to_queue([])  # error: call-overload
view.attach(to_queue(threads))
assert_type(to_queue(threads).dropped, int)

# Threads.

trades.attach(to_thread(to_call(show)))
trades.attach(to_thread(to_queue(threads), 100, "drop_oldest"))
trades.attach(to_thread(to_call(show_text)))  # error: arg-type
to_thread(show)  # error: arg-type

# Coroutines.


async def main() -> None:
    trades.attach(to_async(wait))
    task = to_async(wait, 10, "block")
    trades.attach(task)
    await task.wait_closed()
    to_async(show)  # error: arg-type
    texts: asyncio.Queue[str] = asyncio.Queue()
    trades.attach(to_async(texts.put))  # error: arg-type
    to_queue(texts)  # error: deprecated


# What shows, exchanges and streams.

trades.attach(DisplayMessages())
plain.attach(trades)
trades.attach(plain)
trades.attach(get_exchange("texts", type=str))  # error: arg-type
stream = trades.stream()
trades.attach(stream)
plain.attach(stream)
get_exchange("texts", type=str).attach(stream)  # error: arg-type
trades.attach(3)  # error: arg-type
trades.attach(show)  # error: arg-type

# Handlers.


@trades.handler
def right(trade: Trade) -> None: ...


@trades.handler
def right_too(msg: object) -> int:
    return 1


@plain.handler
def anything_at_all(msg: Any) -> None: ...


@trades.handler  # error: deprecated
async def wrong(trade: Trade) -> None: ...


@trades.handler  # error: arg-type
def wrong_too(text: str) -> None: ...


assert_type(right_too(Trade("A", 1.0)), int)
trades.detach(right)

# Streams.

assert_type(trades.stream(), Stream[Trade])
assert_type(trades.stream(10, "drop_oldest", history=3), Stream[Trade])
assert_type(trades.stream(details=False), Stream[Trade])
trades.stream(overflow="sometimes")  # error: call-overload
trades.stream(True, details="yes")  # error: call-overload

with trades.stream(details=True) as detailed:
    assert_type(detailed, Stream[Delivery[Trade] | Lost])
    for item in detailed:
        if isinstance(item, Lost):
            assert_type(item.reason, str)
        else:
            assert_type(item.msg, Trade)
            assert_type(item.seq, int | None)
            print(item.msg.volume)  # error: attr-defined
    print(detailed.get().msg)  # error: union-attr


def choose(details: bool) -> None:
    assert_type(trades.stream(details=details), Stream[Any])


assert_type(view, View)
assert_type(view.registry.get("trades", type=Trade), Exchange[Trade])
assert_type(trades.registry, Registry)
assert_type(trades.registry.match("*").registry, Registry)
assert_type(view.stream(), Stream[Any])
with view.stream(names=True) as named:
    assert_type(named, Stream[tuple[str, Any]])
    for name, msg in named:
        assert_type(name, str)
        print(msg.whatever)
with view.stream(details=True) as described:
    assert_type(described, Stream[Delivery[Any] | Lost])
assert_type(plain.stream(details=True), Stream[Delivery[Any] | Lost])
with view.record() as recorded:
    assert_type(recorded, list[Any])


async def read(stream: Stream[Trade], exchange: Exchange[Trade]) -> None:
    async with exchange.stream(details=True) as detailed:
        async for item in detailed:
            assert_type(item, Delivery[Trade] | Lost)
    assert_type(await anext(stream), Trade)
    assert_type(stream.stats().dropped, int)
