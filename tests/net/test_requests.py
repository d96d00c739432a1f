"""Requests and headers between nodes, over real sockets."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.net.conftest import Joiner
from tests.support import PATIENCE, Program, eventually, tcp
from zexchange import (
    Delivery,
    Exchange,
    LimitReached,
    NoResponders,
    Registry,
    RequestFailed,
    RequestTimeout,
    ResponderLost,
    federate,
)
from zexchange.net.hub.hub import Hub

pytestmark = pytest.mark.sockets

ANSWERING = """
import time
import zexchange
exchange = zexchange.get_exchange("x")
@exchange.responder
def answer(msg):
    if msg == "hang":
        print("asked", flush=True)
        time.sleep(3600)
    return [msg, sys.argv[1]]
with zexchange.federate("fed", **eval(sys.argv[2])) as node:
    print("here", flush=True)
    sys.stdin.read()
"""

FORKING = """
import os
import zexchange
exchange = zexchange.get_exchange("x")
with zexchange.federate("fed"):
    print(exchange.request("parent", 60, 60), flush=True)
    child = os.fork()
    if not child:
        print(exchange.request("child", 60, 60), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print(exchange.request("again", 60, 60), flush=True)
"""


def answered(exchange: Exchange[Any], n: int = 1) -> None:
    """Wait until so many responders can be asked."""
    eventually(lambda: len(exchange._responding()) >= n)


def test_a_peer_answers(join: Joiner) -> None:
    """The reply has its type; plain subscribers see the question, here and there."""
    _, there = join()
    far = there.get("x")
    far.responder(lambda msg: (msg, {1}))
    _, here = join()
    near = here.get("x")
    answered(near)
    with near.record() as here_seen, far.record() as there_seen:
        assert near.request(b"q", timeout=PATIENCE) == (b"q", {1})
        eventually(lambda: there_seen)
    assert here_seen == there_seen == [b"q"]
    (reply,) = near.request_all(1, timeout=PATIENCE)
    assert reply.value == (1, {1})
    assert reply.origin is not None
    assert reply.label


def test_an_answer_goes_by_what_has_left(join: Joiner) -> None:
    """The session hears of a ready after it has left; a question that comes before is answered."""
    far_node, there = join()
    near_node, here = join()
    near, engine = here.get("x"), far_node._engine
    assert engine is not None

    @there.get("x").responder
    def answer(msg: object) -> object:
        engine.session.members.peers[bytes.fromhex(near_node.id)].interest.announced = 0
        return msg

    assert near.request(1, timeout=PATIENCE, wait=PATIENCE) == 1


def test_nobody_answers_at_once(join: Joiner) -> None:
    """With peers that only listen, or whose responder was detached, there are no responders."""
    _, there = join()
    far = there.get("x")
    far.handler(lambda msg: None)
    _, here = join()
    near = here.get("x")
    with pytest.raises(NoResponders):
        near.request(1)
    answer = far.responder(lambda msg: msg)
    assert near.request(2, timeout=PATIENCE, wait=PATIENCE) == 2
    far.detach(answer)
    eventually(lambda: not near._responding())
    with pytest.raises(NoResponders):
        near.request(3)


def test_here_and_there_in_turn(join: Joiner) -> None:
    """Responders of this process and of two peers share the requests; all can be asked."""
    for name in "ab":
        join()[1].get("x").responder(lambda msg, name=name: name)
    _, here = join()
    near = here.get("x")
    near.responder(lambda msg: "here")
    answered(near, 3)
    assert sorted(near.request(n, timeout=PATIENCE) for n in range(6)) == sorted(
        ["a", "b", "here"] * 2
    )
    replies = list(near.request_all(1, timeout=PATIENCE))
    assert sorted(reply.value for reply in replies) == ["a", "b", "here"]


def test_errors_of_a_peer(join: Joiner) -> None:
    """What it raises, and what cannot be encoded, comes back with type name and text."""
    _, there = join()

    @there.get("x").responder
    def answer(msg: str) -> object:
        if msg == "raise":
            raise KeyError("k")
        return object() if msg == "object" else b"x" * (5 << 20)

    near = join()[1].get("x")
    answered(near)
    with pytest.raises(RequestFailed, match="KeyError: 'k'"):
        near.request("raise", timeout=PATIENCE)
    with pytest.raises(RequestFailed, match="EncodeError"):
        near.request("object", timeout=PATIENCE)
    with pytest.raises(RequestFailed, match="an answer of 52"):
        near.request("large", timeout=PATIENCE)


def test_a_late_reply_is_dropped_and_counted(join: Joiner) -> None:
    """A reply after `RequestTimeout` reaches nobody, and leaves nothing behind."""
    _, there = join()
    there.get("x").responder(lambda msg: msg)
    _, here = join()
    near = here.get("x")
    answered(near)
    with pytest.raises(RequestTimeout):
        near.request(1, timeout=0)
    assert near.request(2, timeout=PATIENCE) == 2
    eventually(lambda: here._asking.late == 1)
    assert not len(here._asking)


def test_10_000_requests_of_64_callers(join: Joiner) -> None:
    """None is mixed up, and afterwards the tables of both sides are empty."""
    nodes = [join() for _ in range(2)]
    for _, registry in nodes:
        registry.get("x").responder(lambda msg: -msg)
    near = join()[1].get("x")
    answered(near, 2)
    with ThreadPoolExecutor(64) as pool:
        answers = pool.map(lambda n: near.request(n, timeout=PATIENCE), range(10_000))
        assert list(answers) == [-n for n in range(10_000)]
    asking = near.registry._asking
    assert (len(asking), asking.waited_for(), asking.late) == (0, (), 0)
    for node, registry in nodes:
        assert node._engine is not None
        assert not node._engine.requests._under_way
        assert [e.name for e in registry.exchanges()] == ["x"]


def test_coroutines_and_threads(join: Joiner) -> None:
    """An async responder answers peers on its loop; a coroutine asks without stopping its own."""
    _, there = join()
    near = join()[1].get("x")

    async def main() -> None:
        @there.get("x").responder
        async def double(msg: int) -> int:
            await asyncio.sleep(0)
            return 2 * msg

        asked = [near.aio.request(n, timeout=PATIENCE, wait=PATIENCE) for n in range(100)]
        assert await asyncio.gather(*asked) == [2 * n for n in range(100)]
        replies = [r.value async for r in near.aio.request_all(4, timeout=PATIENCE)]
        assert replies == [8]

    asyncio.run(main())


def test_not_on_the_data_thread(join: Joiner) -> None:
    """A task that asks there gets the error that names the other call."""
    _, there = join()
    errors, far = list[str](), there.get("x")

    @far.handler
    def ask(msg: object) -> None:
        try:
            far.request(1)
        except RuntimeError as error:
            errors.append(str(error))

    node, here = join()
    node.wait_subscribers("x")
    here.get("x").send(1)
    eventually(lambda: errors)
    assert "data thread" in errors[0]
    assert "exchange.aio.request(...)" in errors[0]


@pytest.mark.leaves_files
def test_the_responder_is_killed() -> None:
    """The asker hears of it, and the next request finds nobody."""
    with (
        Program(ANSWERING, "first", {}) as first,
        federate("fed", registry=(here := Registry())),
    ):
        near = here.get("x")
        first.expect("here")
        assert near.request("q", timeout=PATIENCE, wait=PATIENCE) == ["q", "first"]
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(near.request, "hang", PATIENCE)
            first.expect("asked")
            first.kill()
            with pytest.raises(ResponderLost, match="it may have done some or all of the work"):
                future.result(PATIENCE)
        eventually(lambda: not near._responding())
        with pytest.raises(NoResponders):
            near.request(1)
        assert not len(here._asking)


def test_our_own_node_is_closed(join: Joiner) -> None:
    """A request that waits while its node is closed ends with an error."""
    _, there = join()
    there.get("x").responder(lambda msg: time.sleep(0.2))
    node, here = join()
    near = here.get("x")
    answered(near)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(near.request, 1, PATIENCE)
        eventually(lambda: len(here._asking))
        node.close(0)
        with pytest.raises(ResponderLost, match="closed"):
            future.result(PATIENCE)
    with pytest.raises(NoResponders):
        near.request(1)


@pytest.mark.leaves_files
def test_after_a_fork() -> None:
    """A forked child asks by a node of its own, and its parent goes on as before."""
    with Program(ANSWERING, "far", {}) as far, Program(FORKING) as forking:
        far.expect("here")
        for name in ("parent", "child", "again"):
            forking.expect(f"['{name}', 'far']", 90)


@pytest.mark.leaves_files
def test_through_a_hub() -> None:
    """Behind a hub requests are as in a mesh, and a killed responder is noticed too."""
    hub = Hub("fed", tcp(0))
    where = {"hub": hub.endpoint, "local": False}
    try:
        with (
            Program(ANSWERING, "far", where) as far,
            federate("fed", hub=hub.endpoint, local=False, registry=(here := Registry())),
        ):
            near = here.get("x")
            far.expect("here")
            assert near.request("q", timeout=PATIENCE, wait=PATIENCE) == ["q", "far"]
            with ThreadPoolExecutor(1) as pool:
                future = pool.submit(near.request, "hang", PATIENCE)
                far.expect("asked")
                far.kill()
                with pytest.raises(ResponderLost):
                    future.result(PATIENCE)
    finally:
        hub.close()


def test_headers_travel(join: Joiner) -> None:
    """Headers come with details, beside messages without any, live and as history."""
    _, there = join()
    far = there.get("x")
    with far.stream(details=True, overflow="block") as stream:
        node, here = join()
        here.retain("x", 3)
        near = here.get("x")
        node.wait_subscribers("x")
        for n in range(300):
            if n % 3:
                near.send_with(n, {"n": n, "s": "a", "b": b"x", "f": 0.5})
            else:
                near.send(n)
        got = [stream.get(PATIENCE) for _ in range(300)]
    for n, delivery in enumerate(got):
        assert isinstance(delivery, Delivery)
        there_is = {"n": n, "s": "a", "b": b"x", "f": 0.5} if n % 3 else {}
        assert (delivery.msg, dict(delivery.headers)) == (n, there_is)
    with far.stream(details=True, history=3) as late:
        again = [late.get(PATIENCE) for _ in range(3)]
    assert [dict(d.headers).get("n") for d in again if isinstance(d, Delivery)] == [None, 298, 299]


def test_large_messages_have_headers(join: Joiner) -> None:
    """A message whose parts travel in frames of their own has headers like any other."""
    _, there = join()
    with there.get("x").stream(details=True) as stream:
        node, here = join()
        node.wait_subscribers("x")
        here.get("x").send_with(b"x" * 100_000, headers={"a": 1})
        delivery = stream.get(PATIENCE)
    assert isinstance(delivery, Delivery)
    assert (len(delivery.msg), dict(delivery.headers)) == (100_000, {"a": 1})


def test_a_bound_on_what_one_peer_asks(join: Joiner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a peer that asks without end, only so many questions are worked on at a time."""
    monkeypatch.setattr("zexchange.net.engine.requests.UNDER_WAY_MOST", 2)
    _, there = join()
    near = join()[1].get("x")

    async def main() -> None:
        go_on = asyncio.Event()

        @there.get("x").responder
        async def wait(msg: int) -> int:
            await go_on.wait()
            return msg

        first = [
            asyncio.create_task(near.aio.request(n, timeout=PATIENCE, wait=PATIENCE))
            for n in range(2)
        ]
        async with asyncio.timeout(PATIENCE):
            while len(near.registry._asking) < 2:
                await asyncio.sleep(0)
        with pytest.raises(RequestFailed, match="LimitReached"):
            await near.aio.request(2, timeout=PATIENCE)
        go_on.set()
        assert await asyncio.gather(*first) == [0, 1]

    asyncio.run(main())


def test_a_bound_on_exchanges_with_responders(
    join: Joiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node has responders on so many exchanges, and the others go on."""
    monkeypatch.setattr("zexchange.net.node.observer.MAX_RESPONDERS", 2)
    _, there = join()
    for name in "ab":
        there.get(name).responder(lambda msg: msg)
    with pytest.raises(LimitReached, match="responders on 3 exchanges"):
        there.get("c").responder(lambda msg: msg)
    near = join()[1].get("b")
    assert near.request(1, timeout=PATIENCE, wait=PATIENCE) == 1


def test_in_two_federations_a_process_is_asked_once(
    join: Callable[..., tuple[Any, Registry]],
) -> None:
    """One that is a peer in both answers once when all are asked, and any of its ways serves."""
    _, there = join("one")
    join("two", registry=there)
    asked = list[int]()
    there.get("x").responder(asked.append)
    _, here = join("one")
    join("two", registry=here)
    near = here.get("x")
    answered(near, 2)
    for n in range(4):
        near.request(n, timeout=PATIENCE)
    assert asked == [0, 1, 2, 3]
    assert len(list(near.request_all(4, timeout=PATIENCE))) == 1
