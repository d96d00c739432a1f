"""The send window, replay and losses, over real sockets."""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.net.conftest import Joiner, collect
from tests.net.test_tcp import behind
from tests.relay import Relay
from tests.support import Program, eventually, patience, tcp
from zexchange import Delivery, Lost, Node, PeerLeft, PeerSlow, Registry, federate
from zexchange.history import Frame, Ring
from zexchange.net.engine.environment import NodeEnvironment
from zexchange.net.outbound.window import Window
from zexchange.protocol.delivery.sequence import Numbering

pytestmark = pytest.mark.sockets


def test_what_a_cut_loses_is_sent_again(relays: tuple[Relay, Relay], join: Joiner) -> None:
    """Cuts of the data connection under load cost nothing: all arrives, once and in order."""
    node, here = behind(join, relays)
    other, there = join(peers=[tcp(relays[0].port)], local=False)
    got = collect(there, "x")
    node.wait_subscribers("x", 1)
    for n in range(60_000):
        here.get("x").send((n, "x" * 100))
        if n % 15_000 == 7_000:
            relays[1].cut()
    node.wait_peers(1)
    node.flush(30)
    assert [n for n, _ in got] == list(range(60_000))
    received = other.stats().received["x", node.id]
    assert (received.received, received.lost) == (60_000, 0)


def test_a_lost_tail_is_noticed(relays: tuple[Relay, Relay], join: Joiner) -> None:
    """What is lost at the very end, with nothing sent after it, is recovered all the same."""
    node, here = behind(join, relays)
    _, there = join(peers=[tcp(relays[0].port)], local=False)
    got = collect(there, "x")
    node.wait_subscribers("x", 1)
    for n in range(5_000):
        here.get("x").send((n, "x" * 1000))
    relays[1].cut()
    eventually(lambda: len(got) == 5_000)
    assert [n for n, _ in got] == list(range(5_000))


def test_send_waits_for_a_slower_receiver(join: Joiner) -> None:
    """A sender is held up by a healthy peer that is slower, and by no more than the window."""
    node, here = join(stall=60)
    _, there = join()
    release, got = threading.Event(), []

    @there.get("x").handler
    def slow(msg: tuple[int, bytes]) -> None:
        release.wait(30)
        got.append(msg[0])

    node.wait_subscribers("x", 1)
    sent = []

    def work() -> None:
        for n in range(400):
            here.get("x").send((n, bytes(100_000)))
            sent.append(n)

    sender = threading.Thread(target=work)
    sender.start()
    eventually(lambda: node._engine is not None and node._engine.outbound.window.full)
    assert len(sent) < 200
    release.set()
    sender.join(30)
    node.flush(30)
    assert got == sent == list(range(400))
    assert node.stats().waited > 0


def test_a_stream_that_blocks_makes_remote_senders_wait(join: Joiner) -> None:
    """It drops nothing: its node's data thread waits for room, and in the end a sender does."""
    node, here = join(stall=60, replay_bytes=1 << 20)
    _, there = join()
    with there.get("x").stream(maxsize=10, overflow="block") as stream:
        node.wait_subscribers("x", 1)
        sent: list[int] = []

        def work() -> None:
            for n in range(400):
                here.get("x").send((n, bytes(10_000)))
                sent.append(n)

        sender = threading.Thread(target=work)
        sender.start()
        assert node._engine is not None
        window = node._engine.outbound.window
        eventually(lambda: window.full or not sender.is_alive())
        assert len(sent) < 400
        assert [stream.get(timeout=30)[0] for _ in range(400)] == list(range(400))
        sender.join(30)
        assert stream.dropped == 0
    assert node.stats().waited > 0


def test_two_that_answer_each_other_do_not_stall(join: Joiner) -> None:
    """Sends from tasks of the data thread never wait: both sides answer at full speed."""
    node, here = join(replay_bytes=1 << 20)
    other, there = join(replay_bytes=1 << 20)
    done = threading.Event()
    counts = {"here": 0, "there": 0}

    def answer(side: str, registry: Registry) -> None:
        @registry.get("ask" if side == "there" else "answer").handler
        def task(msg: tuple[int, bytes]) -> None:
            counts[side] += 1
            if side == "there":
                registry.get("answer").send(msg)
            elif counts[side] == 2_000:
                done.set()

    answer("here", here)
    answer("there", there)
    node.wait_subscribers("ask", 1)
    other.wait_subscribers("answer", 1)
    for n in range(2_000):
        here.get("ask").send((n, bytes(2_000)))
    assert done.wait(30)


RECEIVER = """
import zexchange
total, got, lost = int(sys.argv[1]), [], []
class Task:
    def send(self, msg):
        got.append(msg[0])
zexchange.get_exchange("x").attach(Task())
node = zexchange.federate("fed")
node.events.handler(lambda e: isinstance(e, zexchange.Lost) and lost.append((e.first, e.last)))
node.wait_ready()
print("ready", flush=True)
numbers = lambda: len(got) + sum(last - first + 1 for first, last in lost)
eventually(lambda: numbers() == total, 90)
missing = sorted(n for first, last in lost for n in range(first - 1, last))
print(len(lost), got == sorted(got), sorted(got + missing) == list(range(total)), flush=True)
sys.stdin.read()
node.close()
"""


def ended(event: object) -> bool:
    """Return whether an event says that a peer is no longer slow."""
    return isinstance(event, PeerSlow) and not event.slow


@pytest.mark.leaves_files
def test_a_stopped_receiver_holds_nobody_for_long_and_knows_what_it_missed() -> None:
    """The others go on after `stall`; the stopped one gets the rest, or exact `Lost` ranges."""
    registry, total = Registry(), 60_000
    events: list[object] = []
    with (
        federate("fed", registry=registry, stall=0.3, replay_bytes=4 << 20) as node,
        Program(RECEIVER, total) as stopped,
        Program(RECEIVER, total) as healthy,
    ):
        node.events.handler(events.append)
        for program in (stopped, healthy):
            program.expect("ready")
        node.wait_subscribers("x", 2)
        for n in range(total):
            registry.get("x").send((n, bytes(200)))
            if n == 10_000:
                stopped.kill(signal.SIGSTOP)
        assert healthy.line(60) == "0 True True"
        assert any(isinstance(e, PeerSlow) and e.slow for e in events)
        stopped.kill(signal.SIGCONT)
        _, in_order, adds_up = stopped.line(90).split()
        assert (in_order, adds_up) == ("True", "True")
        # One that stood still for long has left, and comes back as one that is not slow.
        eventually(lambda: any(isinstance(e, PeerLeft) or ended(e) for e in events))


def test_losses_stand_in_their_place_in_a_detailed_stream(
    relays: tuple[Relay, Relay], join: Joiner
) -> None:
    """A stream with details yields `Lost` where the messages would have been."""
    node, here = join(
        listen=[tcp(relay._target) for relay in relays],
        advertise=[tcp(relay.port) for relay in relays],
        local=False,
        replay_bytes=100_000,
        stall=0.1,
    )
    _, there = join(peers=[tcp(relays[0].port)], local=False)
    with there.get("x").stream(details=True, overflow="block", maxsize=100_000) as stream:
        node.wait_subscribers("x", 1)
        for relay in relays:
            relay.refuse()
        for n in range(1, 3_001):
            here.get("x").send((n, bytes(1000)))
        for relay in relays:
            relay.refuse(False)
        expected, kinds = 1, set()
        while expected <= 3_000:
            item = stream.get(timeout=30)
            kinds.add(type(item))
            if isinstance(item, Lost):
                assert item.first == expected
                expected = item.last + 1
            else:
                assert isinstance(item, Delivery)
                assert item.seq == item.msg[0] == expected
                expected += 1
    assert Lost in kinds


@pytest.mark.parametrize("listening", [False, True], ids=["no task", "a task"])
def test_a_loss_that_no_task_is_told_is_a_warning(
    relays: tuple[Relay, Relay], join: Joiner, caplog: pytest.LogCaptureFixture, listening: bool
) -> None:
    """With a task attached to `events`, the log has it as information only."""
    node, here = behind(join, relays, replay_bytes=100_000, stall=0.1)
    other, there = join(peers=[tcp(relays[0].port)], local=False)
    got = collect(there, "x")
    if listening:
        other.events.handler(lambda event: None)
    node.wait_subscribers("x", 1)
    for relay in relays:
        relay.refuse()
    for n in range(500):
        here.get("x").send((n, bytes(1000)))
    for relay in relays:
        relay.refuse(False)
    eventually(lambda: got and got[-1] == (499, bytes(1000)))
    told = eventually(lambda: [r for r in caplog.records if r.getMessage().startswith("Lost(")])
    assert {record.levelno for record in told} == {logging.INFO if listening else logging.WARNING}


@pytest.mark.leaves_files
def test_what_a_killed_origin_had_announced_is_received_or_lost(rendezvous: object) -> None:
    """Of a killed origin, received and lost add up to the last head that was heard of."""
    source = """
import zexchange
node = zexchange.federate("fed")
node.wait_subscribers("x", 1)
for n in range(100_000):
    zexchange.get_exchange("x").send(n)
    if n == 50_000:
        print("half", flush=True)
"""
    registry = Registry()
    got = collect(registry, "x")
    with federate("fed", registry=registry) as node, Program(source) as program:
        program.expect("half")
        program.kill()
        eventually(lambda: not node.peers)
        (received,) = node.stats().received.values()
        assert received.received == len(got)
        assert received.received + received.lost >= got[-1] + 1
        assert got == sorted(got)


def test_arguments_are_checked(rendezvous: object) -> None:
    """Numbers that make no sense are refused by name."""
    for argument in ("replay_messages", "replay_bytes", "stall", "recovery_timeout"):
        with pytest.raises(ValueError, match=argument):
            federate("fed", **{argument: 0})  # type: ignore[arg-type]


def test_the_cost_of_a_recovery_stays_on_its_exchange(
    relays: tuple[Relay, Relay], join: Joiner
) -> None:
    """While one exchange waits for what it missed, another goes on."""
    node, here = behind(join, relays)
    other, there = join(peers=[tcp(relays[0].port)], local=False, recovery_timeout=30)
    slow, quick = collect(there, "slow"), collect(there, "quick")
    node.wait_subscribers("slow", 1)
    node.wait_subscribers("quick", 1)
    engine = other._engine
    assert engine is not None
    asked = []
    engine.ask = lambda *question: asked.append(question)  # type: ignore[method-assign]
    outbound = node._engine.outbound  # type: ignore[union-attr]
    put, outbound.put = outbound.put, lambda frame, flags: None
    here.get("slow").send("lost on the way")
    eventually(lambda: outbound.heads().get("slow") == 1)
    outbound.put = put
    here.get("slow").send("parked")
    here.get("quick").send("here")
    eventually(lambda: quick == ["here"] and asked)
    assert slow == []
    del engine.ask
    eventually(lambda: slow == ["lost on the way", "parked"])


def test_a_goodbye_does_not_overtake_the_messages_before_it(
    relays: tuple[Relay, Relay], join: Joiner
) -> None:
    """What is on its way when its origin closes without waiting has a moment to come."""
    node, here = behind(join, relays)
    other, there = join(peers=[tcp(relays[0].port)], local=False)
    got = collect(there, "x")
    node.wait_subscribers("x", 1)
    relays[1].hold()
    for n in range(500):
        here.get("x").send(n)
    closing = threading.Thread(target=node.close, kwargs={"timeout": 0.01})
    closing.start()
    eventually(lambda: not other.peers)
    assert got == []
    relays[1].hold(False)
    closing.join(10)
    eventually(lambda: got == list(range(500)))
    eventually(lambda: sum(r.lost for r in other.stats().received.values()) == 0)


@pytest.mark.parametrize("bounds", [{"replay_bytes": 512 << 10}, {"replay_messages": 40}])
def test_a_small_ring_is_no_reason_to_be_slow(join: Joiner, bounds: dict[str, int]) -> None:
    """A peer acknowledges as often as the sender's window needs, and is healthy all the time."""
    node, here = join(**bounds)
    _, there = join()
    got = collect(there, "x")
    events: list[object] = []
    node.events.handler(events.append)
    node.wait_subscribers("x", 1)
    for n in range(1000):
        here.get("x").send((n, bytes(20_000)))
    node.flush(30)
    assert [n for n, _ in got] == list(range(1000))
    assert not [event for event in events if isinstance(event, PeerSlow)]


def gated(join: Joiner) -> tuple[Node, Registry, threading.Event, list[bytes]]:
    """Return a node with a small ring, and what releases the task of its healthy receiver."""
    node, here = join(replay_bytes=1 << 20, stall=60)
    _, there = join()
    release, got = threading.Event(), list[bytes]()

    @there.get("x").handler
    def held(msg: bytes) -> None:
        release.wait(30)
        got.append(msg)

    node.wait_subscribers("x", 1)
    return node, here, release, got


def test_senders_that_wait_make_nobody_slow_however_small_the_ring(join: Joiner) -> None:
    """What many threads have in hand is more than all the ring; `stall` alone decides."""
    node, here, release, got = gated(join)
    engine = node._engine
    assert engine is not None
    with node.events.record() as events:
        threads = [
            threading.Thread(target=here.get("x").send, args=(bytes(1 << 20),)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        eventually(lambda: engine.outbound.frames == 8)
        assert engine.outbound.window.slow_peers() == {}
        assert engine.outbound.window.full
        release.set()
        for thread in threads:
            thread.join(30)
        node.flush(30)
    assert len(got) == 8
    assert not [event for event in events if isinstance(event, PeerSlow)]


def test_what_senders_that_may_not_wait_overdraw_is_bounded(join: Joiner) -> None:
    """In an event loop nobody waits: a peer that holds too much is slow at once."""
    node, here, release, _ = gated(join)
    engine = node._engine
    assert engine is not None

    async def flood() -> None:
        for _ in range(8):
            here.get("x").send(bytes(1 << 20))

    with node.events.record() as events:
        asyncio.run(flood())
        eventually(engine.outbound.window.slow_peers)
        assert engine.outbound.window.filled()[2] < 4 << 20
        release.set()
        eventually(lambda: [e.slow for e in events if isinstance(e, PeerSlow)] == [True, False])


def overdrawn_window() -> tuple[Window, Callable[..., None]]:
    """A full window of 1 MiB whose senders may not wait, and what sends a frame by it."""
    world, numbering = NodeEnvironment(), Numbering()
    window = Window(
        Ring(2 << 20, 10_000, 1 << 20),
        numbering,
        threading.Lock(),
        may_wait=lambda: False,
        catch_up=lambda: None,
        if_free=lambda act: None,
        world=world,
    )

    def send(name: str, size: int, number: int) -> None:
        window.keep(Frame(name, number, number, bytes(size)))
        window.overdraw()

    for peer in (b"stuck", b"well"):
        window.promise(peer, ["all"])
    window.promise(b"stuck", ["all", "big"])
    return window, send


def test_overdraft_spares_a_peer_that_does_not_hold_it() -> None:
    """A healthy peer with one small frame that is newer is not slow because another one is."""
    window, send = overdrawn_window()
    for number in range(1, 60):
        send("big", 100_000, number)
        if number == 30:
            send("all", 10, 1)
    assert window.slow_peers().keys() == {b"stuck"}


def test_overdraft_counts_acknowledgements_that_have_arrived() -> None:
    """They may wait to be taken in while a sender that may not wait goes on."""
    window, send = overdrawn_window()
    for number in range(1, 60):
        send("big", 100_000, number)
        assert not window.slow_peers()
        window.acknowledge(b"stuck", {}, {"big": number})


def test_one_message_may_be_larger_than_the_ring(join: Joiner) -> None:
    """It makes nobody slow, and arrives."""
    node, here = join(replay_bytes=1 << 20)
    _, there = join()
    got = collect(there, "x")
    events: list[object] = []
    node.events.handler(events.append)
    node.wait_subscribers("x", 1)
    for size in (5 << 20, 10, 3 << 20):
        here.get("x").send(bytes(size))
    node.flush(30)
    assert [len(msg) for msg in got] == [5 << 20, 10, 3 << 20]  # type: ignore[arg-type]
    assert not [event for event in events if isinstance(event, PeerSlow)]


MANY = """
import zexchange
got = []
zexchange.match("many.**").attach(zexchange.to_call(got.append))
with zexchange.federate("fed") as node:
    print("ready", flush=True)
    sys.stdin.readline()
    print(len(got), sum(t.recovered + t.lost for t in node.stats().received.values()), flush=True)
"""


@pytest.mark.leaves_files
def test_a_receiver_that_is_held_up_has_nothing_dropped_before_it(
    rendezvous: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many small frames there are for it: senders wait sooner than ZeroMQ drops any."""
    # On a busy machine the control thread may get no turn for longer than senders wait for it.
    monkeypatch.setattr("zexchange.net.outbound.window.STUCK_AFTER", 600)
    registry = Registry()
    with (
        federate("fed", registry=registry, stall=60) as node,
        Program(MANY) as receiver,
    ):
        receiver.expect("ready")
        node.wait_subscribers("many.0", 1)
        engine = node._engine
        assert engine is not None

        def send() -> None:
            for n in range(5_000):
                registry.get(f"many.{n}").send(bytes(500))

        sender = threading.Thread(target=send)
        receiver.kill(signal.SIGSTOP)
        sender.start()
        eventually(lambda: engine.outbound.window.full or not sender.is_alive())
        receiver.kill(signal.SIGCONT)
        sender.join(60)
        node.flush(60)
        receiver.say()
        receiver.expect("5000 0")


@pytest.mark.parametrize("count", [15_000, pytest.param(60_000, marks=pytest.mark.slow)])
def test_a_message_on_each_of_many_exchanges_is_waited_for(rendezvous: Path, count: int) -> None:
    """Frames so small and so many neither pile up behind the socket nor are dropped by it.

    They are more than both ends' sockets hold (`SEND_MARK` and `FRAMES_MARK`).
    """
    registry = Registry()
    with (
        federate("fed", registry=registry, stall=600) as node,
        Program(MANY) as receiver,
    ):
        receiver.expect("ready")
        node.wait_subscribers("many.0", 1)
        with node.events.record() as events:
            for n in range(count):
                registry.get(f"many.{n}").send(n)
            node.flush(patience(60))
        receiver.say()
        receiver.expect(f"{count} 0")
        assert not [event for event in events if isinstance(event, PeerSlow)]
