"""What every part of the session shares: who we are, whom we know, and what is to be done.

The parts decide; here is only where they write it down. Nothing here knows when or why.
"""

from dataclasses import replace

from ..delivery.sequence import Numbering
from ..hub.rights import DelegatedRights
from ..interest.changes import Changes
from ..interest.interest import OwnInterest
from ..rate_limit import TokenBucket
from ..security.channel import Kind
from ..security.permissions import EVERYTHING, NOTHING, Policy, Rights
from ..timing import MAX_TEXT, REFUSALS
from ..unanswered import Given
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
from .peers import Peer, PeerTable

MAX_KINDS = 1000
"""Kinds of rejection counted apart: their words come from whoever was rejected."""


class SessionState:
    """One node's state, and the effects that wait to be carried out."""

    def __init__(
        self,
        me: bytes,
        federation: str,
        label: Label,
        addresses: tuple[Address, ...],
        now: float,
        started: float,
        acknowledge: tuple[int, int],
        registry: bytes = b"",
        exchanges: tuple[str, ...] = (),
        changes: Changes | None = None,
        given: Given | None = None,
    ) -> None:
        self.me = me
        self.federation = federation
        self.label = label
        self.addresses = addresses
        self.started = started
        self.acknowledge = acknowledge
        self.registry = registry
        self.exchanges = exchanges
        self.interest = OwnInterest()
        """What we want, as far as peers were told."""
        self.changes = changes or Changes()
        self.members = PeerTable(now, given)
        self.led_to: set[bytes] = set()
        """Nodes that hubs lead to, as far as they have told."""
        self.numbering: Numbering | None = None
        """The places that we give to what we send; None where nothing is sent."""
        self.policy: Policy | None = None
        """Whose keys are authorized; None where there are no keys."""
        self.vouching: DelegatedRights | None = None
        """With keys and hubs: what nodes may do that hubs speak for."""
        self.effects: list[Effect] = []
        self.rejections: dict[tuple[str, str], int] = {}
        self._refusals = TokenBucket(*REFUSALS)

    def do(self, effect: Effect) -> None:
        """Ask the shell for something."""
        self.effects.append(effect)

    def say(self, peer: Peer, message: Control) -> None:
        """Tell a peer something, if there is a link to it."""
        if peer.link is not None:
            if isinstance(message, Interest | Ping | Ack | Slow | Named | Forgot):
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

    def usable(self, address: Address, key: bytes, near: bool) -> bool:
        """Tell whether an address of a node that has a key, or none, may be dialled from here.

        Over TCP both have to have keys, and its key to be authorized, or both have none.
        Unix sockets are spoken of by this host alone: another one could have us dial anything.
        """
        kinds = {address.control[:4], address.data[:4]}
        if "hub:" in kinds:
            return True  # none but a hub's word has one: see `Session.receive`
        if "ipc:" in kinds:
            return near and len(kinds) == 1
        return not key if self.policy is None else self.policy.rights(key) is not None

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
