"""Asks peers what flows, for `Node.traffic`. Control thread only, but for the methods of `Seen`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from ...protocol.interest.interest import NameSet, OwnInterest, PeerInterest
from ...protocol.requests.listed import OwnList, PeerList
from ...protocol.session.session import Session
from ...protocol.traffic.flows import Flow, flows_of
from ...protocol.traffic.table import Told, TrafficTable
from ...protocol.traffic.traffic import Member, Traffic, traffic_of
from ...protocol.wire.messages import Control, Counted, GroupMember
from .counting import LOOKED_AT_FOR, NodeCounts

PATTERNS_MOST = 16
"""Patterns that are looked at by one node; of more, the one that was not used for the longest time
is forgotten, and its next look is a first one."""

LISTENED_MOST = 1000
"""Exchanges whose listeners are remembered, and twice as many as are shown."""

Interest = tuple[object, Callable[[], tuple[str, ...]]]
"""The state of a node's interest, and a function that returns its names and patterns."""


class Listeners:
    """Which nodes listen to an exchange, worked out once for each state of their interest."""

    def __init__(self) -> None:
        self._keys: dict[bytes, tuple[object, NameSet]] = {}
        self._found: dict[str, tuple[str, ...]] = {}

    def update(self, states: dict[bytes, Interest], most: int) -> None:
        """Take the interest of all nodes; forget exchanges if there are more than ``most``."""
        before = self._keys
        keys = {
            node: before[node]
            if node in before and before[node][0] == state
            else (state, NameSet(get()))
            for node, (state, get) in states.items()
        }
        same = keys.keys() == before.keys() and all(keys[n] is before[n] for n in keys)
        if not same or len(self._found) > most:
            self._found = {}
        self._keys = keys

    def reader(self) -> Callable[[str], tuple[str, ...]]:
        """Return a function for any thread: the ids of the nodes that listen to an exchange."""
        nodes, known = [(node.hex(), keys) for node, (_, keys) in self._keys.items()], self._found

        def listening(name: str) -> tuple[str, ...]:
            found = known.get(name)
            if found is None:
                found = known[name] = tuple([node for node, keys in nodes if keys.covers(name)])
            return found

        return listening


@dataclass(eq=False)
class Look:
    """The looks at what one pattern covers."""

    table: TrafficTable
    used_at: float
    listeners: Listeners = field(default_factory=Listeners)


@dataclass(frozen=True, slots=True)
class Seen:
    """All that it takes to work out the traffic without a lock."""

    members: list[Member]
    told: dict[bytes, Told]
    listening: Callable[[str], tuple[str, ...]]

    def traffic(self) -> Traffic:
        """Return the traffic. Any thread."""
        return traffic_of(self.members, self.told, self.listening)

    def flows(self) -> tuple[Flow, ...]:
        """Return what flows from one node to another. Any thread."""
        return flows_of(self.told, self.listening)


class TrafficLooks:
    """The looks of one node at what flows.

    Args:
        session: knows the peers.
        counts: the counts of this node.
        say: sends a message to a peer.
        monotonic: the clock.
    """

    def __init__(
        self,
        session: Session,
        counts: NodeCounts,
        say: Callable[[bytes, Control], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._session = session
        self._counts = counts
        self._say = say
        self._monotonic = monotonic
        self._looks: dict[str, Look] = {}
        self._numbers = count(1)

    def look(self, key: str) -> None:
        """Ask all nodes what flows on the exchanges that a key covers."""
        now, me = self._monotonic(), self._session.me
        look = self._looks.pop(key, None) or self._new(key)
        self._looks[key] = look
        look.used_at = now
        if len(self._looks) > PATTERNS_MOST:
            del self._looks[next(iter(self._looks))]
        for node, peer in self._session.members.peers.items():
            if peer.counts and peer.link and (question := look.table.look(node, now)):
                self._say(node, question)
        question = look.table.look(me, now)
        while question is not None:
            answer = self._counts.answer(question, (key,))
            question = look.table.take(me, answer, now)

    def _new(self, key: str) -> Look:
        return Look(TrafficTable(self._session.me, key, self._numbers), self._monotonic())

    def answered(self, key: str) -> bool:
        """Return whether all nodes have answered; under the session's lock."""
        table = self._looks[key].table if key in self._looks else None
        peers = self._session.members.peers
        return table is None or not any(map(table.looking, peers))

    def seen(self, key: str) -> Seen:
        """Return what the nodes have told; under the session's lock."""
        session = self._session
        look = self._looks.get(key) or self._new(key)
        table, own = look.table, session.interest
        peers = list(session.members.peers.values())
        members = [
            Member(p.id, p.label, p.hello.started, p.counts, p.counts and not table.looking(p.id))
            for p in peers
        ]
        me = Member(session.me, session.label, session.started, True, True)
        states = {peer.id: _interest(peer.interest, peer.group_members) for peer in peers}
        states[session.me] = _interest(own, session.group_members)
        rows = sum(len(told.rows) for told in table.told.values())
        look.listeners.update(states, 2 * rows + LISTENED_MOST)
        return Seen([me, *members], table.told, look.listeners.reader())

    def take(self, node: bytes, answer: Counted) -> None:
        """Take the answer of a peer."""
        now = self._monotonic()
        for look in self._looks.values():
            question = look.table.take(node, answer, now)
            if question is not None:
                self._say(node, question)

    def tick(self, now: float) -> None:
        """Let time pass: ask again, and forget what nobody looks at and who has left."""
        for key, look in list(self._looks.items()):
            if now - look.used_at >= LOOKED_AT_FOR:
                del self._looks[key]
                continue
            peers = self._session.members.peers
            for node in [n for n in look.table.nodes() if n not in peers]:
                if node != self._session.me:
                    look.table.leave(node)
            for node, question in look.table.due(now):
                self._say(node, question)


def _interest(
    interest: OwnInterest | PeerInterest, members: OwnList[GroupMember] | PeerList[GroupMember]
) -> Interest:
    """Return the state of a node's interest, its members of groups included, and its keys."""

    def keys() -> tuple[str, ...]:
        return *interest.keys, *(member.key for member in members.entries)

    return (interest.epoch, members.number), keys
