"""Candidates and peers, and what time does to them.

A candidate is a control endpoint that may lead to a node; a peer is a node that we
know. What happens when is a question of deadlines alone, and they are all here:

    candidate   DIALING --welcome--> LINKED       (its peer answers for it from then on)
                DIALING --nothing listens--> DEAD  (dialled on, but nobody waits for it)
                DIALING --refused--> REFUSED       (dialled again after a while)
    peer        heard --3 s--> silent --30 s--> left("silent")
                not heard for 1.5 s and nothing listens --> left("gone")
"""

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..delivery.departed import LONGER, Departed
from ..interest.interest import NameSet, PeerInterest
from ..interest.permitted import PermittedInterest
from ..security.channel import Kind
from ..security.permissions import EVERYTHING, Rights
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
from ..wire.messages import FORGETS, Address, Hello, Label, Pong

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
"""Seconds after which an endpoint that only others told us of is dialled no more."""
UNANSWERED_AFTER = 3.0
"""Seconds without an answer on a link to something that listens: replace the link."""
GOSSIP_EVERY = 5.0
"""Seconds between two hellos to peers in turn, whose answers say whom they know by now."""
UNPROVEN_AFTER = 2.0
"""Seconds without proof on the data path: replace the data socket (then twice that, …)."""
UNPROVEN_EACH = 0.001
"""Seconds more for each name or pattern: the peer has to take them in one by one, and the ends of
those of the socket before. On a busy machine it would be given new ones before it had the old."""
UNPROVEN_MOST = 30.0
MAX_ADDRESSES = 32
"""Addresses remembered of a peer that cannot be reached at those that it told itself."""
MAX_GOSSIP = 128
"""Endpoints dialled at a time that others spoke of and that have not answered."""
MAX_PEERS = 4096
CHANCE = 5.0
"""Seconds after which who has not answered, or proven anything, makes room for another."""
MAX_ENDED = 65_536
"""Nodes remembered that said goodbye: what they said before may still come by another way."""


class State(enum.Enum):
    """Where a candidate stands."""

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
    """What became of the last connection that was made there, if that was nothing."""

    @property
    def met(self) -> bool:
        """Whether a node has answered there, which may be ourselves: nobody greets it again."""
        return self.state in (State.LINKED, State.OURSELVES)

    @property
    def live(self) -> bool:
        """Whether it may still answer: nothing says that nobody is there."""
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
        """Tell whether only other nodes' words speak for the endpoint."""
        return self.source in ("gossip", "hello")

    @property
    def lasting(self) -> bool:
        """Tell whether the endpoint is dialled on after the node behind it has left.

        A Unix socket belongs to one node and dies with it; a TCP port may come back.
        """
        return self.source == "static" or not self.endpoint.startswith("ipc:")


@dataclass(slots=True)
class Peer:
    """A node that we know.

    Attributes:
        hello: by which it became a peer.
        joined_at: when that was, in seconds on a monotonic clock.
        near: it runs as the same user, on this host, or nobody has keys.
        rights: what it may do.
        calls: by what it speaks to us, as far as we know.
        asked: its interest, and what of that it may have.
        told: our interest, and what of that it may publish, and so is told of.
        heard_at: when it was heard last, in whatever way.
        called_at: when it was heard last on its own link, which leads to us; 0 for never.
        ponged_at: when our link to it was answered, or replaced, last.
        control: the address that its link goes to, and ``data`` the other half of it.
        pong: what it told of itself with its last pong, and ``pong_at`` when that came.
        round_trip: seconds from a ping to its pong, the last time that both were seen.
    """

    hello: Hello
    joined_at: float
    near: bool = True
    rights: Rights = EVERYTHING
    calls: Kind = Kind.NEAR
    id: bytes = field(init=False)
    key: bytes = field(init=False)
    label: Label = field(init=False)
    addresses: tuple[Address, ...] = field(init=False)
    asked: PermittedInterest = field(init=False)
    told: PermittedInterest = field(init=False)
    interest: PeerInterest = field(init=False)
    heard_at: float = field(init=False)
    ponged_at: float = field(init=False)
    ping_at: float = field(init=False)
    unproven_at: float | None = field(init=False)
    called_at: float = 0.0
    unproven_for: float = UNPROVEN_AFTER
    probe_at: float = 0.0
    control: str = ""
    data: str = ""
    dialled: str = ""
    link: str | None = None
    shut: bool = False
    """Whether our key was refused at its end of our link, and so perhaps of the data."""
    ready_epoch: int = 0
    silent: bool = False
    finds_us_slow: bool = False
    held_for: tuple[int, int] = 0, 0
    """Its epoch, and the one that was announced to it, for which what is sent is held."""
    acked: dict[str, int] = field(default_factory=dict[str, int])
    progress: int = 0
    """Changes when it acknowledges more."""
    to_forget: dict[str, int] = field(default_factory=dict[str, int])
    """Exchanges that it is still to be told to forget, and their heads."""
    forgetting: dict[str, int] = field(default_factory=dict[str, int])
    """Those that it was told last, and has not answered."""
    forgot: int = 0
    """How often it was told some."""
    forget_at: float = 0.0
    pong: Pong | None = None
    pong_at: float = 0.0
    pinged_at: float | None = None
    """When the oldest of our pings left that it has not answered; None if there is none."""
    round_trip: float = 0.0
    by_name: NameSet = field(default_factory=NameSet)
    """What of its interest it cannot subscribe to by prefixes."""
    named: dict[str, None] = field(default_factory=dict[str, None])
    """The names that it was told because of that, but for those that were forgotten."""
    names_said: int = 0
    """How many it was told since all of them were told last."""
    names_told: int = 0
    """How many names it has told us."""

    def __post_init__(self) -> None:
        hello, now = self.hello, self.joined_at
        self.id, self.key = hello.sender, hello.key
        self.label, self.addresses = hello.label, hello.addresses
        self.asked = PermittedInterest(self.rights.subscribe)
        self.told = PermittedInterest(self.rights.publish)
        self.interest = PeerInterest(hello.epoch, self.asked.replace(hello.interest))
        self.heard_at = self.ponged_at = self.unproven_at = now
        self.ping_at = now + PING_EVERY

    @property
    def forgets(self) -> bool:
        """Whether the peer knows starts and places, and forgets what it is told to."""
        return FORGETS in self.hello.features

    @property
    def carried(self) -> bool:
        """Tell whether hubs lead to the peer, and answer for its life."""
        return self.control.startswith(SCHEME)

    @property
    def kind(self) -> Kind:
        """By what we speak to it, and receive it."""
        if self.carried:
            return Kind.HUB
        return Kind.NEAR if self.near else Kind.KEY

    def heard(self, now: float) -> None:
        """Note a sign of life."""
        self.heard_at, self.silent = now, False

    def answered(self, pong: Pong, now: float) -> None:
        """Note the answer to a ping, on our link."""
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
                self.ping_at = 0.0  # it is told at once what else the next ping would tell

    def ready(self, ours: int) -> bool:
        """Tell whether both directions are in force: ours at the peer, and the peer's here."""
        return (
            self.link is not None
            and self.ready_epoch >= ours
            and self.interest.announced >= self.interest.epoch
        )

    def data_to_try(self) -> str:
        """Return where to receive from next, when nothing was proven where we receive now.

        Beside the address that its link has found to work, if that is another one.
        """
        if self.unproven_for > UNPROVEN_AFTER:
            beside = [address.data for address in self.addresses if address.control == self.link]
            return next(iter(beside), self.data)
        return self.data

    def delay(self, seconds: float, now: float) -> None:
        """Move every deadline: for these seconds it was we who did not run.

        What was noted after we woke up, and before the tick that finds us late, stays:
        nothing was heard in the future.
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
    """What there was between us and a peer that has left.

    Attributes:
        interest: of the peer, with what we have announced to it and it has not confirmed.
        acked: how far it has acknowledged what we sent.
        renewed: whether we have begun a new epoch since we knew it.
        wants: what it wanted: that is sent on as long as it may be back.
    """

    interest: PeerInterest
    acked: dict[str, int]
    renewed: bool
    wants: frozenset[str] = frozenset()


class PeerTable:
    """The tables of candidates and peers; the session decides what follows."""

    __slots__ = ("_accounts", "_lapsed", "_ticked_at", "candidates", "ended", "given", "peers")

    def __init__(self, now: float, given: Given | None = None) -> None:
        self.given = given or Given()
        """The endpoints that the user has given, of which waits name those never met."""
        self.candidates: dict[str, Candidate] = {}
        self.peers: dict[bytes, Peer] = {}
        self.ended = Departed[bytes, Kind](MAX_ENDED)
        """Who has said goodbye, and by what."""
        self._lapsed = Departed[bytes, Lapsed](longer=LONGER)
        self._ticked_at = now
        self._accounts = 0

    def gossip(self) -> list[Candidate]:
        """Return the candidates, oldest first, that others spoke of and that have not answered."""
        return [c for c in self.candidates.values() if c.source in ("gossip", "lan") and not c.peer]

    def unproven(self, now: float) -> Peer | None:
        """Return the peer that has proven nothing, and for longest, though it had time to."""
        for peer in self.peers.values():
            proven = peer.ready_epoch or peer.interest.announced
            if not proven and now - peer.joined_at >= CHANCE:
                return peer
        return None

    def lapse(self, peer: Peer, now: float, renewed: bool = False, barred: bool = False) -> None:
        """Note that a peer has left: it may still be there, and unaware of it.

        What was promised to it stays promised: it tells by its epochs what is still for it.
        ``renewed`` if we have begun a new epoch since we knew it, ``barred`` if it may not come
        back, as things are now.
        """
        interest = peer.interest
        wants: frozenset[str] = frozenset() if barred else frozenset(interest.keys)
        lapsed = Lapsed(interest, peer.acked, renewed, wants)
        self._lapsed.leave(peer.id, lapsed, now)

    def has_ended(self, node: bytes, kind: Kind) -> bool:
        """Return whether a node that somebody speaks for, by some kind, has said goodbye.

        What was said by a lesser kind may not have been its own word.
        """
        said = self.ended.there.get(node)
        return said is not None and kind <= said

    def met_again(self, node: bytes) -> Lapsed | None:
        """Return what was between us and a node that had left before; None if it had not."""
        return self._lapsed.back(node)

    def begin_account(self) -> int:
        """Return the number of a new account, of a node of which nothing is remembered."""
        self._accounts += 1
        return self._accounts

    def wanting(self, key: str) -> bool:
        """Return whether a peer wants what is sent under a key, or will if it is back."""
        if any(key in peer.interest.keys for peer in self.peers.values()):
            return True
        return any(key in lapsed.wants for lapsed in self._lapsed.there.values())

    def expire(self, now: float) -> set[str]:
        """Forget who has left too long ago; return what such peers wanted."""
        for _ in self.ended.expire(now):
            pass
        return {key for _, lapsed in self._lapsed.expire(now) for key in lapsed.wants}

    def awake(self, now: float) -> None:
        """Call first in every tick: forgive everybody the time in which we were stopped."""
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
        """Say, one by one, which candidates and peers are not ready in both directions.

        Beside what `unanswered` returns.
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
