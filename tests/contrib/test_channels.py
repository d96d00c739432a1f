"""The backends for Litestar and broadcaster, each with two nodes in one process."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import Deadline, patience
from zexchange import PeerSlow, Registry, Unreachable, federate
from zexchange.contrib.channels import WAITING
from zexchange.contrib.membership import Membership

pytestmark = pytest.mark.sockets


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition while the loop goes on."""
    deadline = Deadline()
    while not condition():
        assert not deadline.over, "it did not come to be"
        await asyncio.sleep(0.002)


@asynccontextmanager
async def litestar(**options: Any) -> AsyncIterator[Any]:
    """A backend of its own node, started, with what it streams in ``.events``."""
    from zexchange.contrib.litestar import ExchangeChannelsBackend

    node = await asyncio.to_thread(federate, "fed", registry=Registry())
    backend: Any = ExchangeChannelsBackend(node=node, **options)
    await backend.on_startup()
    backend.events = []

    async def read() -> None:
        async for event in backend.stream_events():
            backend.events.append(event)

    reader = asyncio.create_task(read())
    try:
        yield backend
    finally:
        reader.cancel()
        await backend.on_shutdown()
        await asyncio.to_thread(node.close)


def test_litestar_channels(rendezvous: Path) -> None:
    """Subscribers in all processes get what is published, until they unsubscribe."""
    pytest.importorskip("litestar", reason="needs the extra litestar")

    async def main() -> None:
        async with litestar() as one, litestar() as two:
            await two.subscribe(["news", "sport"])
            await one.subscribe(["news"])
            await one.publish(b"a", ["news", "sport", "nobody"])
            await until(lambda: len(two.events) == 2)
            assert sorted(two.events) == [("news", b"a"), ("sport", b"a")]
            await until(lambda: one.events == [("news", b"a")])
            await two.unsubscribe(["news"])
            await two.publish(b"b", ["news", "sport"])
            await until(lambda: len(one.events) == 2)
            await until(lambda: len(two.events) == 3)
            assert two.events[-1] == ("sport", b"b")
            assert await one.get_history("news") == []

    asyncio.run(main())


def test_litestar_history(rendezvous: Path) -> None:
    """Each keeps the last of all, in the order in which they were sent; so does who comes later."""
    pytest.importorskip("litestar", reason="needs the extra litestar")

    async def main() -> None:
        async with litestar(history=5) as one, litestar(history=5) as two:
            for n in range(8):
                await (one, two)[n % 2].publish(b"%d" % n, ["news"])
                await asyncio.sleep(0.002)
            expected = [b"3", b"4", b"5", b"6", b"7"]
            for backend in (one, two):
                await until(lambda b=backend: len(b._past.of("news", None)) == 5)
                await until(lambda b=backend: b._past.of("news", None) == expected)
                assert await backend.get_history("news", 2) == expected[-2:]
            async with litestar(history=5) as late:
                assert await late.get_history("news") == expected
                await one.publish(b"8", ["news"])
                await until(lambda: late._past.of("news", 1) == [b"8"])

    asyncio.run(main())


def test_litestar_keeps_the_order_of_each_worker(rendezvous: Path) -> None:
    """Two that publish at the same time: each one's messages stay in their order everywhere."""
    pytest.importorskip("litestar", reason="needs the extra litestar")

    async def publish(backend: Any, name: bytes) -> None:
        for n in range(50):
            await backend.publish(b"%s %d" % (name, n), ["news"])
            await asyncio.sleep(0)

    async def main() -> None:
        async with litestar() as one, litestar() as two:
            for backend in (one, two):
                await backend.subscribe(["news"])
            for backend in (one, two):
                await backend._membership._node.aio.wait_subscribers("channels.news", 1)
            await asyncio.gather(publish(one, b"one"), publish(two, b"two"))
            for backend in (one, two):
                await until(lambda b=backend: len(b.events) == 100)
                for name in (b"one", b"two"):
                    got = [data for _, data in backend.events if data.startswith(name)]
                    assert got == [b"%s %d" % (name, n) for n in range(50)]

    asyncio.run(main())


def test_litestar_hears_nothing_but_bytes(rendezvous: Path) -> None:
    """What else a program sends on a channel's exchange reaches no subscriber, nor the history."""
    pytest.importorskip("litestar", reason="needs the extra litestar")

    async def main() -> None:
        async with litestar(history=5) as one, litestar(history=5) as two:
            await two.subscribe(["news"])
            exchange = one._membership.registry.get("channels.news")
            for msg in (1, "text", None, [b"x"], {"a": 1}):
                exchange.send(msg)
            await one.publish(b"a", ["news"])
            await until(lambda: two.events)
            assert two.events == [("news", b"a")]
            # A subscriber and the history are two tasks of the exchange: the second comes later.
            await until(lambda: two._past.of("news", None))
            assert await two.get_history("news") == [b"a"]

    asyncio.run(main())


def test_litestar_history_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of channels without end the latest are kept; what says to be of tomorrow is of now."""
    pytest.importorskip("litestar", reason="needs the extra litestar")
    from zexchange import Delivery
    from zexchange.contrib import litestar as module

    monkeypatch.setattr(module, "CHANNELS_MOST", 10)
    past = module._Past(2, "channels.")

    def come(channel: str, number: int, sent_at: float) -> None:
        past._keep(Delivery(f"channels.{channel}", b"%d" % number, "ab", number, sent_at))

    come("old", 1, 1.0)
    for n in range(100):
        come(f"made-up.{n}", 1, 2.0)
        come("busy", n + 1, 3.0)
    assert len(past._kept) == 10
    assert past.of("old", None) == []
    assert past.of("busy", None) == [b"98", b"99", b"100"][1:]
    come("busy", 101, 1e12)
    come("busy", 102, time.time())
    come("busy", 103, time.time() + 0.001)
    assert past.of("busy", None)[-1] in (b"102", b"103")
    assert b"101" not in past.of("busy", None)[1:]


def test_a_channel_that_cannot_be_named(rendezvous: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Subscribing is refused; the plugin's publishing, which an error would end, goes on."""
    pytest.importorskip("litestar", reason="needs the extra litestar")

    async def main() -> None:
        async with litestar() as one:
            with pytest.raises(ValueError, match="match"):
                await one.subscribe(["a.*"])
            with caplog.at_level(logging.ERROR, "zexchange"):
                await one.publish(b"x", ["a.*"])
            assert "not published" in caplog.text

    asyncio.run(main())


@asynccontextmanager
async def broadcasting(**options: Any) -> AsyncIterator[Any]:
    from broadcaster import Broadcast

    from zexchange.contrib.broadcaster import ExchangeBackend

    node = await asyncio.to_thread(federate, "fed", registry=Registry(), **options)
    try:
        async with Broadcast(backend=ExchangeBackend(node=node)) as broadcast:
            yield broadcast
    finally:
        await asyncio.to_thread(node.close)


def test_broadcaster(rendezvous: Path) -> None:
    """Subscribers in all processes get any message that can be sent, as what it is."""
    pytest.importorskip("broadcaster", reason="needs the extra broadcaster")

    async def main() -> None:
        async with broadcasting() as one, broadcasting() as two:
            async with one.subscribe("x") as here, two.subscribe("x") as there:
                for message in ("text", {"n": (1, 2)}):
                    await one.publish("x", message)
                    for subscriber in (here, there):
                        event = await asyncio.wait_for(subscriber.get(), patience())
                        assert (event.channel, event.message) == ("x", message)

    asyncio.run(main())


def test_a_loop_that_publishes_without_a_pause(rendezvous: Path) -> None:
    """It waits for a slower peer now and then, and overruns none."""
    pytest.importorskip("broadcaster", reason="needs the extra broadcaster")
    count, there = 2000, Registry()
    got: list[int] = []
    events: list[Any] = []

    def slow(message: tuple[int, bytes]) -> None:
        got.append(message[0])
        time.sleep(0.0003)

    async def main() -> None:
        # A stall is not what this is about, and is to be had on a busy machine.
        async with broadcasting(replay_bytes=1 << 20, stall=60.0) as broadcast:
            broadcast._backend._membership.join().events.handler(events.append)
            for n in range(count):
                await broadcast.publish("x", (n, b"." * 4000))
            await until(lambda: len(got) >= count)

    there.get("broadcast.x").handler(slow)
    with federate("fed", registry=there):
        asyncio.run(main())
    assert got == list(range(count))
    assert not [event for event in events if isinstance(event, PeerSlow)]


def test_a_loop_that_publishes_into_its_own_full_mailbox(rendezvous: Path) -> None:
    """It reads first what waits for it."""
    pytest.importorskip("broadcaster", reason="needs the extra broadcaster")

    async def main() -> None:
        async with broadcasting() as broadcast, broadcast.subscribe("x") as here:
            exchange = broadcast._backend._membership.registry.get("broadcast.x")
            for n in range(WAITING - 1):  # as others do while this loop is busy
                exchange.send(n)
            for n in range(WAITING - 1, WAITING + 10):
                await broadcast.publish("x", n)
            for n in range(WAITING + 10):
                assert (await asyncio.wait_for(here.get(), patience())).message == n

    asyncio.run(main())


def test_the_node_of_asyncio(rendezvous: Path) -> None:
    """An adapter takes an `AsyncNode` as well, and uses the node behind it."""
    with federate("fed", registry=Registry()) as node:
        membership = Membership(None, node.aio)
        assert membership.registry is node.registry
        assert membership.join() is node
        membership.leave()
        assert membership.join() is node


def test_a_federation_that_cannot_be_joined(
    rendezvous: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks gets the error, and the next one tries again."""
    file = tmp_path / "file"
    file.touch()
    membership = Membership("fed", None)

    async def main() -> None:
        monkeypatch.setenv("ZEXCHANGE_DIR", str(file))
        for _ in range(2):
            with pytest.raises(Unreachable):
                await membership.joined()
        monkeypatch.setenv("ZEXCHANGE_DIR", str(rendezvous))
        await asyncio.gather(*[membership.joined() for _ in range(20)])
        await asyncio.to_thread(membership.leave)

    asyncio.run(main())
