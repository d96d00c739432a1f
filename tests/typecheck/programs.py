"""A program of a user's, as type checkers see it. It is never run.

A line that ends in ``# error: CODE`` must be an error, and no other line may be: with mypy of
that code, with pyright of any.
"""

from dataclasses import dataclass
from typing import Any, assert_type

import zexchange
from zexchange import AsyncNode, Codec, Exchange, Node, Registry, Stream, get_exchange


@dataclass
class Trade:
    sym: str
    px: float


@dataclass
class Quote:
    sym: str


# What has a type.

trades = get_exchange("trades", type=Trade)
assert_type(trades, Exchange[Trade])
trades.send(Trade("A", 1.0))
trades.send(Quote("A"))  # error: arg-type
trades.send({"sym": "A", "px": 1.0})  # error: arg-type
numbers = Registry().get("numbers", type=list[int])
assert_type(numbers, Exchange[list[int]])
numbers.send([1])
numbers.send(["a"])  # error: list-item


class TradeTask:
    def send(self, msg: Trade) -> None: ...


class QuoteTask:
    def send(self, msg: Quote) -> None: ...


class AnyTask:
    def send(self, msg: object) -> None: ...


trades.attach(TradeTask())
trades.attach(AnyTask())
trades.attach(QuoteTask())  # error: arg-type
with trades.subscribe(TradeTask(), AnyTask()):
    pass
trades.attach(trades)


@trades.handler
def show(trade: Trade) -> None:
    print(trade.px)


@trades.handler  # error: arg-type
def show_quote(quote: Quote) -> None:
    print(quote.sym)


show(Trade("A", 1.0))

with trades.stream() as stream:
    assert_type(stream, Stream[Trade])
    assert_type(stream.get(), Trade)
    for trade in stream:
        print(trade.px, trade.volume)  # error: attr-defined
with trades.record() as recorded:
    assert_type(recorded, list[Trade])
with trades.stream(details=True) as detailed:
    print(detailed.get().origin)
assert_type(trades.type, type[Trade] | None)


# What has none.

plain = get_exchange("plain")
assert_type(plain, Exchange[Any])
plain.send(3)
plain.send("anything")
for message in plain.stream():
    print(message.whatever)


def bare(exchange: Exchange, stream: Stream) -> None:
    """Without an argument they are of anything."""
    exchange.send(object())
    assert_type(exchange, Exchange[Any])
    print(stream.get().whatever)


bare(trades, plain.stream())


# Codecs.


class Kelvin:
    def encode(self, msg: float, /) -> object:
        return msg + 273.15

    def decode(self, plain: Any, /) -> float:
        return float(plain) - 273.15


class NoCodec:
    def encode(self, msg: float, /) -> object: ...


codec: Codec[float] = Kelvin()
assert_type(get_exchange("warm", type=float, codec=Kelvin()), Exchange[float])
get_exchange("warm", type=float, codec=NoCodec())  # error: call-overload
get_exchange("warm", codec=Kelvin())  # error: call-overload


# Coroutines.


async def main() -> None:
    async with zexchange.federate("trading") as node:
        assert_type(node, AsyncNode)
        await node.wait_subscribers("trades", 1)
        await node.flush()
        assert_type(node.node, Node)
        assert_type(node.aio, AsyncNode)
        node.flush(timeout="long")  # error: arg-type
    async with trades.stream() as stream:
        async for trade in stream:
            assert_type(trade, Trade)
        assert_type(await anext(stream), Trade)


with zexchange.federate("trading") as joined:
    assert_type(joined, Node)
    joined.flush()
