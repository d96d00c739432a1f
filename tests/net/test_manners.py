"""Tasks that misbehave, and senders that are entered again while they send: nobody else suffers.

A task may raise, block, leave, answer, close the node or join others, on the data thread of
a receiver and inside the sender's own `send`: every other task gets everything once and in
order, or `Lost` says what not. Signal handlers, finalisers and logging handlers may send
wherever they come in.
"""

import json
import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.net.conftest import Joiner, collect
from tests.support import Program, eventually
from zexchange import (
    Lost,
    Node,
    PeerLeft,
    PeerSlow,
    Registry,
    federate,
    to_call,
    to_queue,
    to_thread,
)

pytestmark = pytest.mark.sockets
COUNT = 2_000
Side = tuple[Node, Registry]
Task = Callable[[Any], None]


class Rude(Exception):
    """What an ill-mannered task raises."""


def raises(node: Node, registry: Registry) -> Task:
    def task(msg: object) -> None:
        raise Rude(msg)

    return task


def leaves(node: Node, registry: Registry) -> Task:
    def task(msg: int) -> None:
        assert msg <= 500, "called after it had detached itself"
        if msg == 500:
            registry.get("x").detach(task)

    return task


def attaches(node: Node, registry: Registry) -> Task:
    def task(msg: int) -> None:
        if msg < 50:
            registry.get("x").handler(lambda msg: None)
            registry.get(f"new{msg}").handler(lambda msg: None)

    return task


def streams(node: Node, registry: Registry) -> Task:
    def task(msg: int) -> None:
        if msg < 50:
            registry.get("x").stream()
            with registry.match("**").stream(details=True):
                registry.get(f"new{msg}").stream().close()

    return task


def federates(node: Node, registry: Registry) -> Task:
    def task(msg: int) -> None:
        if msg == 10:
            assert federate(node.name, registry=registry) is node
            node.close()  # counted: one user less
            federate("elsewhere", registry=registry, join_timeout=0.1).close()
            federate(node.name, registry=Registry(), join_timeout=0.1).close()

    return task


def answers(node: Node, registry: Registry) -> Task:
    def task(msg: int) -> None:
        registry.get("answers").send(msg)

    return task


RUDE = [raises, leaves, attaches, streams, federates, answers]


def triangle(join: Joiner, **arguments: Any) -> tuple[Side, Side, Side]:
    """Join a sender, a receiver, and a third that has nothing to do with their troubles."""
    here, there, third = join(**arguments), join(**arguments), join(**arguments)
    for node, _ in (here, there, third):
        node.wait_peers(2)
    return here, there, third


def listen(*registries: Registry) -> list[list[object]]:
    return [collect(registry, name) for registry in registries for name in ("x", "y")]


def nothing_lost(*nodes: Node) -> None:
    for node in nodes:
        assert all(r.lost == r.duplicates == 0 for r in node.stats().received.values())


@pytest.mark.parametrize("local", [False, True], ids=["on the data thread", "in a local send"])
@pytest.mark.parametrize("rude", RUDE)
def test_a_rude_task_robs_nobody(
    join: Joiner, rude: Callable[..., Task], local: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Every other task, on both exchanges and all three nodes, gets everything in order."""
    caplog.set_level(logging.CRITICAL, "zexchange")  # thousands of tracebacks help nobody
    (node, here), there, third = triangle(join)
    registries = here, there[1], third[1]
    before = listen(*registries)
    culprit = (node, here) if local else there
    culprit[1].get("x").handler(rude(*culprit))
    after = listen(*registries)
    for name in ("x", "y"):
        node.wait_subscribers(name, 2)
    for n in range(COUNT):
        with suppress(Rude):
            here.get("x").send(n)
        here.get("y").send(n)
    node.flush(30)
    assert all(got == list(range(COUNT)) for got in before + after)
    assert culprit[1].get("x").stats().errors == (COUNT if rude is raises else 0)
    nothing_lost(there[0], third[0])
    # The culprit's node works on, in both directions.
    back = collect(third[1], "back")
    culprit[0].wait_subscribers("back", 1)
    culprit[1].get("back").send("well")
    culprit[0].flush(30)
    assert back == ["well"]


def test_two_that_answer_on_the_same_exchange(join: Joiner) -> None:
    """Answers from inside tasks, on the exchange they were asked on: all once, in order."""
    (node, here), (other, there), (third, over_there) = triangle(join)
    stream = over_there.get("x").stream(details=True, overflow="block", maxsize=100_000)
    got: dict[str, list[tuple[int, int]]] = {"here": [], "there": []}

    def answer(side: str, registry: Registry, parity: int) -> None:
        @registry.get("x").handler
        def task(msg: tuple[int, int]) -> None:
            got[side].append(msg)
            # A peer's message is answered, and so is one's own answer, up to a bound.
            if msg[1] < 8 and msg[1] % 4 // 2 == parity:
                registry.get("x").send((msg[0], msg[1] + 1))

    answer("there", there, 0)
    answer("here", here, 1)
    node.wait_subscribers("x", 2)
    other.wait_subscribers("x", 2)
    for n in range(500):
        here.get("x").send((n, 0))
    everything = sorted((n, hop) for n in range(500) for hop in range(9))
    for side in got.values():
        eventually(lambda side=side: len(side) >= len(everything))
        assert sorted(side) == everything
    numbers: dict[str, int] = Counter()
    hops: dict[int, list[int]] = {}
    for _ in everything:
        delivery = stream.get(timeout=30)
        numbers[delivery.origin] += 1
        assert delivery.seq == numbers[delivery.origin]
        hops.setdefault(delivery.msg[0], []).append(delivery.msg[1])
    assert all(sorted(seen) == list(range(9)) for seen in hops.values())
    nothing_lost(node, other, third)


@pytest.mark.parametrize("replay_bytes", [64 << 20, 8 << 20], ids=["all is kept", "little is kept"])
def test_a_task_that_blocks_holds_up_its_own_node_alone(join: Joiner, replay_bytes: int) -> None:
    """Others go on after `stall`; its own node gets the rest, or exact `Lost`, on its release."""
    (node, here), (blocked, there), (third, over_there) = triangle(join, replay_bytes=replay_bytes)
    events, lost = collect_events(node), collect_events(blocked)
    entered, release = threading.Event(), threading.Event()
    got: dict[str, list[int]] = {"x": [], "y": []}

    @there.get("x").handler
    def blocks(msg: tuple[int, bytes]) -> None:
        entered.set()
        release.wait(60)
        got["x"].append(msg[0])

    there.get("y").handler(lambda msg: got["y"].append(msg[0]))
    healthy = listen(over_there)
    back = collect(here, "back")
    for name in ("x", "y"):
        node.wait_subscribers(name, 2)
    blocked.wait_subscribers("back", 1)
    for n in range(1_000):
        for name in ("x", "y"):
            here.get(name).send((n, bytes(50_000)))
    assert entered.wait(30)
    node.flush(30)  # the slow one is nobody to wait for
    assert [[n for n, _ in messages] for messages in healthy] == [list(range(1_000))] * 2
    assert [e.slow for e in events if isinstance(e, PeerSlow)] == [True]
    there.get("back").send("from another thread")
    eventually(lambda: back == ["from another thread"])
    assert got["x"] == [], "the data thread is held"
    release.set()
    eventually(lambda: [e.slow for e in events if isinstance(e, PeerSlow)] == [True, False])
    node.flush(30)
    for name, messages in got.items():
        gone = [
            n
            for e in lost
            if isinstance(e, Lost) and e.exchange == name
            for n in range(e.first - 1, e.last)
        ]
        assert messages == sorted(messages)
        assert sorted(messages + gone) == list(range(1_000))
        assert blocked.stats().received[name, node.id].lost == len(gone)
    assert any(isinstance(e, Lost) for e in lost) == (replay_bytes < 30_000_000)
    nothing_lost(third)


def collect_events(node: Node) -> list[object]:
    events: list[object] = []
    node.events.handler(events.append)
    return events


def test_slow_work_off_the_data_thread_holds_up_nothing(join: Joiner) -> None:
    """Behind `to_thread`, `to_queue` or a stream, a consumer may take all the time it likes."""
    (node, here), (other, there), _ = triangle(join, stall=60)
    release, done, waiting = threading.Event(), [], queue.SimpleQueue[int]()

    def slow(msg: int) -> None:
        release.wait(60)
        done.append(msg)

    adapter = to_thread(to_call(slow), maxsize=COUNT)
    there.get("x").attach(adapter)
    there.get("x").attach(to_queue(waiting))
    stream = there.get("x").stream(maxsize=COUNT, overflow="block")
    quick = listen(there)
    for name in ("x", "y"):
        node.wait_subscribers(name, 1)
    for n in range(COUNT):
        for name in ("x", "y"):
            here.get(name).send(n)
    node.flush(30)
    assert quick == [list(range(COUNT))] * 2
    assert done == []
    release.set()
    assert [stream.get(timeout=10) for _ in range(COUNT)] == list(range(COUNT))
    assert [waiting.get(timeout=10) for _ in range(COUNT)] == list(range(COUNT))
    eventually(lambda: len(done) == COUNT)
    assert done == list(range(COUNT))
    adapter.close(10)
    assert not other.stats().slow_tasks


def test_a_receiver_that_closes_inside_a_task_hangs_nobody(join: Joiner) -> None:
    """Its node ends; its tasks have a beginning of what was sent; the others have all."""
    (node, here), (other, there), (third, over_there) = triangle(join)
    events, before = collect_events(node), listen(there)

    @there.get("x").handler
    def closes(msg: int) -> None:
        if msg == 500:
            other.close()

    after, healthy = listen(there), listen(over_there)
    for name in ("x", "y"):
        node.wait_subscribers(name, 2)
    for n in range(COUNT):
        for name in ("x", "y"):
            here.get(name).send(n)
    node.flush(30)
    eventually(lambda: [e.reason for e in events if isinstance(e, PeerLeft)] == ["bye"])
    assert healthy == [list(range(COUNT))] * 2
    eventually(lambda: not [t for t in threading.enumerate() if t.name == "zexchange-data"][2:])
    for got in before + after:
        assert got == list(range(len(got)))
    assert len(before[0]) == len(after[0]) > 500
    assert there.get("x").stats().errors == 0
    nothing_lost(third)


def test_a_sender_that_closes_inside_a_task_has_delivered(join: Joiner) -> None:
    """What was sent up to the message that closed the node has arrived, and all works locally."""
    (node, here), (other, there), (third, over_there) = triangle(join)
    remote, events = listen(there, over_there), [collect_events(other), collect_events(third)]
    here.get("x").handler(lambda msg: node.close() if msg == 1_000 else None)
    mine = listen(here)
    for name in ("x", "y"):
        node.wait_subscribers(name, 2)
    for n in range(COUNT):
        for name in ("y", "x"):
            here.get(name).send(n)
    assert mine == [list(range(COUNT))] * 2
    for got in remote:
        eventually(lambda got=got: len(got) >= 1_001)
        assert got == list(range(1_001))
    for heard in events:
        eventually(lambda heard=heard: any(isinstance(e, PeerLeft) for e in heard))
    nothing_lost(other, third)


# ------------------------------------------------------------------ entered again

AUDIENCE = """
import json, zexchange
stream = zexchange.match("**").stream(details=True, overflow="block")
node = zexchange.federate("fed")
print("ready", flush=True)
if sys.argv[1:]:
    sys.stdin.readline()
numbers, kinds, wrong, end, once = {}, {}, [], None, set()
while end is None:
    d = stream.get(timeout=60)
    if isinstance(d, zexchange.Lost):
        wrong.append(str(d))
        continue
    if d.seq != numbers.get(d.name, 0) + 1:
        wrong.append(f"{d.name}: {d.seq} after {numbers.get(d.name)}")
    numbers[d.name] = d.seq
    if d.name == "end":
        end = d.msg
        continue
    key = f"{d.name} {d.msg[0]}"
    if d.msg[0].startswith(("finaliser", "del")):  # one may be sent later than what came after it
        if (key, d.msg[1]) in once:
            wrong.append(f"{key}: {d.msg[1]} twice")
        once.add((key, d.msg[1]))
        kinds[key] = kinds.get(key, 0) + 1
        continue
    if d.msg[1] != kinds.get(key, 0):
        wrong.append(f"{key}: {d.msg[1]} instead of {kinds.get(key, 0)}")
    kinds[key] = d.msg[1] + 1
print(json.dumps([end, kinds, wrong[:3]]), flush=True)
sys.stdin.read()
node.close()
"""

SENDER = """
import faulthandler, gc, logging, signal, threading, weakref, zexchange
x, side, sent = zexchange.get_exchange("x"), zexchange.get_exchange("side"), {}

def send(exchange, kind, more=b""):
    # Kinds are numbered by thread: threads may be here at once.
    kind = f"{kind} {threading.current_thread().name}"
    key = f"{exchange.name} {kind}"
    number = sent[key] = sent.get(key, 0) + 1
    exchange.send((kind, number - 1, more))

nested = 0
def again(kind, *_):
    global nested
    nested += 1
    send(x, kind)
    send(side, kind)

def signals(most):
    def handler(*_):
        again("signal")
        if nested < most:
            signal.setitimer(signal.ITIMER_REAL, 0.0003)
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0003)
    while nested < most:
        send(x, "main", bytes(1000))

class Circle:
    def __init__(self):
        self.me = self
        weakref.finalize(self, again, "finaliser").atexit = False
    def __del__(self):
        again("del")

def finalisers(most):
    gc.set_threshold(20, 5, 5)
    while nested < most:
        send(x, "main", bytes(1000))
        Circle()
    gc.set_threshold(700, 10, 10)
    gc.collect()

def records(most):
    class Handler(logging.Handler):
        def emit(self, record):
            again("record")
    root, handler = logging.getLogger(), Handler()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    x.handler(lambda msg: msg[0].startswith("main") and logging.info("got %s", msg[1]))
    def work():
        while nested < most:
            send(x, "main", bytes(1000))
    threads = [threading.Thread(target=work, name=f"t{n}") for n in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    root.removeHandler(handler)

def hook(owner, name, inside):
    plain = getattr(owner, name)
    def hooked(*args):
        result = plain(*args)
        if node._engine.outbound.window.full and not nested:
            inside()
        return result
    setattr(owner, name, hooked)

def fill():
    while not nested:
        send(x, "main", bytes(1000))

def signal_here():
    if threading.current_thread() is threading.main_thread():
        signal.raise_signal(signal.SIGUSR1)

def socket_lock(_):
    hook(node._engine.outbound, "keep", signal_here)
    fill()

def sender_thread(_):
    me = "zexchange-sender"
    inside = lambda: threading.current_thread().name == me and again("finaliser")
    hook(node._engine.outbound, "keep", inside)
    fill()

def session_lock(_):
    hook(zexchange.net.node.stats, "_status", signal_here)
    while not nested:  # the window may have room at the first look
        node.peers

def exchange_lock(_):
    # Another peer that wants the exchange has the control thread ask for its lock.
    look = lambda: node._engine.post(lambda: node._engine.bridges.look(x)) or signal_here()
    hook(zexchange.local.routing.Routing, "_all_targets", look)
    while not nested:
        x.handler(lambda msg: None)
        send(x, "main")

def handlers_lock(_):
    class Handler(logging.Handler):
        def emit(self, record):
            # The control thread logs, as a program may have it do, with a lock of ours held.
            node._engine.post(lambda: logging.getLogger("shop").warning("a peer"))
            again("record")
    handler = Handler()
    logging.getLogger().addHandler(handler)
    logging.warning("mine")
    logging.getLogger().removeHandler(handler)

def worst(place):
    signal.signal(signal.SIGUSR1, lambda *_: again("signal"))
    filler = threading.Thread(target=fill, name="filler")
    if place not in ("socket_lock", "sender_thread"):
        filler.start()
        eventually(lambda: node._engine.outbound.window.full)
    print("full", flush=True)
    globals()[place](0)
    if filler.ident:
        filler.join()

faulthandler.dump_traceback_later(patience(50), exit=True)
# The worst moments are those of a full window: then it is a small one, which is full very often.
small = {"replay_bytes": 256 << 10} if sys.argv[1] == "worst" else {}
with zexchange.federate("fed", **small) as node:
    for name in ("x", "side", "end"):
        node.wait_subscribers(name, 1)
    way, argument = sys.argv[1:]
    globals()[way](int(argument) if argument.isdigit() else argument)
    node.flush(30)
    zexchange.get_exchange("end").send(sent)
    node.flush(30)
    print(nested, flush=True)
"""


@pytest.mark.parametrize(
    ("way", "most"), [("signals", 2_000), ("finalisers", 10_000), ("records", 10_000)]
)
def test_what_comes_in_while_sending_may_send(way: str, most: int) -> None:
    """Sends inside a send, on the same exchange and another, arrive once and as numbered."""
    with Program(AUDIENCE) as audience:
        audience.expect("ready")
        with Program(SENDER, way, most) as sender:
            assert int(sender.line(60)) >= most
            sent, received, wrong = json.loads(audience.line(60))
        assert wrong == []
        assert received == sent


@pytest.mark.parametrize(
    "place", ["socket_lock", "sender_thread", "session_lock", "exchange_lock", "handlers_lock"]
)
def test_what_comes_in_at_the_worst_moment_may_send(place: str) -> None:
    """Inside whatever lock it came in, with no room in the window, a send holds up nobody."""
    with Program(AUDIENCE, "held") as audience:
        audience.expect("ready")
        with Program(SENDER, "worst", place) as sender:
            sender.expect("full")
            audience.say()
            assert int(sender.line(60)) >= 1
            sent, received, wrong = json.loads(audience.line(60))
        assert wrong == []
        assert received == sent
