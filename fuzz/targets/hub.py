"""A hub as one machine, fed with messages of nodes, other hubs and strangers (`protocol.hub`).

Structure-aware, as `session` is; the first byte says whether there are keys. The hub's messages
must be readable and tell no node more than concerns it, it may ask nodes only for topics that some
node wants, and a node that follows its words must end up with its roster.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

from zexchange.errors import DecodeError
from zexchange.protocol.hub import core as c
from zexchange.protocol.hub import topology as hubmap
from zexchange.protocol.hub.access import KeyedAccessRules
from zexchange.protocol.hub.client import HubSelector
from zexchange.protocol.hub.members import MemberLeft, SendToHub, SendToMember, Subscribe
from zexchange.protocol.hub.messages import (
    Accepted,
    Attach,
    Detach,
    HubState,
    Word,
    read_word,
    word_frame,
)
from zexchange.protocol.security.keys import id_for
from zexchange.protocol.security.permissions import EVERYTHING, Policy, Rights
from zexchange.protocol.timing import UNREAD_BYTES
from zexchange.protocol.wire.data import data_head, ready_topic, topic
from zexchange.protocol.wire.envelopes import look
from zexchange.protocol.wire.messages import Label

from ..bounds import require
from .hub_words import words
from .session import Script

MAX_LEN = 60
OWN, NORTH, SOUTH, TWO, UNKNOWN = (letter * 32 for letter in (b"o", b"n", b"s", b"2", b"?"))
ME, A, B, OTHER, FAR = (id_for(key, bytes(16)) for key in (OWN, NORTH, SOUTH, TWO, UNKNOWN))
KEYS = (NORTH, SOUTH, TWO, UNKNOWN)
NODES = (A, B, OTHER, FAR, ME)
NAMES = ("p", "p.x", "s", "s.x.y", "q")
LABEL = Label("h", 1)
PATTERNS = (None, (), ("p", "s"), ("p.*", "s.**"), ("*.x",), ("**",), ("*." + "x" * 200,))
LONG = (*(f"{n}.*" for n in range(33)), "y" * 200 + ".*")
WIDE = (*(f"*.{n}" for n in range(33)), "*." + "z" * 200)
TOPICS = (*map(topic, NAMES), b"\x01", b"\x01p", ready_topic(A, 1), ready_topic(B, 2), b"\xfe" + A)
MOMENTS = (0.0, 0.05, 0.2, 0.5, 1.0)
NUMBERS = (0, 1, 2, 3, 4, 5, 2**63, 2**64 - 1)
FEDERATIONS = ("f", "f", "f", "f", "f", "f", "other", "x" * 5000)
END = "tcp://hub:1"


def seeds() -> Iterator[bytes]:
    """Yield scripts: nodes and hubs enter, want, tell of others, are judged and leave."""
    a, b, hub = bytes([0, 0, 0, 2, 0, 0]), bytes([0, 1, 1, 2, 0, 0]), bytes([0, 2, 2, 1, 0, 0])
    linked, told = hub + bytes([5, 2]), bytes([6, 2, 3, 3, 0, 1, 0, 7, 7, 0, 1, 0, 1])
    restricted = bytes([8, 1, 7, 2, 0, 1, 2, 7, 0, 1, 0, 0, 1])
    for keyed in (b"\0", b"\1"):
        yield keyed + a + b + linked + told + bytes([3, 0, 1, 0, 3, 7, 1, 0, 7, 2, 4, 4])
        yield keyed + restricted + a + b + linked + told + bytes([6, 2, 4, 0, 2, 0, 0, 0])
        yield keyed + a + b + linked + told + restricted + a + b + bytes([7, 9]) + bytes(9) + a
        yield keyed + a + linked + told + bytes([3, 0, 1, 0, 3, 0, 0, 0, 4, 6, 1, 0, 4, 6, 0, 0])
        yield keyed + a + bytes([1, 0, 1, 0, 1, 2, 1, 7, 9, 4, 4, 4, 4, 4, 4, 4, 4, 4])
        for step in range(13):
            yield keyed + a + b + linked + bytes([step, 1, 2, 3, 1, 2, 0, 1, step, 2, 1, 1, 7, 3])
    for word in words():
        frame = word_frame(word)
        yield b"\0" + a + bytes([9, 0, min(len(frame), 255)]) + frame


class Hub:
    """A hub, its shell, and one of its nodes."""

    def __init__(self, keyed: bool) -> None:
        self.keyed = keyed
        self.now = 100.0
        everything = {key: Rights("x", hub=key == TWO) for key in KEYS[:3]}
        self.policy = Policy(OWN, everything)
        secrets = iter(n.to_bytes(16, "big") for n in range(1 << 20))
        gate = KeyedAccessRules(lambda: self.policy) if keyed else None
        ends = "tcp://hub:1", "tcp://hub:2", "tcp://hub:3"
        self.core = c.HubCore(ME, "f", ends, lambda: next(secrets), self.now, gate)
        self.seen = hubmap.DuplicateFilter(self.core.map)
        self.asked: set[bytes] = set()
        self.node = HubSelector(A, "f", LABEL, (END,), self.now)

    def user(self, node: bytes) -> str:
        """Return the key that a route's connection has proven."""
        keys = dict(zip(NODES, KEYS, strict=False))
        return keys.get(node, UNKNOWN).hex() if self.keyed else ""

    def hear(self, word: Word, route: bytes) -> None:
        """Take a word as the shell does."""
        core, user = self.core, self.user(route)
        if isinstance(word, Attach):
            core.enter(word, route, self.now, user)
            return
        member = core.heard(route, self.now)
        if member is None or member.user != user:
            return
        if isinstance(word, HubState) and member.hub:
            core.state(word)
        elif isinstance(word, Detach):
            core.leave(member, "bye")

    def carry_out(self) -> None:
        """Do what the hub asks for, and hold it to what it may say."""
        for effect in self.core.take():
            if isinstance(effect, SendToMember | SendToHub):
                require(_read(word_frame(effect.word)) == effect.word, effect)
            if isinstance(effect, SendToMember) and isinstance(effect.word, Accepted):
                self._concerns(effect.word, effect.route)
                if effect.route == A:
                    self.node.carried(effect.word, END, self.now, OWN if self.keyed else b"")
                    self.node.take()
            elif isinstance(effect, Subscribe):
                (self.asked.add if effect.wanted else self.asked.discard)(effect.topic)
            elif isinstance(effect, MemberLeft):
                require(self.core.members.get(effect.member.id) is not effect.member, effect)
        require(self.asked == self.core.wants.keys() | self.core.map.wanted().keys(), self.asked)

    def _concerns(self, word: Accepted, route: bytes) -> None:
        """Hold a word to what its reader may publish and have; nothing else is for it."""
        its = self.core.gate.rights(self.user(route))
        require(its == EVERYTHING or len(word.rights) == len(word.present), word)
        for told in word.rights.values():
            for name in NAMES:
                require(its.may_publish(name) or not told.may_subscribe(name), (told, its))
                require(its.may_subscribe(name) or not told.may_publish(name), (told, its))

    def check(self) -> None:
        """Hold the hub to its limits, and to what it notes of everybody."""
        core = self.core
        require(len(core.map.states) <= hubmap.MAX_HUBS, "hubs")
        require(all(len(reason) < 1000 for reason in core.rejected), "a rejection without end")
        require(all(core.members.get(x.id) is x for x in core.by_route.values()), "routes")
        require(all(x.route == route for route, x in core.by_route.items()), "routes")
        for fd, member in core.by_connection.items():
            require(core.members.get(member.id) is member and fd in member.connections, "fds")

    def agree(self) -> None:
        """Have the node ask for what it lacks, and see that it knows what the hub does."""
        hub, core = self.node.hubs[END], self.core
        word = Attach(A, "f", LABEL, roster=hub.number, secret=hub.secret)
        core.enter(word, A, self.now + 1, self.user(A))
        self.carry_out()
        member = core.members.get(A)
        if member is None or member.route != A or member.hub:
            return  # turned away, or it has said to be a hub
        entries = {n: entry for n, entry in core._roster.entries.items() if n != A}
        require(hub.nodes == {n: quiet for n, (quiet, _) in entries.items()}, (hub, entries))
        require(hub.rights == core._concerning(member, entries), (hub, entries))


@lru_cache(1 << 14)
def _read(frame: bytes) -> Word:
    """Read a word, once for the many scripts in which it is said."""
    return read_word(frame)


def _enter(hub: Hub, s: Script) -> None:
    sender, route, what = s.of(NODES), s.of(NODES), s.take()
    end = "tcp://two:1" if what % 3 == 1 else ""
    federation: str = s.of(FEDERATIONS)  # type: ignore[assignment]
    number: int = s.of(NUMBERS)  # type: ignore[assignment]
    secret = (b"", what.to_bytes(16, "big"))[what % 2]
    versions = (1, 1) if what % 7 else (2, 3)
    if route == A:
        sender = A  # it lies about itself to nobody: it would be told what is for another
    word = Attach(
        *(sender, federation, LABEL, versions, bool(end), end),  # type: ignore[arg-type]
        *(number, number, number, number, secret),
    )
    hub.hear(word, route)  # type: ignore[arg-type]


def _introduced(hub: Hub, s: Script) -> None:
    node, fd, other = s.of(NODES), s.take() % 4, s.of(NODES)
    member = hub.core.members.get(node)  # type: ignore[call-overload]
    secret = member.secret if member and s.take() % 4 else b""
    hub.core.introduced(fd, node, secret, hub.user(other))  # type: ignore[arg-type]


def _state(hub: Hub, s: Script) -> None:
    sender, number, some = s.of(NODES), s.of(NUMBERS), s.take()
    nodes = tuple((node, bool(s.take() % 2)) for node in NODES[: some % 4])
    rights = Rights("", s.of((*PATTERNS, LONG)), s.of((*PATTERNS, WIDE)))  # type: ignore[arg-type]
    state = HubState(
        *(sender, number, (ME, s.of(NODES)), nodes),  # type: ignore[arg-type]
        {s.of(TOPICS): s.of(NUMBERS) for _ in range(s.take() % 3)},  # type: ignore[misc]
        ((B, "bye"),) if some % 2 else (),
        {node: rights for node, _ in nodes[some % 2 :]},
    )
    hub.hear(read_word(word_frame(state)), OTHER)


def _judge(hub: Hub, s: Script) -> None:
    def rights() -> Rights:
        publish, subscribe = s.of((*PATTERNS, LONG)), s.of((*PATTERNS, WIDE))
        return Rights("x", publish, subscribe, bool(s.take() % 2))  # type: ignore[arg-type]

    before = hub.policy
    hub.policy = Policy(OWN, {key: rights() for key in KEYS[:3] if s.take() % 4})
    hub.core.judge({key.hex() for key in before.changed(hub.policy)})


def _time(hub: Hub, s: Script) -> None:
    for _ in range(s.take()):
        hub.now += s.of(MOMENTS) if s.left else 0.5  # type: ignore[operator]
        hub.core.tick(hub.now)


def _frame(hub: Hub, s: Script) -> None:
    """Pass a frame on, and once more: what has numbers passes once."""
    origin, number, count = s.of(NODES), s.of(NUMBERS), s.take() % 3
    if number + count < 1 << 64:  # type: ignore[operator]
        frame = data_head(s.of(TOPICS[:5]), origin, number, count, 1.0)  # type: ignore[arg-type]
        root, source, hops = s.of(NODES), s.of(NODES), s.take() % 17
        hubs = hub.seen.onward(look(frame), root, hops, source)  # type: ignore[arg-type]
        require(not {ME, source} & {*(hubs or ())}, hubs)
        require(not count or hub.seen.onward(look(frame), ME, hops) is None, "passed twice")


def _topics(hub: Hub, s: Script) -> None:
    hub.core.want(s.of(TOPICS), bool(s.take() % 4), hub.user(s.of(NODES)))  # type: ignore[arg-type]


def _raw(hub: Hub, s: Script) -> None:
    route = s.of(NODES)
    try:
        word = read_word(s.some(s.take()))
    except DecodeError:
        return
    hub.hear(word, route)  # type: ignore[arg-type]


def _room(hub: Hub, s: Script) -> None:
    member, hubs = hub.core.reached(s.of(NODES))  # type: ignore[arg-type]
    require(member is None or hubs is None, "reached twice")
    if member is not None:
        hub.core.room(member, s.take() << 18)
        require(member.sent - member.taken <= 2 * UNREAD_BYTES, member)


STEPS: tuple[Callable[[Hub, Script], None], ...] = (
    _enter,
    _introduced,
    lambda hub, s: hub.core.disconnected(s.take() % 4),
    _topics,
    _topics,
    lambda hub, s: hub.core.link(s.of(NODES), hub.now),  # type: ignore[arg-type]
    _state,
    _time,
    _judge,
    _raw,
    _room,
    _frame,
    lambda hub, s: hub.hear(Detach(ME), s.of(NODES)),  # type: ignore[arg-type]
)


def execute(data: bytes) -> None:
    """Run a script."""
    s = Script(data)
    hub = Hub(bool(s.take() % 2))
    while s.left:
        STEPS[s.take() % len(STEPS)](hub, s)
        hub.carry_out()
    hub.check()
    hub.agree()
