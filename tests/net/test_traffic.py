"""What flows, as nodes tell it: in a mesh, behind hubs, with keys, and while nobody looks."""

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.net.conftest import Joiner, collect
from tests.net.keyedhubs import Huber, behind, carried
from tests.net.keyrings import Keyrings, hear, raw, say
from tests.net.test_permissions import greeted, guest, serving
from tests.support import eventually, patience, tcp
from zexchange import (
    Exchange,
    ExchangeTraffic,
    InvalidName,
    Node,
    NodeTraffic,
    NoResponders,
    Registry,
    Rejected,
    Traffic,
    to_call,
)
from zexchange.local import registry as local_registry
from zexchange.net.engine import counting, executor
from zexchange.net.hub.hub import Hub
from zexchange.net.outbound.counting import SendCounter
from zexchange.protocol.session import state
from zexchange.protocol.wire.messages import COUNTS, FEATURES, Count, Counted

pytestmark = pytest.mark.sockets


@pytest.fixture(autouse=True)
def each_question_has_a_look_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent before a question is counted, however long the look before took."""
    monkeypatch.setattr(counting, "RESTS", 0)


def see(node: Node, pattern: str = "**") -> Traffic:
    return node.traffic(pattern, patience(10.0))


def exchange(traffic: Traffic, name: str) -> ExchangeTraffic:
    (found,) = [e for e in traffic.exchanges if e.name == name]
    return found


def at(traffic: Traffic, node: Node) -> NodeTraffic:
    (found,) = [n for n in traffic.nodes if n.id == node.id]
    return found


def named(traffic: Traffic) -> list[str]:
    return [e.name for e in traffic.exchanges]


def counters(registry: Registry) -> list[str]:
    """The exchanges of a process to which a counter is attached."""
    return sorted(
        e.name
        for e in registry.exchanges()
        if any(isinstance(bridge, SendCounter) for bridge in e._bridges)
    )


@contextmanager
def flooding(exchange: Exchange[object]) -> Iterator[Callable[[], int]]:
    """Send without a pause inside the block; yields a function that returns how many it was."""
    sent, over = [0], threading.Event()

    def flood() -> None:
        while not over.is_set():
            exchange.send("x" * 50)
            sent[0] += 1

    thread = threading.Thread(target=flood)
    thread.start()
    yield lambda: sent[0]
    over.set()
    thread.join()


@pytest.fixture
def three(join: Joiner) -> tuple[tuple[Node, Registry], tuple[Node, Registry], Node]:
    """A node that sends, one that listens to ``a.**``, and one that only looks."""
    (sender, here), (receiver, there), (viewer, _) = (join(label=n) for n in ("s", "r", "v"))
    there.match("a.**").attach(to_call(lambda msg: None))
    sender.wait_subscribers("a.x")
    viewer.wait_peers(2)
    eventually(lambda: any(peer.interest for peer in viewer.peers))
    return (sender, here), (receiver, there), viewer


Three = tuple[tuple[Node, Registry], tuple[Node, Registry], Node]


def test_counts_are_those_of_senders_and_receivers(three: Three) -> None:
    """Messages, bytes, who sends and who listens; the node that looks does not listen."""
    (sender, here), (receiver, _), viewer = three
    see(viewer)
    for _ in range(100):
        here.get("a.x").send("text")
    sender.flush()
    found = see(viewer)
    row = exchange(found, "a.x")
    assert (row.messages, row.received, row.lost, row.conflated) == (100, 100, 0, 0)
    assert (row.senders, row.listeners) == ((sender.id,), (receiver.id,))
    assert row.bytes > 100 * len("text")
    assert row.messages_per_second is not None
    assert row.messages_per_second > 0
    assert at(found, sender).peers == 2
    assert (at(found, sender).label.name, at(found, receiver).exchanges) == ("s", 1)
    assert sender.stats().sent_to.keys() == {("a.x", receiver.id)}
    assert not any(peer.interest for peer in sender.peers if peer.id == viewer.id)


def test_rates_are_those_of_the_sender(three: Three) -> None:
    """They are what the sender has counted in the time between its two looks."""
    (_, here), _, viewer = three
    with flooding(here.get("a.x")) as sent:
        see(viewer)
        first, moment = exchange(see(viewer), "a.x"), sent()
        eventually(lambda: sent() > moment + 20_000)
        second = exchange(see(viewer), "a.x")
    assert second.messages_per_second is not None
    assert second.messages > first.messages
    assert second.bytes_per_second == pytest.approx(
        second.messages_per_second * 52, rel=0.3
    )  # frames have heads


def test_what_only_local_tasks_get_is_counted_while_somebody_looks(three: Three) -> None:
    """A counter takes the place of the bridge, and gives it back."""
    (sender, here), (_, there), viewer = three
    got = collect(here, "only.here")
    here.get("only.here").send(0)
    see(viewer)
    assert counters(here) == ["only.here"]
    for n in range(7):
        here.get("only.here").send(n)
    here.get("only.here").send_with(8, {"h": 1})
    row = exchange(see(viewer), "only.here")
    assert (row.messages, row.bytes, len(row.senders), len(row.listeners)) == (8, 0, 1, 1)
    assert here.get("only.here").stats().bridges == 0

    more = collect(there, "only.here")
    sender.wait_subscribers("only.here")
    here.get("only.here").send(9)  # by the bridge, though the counter is attached until a look
    eventually(lambda: more)
    assert exchange(see(viewer), "only.here").messages == 9
    assert counters(here) == []
    assert len(got) == 10


def test_nothing_is_left_when_nobody_looks(three: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters are detached, and no counts are kept."""
    (sender, here), _, viewer = three
    engine = sender._engine
    assert engine is not None
    local = here.get("only.here")
    collect(here, "only.here")
    see(viewer)
    assert counters(here) == ["only.here"]
    monkeypatch.setattr(counting, "LOOKED_AT_FOR", 0.0)
    eventually(lambda: not counters(here))
    assert len(engine.counts) == 0
    assert not local._bridges


def test_exchanges_that_are_gone_are_not_shown(
    three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exchange is not held by its counter, and its counts go with it."""
    monkeypatch.setattr(local_registry, "AWAKE", 0)
    (_, here), _, viewer = three
    kept = [here.get(f"gone.{n}") for n in range(3)]
    see(viewer)
    for one in kept:
        one.send(1)
    assert named(see(viewer)) == ["gone.0", "gone.1", "gone.2"]
    del kept[1:], one
    for n in range(3):
        here.get(f"other.{n}")  # at each new one some that are idle are let go of
    gc.collect()
    eventually(lambda: "gone.2" not in named(see(viewer)))
    assert "gone.0" in named(see(viewer))


def test_a_pattern_filters(three: Three) -> None:
    """Only what it covers is told, and each pattern has looks of its own."""
    (sender, here), _, viewer = three
    for name in ("a.x", "a.y", "a.y.z"):
        here.get(name).send(1)
    sender.flush()
    assert named(see(viewer, "a.*")) == ["a.x", "a.y"]
    assert named(see(viewer, "a.y")) == ["a.y"]
    assert len(named(see(viewer))) == 3
    with pytest.raises(InvalidName):
        viewer.traffic("a.**.b")


def test_a_node_sees_its_own_traffic(three: Three) -> None:
    """The node that asks is one of the nodes."""
    (sender, here), _, _ = three
    here.get("a.x").send(1)
    sender.flush()
    found = see(sender)
    assert len(found.nodes) == 3
    assert exchange(found, "a.x").senders == (sender.id,)


def test_coroutines_look_too(three: Three) -> None:
    """`AsyncNode.traffic` is the same, awaited."""
    (sender, here), _, viewer = three
    here.get("a.x").send(1)
    sender.flush()

    async def main() -> Traffic:
        with pytest.raises(RuntimeError):
            viewer.traffic()
        return await viewer.aio.traffic("a.*")

    assert named(asyncio.run(main())) == ["a.x"]


def test_groups_are_counted_as_sent(three: Three) -> None:
    """What is sent to a group is sent on the exchange, whoever of the group gets it."""
    (sender, here), (_, there), viewer = three
    done: list[object] = []
    there.get("jobs").attach(to_call(done.append), group="workers")
    sender.wait_subscribers("jobs")
    jobs = here.get("jobs")
    see(viewer)
    for n in range(5):
        jobs.send(n)
    eventually(lambda: len(done) == 5)
    row = exchange(see(viewer), "jobs")
    assert (row.messages, row.bytes, len(row.listeners)) == (5, 0, 1)


def test_replies_are_not_counted(three: Three) -> None:
    """Nothing flows from the node that answers, as far as is told."""
    (_, here), (receiver, there), viewer = three
    there.get("square").responder(lambda n: n * n)
    square = here.get("square")

    def answered() -> bool:
        try:
            return square.request(7, patience()) == 49
        except NoResponders:
            return False

    eventually(answered)
    see(viewer)
    assert answered()
    found = see(viewer)
    assert at(found, receiver).messages_per_second == 0
    assert not any(receiver.id in row.senders for row in found.exchanges)


def test_conflated_exchanges_are_counted(three: Three) -> None:
    """Messages by their numbers, bytes by the newest ones, and what was passed over."""
    (sender, here), (_, there), viewer = three
    for registry in (here, there):
        registry.conflate("a.newest")
    see(viewer)
    for n in range(500):
        here.get("a.newest").send(n)
    sender.flush()
    row = exchange(see(viewer), "a.newest")
    assert row.messages == 500
    assert row.received + row.conflated == 500
    assert row.bytes > 0


def test_a_slow_receiver_is_named(join: Joiner) -> None:
    """It is the peer that has acknowledged least, and how much that is."""
    sender, here = join()
    slow, there = join()
    quick, also = join()
    viewer, _ = join()
    go_on = threading.Event()
    there.get("x").handler(lambda msg: go_on.wait(patience(30)))
    collect(also, "x")
    sender.wait_subscribers("x", 2)
    for n in range(10):
        here.get("x").send(n)

    def behind() -> bool:
        row = exchange(see(viewer), "x")
        return row.slowest == slow.id and row.unacknowledged == 10 and row.received >= 10

    try:
        eventually(behind)
    finally:
        go_on.set()
    sender.flush()
    eventually(lambda: exchange(see(viewer), "x").unacknowledged == 0)
    eventually(lambda: quick.id in exchange(see(viewer), "x").listeners)


def test_a_node_that_does_not_know_of_it(join: Joiner, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of an earlier version is shown as such, and is not asked."""
    older = tuple(word for word in FEATURES if word != COUNTS)
    with monkeypatch.context() as patch:
        patch.setattr(state, "FEATURES", older)
        former, registry = join()
        viewer, _ = join()
        collect(registry, "x")
        viewer.wait_peers(1)
    found = see(viewer)
    assert (at(found, former).tells, at(found, former).answered) == (False, False)
    assert at(found, viewer).tells
    assert not former.stats().rejected


def test_a_node_that_does_not_answer(join: Joiner, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time is up the others are shown, and it is marked."""
    (silent, _), (viewer, _) = join(), join()
    viewer.wait_peers(1)
    engine = silent._engine
    assert engine is not None
    monkeypatch.setattr(engine.effects, "_tell_counts", lambda asked: None)
    found = viewer.traffic(timeout=0.2)
    assert (at(found, silent).tells, at(found, silent).answered) == (True, False)
    monkeypatch.undo()
    eventually(lambda: at(see(viewer), silent).answered)


def test_those_who_leave_are_forgotten(join: Joiner) -> None:
    """A node that has left is shown no longer, nor are its counts kept."""
    (leaver, here), (viewer, _) = join(), join()
    viewer.wait_peers(1)
    mine = here.get("x")
    collect(here, "x")
    see(viewer)
    mine.send(1)
    assert named(see(viewer)) == ["x"]
    leaver.close()
    eventually(lambda: not viewer.peers)
    engine = viewer._engine
    assert engine is not None
    eventually(lambda: see(viewer).exchanges == ())
    assert len(see(viewer).nodes) == 1
    eventually(lambda: engine.traffic._looks["**"].table.nodes() == {engine.me})


def test_several_threads_look_at_once(three: Three) -> None:
    """Each gets an answer, and the looks of one pattern are shared."""
    (sender, here), _, viewer = three
    here.get("a.x").send(1)
    sender.flush()
    found: list[Traffic] = []
    threads = [threading.Thread(target=lambda: found.append(see(viewer))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [named(traffic) for traffic in found] == [["a.x"]] * 8


def test_behind_a_hub(join: Joiner) -> None:
    """Questions and answers go by hubs like all control messages."""
    hub = Hub("fed", tcp(0))
    try:
        nodes = [join(hub=[hub.endpoint], local=False) for _ in range(3)]
        (sender, here), (receiver, there), (viewer, _) = nodes
        collect(there, "a.x")
        sender.wait_subscribers("a.x")
        viewer.wait_peers(2)
        see(viewer)
        for n in range(2500):
            here.get(f"a.{n}")
            here.get("a.x").send(n)
        sender.flush()
        row = exchange(see(viewer), "a.x")
        assert (row.messages, row.received) == (2500, 2500)
        assert (row.senders, row.listeners) == ((sender.id,), (receiver.id,))
    finally:
        hub.close()


def test_several_federations_of_one_process(join: Joiner) -> None:
    """Each node counts what it sends itself; what is local is counted once for each that looks."""
    (one, here), (other, _) = join("one"), join("two", registry=(registry := Registry()))
    join("one", registry=registry)
    one.wait_peers(1)
    collect(here, "x")
    other.traffic()
    mine = registry.get("local")
    collect(registry, "local")
    see(one)
    see(other)
    mine.send(1)
    registry.get("x").send(1)
    assert exchange(see(one), "local").messages == 1
    assert exchange(see(other), "local").messages == 1


# ---------------------------------------------------------------------------- permissions


def test_only_names_that_may_be_subscribed_to_are_told(join: Joiner, keyrings: Keyrings) -> None:
    """Whatever is asked for, and whatever flows."""
    node, here = serving(join, keyrings, '[south]\nsubscribe = ["open", "b.*"]')
    names = ("open", "b.x", "b.x.secret", "secret")
    kept = [here.get(name) for name in names]
    for name in names:
        collect(here, name)
    viewer, _ = guest(join, keyrings, node)
    viewer.wait_peers(1)
    see(viewer)
    for one in kept:
        one.send(1)
    assert named(see(viewer)) == ["b.x", "open"]
    assert named(see(viewer, "b.**")) == ["b.x"]
    assert named(see(viewer, "secret")) == []
    with raw(node, keyrings("south")) as thief:
        control, _ = greeted(thief, "open")
        for key in ("**", "secret", "b.x.*", "b.**"):
            say(control, Count(thief.id, 7, key))
        answers = [hear(control) for _ in range(4)]
    told = [a for a in answers if isinstance(a, Counted)]
    assert {row.name for answer in told for row in answer.exchanges} == {"open", "b.x"}


def test_behind_a_hub_too(keyed_hub: Huber, join: Joiner, keyrings: Keyrings) -> None:
    """What a hub says of a node's rights counts for its questions."""
    carried(keyrings, "north", "south", permissions='[south]\nsubscribe = ["open"]')
    hub = keyed_hub()
    (_, here), (viewer, _) = (behind(hub, join, keyrings, name) for name in ("north", "south"))
    viewer.wait_peers(1)
    kept = [here.get("open"), here.get("secret")]
    for name in ("open", "secret"):
        collect(here, name)
    see(viewer)
    for one in kept:
        one.send(1)
    assert named(see(viewer)) == ["open"]


# ------------------------------------------------------------------------------- hostile


def test_questions_without_end_are_rejected(
    join: Joiner, keyrings: Keyrings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection is answered so many questions a second; others do not notice."""
    node, _ = serving(join, keyrings, "")
    told: list[object] = []
    node.events.handler(lambda e: told.append(e) if isinstance(e, Rejected) else None)
    viewer, _ = guest(join, keyrings, node, "west")
    viewer.wait_peers(1)
    monkeypatch.setattr(executor, "COUNT", 32 << 20)
    with raw(node, keyrings("south")) as flooder:
        control, _ = greeted(flooder)
        for n in range(50):
            say(control, Count(flooder.id, n, "**"))
        eventually(
            lambda: (
                ("control", "more requests for messages than are answered") in node.stats().rejected
            )
        )
        assert at(see(viewer), node).answered
    eventually(lambda: told)


def test_a_malformed_question_is_rejected(join: Joiner, keyrings: Keyrings) -> None:
    """It is counted, and its sender goes on."""
    node, _ = serving(join, keyrings, "")
    with raw(node, keyrings("south")) as peer:
        control, _ = greeted(peer)
        say(control, Count(peer.id, 1, "a.**.b"))
        eventually(lambda: node.stats().rejected)
        say(control, Count(peer.id, 1, "a.**"))
        assert isinstance(hear(control), Counted)
