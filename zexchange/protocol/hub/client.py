"""The hubs of one node: which of them carry it, whom they lead to, and by which to go.

A node attaches to every hub that it was given, publishes to all of them, and goes to each
other node by one: the first that leads there, and that one for as long as it does. So what
comes through two hubs is taken once. A hub that falls silent keeps its nodes known until they
are silent for as long as any peer. No clock, no socket: time is an argument.

One file, though a long one: the first third are the effects, values without behaviour.
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
"""Seconds for a node to come back to a hub that was started again, and so has no word of it.
Longer than it takes to notice that, and to dial and attach again."""


@dataclass(frozen=True, slots=True)
class SendAttach:
    """Say to a hub that we are here."""

    endpoint: str
    word: Attach


@dataclass(frozen=True, slots=True)
class Redial:
    """Replace the link to a hub that does not answer."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class Publish:
    """Connect what we publish to a hub, or (``False``) disconnect it."""

    up: str
    connect: bool
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Replace the connection by which a hub's data comes: it may have been refused for good."""

    down: str


@dataclass(frozen=True, slots=True)
class RightsChanged:
    """What nodes behind hubs may do may have changed."""


@dataclass(frozen=True, slots=True)
class Introduce:
    """Show a hub that our data connection is ours, once it asks."""

    hub: bytes
    secret: bytes


@dataclass(frozen=True, slots=True)
class NodeReachable:
    """A node can be reached through hubs."""

    node: bytes


@dataclass(frozen=True, slots=True)
class NodeUnreachable:
    """No hub leads to a node any more; with a reason, it will not come back."""

    node: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class NodeMoved:
    """A node is reached by another hub than before."""

    node: bytes


@dataclass(frozen=True, slots=True)
class NodesAlive:
    """Hubs say that these nodes live."""

    nodes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class HubLost:
    """A hub that carried us does not answer any more."""

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
    """What of ``its_sent`` we have told it."""
    live: bool = False
    nodes: dict[bytes, bool] = field(default_factory=dict[bytes, bool])
    key: bytes = b""
    """The key that it has proven to have."""
    rights: dict[bytes, Rights] = field(default_factory=dict[bytes, Rights])
    """What it says that nodes may do; who is left out may do everything."""
    answered: bool = False
    """Whether it has ever carried us."""
    fell: bool = False
    """Whether it fell silent after that, which was told."""
    listens: bool | None = None
    """Whether anything was found to listen there; None if that is not known."""
    obstacle: str = ""
    """What became of the last connection that was made there, if that was nothing."""
    objection: tuple[str, str] = "", ""
    """Why it does not carry us: a reason, and its own words."""

    @property
    def refused(self) -> bool:
        """Whether it has refused us, or our connection, for a reason that stays."""
        return bool(self.obstacle) or self.objection[0] not in PASSING

    @property
    def why(self) -> str:
        """Why it has not answered, as far as that is known."""
        if self.obstacle or self.listens is False:
            return self.obstacle or NOTHING_LISTENS
        if self.objection[0]:
            return refused(*self.objection)
        return NO_ANSWER if self.listens else NO_CONNECTION


class HubSelector:
    """A node's hubs."""

    def __init__(
        self, me: bytes, federation: str, label: Label, endpoints: tuple[str, ...], now: float
    ) -> None:
        self.hubs = {e: Hub(e, now, redial_at=now + REDIAL_AFTER) for e in endpoints}
        self.ways: dict[bytes, str] = {}
        """By which hub each node is reached: the hub's endpoint."""
        self._me = me
        self._federation = federation
        self._label = label
        self._effects: list[Effect] = []
        self._missed: dict[bytes, float] = {}
        """Until when nodes are waited for that a hub does not lead to any more, with all it has."""
        self._ticked_at = now

    def take(self) -> list[Effect]:
        """Return what is to be done now, in order, and forget it."""
        out, self._effects = self._effects, []
        return out

    def way(self, node: bytes) -> Hub | None:
        """Return the hub that a node is reached by."""
        endpoint = self.ways.get(node)
        return self.hubs[endpoint] if endpoint is not None else None

    def leading(self, node: bytes) -> list[Hub]:
        """Return the hubs that lead to a node now."""
        return [hub for hub in self.hubs.values() if hub.live and node in hub.nodes]

    def unanswered(self) -> list[Unanswered]:
        """Return the hubs that have never carried us; they may, unless nothing listens there."""
        return [
            Unanswered("hub", hub.endpoint, hub.why, hub.listens is not False, hub.refused)
            for hub in self.hubs.values()
            if not hub.answered
        ]

    def probed(self, endpoint: str, listening: bool) -> None:
        """Take note of whether anything listens where a hub should; else go by another."""
        hub = self.hubs[endpoint]
        hub.listens = listening
        if listening:
            return
        hub.obstacle = ""
        self.lost(endpoint)

    def obstructed(self, endpoint: str, obstacle: str) -> None:
        """Take note of why a connection to a hub has come to nothing, if there is one there."""
        if endpoint in self.hubs:
            self.hubs[endpoint].obstacle = obstacle

    # ------------------------------------------------------------------- what hubs say

    def carried(self, word: Accepted, endpoint: str, now: float, key: bytes = b"") -> None:
        """Take a hub's answer, or its news; it has proven to have a key, where there are keys."""
        hub = self.hubs[endpoint]
        if key and not belongs(word.sender, key):
            self._object(hub, "identity", "a hub's id of another key")
            return
        hub.key = key
        if hub.id != word.sender:
            # Another one than before: it knows nothing of us, and counts its roster anew. Whom
            # the one before led to may be on the way to it.
            hub.id, hub.number, hub.mark = word.sender, 0, 0
        moved = hub.down and hub.down != word.down
        self._connect(hub, word)
        back = not hub.live
        hub.live, hub.heard_at = True, now
        self._answered(hub)
        if not self._take_roster(hub, word):
            self._enter(hub, now)  # something between is missing
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
        """Have nodes judged anew that one of several hubs leads to now, or no more."""
        if hub.key and len(self.hubs) > 1:
            self._effects.append(RightsChanged())

    def _connect(self, hub: Hub, word: Accepted) -> None:
        """Have our data go where a hub says, and come from there."""
        # One that has let us go, because of our key perhaps, has refused connections for good.
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
        """Take who is there, and may do what; tell whether nothing before it is missing."""
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
        """Take note that our key was refused by a hub: it may soon be there, so attach again."""
        hub = self.hubs.get(endpoint)
        if hub is not None:
            hub.heard_at = min(hub.heard_at, now - REDIAL_AFTER)
            hub.redial_at = hub.enter_at = now + KNOCK_EVERY

    def disowned(self, endpoint: str) -> None:
        """Leave a hub that may not carry others any more; go by another where one leads."""
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
        """Take note that a hub does not carry us; ask again in a while."""
        hub = self.hubs[endpoint]
        hub.enter_at = now + TURNED_AWAY_RETRY
        self._object(hub, word.reason, word.text)

    def marked(self, down: str, mark: int, now: float) -> None:
        """Take note of how far we have read a hub's data, and tell it."""
        for known in self.hubs.values():
            if known.down == down:
                known.mark = max(known.mark, mark)
                self._enter(known, now)

    def heard(self, endpoint: str, now: float) -> None:
        """Take note of something that came from a hub."""
        self.hubs[endpoint].heard_at = now

    def room(self, hub: Hub, size: int, now: float) -> bool:
        """Tell whether so much may be said to a hub now: else it is lost, and asked for again."""
        fits = hub.take(size)
        if hub.due:
            self._enter(hub, now)
        return fits

    # -------------------------------------------------------------------------- choosing

    def _choose(self, left: dict[bytes, str]) -> list[bytes]:
        """Choose by which hub to go to each node; keep to the choice while it holds.

        Returns:
            The nodes that no hub leads to any more, nobody says why.
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
                    self._effects.append(RightsChanged())  # another hub, which speaks for it now
            elif before and self.hubs[before].live:
                del self.ways[node]
                self._effects.append(NodeUnreachable(node, left.get(node, "")))
                if not left.get(node):
                    missed.append(node)
            # Else its hub is silent: where it led to, it may lead again.
        return missed

    def _give_up(self, late: float, now: float) -> None:
        """Take nodes for gone that have not come back to a hub, which is there for them."""
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
            if late > TICK_LATE:  # it was we who were stopped
                hub.heard_at = min(hub.heard_at + late, now)
            if hub.live and now - hub.heard_at >= SILENT_AFTER:
                self.lost(hub.endpoint)
            if now - hub.heard_at >= REDIAL_AFTER and now >= hub.redial_at:
                hub.redial_at = now + REDIAL_AFTER
                self._effects.append(Redial(hub.endpoint))
            if now >= hub.enter_at:
                self._enter(hub, now)

    def lost(self, endpoint: str) -> None:
        """Take note that a hub is silent, or that nothing listens there: go by another."""
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
