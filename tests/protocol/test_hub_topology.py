"""Hubs linked in any way, with links that break and heal: nothing circles, nothing comes twice."""

from collections import Counter, defaultdict, deque
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support import examples
from zexchange.protocol.hub.core import HubCore
from zexchange.protocol.hub.members import DialHub, SendToHub, SendToMember, Subscribe
from zexchange.protocol.hub.messages import Accepted, Attach, HubState
from zexchange.protocol.hub.topology import DuplicateFilter, Topology
from zexchange.protocol.wire.data import ready_topic, topic
from zexchange.protocol.wire.envelopes import HOPS_MOST, FrameInfo
from zexchange.protocol.wire.messages import Label

LABEL = Label("host", 1)
TOPIC = topic("x")


def hub_id(n: int) -> bytes:
    return bytes([n]) * 16


def node_id(n: int) -> bytes:
    return bytes([100 + n]) * 16


def carrying(n: int) -> HubCore:
    return HubCore(hub_id(n), "f", ("c", "u", "d"), lambda: b"s" * 16, 0.0)


class Hubs:
    """Several hubs with a node each, and the links between them as queues that may be lost.

    What passes is what really would: words by `HubCore`, frames by `DuplicateFilter.onward`.
    """

    def __init__(self, count: int) -> None:
        self.now = 0.0
        self.cores = [carrying(n) for n in range(count)]
        self.seen = [DuplicateFilter(core.map) for core in self.cores]
        self.up: set[frozenset[int]] = set()
        self.queues: dict[tuple[int, int], deque[object]] = defaultdict(deque)
        self.published: Counter[tuple[int, int]] = Counter()
        """How often each hub has published each number to its node."""
        self.steps = 0
        self.number = 0
        for n, core in enumerate(self.cores):
            self.keep_alive_node(n)
            core.want(TOPIC, True)
        self.effects()

    def keep_alive_node(self, n: int) -> None:
        self.cores[n].enter(Attach(node_id(n), "f", LABEL), f"node{n}", self.now)

    def toggle(self, a: int, b: int) -> None:
        link = frozenset((a, b))
        if len(link) == 2:
            self.up ^= {link}
            for way in ((a, b), (b, a)):
                self.queues[way].clear()

    def effects(self) -> None:
        for n, core in enumerate(self.cores):
            for effect in core.take():
                if isinstance(effect, SendToHub):
                    self.put(n, effect.hub[0], effect.word)
                elif isinstance(effect, SendToMember) and isinstance(effect.route, int):
                    self.put(n, effect.route, effect.word)
                else:
                    assert isinstance(effect, SendToMember | DialHub | Subscribe)

    def put(self, a: int, b: int, item: object) -> None:
        if frozenset((a, b)) in self.up:
            self.queues[a, b].append(item)

    def second(self) -> None:
        """Let a second pass, in which everybody says that it is there."""
        self.now += 1.0
        for link in self.up:
            a, b = sorted(link)
            for one, other in ((a, b), (b, a)):
                hello = Attach(hub_id(one), "f", LABEL, hub=True, secret=b"s" * 16)
                self.put(one, other, replace(hello, mark=self.cores[one].map.digest))
        for n, core in enumerate(self.cores):
            self.keep_alive_node(n)
            core.tick(self.now)
        self.effects()

    def deliver(self, way: tuple[int, int]) -> bool:
        """Deliver what is first on a link."""
        if not self.queues[way]:
            return False
        self.steps += 1
        (a, b), item = way, self.queues[way].popleft()
        core = self.cores[b]
        if isinstance(item, Attach):
            core.enter(item, a, self.now)
        elif isinstance(item, Accepted):
            core.link(item.sender, self.now)
        elif isinstance(item, HubState):
            core.state(item)
        else:
            frame, root, hops = item  # type: ignore[misc]
            self.pass_on(b, frame, root, hops, hub_id(a))
        self.effects()
        return True

    def pass_on(self, n: int, frame: FrameInfo, root: bytes, hops: int, source: bytes) -> None:
        hubs = self.seen[n].onward(frame, root, hops, source)
        if hubs is not None:
            self.published[n, frame.first] += 1
            for hub in hubs:
                self.put(n, hub[0], (frame, root, hops - 1))

    def send(self, n: int) -> int:
        """Have the node of a hub send a message."""
        self.number += 1
        frame = FrameInfo(TOPIC, node_id(n), self.number, 1)
        self.pass_on(n, frame, hub_id(n), HOPS_MOST, b"")
        return self.number

    def drain(self) -> int:
        """Deliver everything that is under way; return in how many steps."""
        before = self.steps
        while any(self.deliver(way) for way in list(self.queues)):
            assert self.steps - before < 5_000, "something travels in circles"
        return self.steps - before


HUBS = 5
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("toggle"), st.integers(0, HUBS - 1), st.integers(0, HUBS - 1)),
        st.tuples(st.just("deliver"), st.integers(0, HUBS - 1), st.integers(0, HUBS - 1)),
        st.tuples(st.just("send"), st.integers(0, HUBS - 1), st.just(0)),
        st.tuples(st.just("beacon"), st.integers(0, HUBS - 1), st.just(0)),
        st.tuples(st.just("second"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=examples(200))
@example(links={(1, 2)}, steps=[("toggle", 0, 1), ("toggle", 1, 2), ("second", 0, 0)], settled=True)
@example(links={(0, 1)}, steps=[("toggle", 0, 1), ("toggle", 1, 2), ("second", 0, 0)], settled=True)
@given(
    links=st.sets(st.tuples(st.integers(0, HUBS - 1), st.integers(0, HUBS - 1)), max_size=12),
    steps=STEPS,
    settled=st.booleans(),
)
def test_nothing_circles_and_nothing_comes_twice(
    links: set[tuple[int, int]], steps: list[tuple[str, int, int]], settled: bool
) -> None:
    """However hubs are linked and cut, a frame is published at most once by each, and ends.

    And once the links stand still and connect all, what is sent comes to everybody, exactly
    once, and everybody can be asked again for what was missed.
    """
    hubs = Hubs(HUBS)
    for a, b in links:
        if a != b and frozenset((a, b)) not in hubs.up:
            hubs.toggle(a, b)
    for _ in range(3 * settled):
        hubs.second()
        hubs.drain()
    for what, a, b in steps:
        if what == "toggle":
            hubs.toggle(a, b)
        elif what == "deliver":
            hubs.deliver((a, b))
        elif what == "send":
            hubs.send(a)
        elif what == "beacon":  # without a number: its hops bound it
            frame = FrameInfo(TOPIC, node_id(a), 10**9, 0)
            hubs.pass_on(a, frame, hub_id(a), HOPS_MOST, b"")
        else:
            hubs.second()
    hubs.drain()
    assert all(n == 1 for (_, number), n in hubs.published.items() if number < 10**9)

    for n in range(1, HUBS):  # heal: everybody can reach everybody
        if frozenset((n - 1, n)) not in hubs.up:
            hubs.toggle(n - 1, n)
    for _ in range(6):
        hubs.second()
        hubs.drain()
    sent = [hubs.send(n) for n in range(HUBS)]
    hubs.drain()
    assert [hubs.published[n, number] for n in range(HUBS) for number in sent] == [1] * HUBS**2
    for a in range(HUBS):
        for b in range(HUBS):
            assert way(hubs, a, node_id(b)) == b


def way(hubs: Hubs, at: int, to: bytes) -> int | None:
    """Follow a control message from hub to hub; return the hub whose node gets it."""
    for _ in range(HOPS_MOST):
        member, hub = hubs.cores[at].reached(to)
        if member is not None:
            return at
        if hub is None:
            return None
        at = hub[0]
    return None


def test_nobody_sends_where_nothing_is_wanted() -> None:
    """A frame goes along the branches of its tree on which somebody wants it, and no others."""
    line = Topology(hub_id(1))
    wants = {topic("y"): 1}
    line.take(HubState(hub_id(0), 1, (hub_id(1),), (), wants))
    line.take(HubState(hub_id(1), 1, (hub_id(0), hub_id(2)), (), {}))
    line.take(HubState(hub_id(2), 1, (hub_id(1), hub_id(3)), (), {}))
    line.take(HubState(hub_id(3), 1, (hub_id(2),), (), {b"\x01a.": 1}))
    assert line.branches(hub_id(1), topic("y")) == (hub_id(0),)
    assert line.branches(hub_id(1), topic("a.b")) == (hub_id(2),)
    assert line.branches(hub_id(3), topic("a.b")) == ()
    assert line.branches(hub_id(1), topic("z")) == ()


def test_an_older_state_changes_nothing() -> None:
    """States come by several ways: only a later one is news."""
    hubs = Topology(hub_id(0))
    assert hubs.take(HubState(hub_id(1), 2))
    assert not hubs.take(HubState(hub_id(1), 2))
    assert not hubs.take(HubState(hub_id(1), 1))


def test_a_token_that_comes_again_is_asked_for_again() -> None:
    """A node that has connected again proves its way anew, at hubs elsewhere, too."""
    core = carrying(0)
    token = ready_topic(node_id(0), 1)
    states = []
    for wanted in (True, False, True):
        core.want(token, wanted)
        effects = core.take()
        states.append(core.map.states[hub_id(0)].wants.get(token))
        assert [e for e in effects if isinstance(e, Subscribe)] == [Subscribe(token, wanted)]
    assert None not in states[::2]
    assert states[0] != states[2]
    core.want(token, True)
    assert Subscribe(token, True, anew=True) in core.take()


def ring(me: int, links: dict[int, tuple[int, ...]]) -> DuplicateFilter:
    """Return what passes a hub whose map is this one."""
    hubs = Topology(hub_id(me))
    for n, others in links.items():
        hubs.take(HubState(hub_id(n), 1, tuple(map(hub_id, others)), (), {TOPIC: 1}))
    return DuplicateFilter(hubs)


def test_maps_that_contradict_each_other_end_a_frame_all_the_same() -> None:
    """Three hubs, each of which takes the next for the one behind it: a frame goes round once.

    One without numbers of its own goes on until its hops are used up.
    """
    entered = 9
    rings = {
        1: ring(1, {9: (1,), 1: (9, 2), 2: (1,)}),
        2: ring(2, {9: (2,), 2: (9, 3), 3: (2,)}),
        3: ring(3, {9: (3,), 3: (9, 1), 1: (3,)}),
    }
    for count, most in ((1, 3), (0, HOPS_MOST)):
        at, hops, passed = 1, HOPS_MOST, 0
        frame, source = FrameInfo(TOPIC, node_id(0), 7, count), hub_id(entered)
        while (hubs := rings[at].onward(frame, hub_id(entered), hops, source)) is not None:
            passed += 1
            if not hubs:
                break
            (after,) = hubs
            source, at, hops = hub_id(at), after[0], hops - 1
            assert passed < 100
        assert passed == most
