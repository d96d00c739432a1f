"""The hubs of one node: which of them carry it, which nodes they lead to, and which one to use.

A node attaches to every hub that it was given and publishes to all of them. It reaches each
other node through one hub: the first that leads there, and it keeps to that one for as long as it
leads there. So a message that comes through two hubs is accepted once. If a hub falls silent,
its nodes stay known until they have been silent for as long as any peer may be. No clock, no
socket: time is an argument.

The file is long because its first third are the effects, values without behaviour.
"""

from dataclasses import dataclass, field

from ..security.keys import belongs
from ..security.permissions import Rights
from ..timing import ENTER_EVERY, KNOCK_EVERY, REDIAL_AFTER, TICK_LATE, TURNED_AWAY_RETRY
from ..unanswered import NO_ANSWER, NO_CONNECTION, NOTHING_LISTENS, PASSING, Unanswered, refused
from ..wire.messages import Label
from .credit import Credit
from .messages import Accepted, Attach, Refused

SILENT_AFTER = 3.0
GONE_AFTER = 5.0
"""Seconds for a node to come back to a hub that was started again, and so does not know it yet.
Longer than it takes to notice the restart, and to dial and attach again."""


@dataclass(frozen=True, slots=True)
class SendAttach:
    """Send an attach message to a hub."""

    endpoint: str
    word: Attach


@dataclass(frozen=True, slots=True)
class Redial:
    """Replace the link to a hub that does not answer."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class Publish:
    """Connect our publishing socket to a hub, or (``connect`` is False) disconnect it."""

    up: str
    connect: bool
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Replace the connection by which a hub's data comes: the hub may have refused it for good."""

    down: str


@dataclass(frozen=True, slots=True)
class RightsChanged:
    """The rights of nodes behind hubs may have changed."""


@dataclass(frozen=True, slots=True)
class Introduce:
    """Prove to a hub, once it asks, that our data connection is ours."""

    hub: bytes
    secret: bytes


@dataclass(frozen=True, slots=True)
class NodeReachable:
    """A node can be reached through hubs."""

    node: bytes


@dataclass(frozen=True, slots=True)
class NodeUnreachable:
    """No hub leads to a node now. If there is a reason, the node will not come back."""

    node: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class NodeMoved:
    """A node is reached through another hub than before, or its hub has a new data endpoint."""

    node: bytes


@dataclass(frozen=True, slots=True)
class NodesAlive:
    """A hub reports that these nodes live."""

    nodes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class HubLost:
    """A hub that carried us no longer answers."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class HubReturned:
    """A hub that had fallen silent answers again."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class HubRefused:
    """A hub does not carry us."""

    endpoint: str
    reason: str
    text: str


Effect = (
    SendAttach | Redial | Publish | Reconnect | Introduce | NodeReachable | NodeUnreachable
    | NodeMoved | NodesAlive | RightsChanged | HubLost | HubReturned | HubRefused
)  # fmt: skip


@dataclass(slots=True)
class Hub(Credit):
    """A hub that we were given, and what it has told us."""

    report_every = 1 << 20
    endpoint: str
    heard_at: float
    enter_at: float = 0.0
    redial_at: float = 0.0
    id: bytes = b""
    up: str = ""
    down: str = ""
    secret: bytes = b""
    number: int = 0
    mark: int = 0
    its_told: int = 0
    """The value of ``its_sent`` that we last told it."""
    live: bool = False
    nodes: dict[bytes, bool] = field(default_factory=dict[bytes, bool])
    key: bytes = b""
    """The key that it has proven to have."""
    rights: dict[bytes, Rights] = field(default_factory=dict[bytes, Rights])
    """The rights of nodes by what it says; a node that is not in it may do everything."""
    answered: bool = False
    """Whether it has ever carried us."""
    fell: bool = False
    """Whether it has fallen silent after that, which was reported by a `HubLost`."""
    listens: bool | None = None
    """Whether anything listens there; None if that is not known."""
    obstacle: str = ""
    """Why the last connection to it failed; ``""`` if it did not."""
    objection: tuple[str, str] = "", ""
    """Why it does not carry us: a code, and its own text."""

    @property
    def refused(self) -> bool:
        """Whether it has refused us, or our connection, for a reason that stays."""
        return bool(self.obstacle) or self.objection[0] not in PASSING

    @property
    def why(self) -> str:
        """Why it has not carried us, as far as that is known."""
        if self.obstacle or self.listens is False:
            return self.obstacle or NOTHING_LISTENS
        if self.objection[0]:
            return refused(*self.objection)
        return NO_ANSWER if self.listens else NO_CONNECTION


class HubSelector:
    """The hubs of a node. Not thread-safe: the control thread calls it, and carries out `take`.

    Args:
        me: the id of the node.
        federation: its federation.
        label: its label, for logs of hubs.
        endpoints: the control endpoints of the hubs, the preferred ones first.
        now: seconds on a monotonic clock.
    """

    def __init__(
        self, me: bytes, federation: str, label: Label, endpoints: tuple[str, ...], now: float
    ) -> None:
        self.hubs = {e: Hub(e, now, redial_at=now + REDIAL_AFTER) for e in endpoints}
        self.ways: dict[bytes, str] = {}
        """By node, the endpoint of the hub through which it is reached."""
        self._me = me
        self._federation = federation
        self._label = label
        self._effects: list[Effect] = []
        self._missed: dict[bytes, float] = {}
        """When to give up on nodes that were missing when a hub told all that it leads to."""
        self._ticked_at = now

    def take(self) -> list[Effect]:
        """Return the effects to carry out now, in order, and forget them."""
        out, self._effects = self._effects, []
        return out

    def way(self, node: bytes) -> Hub | None:
        """Return the hub through which a node is reached, if there is one."""
        endpoint = self.ways.get(node)
        return self.hubs[endpoint] if endpoint is not None else None

    def leading(self, node: bytes) -> list[Hub]:
        """Return the hubs that lead to a node now."""
        return [hub for hub in self.hubs.values() if hub.live and node in hub.nodes]

    def unanswered(self) -> list[Unanswered]:
        """Return the hubs that have never carried us, and why."""
        return [
            Unanswered("hub", hub.endpoint, hub.why, hub.listens is not False, hub.refused)
            for hub in self.hubs.values()
            if not hub.answered
        ]

    def probed(self, endpoint: str, listening: bool) -> None:
        """Take note of whether anything listens at a hub's endpoint; if not, use other hubs."""
        hub = self.hubs[endpoint]
        hub.listens = listening
        if listening:
            return
        hub.obstacle = ""
        self.lost(endpoint)

    def obstructed(self, endpoint: str, obstacle: str) -> None:
        """Take note of why a connection has failed, if the endpoint is a hub's."""
        if endpoint in self.hubs:
            self.hubs[endpoint].obstacle = obstacle

    # ------------------------------------------------------------------- what hubs say

    def carried(self, word: Accepted, endpoint: str, now: float, key: bytes = b"") -> None:
        """Take a hub's answer or news.

        Args:
            word: the message.
            endpoint: the hub's control endpoint.
            now: seconds on a monotonic clock.
            key: the key that the hub has proven to have; empty without keys.
        """
        hub = self.hubs[endpoint]
        if key and not belongs(word.sender, key):
            self._object(hub, "identity", "a hub's id of another key")
            return
        hub.key = key
        if hub.id != word.sender:
            # Another hub than before: it does not know us, and numbers its member list from the
            # beginning. Nodes of the former hub may be about to attach to this one.
            hub.id, hub.number, hub.mark = word.sender, 0, 0
        moved = hub.down and hub.down != word.down
        self._connect(hub, word)
        back = not hub.live
        hub.live, hub.heard_at = True, now
        self._answered(hub)
        if not self._take_roster(hub, word):
            self._enter(hub, now)  # changes before it are missing
            return
        hub.taken, hub.its_sent = max(hub.taken, word.taken), word.sent
        if hub.its_sent - hub.its_told > hub.report_every:
            self._enter(hub, now)
        hub.number = max(hub.number, word.roster) if word.base else word.roster
        if back or word.present or word.left:
            self._judge_all(hub)
        missed = self._choose(dict(word.left))
        if word.base == 0:
            self._missed.update(dict.fromkeys(missed, now + GONE_AFTER))
        if moved:
            self._effects.extend(NodeMoved(node) for node, e in self.ways.items() if e == endpoint)
        self._effects.append(NodesAlive(tuple(n for n, quiet in hub.nodes.items() if not quiet)))

    def _answered(self, hub: Hub) -> None:
        if hub.fell:
            self._effects.append(HubReturned(hub.endpoint))
        hub.answered, hub.fell, hub.listens = True, False, True
        hub.obstacle, hub.objection = "", ("", "")

    def _object(self, hub: Hub, reason: str, text: str) -> None:
        hub.objection = reason, text
        self._effects.append(HubRefused(hub.endpoint, reason, text))

    def _judge_all(self, hub: Hub) -> None:
        """Have rights judged again after a change of which hubs lead to a node."""
        if hub.key and len(self.hubs) > 1:
            self._effects.append(RightsChanged())

    def _connect(self, hub: Hub, word: Accepted) -> None:
        """Connect for data to the endpoints that a hub gives."""
        # With a new secret, the hub had dropped us, perhaps because of our key. Then it has refused
        # the existing connections for good.
        again = bool(hub.key and hub.secret and hub.secret != word.secret)
        if hub.secret != word.secret:
            hub.secret = word.secret
            self._effects.append(Introduce(hub.id, hub.secret))
        if again and hub.down == word.down:
            self._effects.append(Reconnect(hub.down))
        if hub.up != word.up or again:
            if hub.up:
                self._effects.append(Publish(hub.up, False))
            hub.up = word.up
            self._effects.append(Publish(hub.up, True, hub.key))
        hub.down = word.down

    def _take_roster(self, hub: Hub, word: Accepted) -> bool:
        """Take the nodes that a hub leads to and their rights; return False if news is missing."""
        if word.base > hub.number:
            return False
        before = hub.rights
        hub.rights = dict(word.rights) if word.base == 0 else {**before, **word.rights}
        if word.base == 0:
            hub.nodes = dict(word.present)
        else:
            hub.nodes.update(word.present)
            for node, _ in word.left:
                hub.nodes.pop(node, None)
                hub.rights.pop(node, None)
            for node, _ in word.present:
                if node not in word.rights:
                    hub.rights.pop(node, None)
        if hub.rights != before:
            self._effects.append(RightsChanged())
        return True

    def shut_out(self, endpoint: str, now: float) -> None:
        """Take note that a hub refused our key. It may be authorized soon, so attach again."""
        hub = self.hubs.get(endpoint)
        if hub is not None:
            hub.heard_at = min(hub.heard_at, now - REDIAL_AFTER)
            hub.redial_at = hub.enter_at = now + KNOCK_EVERY

    def disowned(self, endpoint: str) -> None:
        """Leave a hub whose key may no longer carry others; use other hubs for its nodes."""
        hub = self.hubs[endpoint]
        if hub.up:
            self._effects.append(Publish(hub.up, False))
        hub.id, hub.key, hub.secret, hub.up, hub.number = b"", b"", b"", "", 0
        hub.live, hub.nodes, hub.rights = False, {}, {}
        self._choose({})
        for node in [node for node, e in self.ways.items() if e == endpoint]:
            del self.ways[node]
            self._effects.append(NodeUnreachable(node, "revoked"))

    def turned_away(self, word: Refused, endpoint: str, now: float) -> None:
        """Take note that a hub refuses to carry us; ask again after a while."""
        hub = self.hubs[endpoint]
        hub.enter_at = now + TURNED_AWAY_RETRY
        self._object(hub, word.reason, word.text)

    def marked(self, down: str, mark: int, now: float) -> None:
        """Take note of how far we have read the data of a hub, and tell the hub."""
        for known in self.hubs.values():
            if known.down == down:
                known.mark = max(known.mark, mark)
                self._enter(known, now)

    def heard(self, endpoint: str, now: float) -> None:
        """Take note that something came from a hub."""
        self.hubs[endpoint].heard_at = now

    def room(self, hub: Hub, size: int, now: float) -> bool:
        """Return whether so many bytes may be sent to a hub now, and count them.

        If not, the caller drops the message, and its receiver asks again.
        """
        fits = hub.take(size)
        if hub.due:
            self._enter(hub, now)
        return fits

    # -------------------------------------------------------------------------- choosing

    def _choose(self, left: dict[bytes, str]) -> list[bytes]:
        """Choose the hub through which each node is reached; keep a choice while it is valid.

        ``left`` has the reasons of nodes that have left.

        Returns:
            The nodes to which no hub leads now, without a reason.
        """
        order, missed = list(self.hubs.values()), list[bytes]()
        for node in {n for hub in order for n in hub.nodes} | self.ways.keys():
            before = self.ways.get(node)
            leading = [h.endpoint for h in order if h.live and node in h.nodes]
            if before in leading:
                continue
            if leading:
                self.ways[node] = leading[0]
                self._missed.pop(node, None)
                self._effects.append(NodeMoved(node) if before else NodeReachable(node))
                if before and self.hubs[leading[0]].key:
                    self._effects.append(RightsChanged())  # another hub vouches for the node now
            elif before and self.hubs[before].live:
                del self.ways[node]
                self._effects.append(NodeUnreachable(node, left.get(node, "")))
                if not left.get(node):
                    missed.append(node)
            # Else its hub is silent, and may lead there again.
        return missed

    def _give_up(self, late: float, now: float) -> None:
        """Report nodes as gone that have not come back in time, while a hub was there for them."""
        if late > TICK_LATE or not any(hub.live for hub in self.hubs.values()):
            self._missed = dict.fromkeys(self._missed, now + GONE_AFTER)
        for node in [node for node, until in self._missed.items() if now >= until]:
            del self._missed[node]
            self._effects.append(NodeUnreachable(node, "gone"))

    # ------------------------------------------------------------------------------ time

    def tick(self, now: float) -> None:
        """Let time pass: call several times a second."""
        late, self._ticked_at = now - self._ticked_at, now
        if self._missed:
            self._give_up(late, now)
        for hub in self.hubs.values():
            if late > TICK_LATE:  # this process was stopped, not the hub
                hub.heard_at = min(hub.heard_at + late, now)
            if hub.live and now - hub.heard_at >= SILENT_AFTER:
                self.lost(hub.endpoint)
            if now - hub.heard_at >= REDIAL_AFTER and now >= hub.redial_at:
                hub.redial_at = now + REDIAL_AFTER
                self._effects.append(Redial(hub.endpoint))
            if now >= hub.enter_at:
                self._enter(hub, now)

    def lost(self, endpoint: str) -> None:
        """Take note that a hub is silent, or that nothing listens there: use other hubs."""
        hub = self.hubs[endpoint]
        if hub.live:
            hub.live, hub.fell = False, True
            self._effects.append(HubLost(endpoint))
            self._judge_all(hub)
            self._choose({})

    def _enter(self, hub: Hub, now: float) -> None:
        hub.enter_at, hub.told, hub.its_told = now + ENTER_EVERY, hub.sent, hub.its_sent
        word = Attach(
            self._me, self._federation, self._label, roster=hub.number, mark=hub.mark,
            sent=hub.sent, taken=hub.its_sent, secret=hub.secret,
        )  # fmt: skip
        self._effects.append(SendAttach(hub.endpoint, word))
