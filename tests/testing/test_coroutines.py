"""A program of coroutines in a simulated network: its waits let things happen there, too."""

import asyncio

import pytest

from zexchange import Closed, NotReady
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
