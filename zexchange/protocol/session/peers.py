"""Candidates and peers, and what time does to them.

A candidate is a control endpoint that may lead to a node; a peer is a node that we know. Only
deadlines decide when something happens to them, and all these deadlines are here:

    candidate   DIALING --welcome--> LINKED       (its peer answers for it from then on)
                DIALING --nothing listens--> DEAD  (dialled on, but nobody waits for it)
                DIALING --refused--> REFUSED       (dialled again after a while)
    peer        heard --3 s--> silent --30 s--> left("silent")
                not heard for 1.5 s and nothing listens --> left("gone")

They are in one file with their table because these deadlines are tuned to one another.
"""

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ..delivery.departed import LONGER, Departed
from ..interest.interest import NameSet, PeerInterest
from ..interest.permitted import PermittedInterest
from ..requests.listed import PeerList
from ..security.channel import Kind
from ..security.permissions import EVERYTHING, Rights, overlaps
from ..timing import TICK_LATE
from ..unanswered import (
    NO_ANSWER,
    NO_CONNECTION,
    NOTHING_LISTENS,
    PASSING,
    Given,
    Unanswered,
    refused,
)
from ..wire.envelopes import SCHEME
from ..wire.limits import MAX_MEMBERS, MAX_RESPONDERS
from ..wire.messages import ANSWERS, CONFLATES, COUNTS, FORGETS, SHARES, GroupMember, Hello, Pong

HELLO_EVERY = 1.0
REFUSED_RETRY = 10.0
PING_EVERY = 1.0
CARRIED_PING_EVERY = 10.0
"""Seconds between pings of a peer that a hub vouches for: they only compare epochs."""
PROBE_AFTER = 1.5
PROBE_EVERY = 0.5
CANDIDATE_PROBE_EVERY = 0.25
SILENT_AFTER = 3.0
LEFT_AFTER = 30.0
FORGET_AFTER = 600.0
"""Seconds after which an endpoint that only others told us of is no longer dialled."""
UNANSWERED_AFTER = 3.0
"""Seconds without an answer on a link to something that listens: replace the link."""
GOSSIP_EVERY = 5.0
"""Seconds between two hellos to peers in turn, whose welcomes name the nodes that they know by
now."""
UNPROVEN_AFTER = 2.0
"""Seconds without proof on the data path after which the data socket is replaced; then twice that,
…"""
UNPROVEN_EACH = 0.001
"""Seconds more for each name or pattern. The peer takes in subscriptions one by one, and first the
unsubscriptions of the socket before. Without this time, a peer on a busy machine would get those of
a new socket before it had taken in the old ones."""
UNPROVEN_MOST = 30.0
MAX_ADDRESSES = 32
"""Addresses remembered of a peer that cannot be reached at those that it told itself."""
MAX_GOSSIP = 128
"""Endpoints dialled at a time that others told us of and that have not answered."""
MAX_PEERS = 4096
CHANCE = 5.0
"""Seconds that an endpoint has to answer, and a peer to prove something, before it may have to make
room for another."""
MAX_ENDED = 65_536
"""Nodes remembered that said goodbye: earlier messages of theirs may still arrive by another
way."""


class State(enum.Enum):
    """The state of a candidate."""

    DIALING = "dialing"
    LINKED = "linked"
    DEAD = "dead"
    REFUSED = "refused"
    OURSELVES = "ourselves"


@dataclass(slots=True)
class Candidate:
    """A control endpoint that may lead to a node."""

    endpoint: str
    source: str
    since: float
    hello_at: float
    redial_at: float
    probe_at: float
    state: State = State.DIALING
    peer: bytes | None = None
    reason: str = ""
    text: str = ""
    key: bytes = b""
    listens: bool = False
    """Whether something was found to listen there."""
    obstacle: str = ""
    """Why the last connection there failed; empty if none did."""

    @property
    def met(self) -> bool:
        """Whether a node has answered there, perhaps this one: then no more hellos are sent."""
        return self.state in (State.LINKED, State.OURSELVES)

    @property
    def live(self) -> bool:
        """Whether it may still answer: nothing shows that no node is there."""
        return self.state is State.DIALING

    @property
    def refused(self) -> bool:
        """Whether its node has refused us, or our connection, for a reason that stays."""
        return self.live and (bool(self.obstacle) or self.reason not in PASSING)

    @property
    def why(self) -> str:
        """Why it has not answered, as far as that is known."""
        if self.state is State.DEAD:
            return NOTHING_LISTENS
        if self.reason:
            return refused(self.reason, self.text)
        if self.obstacle:
            return self.obstacle
        return NO_ANSWER if self.listens else NO_CONNECTION

    @property
    def hearsay(self) -> bool:
        """Whether we know of the endpoint only by gossip or by a hello."""
        return self.source in ("gossip", "hello")

    @property
    def lasting(self) -> bool:
        """Whether the endpoint is dialled further after its node has left.

        A Unix socket belongs to one node and ends with it; a TCP port may be bound again.
        """
        return self.source == "static" or not self.endpoint.startswith("ipc:")


@dataclass
class Peer:
    """A node that we know.

    Attributes:
        hello: the hello by which it became a peer.
        joined_at: when that was, in seconds on a monotonic clock.
        near: whether it runs as the same user on this host, or nobody has keys.
        rights: what it may do.
        calls: the kind of connection by which it speaks to us, as far as we know.
        asked: its interest, and the part of that which it may have.
        told: our interest, and the part of that which it may publish, and so is told.
        heard_at: when it was last heard from, in whatever way.
        called_at: when it was last heard from on its own link to us; 0 for never.
        ponged_at: when our link to it was last answered, or replaced.
        control: the address that its link goes to; ``data`` is the other half of it.
        pong: the contents of its last pong, which came at ``pong_at``.
        round_trip: seconds from a ping to its pong, the last time that both were seen.
    """

    hello: Hello
    joined_at: float
    near: bool = True
    rights: Rights = EVERYTHING
    calls: Kind = Kind.NEAR
    called_at: float = 0.0
    unproven_for: float = UNPROVEN_AFTER
    probe_at: float = 0.0
    control: str = ""
    data: str = ""
    dialled: str = ""
    link: str | None = None
    shut: bool = False
    """Whether its end of our link refused our key, and so perhaps our connection to its data."""
    ready_epoch: int = 0
    silent: bool = False
    finds_us_slow: bool = False
    held_for: tuple[int, int] = 0, 0
    """The epochs (its own, and the one announced to it) for which messages were last held for
    it."""
    acked: dict[str, int] = field(default_factory=dict[str, int])
    progress: int = 0
    """Grows whenever it acknowledges more."""
    to_forget: dict[str, int] = field(default_factory=dict[str, int])
    """Exchanges that it has yet to be told to forget, and their heads."""
    forgetting: dict[str, int] = field(default_factory=dict[str, int])
    """The exchanges that it was told last, and has not answered yet."""
    forgot: int = 0
    """How many portions of them it was told so far."""
    forget_at: float = 0.0
    pong: Pong | None = None
    pong_at: float = 0.0
    pinged_at: float | None = None
    """When we sent the oldest ping that it has not answered; None if it has answered all."""
    round_trip: float = 0.0
    by_name: NameSet = field(default_factory=NameSet)
    """The part of its interest to which it cannot subscribe by prefixes."""
    named: dict[str, None] = field(default_factory=dict[str, None])
    """The names that it was told because of that, without those on which nothing is sent now."""
    names_said: int = 0
    """How many names it was told since its list last began, repetitions included."""
    names_told: int = 0
    """How many names it has told us."""

    def __post_init__(self) -> None:
        hello, now = self.hello, self.joined_at
        self.id, self.key = hello.sender, hello.key
        self.label, self.addresses = hello.label, hello.addresses
        self.asked = PermittedInterest(self.rights.subscribe)
        self.told = PermittedInterest(self.rights.publish)
        self.interest = PeerInterest(hello.epoch, self.asked.replace(hello.interest))
        self.responders = PeerList[str](self.rights.may_subscribe, MAX_RESPONDERS)
        self.responders.begin(*hello.responders)
        self.group_members = PeerList[GroupMember](self._may_be_member, MAX_MEMBERS)
        self.group_members.begin(*hello.members)
        # They may shrink, and are in the three fields above.
        self.hello = replace(hello, interest=(), responders=(0, ()), members=(0, ()))
        self.heard_at = self.ponged_at = now
        self.unproven_at: float | None = now
        self.ping_at = now + PING_EVERY

    @property
    def forgets(self) -> bool:
        """Whether the peer knows starts and places, and forgets what it is told to."""
        return FORGETS in self.hello.features

    @property
    def conflates(self) -> bool:
        """Whether the peer knows offers, and claims what they offer."""
        return CONFLATES in self.hello.features

    def _may_be_member(self, member: GroupMember) -> bool:
        return overlaps(member.key, self.rights.subscribe)

    @property
    def shares(self) -> bool:
        """Whether the peer knows groups."""
        return SHARES in self.hello.features

    @property
    def counts(self) -> bool:
        """Whether the peer tells what flows."""
        return COUNTS in self.hello.features

    @property
    def answers(self) -> bool:
        """Whether the peer knows questions and their replies."""
        return ANSWERS in self.hello.features

    @property
    def carried(self) -> bool:
        """Whether hubs lead to the peer, and vouch that it lives."""
        return self.control.startswith(SCHEME)

    @property
    def kind(self) -> Kind:
        """The kind of connection by which we speak to it and receive from it."""
        if self.carried:
            return Kind.HUB
        return Kind.NEAR if self.near else Kind.KEY

    def heard(self, now: float) -> None:
        """Note a sign of life."""
        self.heard_at, self.silent = now, False

    def answered(self, pong: Pong, now: float) -> None:
        """Note the answer to a ping on our link."""
        self.pong, self.ponged_at, self.pong_at = pong, now, now
        if self.pinged_at is not None:
            self.round_trip, self.pinged_at = now - self.pinged_at, None

    def acknowledged(self, positions: dict[str, int]) -> None:
        """Note up to where the peer's tasks have been given what we sent."""
        acked = self.acked
        for name, position in positions.items():
            if position > acked.get(name, 0):
                acked[name] = position
                self.progress += 1

    def proven(self, epoch: int, ours: int) -> None:
        """Note that the peer has proven an epoch of our interest on the data path."""
        self.ready_epoch = max(self.ready_epoch, epoch)
        if self.ready_epoch >= ours:
            self.unproven_at, self.unproven_for = None, UNPROVEN_AFTER
            if self.carried:
                self.ping_at = 0.0  # the next ping tells it so, and is not to be waited for

    def ready(self, ours: int) -> bool:
        """Return whether both directions are in force: our interest there, and its own here."""
        return (
            self.link is not None
            and self.ready_epoch >= ours
            and self.interest.announced >= self.interest.epoch
        )

    def data_to_try(self) -> str:
        """Return where to receive from next, when nothing was proven where we receive now.

        After the first failure, that is the data address beside the control address that our link
        uses.
        """
        if self.unproven_for > UNPROVEN_AFTER:
            beside = [address.data for address in self.addresses if address.control == self.link]
            return next(iter(beside), self.data)
        return self.data

    def delay(self, seconds: float, now: float) -> None:
        """Move every deadline by some seconds in which this process did not run.

        A message may have been noted after we woke up and before the tick that finds us late: no
        time is moved beyond ``now``.
        """
        self.heard_at = min(self.heard_at + seconds, now)
        self.ponged_at = min(self.ponged_at + seconds, now)
        self.ping_at += seconds
        self.pinged_at = None
        self.probe_at += seconds
        if self.unproven_at is not None:
            self.unproven_at = min(self.unproven_at + seconds, now)


@dataclass(frozen=True, slots=True)
class Lapsed:
    """The state that is kept between us and a peer that has left.

    Attributes:
        interest: the peer's, with the promises to it that it has not confirmed.
        acked: how far it has acknowledged what we sent.
        renewed: whether we have begun a new epoch since we knew it.
        wants: names and patterns that it wanted: these are sent on as long as it may come back.
    """

    interest: PeerInterest
    acked: dict[str, int]
    renewed: bool
    wants: frozenset[str] = frozenset()


class PeerTable:
    """The tables of candidates and peers; the session decides what follows from them."""

    __slots__ = ("_accounts", "_lapsed", "_ticked_at", "candidates", "ended", "given", "peers")

    def __init__(self, now: float, given: Given | None = None) -> None:
        self.given = given or Given()
        """The endpoints that the user gave. A wait for peers names those that have never
        answered."""
        self.candidates: dict[str, Candidate] = {}
        self.peers: dict[bytes, Peer] = {}
        self.ended = Departed[bytes, Kind](MAX_ENDED)
        """The nodes that have said goodbye, and by which kind of connection."""
        self._lapsed = Departed[bytes, Lapsed](longer=LONGER)
        self._ticked_at = now
        self._accounts = 0

    def gossip(self) -> list[Candidate]:
        """Return the candidates that others told us of and that have not answered, in order."""
        return [c for c in self.candidates.values() if c.source in ("gossip", "lan") and not c.peer]

    def unproven(self, now: float) -> Peer | None:
        """Return the oldest peer that has proven nothing though it had time to; or None."""
        for peer in self.peers.values():
            proven = peer.ready_epoch or peer.interest.announced
            if not proven and now - peer.joined_at >= CHANCE:
                return peer
        return None

    def lapse(self, peer: Peer, now: float, renewed: bool = False, barred: bool = False) -> None:
        """Note that a peer has left, which may still live and not know that we forgot it.

        Our promises to it stay in force: when it is back, its epochs tell which of them still
        matter.

        Args:
            peer: the peer.
            now: seconds on a monotonic clock.
            renewed: whether we have begun a new epoch since we knew it.
            barred: whether it may not come back, as things are now.
        """
        interest = peer.interest
        wants: frozenset[str] = frozenset() if barred else frozenset(interest.keys)
        lapsed = Lapsed(interest, peer.acked, renewed, wants)
        self._lapsed.leave(peer.id, lapsed, now)

    def has_ended(self, node: bytes, kind: Kind) -> bool:
        """Return whether a node has said goodbye by this kind of connection, or by a better one.

        ``kind`` is the one by which somebody speaks for it now. A goodbye by a lesser kind may have
        been somebody else's.
        """
        said = self.ended.there.get(node)
        return said is not None and kind <= said

    def met_again(self, node: bytes) -> Lapsed | None:
        """Return the state between us and a node that had left before; None if it had not."""
        return self._lapsed.back(node)

    def begin_account(self) -> int:
        """Return the number of a new account, for a node of which nothing is remembered."""
        self._accounts += 1
        return self._accounts

    def wanting(self, key: str) -> bool:
        """Return whether a peer wants messages under a key, or will want them if it comes back."""
        if any(key in peer.interest.keys for peer in self.peers.values()):
            return True
        return any(key in lapsed.wants for lapsed in self._lapsed.there.values())

    def expire(self, now: float) -> set[str]:
        """Forget the nodes that left too long ago; return the keys that they wanted."""
        for _ in self.ended.expire(now):
            pass
        return {key for _, lapsed in self._lapsed.expire(now) for key in lapsed.wants}

    def awake(self, now: float) -> None:
        """Move all deadlines if this process was stopped; call it first in every tick."""
        late = now - self._ticked_at
        self._ticked_at = now
        if late > TICK_LATE:
            for peer in self.peers.values():
                peer.delay(late, now)

    def linked_to(self, endpoint: str) -> Peer | None:
        """Return the peer whose control link goes to ``endpoint``."""
        candidate = self.candidates.get(endpoint)
        return self.peers.get(candidate.peer) if candidate and candidate.peer else None

    def unanswered(self) -> list[Unanswered]:
        """Return the endpoints that the user gave and that have never answered."""
        return self.given.unanswered(self.candidates)

    def pending(self, ours: int) -> Iterator[str]:
        """Yield a line for each candidate and peer that is not ready in both directions.

        Endpoints that `unanswered` returns are left out.
        """
        for candidate in self.candidates.values():
            if candidate.live and not self.given.covers(candidate.endpoint):
                yield f"{candidate.endpoint} ({candidate.source}) has not answered"
        for peer in self.peers.values():
            if peer.link is None:
                where = peer.dialled or "any of its addresses"
                yield f"{peer.label} is heard, and does not answer at {where}"
            elif peer.ready_epoch < ours:
                yield f"{peer.label} has not confirmed what is attached here"
            elif not peer.ready(ours):
                yield f"{peer.label} has not connected back"
