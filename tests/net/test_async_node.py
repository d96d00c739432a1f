"""Nodes in coroutines: every wait is awaited, may be cancelled, and leaves nothing behind."""

import asyncio
import gc
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.eventloops import Main, run_anyio, run_asyncio, run_trio, run_uvloop
from tests.net.conftest import Joiner, collect
from tests.support import PATIENCE, Program, eventually, tcp
from zexchange import AsyncNode, Closed, Node, NotReady, Registry, federate

pytestmark = pytest.mark.sockets


async def until(condition: Callable[[], object]) -> None:
    """Let the others on the loop go on until a condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)


def waiting(node: Node) -> int:
    """Return how many coroutines wait for a node."""
    assert node._engine is not None
    return len(node._engine.changed._awaited)


in_every_loop = pytest.mark.parametrize("run", [run_asyncio, run_uvloop, run_trio, run_anyio])


@pytest.fixture(autouse=True, scope="module")
def uvloops_own_pipe() -> None:
    """For signals; made with the first loop, and for good."""
    try:
        import uvloop
    except ImportError:
        return
    uvloop.new_event_loop().close()


ECHO = """
import zexchange
with zexchange.federate("fed") as node:
    zexchange.get_exchange("ask").handler(zexchange.get_exchange("answer").send)
    node.wait_peers(1, 30)
    print("ready")
    sys.stdin.read()
"""


@in_every_loop
def test_a_coroutine_talks_with_another_process(
    run: Callable[[Main], Any], rendezvous: object
) -> None:
    """Async with federate joins, its waits are awaited, streams read, and leaving it closes."""
    registry = Registry()

    async def main() -> list[int]:
        async with registry.get("answer").stream() as answers:
            async with federate("fed", registry=registry) as node:
                assert isinstance(node, AsyncNode)
                await node.wait_peers(1, timeout=PATIENCE)
                await node.wait_subscribers("ask", 1, timeout=PATIENCE)
                await node.wait_ready(timeout=PATIENCE)
                for n in range(100):
                    registry.get("ask").send(n)
                await node.flush(timeout=PATIENCE)
                got = [await anext(answers) for _ in range(100)]
                assert len(node.peers) == 1
                assert node.stats().sent == {"ask": 100}
                assert node.id in node.endpoints[0] or node.endpoints
        with pytest.raises(Closed):
            await node.flush()
        return got

    with Program(ECHO) as other:
        assert run(main) == list(range(100))
        other.expect("ready")


@contextmanager
def mute_listener() -> Iterator[str]:
    """An endpoint where connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield tcp(listening.getsockname()[1])


def test_a_node_and_its_twin_lead_to_each_other(join: Joiner) -> None:
    """The same two objects, whoever asks; what can be seen is the same."""
    node, registry = join()
    twin = node.aio
    assert twin is node.aio is twin.aio
    assert twin.node is node is node.node
    assert twin.events is node.events
    assert (twin.id, twin.name, twin.registry) == (node.id, "fed", registry)
    assert repr(node) in repr(twin)


@in_every_loop
def test_a_wait_that_ends_in_vain_says_what_is_missing(
    run: Callable[[Main], Any], join: Joiner
) -> None:
    """NotReady at the timeout, as on a thread."""
    node, _ = join()

    async def main() -> None:
        with pytest.raises(NotReady, match="0 of 2 peers are ready"):
            await node.aio.wait_peers(2, timeout=0.05)
        with pytest.raises(NotReady, match="0 of 1 nodes receive 'x'"):
            await node.aio.wait_subscribers("x", timeout=0.0)

    run(main)


def test_a_wait_holds_nobody_up(join: Joiner) -> None:
    """Hundreds of waits at once take no thread, and the loop goes on meanwhile."""
    node, _ = join()
    _, there = join()
    got: list[object] = []

    async def main() -> None:
        before = threading.active_count()
        waits = [
            asyncio.ensure_future(node.aio.wait_subscribers("x", timeout=PATIENCE))
            for _ in range(300)
        ]
        await until(lambda: waiting(node) == 300)
        # The thread that writes log records ends by itself.
        await until(lambda: threading.active_count() <= before)
        assert not any(wait.done() for wait in waits)
        there.get("x").handler(got.append)
        await asyncio.gather(*waits)

    asyncio.run(main())


@in_every_loop
def test_cancelled_waits_leave_nothing_behind(run: Callable[[Main], Any], join: Joiner) -> None:
    """Neither a thread nor a condition that the control thread would have to look at."""
    anyio = pytest.importorskip("anyio")
    node, _ = join()
    engine = node._engine
    assert engine is not None

    async def main() -> None:
        for _ in range(50):
            with anyio.move_on_after(0.001):
                await node.aio.wait_peers(3, timeout=PATIENCE)
            with anyio.move_on_after(0):
                await node.aio.flush()

    before = threading.active_count()
    run(main)
    assert engine.changed._awaited == []
    assert threading.active_count() <= before


def test_a_closed_node_ends_every_wait(join: Joiner) -> None:
    """Whoever awaits something of a node that is closed meanwhile is told so at once."""
    node, _ = join()

    async def main() -> None:
        wait = asyncio.ensure_future(node.aio.wait_peers(5, timeout=PATIENCE))
        await until(lambda: waiting(node) == 1)
        await node.aio.close()
        with pytest.raises(Closed):
            await asyncio.wait_for(wait, PATIENCE / 2)

    asyncio.run(main())


def test_flush_is_the_back_pressure_of_a_coroutine(join: Joiner) -> None:
    """A coroutine that floods and flushes now and then loses nothing, however small the ring."""
    node, here = join(replay_bytes=1 << 20)
    _, there = join()
    got = collect(there, "x")
    node.wait_subscribers("x", 1)

    async def main() -> None:
        for n in range(20_000):
            here.get("x").send(n)
            if n % 500 == 0:
                await node.aio.flush(PATIENCE)
        await node.aio.flush(PATIENCE)

    asyncio.run(main())
    assert got == list(range(20_000))


@in_every_loop
def test_a_cancelled_join_leaves_no_node(run: Callable[[Main], Any], rendezvous: object) -> None:
    """Whoever is cancelled while async with joins has nothing left to close."""
    anyio = pytest.importorskip("anyio")

    async def main() -> bool:
        with anyio.move_on_after(0.05) as scope:
            async with federate(
                "fed", registry=Registry(), peers=[mute], local=False, join_timeout=1e6
            ):
                raise AssertionError("nobody answers who could be joined")
        return bool(scope.cancelled_caught)

    with mute_listener() as mute:
        assert run(main)
    # The rest is looked at by `nothing_left`.


@in_every_loop
def test_a_cancelled_block_is_closed(run: Callable[[Main], Any], rendezvous: object) -> None:
    """Also where a cancelled scope cancels every await, that of the close included."""
    anyio = pytest.importorskip("anyio")

    async def main() -> None:
        with anyio.move_on_after(0.05):
            async with federate("fed", registry=Registry()):
                await anyio.sleep(PATIENCE)

    run(main)


def test_a_cancelled_close_still_delivers(join: Joiner) -> None:
    """What was sent before is flushed: the close goes on, on a thread of its own."""
    node, here = join()
    _, there = join()
    held, go_on = threading.Event(), threading.Event()
    got: list[object] = []

    @there.get("x").handler
    def slow(msg: object) -> None:
        held.set()
        go_on.wait(PATIENCE)
        got.append(msg)

    node.wait_subscribers("x", 1)

    async def main() -> None:
        for n in range(100):
            here.get("x").send(n)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(node.aio.close(), 0.05)

    asyncio.run(main())
    assert held.wait(PATIENCE)
    go_on.set()
    eventually(lambda: len(got) == 100)
    assert got == list(range(100))


def test_nodes_of_one_name_are_shared_and_counted(rendezvous: object) -> None:
    """Two blocks in two tasks, and one outside, have one node, which ends with the last."""
    registry = Registry()

    inside = 0

    async def block(goes_on: asyncio.Event) -> AsyncNode:
        nonlocal inside
        async with federate("fed", registry=registry) as node:
            inside += 1
            await goes_on.wait()
            assert node.id
            return node

    async def main() -> None:
        first, second = asyncio.Event(), asyncio.Event()
        tasks = [asyncio.ensure_future(block(event)) for event in (first, second)]
        await until(lambda: inside == 2)
        first.set()
        node = await tasks[0]
        assert node.id
        second.set()
        assert await tasks[1] is node
        with pytest.raises(Closed):
            _ = node.id

    asyncio.run(main())


def test_several_loops_use_one_node(join: Joiner) -> None:
    """Each in a thread of its own."""
    node, here = join()
    _, there = join()
    got = collect(there, "x")
    node.wait_subscribers("x", 1)

    async def main() -> None:
        for n in range(200):
            here.get("x").send(n)
            if n % 20 == 0:
                await node.aio.flush(PATIENCE)
        await node.aio.flush(PATIENCE)

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(got) == sorted([*range(200)] * 4)  # type: ignore[type-var]


@in_every_loop
def test_a_loop_that_ends_while_messages_arrive(run: Callable[[Main], Any], join: Joiner) -> None:
    """The data thread lives, nothing is left un-awaited, and later loops read on."""
    node, here = join()
    _, there = join()
    another = there.get("x").stream()  # who keeps them coming
    over = threading.Event()

    def feed() -> None:
        n = 0
        while not over.is_set():
            here.get("x").send(n)
            n += 1

    node.wait_subscribers("x", 1)
    thread = threading.Thread(target=feed)
    thread.start()
    stream = there.get("x").stream(100)

    async def main() -> list[int]:
        return [await anext(stream) for _ in range(50)]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(4):
            got = run(main)
            assert got == sorted(set(got))
        gc.collect()
    over.set()
    thread.join(PATIENCE)
    assert there.get("x").stats().errors == 0
    node.flush(PATIENCE)
    another.close()


def test_a_coroutine_never_waits_in_send(join: Joiner) -> None:
    """Under trio as under asyncio: it overdraws the window, and goes on."""
    trio = pytest.importorskip("trio")
    node, here = join()
    _, there = join()
    go_on = threading.Event()
    there.get("x").handler(lambda msg: go_on.wait(PATIENCE))
    node.wait_subscribers("x", 1)
    engine = node._engine
    assert engine is not None
    may: list[bool] = []

    async def main() -> None:
        may.append(engine.may_wait())
        with pytest.raises(RuntimeError, match=r"node\.aio"):
            node.flush()
        for _ in range(100):
            here.get("x").send(bytes(200_000))

    trio.run(main)
    assert may == [False]
    assert engine.may_wait()
    assert node.stats().waited == 0
    go_on.set()
    node.flush(PATIENCE)


def test_why_messages_do_not_arrive_can_be_awaited(join: Joiner) -> None:
    """`diagnose` takes its seconds off the loop."""

    async def main() -> object:
        ticks = 0
        diagnosis = asyncio.ensure_future(node.aio.diagnose("x", timeout=0.1))
        while not diagnosis.done():
            await asyncio.sleep(0.005)
            ticks += 1
        assert ticks > 2
        return diagnosis.result()

    with mute_listener() as mute:
        node, _ = join(peers=[mute], local=False, join_timeout=0.0)
        assert "does not say what it is" in str(asyncio.run(main()))
