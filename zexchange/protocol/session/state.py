"""The state that every part of the session shares: this node, the others, and the effects to do.

The parts decide, and only write the result down here. Nothing here knows when or why.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from ..delivery.sequence import Numbering
from ..hub.rights import DelegatedRights
from ..interest.changes import Changes
from ..interest.interest import OwnInterest
from ..rate_limit import TokenBucket
from ..requests.listed import OwnList
from ..security.channel import Kind
from ..security.permissions import EVERYTHING, NOTHING, Policy, Rights
from ..timing import MAX_TEXT, REFUSALS
from ..unanswered import Given
from ..wire.envelopes import by_hub, endpoint_of
from ..wire.messages import (
    FEATURES,
    Ack,
    Address,
    Control,
    Forgot,
    GroupMember,
    Hello,
    Interest,
    Label,
    Members,
    Named,
    Ping,
    Refuse,
    Responders,
    Slow,
    Stranger,
)
from .effects import Effect, Emit, InterestChanged, Reply, Send
from .events import Event, Rejected
from .peers import MAX_GOSSIP, MAX_PEERS, Peer, PeerTable

Addressed = Interest | Ping | Ack | Slow | Named | Forgot | Responders | Members
"""The messages that name the node that they are for."""
MAX_KINDS = 1000
"""Kinds of rejection counted apart. Senders choose the words, and could make up any number of
them."""


@dataclass(eq=False, repr=False)
class SessionState:
    """One node's state, and the effects that wait to be carried out.

    Attributes:
        reachable: tells whether an address that others have told us could be dialled from here.
        room: for how many peers there are descriptors, and how many endpoints to try at a time.
        numbering: the places that we give to messages; None where nothing is sent.
        policy: the authorized keys and their permissions; None where there are no keys.
        vouching: with keys and hubs, the rights of nodes that hubs speak for.
        interest: our interest, as far as peers were told.
        led_to: the nodes that hubs lead to, as far as they have told us.
        rejections: how often something was rejected, by source and reason.
    """

    me: bytes
    federation: str
    label: Label
    addresses: tuple[Address, ...]
    reachable: Callable[[Address], bool]
    made_at: float
    started: float = 0.0
    acknowledge: tuple[int, int] = (0, 0)
    room: tuple[int, int] = (MAX_PEERS, MAX_GOSSIP)
    numbering: Numbering | None = None
    policy: Policy | None = None
    registry: bytes = b""
    exchanges: tuple[str, ...] = ()
    changes: Changes = field(default_factory=Changes)
    given: Given = field(default_factory=Given)
    vouching: DelegatedRights | None = None

    def __post_init__(self) -> None:
        self.interest = OwnInterest()
        self.responders = OwnList[str](Responders)
        self.group_members = OwnList[GroupMember](Members)
        self.restless = False
        """Whether a peer may answer, or have members, on other exchanges than before; the engine
        clears it."""
        self.members = PeerTable(self.made_at, self.given)
        self.led_to = set[bytes]()
        self.effects: list[Effect] = []
        self.rejections = dict[tuple[str, str], int]()
        self._refusals = TokenBucket(*REFUSALS)

    def do(self, effect: Effect) -> None:
        """Have the engine carry out an effect."""
        self.effects.append(effect)

    def say(self, peer: Peer, message: Control) -> None:
        """Send a message to a peer, if there is a link to it."""
        if peer.link is not None:
            if isinstance(message, Addressed):
                message = replace(message, to=peer.id)
            self.do(Send(peer.link, message))

    def reply(self, route: object, message: Control) -> None:
        """Answer a message on the connection that it came by."""
        self.do(Reply(route, message))

    def refuse(self, route: object, message: Refuse | Stranger, now: float) -> None:
        """Answer a sender that is no peer, unless its connection was refused too often just before.

        Answers that a sender does not read wait in our memory: see `REFUSALS`.
        """
        if self._refusals.take(route, 1, now):
            self.reply(route, message)

    def tell(self, event: Event) -> None:
        """Tell the user of an event."""
        self.do(Emit(event))

    def wanted(self, keys: set[str]) -> None:
        """Report the names and patterns that gained or lost an interested peer."""
        if keys:
            self.do(InterestChanged(tuple(keys)))

    def reject(self, source: str, reason: str, detail: str = "", count: int = 1) -> None:
        """Count something that was not accepted; emit an event for the first of its kind."""
        kind = source[:MAX_TEXT], reason[:MAX_TEXT]
        if kind not in self.rejections and len(self.rejections) >= MAX_KINDS:
            kind = "others", "more kinds of rejection than are kept apart"
        before = self.rejections.get(kind, 0)
        self.rejections[kind] = before + count
        if not before:
            self.tell(Rejected(*kind, count, detail[:MAX_TEXT]))

    def vouched(self, node: bytes, hub: str = "") -> Rights | None:
        """Return the rights of a node that hubs speak for; None if no hub has told us of it.

        With ``hub``, None as well if that hub does not lead to the node.
        """
        return self.vouching.rights(node, hub) if self.vouching else None

    def rights_by(self, node: bytes, key: bytes, kind: Kind) -> Rights:
        """Return the rights of a node that has a key, on one kind of connection."""
        if self.policy is None or kind is Kind.NEAR:
            return EVERYTHING
        if kind is Kind.HUB:
            return self.vouched(node) or NOTHING
        return self.policy.rights(key) or NOTHING

    def rights_of(self, node: bytes, key: bytes, data: Kind, calls: Kind) -> Rights:
        """Return the rights of a node whose data comes by one kind, and that speaks by another.

        It may publish what the kind of ``data`` permits, and subscribe to what that of ``calls``
        permits.
        """
        rights = self.rights_by(node, key, data)
        if calls is data:
            return rights
        return replace(rights, subscribe=self.rights_by(node, key, calls).subscribe)

    def usable(self, addresses: Iterable[Address], key: bytes, near: bool) -> Iterator[Address]:
        """Return the addresses of a node that may be dialled from here and can be reached.

        Args:
            addresses: of the node.
            key: its public key; empty if it has none.
            near: whether it runs as the same user on this host, or nobody has keys.
        """
        return (a for a in addresses if self._permitted(a, key, near) and self.reachable(a))

    def _permitted(self, address: Address, key: bytes, near: bool) -> bool:
        """Return whether an address may be dialled, regardless of whether it can be reached.

        Over TCP, both nodes have keys and the other one's is authorized, or neither has a key.
        Addresses of Unix sockets are taken only from nodes on this host: another one could have us
        dial anything.
        """
        kinds = {address.control[:4], address.data[:4]}
        if "hub:" in kinds:
            return True  # only a hub can have told it: see `Authority.as_proven`
        if "ipc:" in kinds:
            return near and len(kinds) == 1
        return not key if self.policy is None else self.policy.rights(key) is not None

    def choose(self, addresses: Iterable[Address], key: bytes, near: bool) -> Address | None:
        """Return the first of a node's addresses that is `usable`; None if there is none."""
        return next(self.usable(addresses, key, near), None)

    def way(self, hello: Hello, near: bool, linked: bool) -> Address | None:
        """Return the address at which to receive a node; None if there is none.

        With keys, that is the hub that leads to it, until a link of ours has shown that the node is
        where it says.
        """
        address = self.choose(hello.addresses, hello.key, near)
        led = self.policy is not None and hello.sender in self.led_to
        if near or linked or not led or by_hub(hello.addresses):
            return address
        endpoint = endpoint_of(hello.sender)
        return Address(endpoint, endpoint)

    def kind(self, address: Address) -> Kind:
        """Return the kind of a connection to an address."""
        if by_hub((address,)):
            return Kind.HUB
        return Kind.KEY if self.policy and address.data[:4] == "tcp:" else Kind.NEAR

    def hello(self) -> Hello:
        """Return our hello, as of now."""
        return Hello(
            sender=self.me,
            federation=self.federation,
            label=self.label,
            addresses=self.addresses,
            epoch=self.interest.epoch,
            interest=tuple(self.interest.keys),
            features=FEATURES,
            started=self.started,
            acknowledge=self.acknowledge,
            key=self.policy.own if self.policy else b"",
            registry=self.registry,
            exchanges=self.exchanges,
            responders=(self.responders.number, tuple(self.responders.entries)),
            members=(self.group_members.number, tuple(self.group_members.entries)),
        )
