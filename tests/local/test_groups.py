"""Groups inside one process: each message to one member of each group, and to everybody else."""

import asyncio
import gc
import os
import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.eventloops import run_asyncio, run_trio
from tests.support import eventually
from zexchange import (
    Delivery,
    InvalidName,
    MailboxFull,
    NotASubscriber,
    NotAttached,
    Registry,
    to_call,
    to_queue,
)
from zexchange.groups.queue import PATIENCE
from zexchange.local.sharing import share

in_every_loop = pytest.mark.parametrize("run", [run_asyncio, run_trio])


class Worker:
    """A task that notes what it was given, and waits in the middle if it is told to."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.busy = threading.Event()

    def send(self, msg: Any) -> None:
        self.busy.set()
        self.go_on.wait()
        self.got.append(msg)


@pytest.fixture
def registry() -> Registry:
    """Return a registry of its own."""
    return Registry()


def group(registry: Registry, name: str = "x") -> Any:
    """Return what the only group of an exchange says of itself."""
    (found,) = registry.get(name).stats().groups
    return found


def test_each_message_goes_to_one_member_and_to_everybody_else(registry: Registry) -> None:
    exchange = registry.get("x")
    one, two, all_of_it, other = Worker(), Worker(), Worker(), Worker()
    for worker in (one, two):
        exchange.attach(worker, group="workers")
    exchange.attach(other, group="others")
    exchange.attach(all_of_it)
    for n in range(200):
        exchange.send(n)
    assert all_of_it.got == list(range(200))
    eventually(lambda: len(one.got) + len(two.got) == 200)
    assert sorted(one.got + two.got) == list(range(200))
    assert one.got == sorted(one.got), "each member gets its share in order"
    eventually(lambda: other.got == list(range(200)))


def test_a_busy_member_gets_no_more_than_it_may_have(registry: Registry) -> None:
    exchange = registry.get("x")
    busy, idle = Worker(), Worker()
    busy.go_on.clear()
    exchange.attach(busy, group="workers", ahead=3)
    for n in range(200):
        exchange.send(n)
    assert busy.busy.wait(10)
    assert group(registry).under_way <= 3
    exchange.attach(idle, group="workers")
    eventually(lambda: len(idle.got) >= 197)
    busy.go_on.set()
    eventually(lambda: sorted(busy.got + idle.got) == list(range(200)))
    assert len(busy.got) <= 3


def test_a_stream_acknowledges_when_its_reader_asks_for_more(registry: Registry) -> None:
    exchange = registry.get("x")
    with exchange.stream(group="workers", ahead=1) as stream:
        for n in range(3):
            exchange.send(n)
        assert stream.get(1) == 0
        assert (group(registry).under_way, group(registry).owed) == (1, 2)
        assert stream.get(1) == 1
        assert (group(registry).under_way, group(registry).owed) == (1, 1)
        assert stream.get(1) == 2
        assert (group(registry).under_way, group(registry).owed) == (1, 0)
    assert (group(registry).under_way, group(registry).owed) == (0, 0)


def test_what_a_member_has_not_done_goes_to_another(registry: Registry) -> None:
    exchange = registry.get("x")
    with pytest.raises(RuntimeError, match="on purpose"):  # noqa: PT012
        with exchange.stream(group="workers", ahead=5, details=True) as failing:
            for n in range(4):
                exchange.send(n)
            assert failing.get(1).msg == 0
            first = failing.get(1)
            assert (first.msg, first.redelivered) == (1, False)
            raise RuntimeError("on purpose")
    with exchange.stream(group="workers", details=True) as other:
        again = [other.get(1) for _ in range(3)]
    assert [(item.msg, item.redelivered) for item in again] == [(1, True), (2, True), (3, True)]
    assert group(registry).redelivered == 3


def test_detach_undoes_the_latest_or_the_one_in_a_group(registry: Registry) -> None:
    exchange = registry.get("x")
    worker = Worker()
    exchange.attach(worker)
    exchange.attach(worker, group="a")
    exchange.attach(worker, group="b")
    assert len(exchange) == 3
    assert exchange.subscribers == (worker, worker, worker)
    exchange.detach(worker, group="a")
    with pytest.raises(NotAttached, match="group 'a'"):
        exchange.detach(worker, group="a")
    exchange.detach(worker)
    assert [found.group for found in exchange.stats().groups if found.members] == []
    exchange.send(1)
    assert worker.got == [1]
    assert worker in exchange
    exchange.detach(worker)
    assert worker not in exchange


def test_attached_twice_it_is_one_member(registry: Registry) -> None:
    exchange = registry.get("x")
    worker = Worker()
    exchange.attach(worker, group="a")
    exchange.attach(worker, group="a")
    exchange.send(1)
    assert group(registry).members == 1
    exchange.detach(worker)
    assert worker in exchange
    exchange.detach(worker)
    assert worker not in exchange


def test_a_handler_in_a_group(registry: Registry) -> None:
    exchange, got = registry.get("x"), list[int]()

    @exchange.handler(group="workers", ahead=2)
    def work(msg: int) -> None:
        got.append(msg)

    @exchange.handler
    def everything(msg: int) -> None:
        got.append(-msg)

    exchange.send(1)
    eventually(lambda: sorted(got) == [-1, 1])
    exchange.detach(work)
    exchange.detach(everything)
    assert not exchange.subscribers


def test_subscribe_in_a_group(registry: Registry) -> None:
    exchange = registry.get("x")
    worker, viewer = Worker(), Worker()
    with exchange.subscribe(worker, group="workers"):
        with registry.match("*").subscribe(viewer, names=True, group="viewers"):
            exchange.send(1)
            eventually(lambda: worker.got == [1] and viewer.got == [("x", 1)])
    assert worker not in exchange
    assert viewer not in registry.match("*")


def test_a_pattern_shares_the_messages_of_each_exchange(registry: Registry) -> None:
    view = registry.match("jobs.*")
    one, two = Worker(), Worker()
    view.attach(one, group="workers")
    registry.get("jobs.a").attach(two, group="workers")
    for n in range(100):
        registry.get("jobs.a").send(n)
        registry.get("jobs.b").send(-n)
    eventually(lambda: len(one.got) + len(two.got) == 200)
    assert [msg for msg in two.got if msg < 0] == []
    assert Counter(one.got + two.got) == Counter([*range(100), *range(0, -100, -1)])
    view.detach(one)
    assert one not in view


def test_what_cannot_be_is_refused(registry: Registry) -> None:
    exchange, worker = registry.get("x"), Worker()
    with pytest.raises(TypeError, match="no history"):
        exchange.attach(worker, history=1, group="a")
    with pytest.raises(TypeError, match="group="):
        exchange.attach(worker, ahead=1)
    with pytest.raises(InvalidName, match="a group"):
        exchange.attach(worker, group="")
    with pytest.raises(ValueError, match="ahead"):
        exchange.attach(worker, group="a", ahead=-1)
    with pytest.raises(NotASubscriber, match="attach a function"):
        exchange.attach(registry.get("y"), group="a")
    with pytest.raises(TypeError, match="group="):
        exchange.handler(print, ahead=1)
    for argument, value in {"maxsize": 3, "overflow": "block", "latest": True}.items():
        with pytest.raises(TypeError, match=rf"ahead=.*{argument}"):
            exchange.stream(group="a", **{argument: value})
    with pytest.raises(NotASubscriber):
        exchange.attach(object(), group="a")  # type: ignore[arg-type]
    assert not exchange.subscribers


def test_what_is_sent_before_the_first_member_is_not_for_the_group(registry: Registry) -> None:
    exchange = registry.get("x")
    exchange.send("before")
    with exchange.stream(group="workers") as stream:
        exchange.send("after")
        assert stream.get(1) == "after"
        assert not len(stream)


def test_a_queue_in_a_group_handles_a_message_by_taking_it(registry: Registry) -> None:
    """So the guide advises against adapters that have a queue of their own."""
    exchange, waiting = registry.get("x"), queue.Queue[int]()
    exchange.attach(to_queue(waiting), group="workers", ahead=1)
    for n in range(20):
        exchange.send(n)
    eventually(lambda: waiting.qsize() == 20)
    eventually(lambda: group(registry).under_way == 0)


def test_a_failing_member_goes_on_and_its_message_counts(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    exchange, got = registry.get("x"), list[int]()

    def work(msg: int) -> None:
        if msg == 1:
            raise SystemExit("no")
        got.append(msg)

    exchange.handler(work, group="workers")
    for n in range(3):
        exchange.send(n)
    eventually(lambda: got == [0, 2])
    eventually(lambda: group(registry).under_way == 0)
    eventually(lambda: "failed" in caplog.text)


def test_a_stream_that_nobody_refers_to_leaves(registry: Registry) -> None:
    exchange = registry.get("x")
    stream = exchange.stream(group="workers")
    exchange.send(1)
    del stream
    gc.collect()
    with exchange.stream(group="workers") as other:
        assert other.get(10) == 1


def test_headers_types_and_kept_messages(registry: Registry) -> None:
    registry.retain("x", 3)
    exchange = registry.get("x", type=dict[str, int])
    with exchange.stream(group="workers", details=True) as stream:
        exchange.send_with({"a": 1}, {"trace": "abc"})
        exchange.send({"a": 2})
        first, second = stream.get(1), stream.get(1)
        assert isinstance(first, Delivery)
        assert (first.msg, dict(first.headers), dict(second.headers)) == (
            {"a": 1},
            {"trace": "abc"},
            {},
        )


def test_a_buffer_may_be_used_again(registry: Registry) -> None:
    exchange = registry.get("x")
    with exchange.stream(group="workers") as stream:
        buffer = bytearray(b"one")
        exchange.send(buffer)
        buffer[:] = b"two"
        assert stream.get(1) == b"one"


def test_threads_that_read_one_stream_each_have_their_message(registry: Registry) -> None:
    exchange, lock, got = registry.get("x"), threading.Lock(), list[int]()
    with exchange.stream(group="workers") as stream:

        def read() -> None:
            for msg in stream:
                with lock:
                    got.append(msg)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for n in range(500):
            exchange.send(n)
        eventually(lambda: sorted(got) == list(range(500)))
        eventually(lambda: group(registry).under_way <= 4)
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


@in_every_loop
def test_coroutines_share(registry: Registry, run: Callable[..., Any]) -> None:
    exchange, got = registry.get("x"), list[int]()

    async def main() -> None:
        async with exchange.stream(group="workers") as stream:
            for n in range(100):
                exchange.send(n)
            async for msg in stream:
                got.append(msg)
                if len(got) == 100:
                    break

    run(main)
    assert sorted(got) == list(range(100))
    assert group(registry).under_way == group(registry).owed == 0


def test_a_loop_is_told_that_a_group_is_far_behind(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share, "OWED_MOST", 50)
    exchange, worker = registry.get("x"), Worker()
    worker.go_on.clear()
    exchange.attach(worker, group="workers", ahead=1)

    async def main() -> int:
        sent = 0
        with pytest.raises(MailboxFull, match="workers"):  # noqa: PT012
            for _ in range(500):
                exchange.send(sent)
                sent += 1
        return sent

    sent = asyncio.run(main())
    worker.go_on.set()
    eventually(lambda: worker.got == list(range(sent)))


def test_a_thread_waits_for_a_group_that_is_far_behind(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share, "OWED_MOST", 50)
    exchange, worker = registry.get("x"), Worker()
    worker.go_on.clear()
    exchange.attach(worker, group="workers", ahead=1)

    def send() -> None:
        for n in range(200):
            exchange.send(n)

    sender = threading.Thread(target=send)
    sender.start()
    eventually(lambda: group(registry).owed >= 50)
    assert worker.busy.wait(10)
    assert sender.is_alive()
    assert group(registry).owed <= 50 + share.TOGETHER
    worker.go_on.set()
    sender.join(30)
    eventually(lambda: worker.got == list(range(200)))


@pytest.mark.parametrize("key", ["x", "*"])
def test_a_group_whose_worker_has_just_left_is_owed_messages(registry: Registry, key: str) -> None:
    """Also where nothing was sent to it before, until nobody has come for some time."""
    now = 0.0
    registry.monotonic = lambda: now
    place = registry.get(key) if key == "x" else registry.match(key)
    first, second = Worker(), Worker()
    place.attach(first, group="workers")
    place.detach(first)
    now += PATIENCE - 0.1
    registry.get("x").send(1)
    assert group(registry).owed == 1
    place.attach(second, group="workers")
    eventually(lambda: second.got == [1])
    place.detach(second)
    now += PATIENCE
    registry._groups().tick()
    registry.get("y").send(2)
    assert registry.get("y").stats().groups == ()
    assert len(registry._groups()._departed) == 0


def test_what_nobody_takes_is_lost_and_told(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    registry.monotonic = lambda: now
    exchange, worker = registry.get("x"), Worker()
    exchange.attach(worker, group="workers")
    exchange.send(0)
    eventually(lambda: group(registry).under_way == 0)
    exchange.detach(worker)
    exchange.send(1)
    assert group(registry).owed == 1
    now += PATIENCE - 0.1
    registry._groups().tick()
    assert group(registry).owed == 1
    now += 0.1
    registry._groups().tick()
    assert exchange.stats().groups == ()
    eventually(lambda: "lost" in caplog.text)
    exchange.send(2)  # the group is no more: it is owed nothing
    exchange.attach(worker, group="workers")
    exchange.send(3)
    eventually(lambda: worker.got == [0, 3])


def test_names_that_were_used_once_are_forgotten(registry: Registry) -> None:
    now = 0.0
    registry.monotonic = lambda: now
    worker = Worker()
    registry.match("reply.*").attach(worker, group="workers")
    for n in range(500):
        registry.get(f"reply.{n}").send(n)
    eventually(lambda: len(worker.got) == 500)
    assert len(registry._groups().shares()) == 500
    eventually(lambda: not any(one.under_way for one in registry._groups().shares()))
    now += share.IDLE
    registry._groups().tick()
    assert registry._groups().shares() == []
    assert not any(receiver._supplies for receiver in registry._groups()._here.values())
    registry.get("reply.1").send("again")
    eventually(lambda: worker.got[500:] == ["again"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_has_members_and_no_messages_of_the_parent(registry: Registry) -> None:
    exchange, worker = registry.get("x"), Worker()
    worker.go_on.clear()
    exchange.attach(worker, group="workers")
    for n in range(10):
        exchange.send(n)
    assert worker.busy.wait(10)
    child = os.fork()
    if not child:
        status = 1
        try:
            worker.go_on = threading.Event()
            worker.go_on.set()
            exchange.send("child")
            eventually(lambda: worker.got == ["child"])
            status = 0
        finally:
            os._exit(status)
    worker.go_on.set()
    eventually(lambda: worker.got == list(range(10)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_finaliser_sends_to_a_group(registry: Registry) -> None:
    exchange, worker = registry.get("x"), Worker()
    exchange.attach(worker, group="workers")

    class Circle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            exchange.send("last words")

    Circle()
    gc.collect()
    eventually(lambda: worker.got == ["last words"])


def test_a_member_that_sends_to_its_own_group(registry: Registry) -> None:
    exchange, got = registry.get("x"), list[int]()

    def work(msg: int) -> None:
        got.append(msg)
        if msg < 50:
            exchange.send(msg + 1)

    exchange.handler(work, group="workers")
    exchange.handler(to_call(lambda msg: None).send)
    exchange.send(0)
    eventually(lambda: got == list(range(51)))


def test_members_come_and_go_while_many_threads_send(registry: Registry) -> None:
    exchange, lock, got = registry.get("x"), threading.Lock(), Counter[int]()
    marked = set[int]()
    over = threading.Event()

    def member() -> None:
        while not over.is_set():
            with exchange.stream(group="workers", details=True) as stream:
                until = time.monotonic() + 0.02
                while time.monotonic() < until:
                    try:
                        item = stream.get(0.05)
                    except TimeoutError:
                        break
                    with lock:
                        got[item.msg] += 1
                        if item.redelivered:
                            marked.add(item.msg)

    def sender(base: int) -> None:
        for n in range(500):
            exchange.send(base + n)

    members = [threading.Thread(target=member) for _ in range(3)]
    for thread in members:
        thread.start()
    eventually(lambda: bool(exchange.stats().tasks))
    exchange.send(-1)
    senders = [threading.Thread(target=sender, args=(1000 * n,)) for n in range(4)]
    for thread in senders:
        thread.start()
    for thread in senders:
        thread.join(60)
    eventually(lambda: len(got) == 2001)
    over.set()
    for thread in members:
        thread.join(10)
    assert all(times == 1 or msg in marked for msg, times in got.items())


def test_exchanges_that_are_sent_on_at_once_keep_their_ways_to_a_member(
    registry: Registry,
) -> None:
    """A member knows what it has of each sender, however many begin at the same time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with registry.match("jobs.**").stream(group="workers", details=True) as stream:
            begin = threading.Barrier(8)

            def send(who: int) -> None:
                begin.wait()
                for n in range(50):
                    exchange = registry.get(f"jobs.{who}.{n}")
                    for msg in range(5):
                        exchange.send(msg)

            threads = [threading.Thread(target=send, args=(who,)) for who in range(8)]
            for thread in threads:
                thread.start()
            got = [stream.get(10) for _ in range(8 * 50 * 5)]
            for thread in threads:
                thread.join()
            assert not len(stream)
    finally:
        sys.setswitchinterval(before)
    names = Counter((item.name, item.msg) for item in got if isinstance(item, Delivery))
    assert len(names) == 8 * 50 * 5
    assert not any(item.redelivered for item in got if isinstance(item, Delivery))


def test_without_a_node_a_sender_lets_time_pass(registry: Registry) -> None:
    now = 0.0
    registry.monotonic = registry.time = lambda: now
    worker = Worker()
    registry.match("reply.*").attach(worker, group="workers")
    for n in range(50):
        registry.get(f"reply.{n}").send(n)
    eventually(lambda: len(worker.got) == 50)
    eventually(lambda: not any(one.under_way for one in registry._groups().shares()))
    now += share.IDLE
    registry.get("reply.1").send("again")
    eventually(lambda: worker.got[50:] == ["again"])
    assert len(registry._groups().shares()) == 1


def test_exchanges_that_are_sent_on_once_share_among_all_members(registry: Registry) -> None:
    one, two = Worker(), Worker()
    for worker in (one, two):
        registry.match("reply.*").attach(worker, group="workers")
    for n in range(100):
        registry.get(f"reply.{n}").send(n)
    eventually(lambda: len(one.got) + len(two.got) == 100)
    assert len(one.got) == len(two.got)
