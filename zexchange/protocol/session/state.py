"""What every part of the session shares: who we are, whom we know, and what is to be done.

The parts decide; here is only where they write it down. Nothing here knows when or why.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from ..delivery.sequence import Numbering
from ..hub.rights import DelegatedRights
from ..interest.changes import Changes
from ..interest.interest import OwnInterest
from ..rate_limit import TokenBucket
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
    Hello,
    Interest,
    Label,
    Named,
    Ping,
    Refuse,
    Slow,
    Stranger,
)
from .effects import Effect, Emit, InterestChanged, Reply, Send
from .events import Event, Rejected
from .peers import MAX_GOSSIP, MAX_PEERS, Peer, PeerTable

Addressed = Interest | Ping | Ack | Slow | Named | Forgot
"""The messages that say for which node they are."""
MAX_KINDS = 1000
"""Kinds of rejection counted apart: their words come from whoever was rejected."""


@dataclass(eq=False, repr=False)
class SessionState:
    """One node's state, and the effects that wait to be carried out.

    Attributes:
        reachable: tells whether an address that others have told could be dialled from here.
        room: how many peers there are descriptors for, and how many endpoints to try.
        numbering: the places that we give to what we send; None where nothing is sent.
        policy: whose keys are authorized; None where there are no keys.
        vouching: with keys and hubs: what nodes may do that hubs speak for.
        interest: what we want, as far as peers were told.
        led_to: nodes that hubs lead to, as far as they have told.
        rejections: how often what was not taken, by source and reason.
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
        self.members = PeerTable(self.made_at, self.given)
        self.led_to = set[bytes]()
        self.effects: list[Effect] = []
        self.rejections = dict[tuple[str, str], int]()
        self._refusals = TokenBucket(*REFUSALS)

    def do(self, effect: Effect) -> None:
        """Ask the shell for something."""
        self.effects.append(effect)

    def say(self, peer: Peer, message: Control) -> None:
        """Tell a peer something, if there is a link to it."""
        if peer.link is not None:
            if isinstance(message, Addressed):
                message = replace(message, to=peer.id)
            self.do(Send(peer.link, message))

    def reply(self, route: object, message: Control) -> None:
        """Answer a message where it came from."""
        self.do(Reply(route, message))

    def refuse(self, route: object, message: Refuse | Stranger, now: float) -> None:
        """Answer a sender that is no peer, if its connection was not answered so just before.

        What it does not read waits in memory of ours: see `REFUSALS`.
        """
        if self._refusals.take(route, 1, now):
            self.reply(route, message)

    def tell(self, event: Event) -> None:
        """Tell the user something."""
        self.do(Emit(event))

    def wanted(self, keys: set[str]) -> None:
        """Have the exchanges looked at that gained or lost an interested peer."""
        if keys:
            self.do(InterestChanged(tuple(keys)))

    def reject(self, source: str, reason: str, detail: str = "", count: int = 1) -> None:
        """Count what was not taken; tell of the first of its kind."""
        kind = source[:MAX_TEXT], reason[:MAX_TEXT]
        if kind not in self.rejections and len(self.rejections) >= MAX_KINDS:
            kind = "others", "more kinds of rejection than are kept apart"
        before = self.rejections.get(kind, 0)
        self.rejections[kind] = before + count
        if not before:
            self.tell(Rejected(*kind, count, detail[:MAX_TEXT]))

    def vouched(self, node: bytes, hub: str = "") -> Rights | None:
        """Return what a node may do that hubs speak for, or that one; None if it has not told."""
        return self.vouching.rights(node, hub) if self.vouching else None

    def rights_by(self, node: bytes, key: bytes, kind: Kind) -> Rights:
        """Return what a node with a key may do by a kind of connection."""
        if self.policy is None or kind is Kind.NEAR:
            return EVERYTHING
        if kind is Kind.HUB:
            return self.vouched(node) or NOTHING
        return self.policy.rights(key) or NOTHING

    def rights_of(self, node: bytes, key: bytes, data: Kind, calls: Kind) -> Rights:
        """Return what a node may do that is received by one kind, and asks by another."""
        rights = self.rights_by(node, key, data)
        if calls is data:
            return rights
        return replace(rights, subscribe=self.rights_by(node, key, calls).subscribe)

    def usable(self, addresses: Iterable[Address], key: bytes, near: bool) -> Iterator[Address]:
        """Return which addresses of a node that has a key, or none, may be dialled from here."""
        return (a for a in addresses if self._permitted(a, key, near) and self.reachable(a))

    def _permitted(self, address: Address, key: bytes, near: bool) -> bool:
        """Return whether an address may be dialled, whatever can be reached.

        Over TCP both have to have keys, and its key to be authorized, or both have none.
        Unix sockets are spoken of by this host alone: another one could have us dial anything.
        """
        kinds = {address.control[:4], address.data[:4]}
        if "hub:" in kinds:
            return True  # none but a hub's word has one: see `Authority.as_proven`
        if "ipc:" in kinds:
            return near and len(kinds) == 1
        return not key if self.policy is None else self.policy.rights(key) is not None

    def choose(self, addresses: Iterable[Address], key: bytes, near: bool) -> Address | None:
        """Return the first address of a node that may be dialled from here."""
        return next(self.usable(addresses, key, near), None)

    def way(self, hello: Hello, near: bool, linked: bool) -> Address | None:
        """Return by what to receive a node.

        By a hub that leads to it, until a link of ours has shown that it is where it says.
        """
        address = self.choose(hello.addresses, hello.key, near)
        led = self.policy is not None and hello.sender in self.led_to
        if near or linked or not led or by_hub(hello.addresses):
            return address
        endpoint = endpoint_of(hello.sender)
        return Address(endpoint, endpoint)

    def kind(self, address: Address) -> Kind:
        """Return of which kind a connection to an address is."""
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
        )
