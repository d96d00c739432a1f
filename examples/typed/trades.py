"""A typed exchange: instances in each process, a plain dict between them.

Run it with: python examples/typed/trades.py
"""

import multiprocessing
from dataclasses import dataclass
from enum import Enum

import zexchange

FEDERATION = "typed-example"


class Side(Enum):
    BUY = "buy"
    SELL = "sell"


@dataclass(frozen=True)
class Trade:
    sym: str
    side: Side
    px: float
    size: int = 1


def trader():
    """Send trades, one of them by mistake."""
    trades = zexchange.get_exchange("trades", type=Trade)
    with zexchange.federate(FEDERATION) as node:
        node.wait_subscribers("trades", 2, timeout=20)
        try:
            trades.send(Trade("MSFT", Side.SELL, "402.50"))
        except zexchange.WrongType as error:
            print(error, flush=True)
        trades.send(Trade("AAPL", Side.BUY, 191.25, 10))
        trades.send(Trade("MSFT", Side.SELL, 402.5))
        node.flush()


def logger():
    """A process that knows no types gets the fields."""
    with zexchange.get_exchange("trades").stream() as trades:
        with zexchange.federate(FEDERATION):
            print(trades.get(timeout=20), flush=True)


def main():
    spawn = multiprocessing.get_context("spawn")
    with zexchange.get_exchange("trades", type=Trade).stream() as trades:
        with zexchange.federate(FEDERATION):
            others = [spawn.Process(target=target) for target in (logger, trader)]
            for other in others:
                other.start()
            got = [trades.get(timeout=20) for _ in range(2)]
            for other in others:
                other.join()
    for trade in got:
        print(trade.sym, trade.side.name, trade.px * trade.size)


if __name__ == "__main__":
    main()
