"""Programs of coroutines, and of typed exchanges, in a simulated network."""

import asyncio
from dataclasses import dataclass

import pytest

from zexchange import Closed, Delivery, Lost, NotReady, Rejected
from zexchange.testing import Network

pytest_plugins = ["zexchange.testing.fixtures"]


def test_waits_are_awaited_in_a_simulated_network(network: Network) -> None:
    """They take simulated time, and none of the loop's."""
    a, b = network.node("a"), network.node("b", join_timeout=0)
    got: list[object] = []
    b.registry.get("x").handler(got.append)

    async def main() -> None:
        async with a as node:
            await node.wait_subscribers("x", 1)
            a.registry.get("x").send("hello")
            await node.flush()
            assert got == ["hello"]
            with pytest.raises(NotReady):
                await node.wait_peers(3, timeout=5)
            assert network.now > 5
        with pytest.raises(Closed):
            await node.flush()

    asyncio.run(main())
    assert a not in network.nodes


@dataclass(frozen=True)
class Trade:
    sym: str


def test_types_in_a_simulated_network(network: Network) -> None:
    """Instances at the one end, the rejected ones counted, as in earnest."""
    a, b = network.node("a"), network.node("b")
    trades = b.registry.get("trades", type=Trade)
    events: list[object] = []
    b.events.handler(events.append)
    with trades.record() as got, trades.stream(details=True) as stream:
        network.settle()
        for msg in ({"sym": "A"}, {"sym": 1}, {"sym": "B"}):
            a.registry.get("trades").send(msg)
        network.settle()
        seen = [type(stream.get(0)) for _ in range(3)]
    assert got == [Trade("A"), Trade("B")]
    assert seen == [Delivery, Lost, Delivery]
    assert [e.detail for e in events if isinstance(e, Rejected)] == [
        "msg.sym: expected str, not int"
    ]
    assert sum(b.stats().rejected.values()) == 1
