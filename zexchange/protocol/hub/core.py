"""The state machine of a hub: its members, what they are told of each other, what they want.

The caller calls one method for each event, and then carries out the effects that `take` returns,
in that order. The machine has no sockets and no clock. It knows topics and ids, and never the
content of a message. `AccessRules` decides which nodes are carried, and which topics they may
subscribe to or publish; it permits everything, and a subclass judges by keys.

The file is long because all changes are announced in one step (`_settle`): each change of members,
wants or links changes what all others are told.
"""

from collections.abc import Callable
from math import inf
from typing import Any

from ..rate_limit import TokenBucket
from ..security.permissions import EVERYTHING, Rights
from ..timing import MAX_TEXT, REFUSALS, TICK_LATE
from ..wire.messages import VERSIONS
from .members import (
    AccessRules,
    DialHub,
    Effect,
    Member,
    MemberLeft,
    MemberList,
    Presence,
    SendToHub,
    SendToMember,
    Subscribe,
    Warn,
)
from .messages import Accepted, Attach, HubState, Refused, told_of
from .topology import Topology

QUIET_AFTER = 3.0
GONE_AFTER = 1.5
"""Seconds unheard, and without a data connection, after which a node is gone."""
LEFT_AFTER = 30.0
MAX_MEMBERS = 10_000
MAX_LEFT = 1_000
MAX_TOPICS = 200_000
"""The most topics that the nodes of this hub may subscribe to, all together."""
WHOLE_AT_ONCE, WHOLE_A_SECOND = 4 << 20, 512 << 10
"""Bytes of whole member lists that one connection is sent, in a burst and a second."""
ALL_AT_ONCE, ALL_A_SECOND = 64 << 20, 8 << 20
"""Bytes of whole member lists that all connections together are sent, in a burst and a second."""
ANSWER_EVERY = 0.1
APART = 0.9
"""Seconds for which another hub's map may differ from ours because news is on its way."""


class HubCore:
    """The decisions of one hub. Not thread-safe: the hub's thread calls it.

    Args:
        me: the hub's id.
        federation: the federation that it carries.
        endpoints: those of its control, up and down sockets.
        new_secret: returns random bytes.
        now: seconds on a monotonic clock.
        gate: the access rules; without them everything is permitted.
    """

    def __init__(
        self,
        me: bytes,
        federation: str,
        endpoints: tuple[str, str, str],
        new_secret: Callable[[], bytes],
        now: float,
        gate: AccessRules | None = None,
    ) -> None:
        self.me = me
        self.gate = gate or AccessRules()
        self.map = Topology(me)
        self.members: dict[bytes, Member] = {}
        self.by_route: dict[Any, Member] = {}
        self.by_connection: dict[int, Member] = {}
        self.wants: dict[bytes, int] = {}
        self.rejected: dict[str, int] = {}
        self.linked: dict[bytes, float] = {}
        """Hubs that answer on our links to them, and when each last did."""
        self._federation = federation
        self._refusals = TokenBucket(*REFUSALS)
        self._whole = TokenBucket(WHOLE_AT_ONCE, WHOLE_A_SECOND)
        self._all = TokenBucket(ALL_AT_ONCE, ALL_A_SECOND)
        self._control, self._up, self._down = endpoints
        self._new_secret = new_secret
        self._roster = MemberList()
        self._left: dict[bytes, str] = {}
        self._elsewhere: dict[bytes, int] = {}
        self._effects: list[Effect] = []
        self._asked = 1
        self._changed = True
        self._ticked_at = now

    def take(self) -> list[Effect]:
        """Return the effects to carry out now, in order, and forget them."""
        self._settle()
        out, self._effects = self._effects, []
        return out

    def reject(self, reason: str) -> None:
        """Count something that was refused. The reason may contain text of the sender's."""
        reason = reason[:MAX_TEXT]
        if reason in self.rejected or len(self.rejected) < 1000:
            self.rejected[reason] = self.rejected.get(reason, 0) + 1

    def complain(self, reason: str, detail: str = "") -> None:
        """Count something that was refused, and have a warning logged the first time."""
        if reason[:MAX_TEXT] not in self.rejected:
            self._effects.append(Warn(f"{reason}: {detail}" if detail else reason))
        self.reject(reason)

    # -------------------------------------------------------------------- who is carried

    def enter(self, enter: Attach, route: Any, now: float, user: str = "") -> None:
        """Accept a node or hub as a member, or take note that it lives; answer with the news.

        Args:
            enter: the message.
            route: where it came from: an answer that is sent there reaches the sender.
            now: seconds on a monotonic clock.
            user: the key that the sender has proven to have, in hexadecimal digits.
        """
        member = self.members.get(enter.sender)
        refusal = self._objection(enter, member, route, now, user)
        if refusal is not None:
            self.reject(f"{enter.label} was turned away: {refusal.text}")
            if self._refusals.take(route, 1, now):
                self._effects.append(SendToMember(route, refusal))
            return
        if member is None:
            member = Member(enter.sender, enter.label, route, self._new_secret(), enter.hub, now)
            member.user = user
            # Not from 0: only a member that reads our answers can say how far it has read.
            member.sent = member.taken = int.from_bytes(self._new_secret()[:6], "big")
            member.told = member.sent
            self.members[member.id] = member
            self._left.pop(member.id, None)
            self._changed = True
            if untold := self.gate.untold(user):
                self.complain(untold)
        if member.route != route or self.by_route.get(route) is not member:
            self.by_route.pop(member.route, None)
            member.route, member.answered_at = route, -1.0
            member.taken = member.sent
            # Messages on the former connection may have been lost with it.
            member.fresh = member.fresh or bool(user)
            self.by_route[route] = member
        self._heard(member, now)
        member.roster, member.its_sent = enter.roster, enter.sent
        if enter.taken in member.marks:
            member.taken = max(member.taken, enter.taken)
        if enter.hub and enter.endpoint and enter.sender not in self.linked:
            self._effects.append(DialHub(enter.endpoint))
        self._settle()
        if enter.hub and enter.mark:
            self._compare(member, enter.mark, now)
        # Members send marks many times a second; not each of them needs an answer.
        if now - member.answered_at >= ANSWER_EVERY or member.roster != self._roster.number:
            member.answered_at = now
            self._answer(member, now)

    def _compare(self, member: Member, digest: int, now: float) -> None:
        """Send a hub all states again, if its map has differed from ours for a while.

        States that were sent while its connection was down are lost. Nothing else repeats them.
        """
        if digest == self.map.digest:
            member.apart_at = inf
        elif now - member.apart_at >= APART:
            member.apart_at = now
            if member.id in self.linked:
                self._tell_all(member.id)
        else:
            member.apart_at = min(member.apart_at, now)

    def _objection(
        self, enter: Attach, member: Member | None, route: Any, now: float, user: str
    ) -> Refused | None:
        """Return the refusal of a node or hub that is not carried, or None."""

        def away(reason: str, text: str) -> Refused:
            return Refused(self.me, reason, text)

        if enter.sender == self.me:
            return away("self", "this hub has reached itself")
        if enter.federation != self._federation:
            ours, theirs = self._federation, enter.federation
            return away("federation", f"this hub carries federation {ours!r}, not {theirs!r}")
        if max(VERSIONS[0], enter.versions[0]) > min(VERSIONS[1], enter.versions[1]):
            return away("version", f"protocol {VERSIONS[0]} to {VERSIONS[1]} is spoken here")
        objection = self.gate.objection(enter, user)
        if objection is not None:
            self.complain(f"{self.gate.name(user)} was turned away: {objection[1]}")
            return away(*objection)
        if member is None:
            full = len(self.members) >= MAX_MEMBERS
            return away("full", "this hub carries as many as it can") if full else None
        # With keys, the id goes with the key, and the owner of the key is the same party.
        same = bool(user) and member.user == user
        known = same or member.route == route or enter.secret == member.secret
        if not known and now - member.heard_at < QUIET_AFTER:
            return away("taken", "another connection speaks under this id")
        return None

    def _answer(self, member: Member, now: float | None = None) -> None:
        """Send a member the changes of the member list that it lacks, unless it has much unread."""
        base, present, left = self._roster.since(0 if member.fresh else member.roster)
        if member.hub:
            base, present, left = self._roster.number, {}, {}
        number, rights = self._roster.number, self._concerning(member, present)
        size = _size(present, left, rights)
        if not member.fits(size):
            # No news before it has read: only the byte counts, by which it says how far it is.
            base = number = member.roster
            present, left, rights = {}, {}, {}
            size = _size({}, {}, {})
        if base == 0 and present and not self._may_have_all(member, size, now):
            self.reject("more is asked than is answered")
            return
        member.sent += size
        member.fresh = member.fresh and number != self._roster.number
        word = Accepted(
            self.me, self._up, self._down, member.secret, base, number,
            tuple((n, quiet) for n, (quiet, _) in present.items() if n != member.id),
            tuple((n, why) for n, why in left.items() if n != member.id),
            member.sent, member.its_sent, rights,
        )  # fmt: skip
        # Taken to arrive: a member that lacks changes before these says so.
        member.told, member.roster = member.sent, number
        member.marks.append(member.sent)
        self._effects.append(SendToMember(member.route, word))

    def _may_have_all(self, member: Member, size: int, now: float | None) -> bool:
        """Return whether a member is sent the whole list now: it could ask for that without end."""
        at = self._ticked_at if now is None else now
        return self._whole.take(member.route, size, at) and self._all.take("", size, at)

    def _concerning(self, member: Member, present: dict[bytes, Presence]) -> dict[bytes, Rights]:
        """Return the rights of nodes as far as they concern a member.

        These are the names that the nodes may receive and the member may publish, and those that
        they may publish and the member may receive. It must not learn other names.
        """
        its = self.gate.rights(member.user)
        theirs = {node: rights for node, (_, rights) in present.items() if node != member.id}
        if its is EVERYTHING:
            told = theirs
        else:
            turned = Rights("", its.subscribe, its.publish)
            told = {node: told_of(rights.within(turned)) for node, rights in theirs.items()}
        return {node: rights for node, rights in told.items() if rights != EVERYTHING}

    def judge(self, changed: set[str]) -> None:
        """Remove the members whose keys have other rights now.

        They attach again if they still may, and are sent everything again.

        Args:
            changed: the keys, in hexadecimal digits.
        """
        gone = [member for member in self.members.values() if member.user in changed]
        for member in gone:
            known = self.gate.objection(Attach(member.id, "", member.label), member.user) is None
            self.leave(member, "permissions" if known else "revoked")
            if member.hub:
                self.linked.pop(member.id, None)
        self._changed = True

    def room(self, member: Member, size: int) -> bool:
        """Return whether so many bytes may be passed on to a member, and count them.

        At times this also asks the member how far it has read. A message that does not fit may be
        dropped: only replays are large, and they are asked for again.
        """
        fits = member.take(size)
        if fits and member.due:
            self._answer(member)
        return fits

    def heard(self, route: Any, now: float) -> Member | None:
        """Take note of a message; return the member that sent it, if it came from one."""
        member = self.by_route.get(route)
        if member is not None:
            self._heard(member, now)
        return member

    def _heard(self, member: Member, now: float) -> None:
        member.heard_at = now
        if member.quiet:
            member.quiet, self._changed = False, True

    def leave(self, member: Member, reason: str) -> None:
        """Remove a member. ``reason`` is told to the others."""
        del self.members[member.id]
        if self.by_route.get(member.route) is member:
            del self.by_route[member.route]
        for fd in member.connections:
            self.by_connection.pop(fd, None)
        if not member.hub:
            self._left[member.id] = reason
            while len(self._left) > MAX_LEFT:
                del self._left[next(iter(self._left))]
        self._changed = True
        self._effects.append(MemberLeft(member))

    # -------------------------------------------------------------- their data connections

    def introduced(self, fd: int, node: bytes, secret: bytes, user: str = "") -> None:
        """Take note which member a data connection belongs to.

        Its owner proves that by the secret that only it was told.

        Args:
            fd: the descriptor of the connection.
            node: the id of the owner.
            secret: the secret.
            user: the key that the connection has proven to have, in hexadecimal digits.
        """
        member = self.members.get(node)
        if member is None or member.secret != secret or member.user != user:
            self.reject("a data connection of somebody who has not entered")
            return
        self.disconnected(fd)
        self.by_connection[fd] = member
        member.connections.add(fd)
        member.was_connected = True

    def disconnected(self, fd: int) -> None:
        """Take note that a data connection is closed."""
        member = self.by_connection.pop(fd, None)
        if member is not None:
            member.connections.discard(fd)

    # ----------------------------------------------------------------------------- wants

    def want(self, topic: bytes, wanted: bool, user: str = "") -> bool:
        """Take a subscription of our nodes, or the end of one; return whether it was accepted.

        A token that comes again, as after a reconnect, is subscribed to again elsewhere: the answer
        to it proves that the whole path works.
        """
        if not wanted:
            if self.wants.pop(topic, None) is not None:
                self._changed = True
                if topic not in self._elsewhere:
                    self._effects.append(Subscribe(topic, False))
            return True
        if not self.gate.may_want(user, topic):
            self.reject("a subscription that is not permitted")
            return False
        again = topic in self.wants
        if not again and len(self.wants) >= MAX_TOPICS:
            self.reject("more topics than a hub takes")
            return False
        token = topic[:1] == b"\xff"
        if again and not token:
            return True
        self._asked += token
        self.wants[topic] = self._asked if token else 1
        self._changed = True
        self._effects.append(Subscribe(topic, True, anew=again or topic in self._elsewhere))
        return True

    # ------------------------------------------------------------------------ other hubs

    def link(self, hub: bytes, now: float) -> None:
        """Take note that a hub answers on our link to it."""
        if hub not in self.linked:
            self._changed = True
            self._tell_all(hub)  # it may have missed some while it could not be reached
        self.linked[hub] = now

    def _tell_all(self, hub: bytes) -> None:
        """Send another hub the states of all hubs that we know."""
        self._effects.extend(SendToHub(hub, state) for state in self.map.states.values())

    def state(self, state: HubState) -> None:
        """Take the state of a hub, and pass it on to the hubs that may not have it."""
        if state.sender == self.me or not self.map.take(state):
            return
        self._effects.extend(SendToHub(hub, state) for hub in self.linked if hub != state.sender)
        self._follow()

    def _neighbours(self) -> tuple[bytes, ...]:
        """Return the hubs with which we are linked in both directions."""
        members = self.members
        return tuple(
            hub
            for hub in self.linked
            if hub in members and members[hub].hub and not members[hub].quiet
        )

    def _settle(self) -> None:
        """Announce to hubs and members everything that has changed."""
        if not self._changed:
            return
        self._changed = False
        mine = self.map.states[self.me]
        state = HubState(
            self.me,
            mine.number + 1,
            self._neighbours(),
            tuple((n.id, n.quiet) for n in self.members.values() if not n.hub),
            dict(self.wants),
            tuple(self._left.items()),
            self._own_rights(),
        )
        self.map.take(state)
        self._effects.extend(SendToHub(hub, state) for hub in self.linked)
        self._follow()

    def _own_rights(self) -> dict[bytes, Rights]:
        """Return the rights of our nodes, without those that may do everything."""
        nodes = [member for member in self.members.values() if not member.hub]
        rights = ((member.id, self.gate.rights(member.user)) for member in nodes)
        return {node: its for node, its in rights if its != EVERYTHING}

    def _rights_of(self, node: bytes) -> Rights:
        """Return the rights of a node, ours or one of another hub."""
        member = self.members.get(node)
        if member is not None:
            return self.gate.rights(member.user)
        home = self.map.home(node)
        if home is None:
            return EVERYTHING
        leads = self.members.get(self.map.next_to(home) or b"")
        told = self.map.states[home].rights.get(node, EVERYTHING)
        return self.gate.vouched(node, told, leads.user if leads else "")

    def _follow(self) -> None:
        """Follow a change of the map: subscribe to what is wanted elsewhere, send member lists."""
        before, now = self._elsewhere, self.map.wanted()
        self._elsewhere = now
        # Names before tokens: the answer to a token proves that the names are subscribed to.
        for topic in sorted(now):
            if before.get(topic) != now[topic] and (topic not in before or topic[:1] == b"\xff"):
                anew = topic in before or topic in self.wants
                if not anew or topic[:1] == b"\xff":
                    self._effects.append(Subscribe(topic, True, anew))
        for topic in before:
            if topic not in now and topic not in self.wants:
                self._effects.append(Subscribe(topic, False))
        nodes = self.map.nodes()
        entries = {node: (quiet, self._rights_of(node)) for node, quiet in nodes.items()}
        if self._roster.update(entries, self.map.reasons()):
            for member in list(self.members.values()):
                if not member.hub and member.roster:
                    self._answer(member)

    # ------------------------------------------------------------------------------ time

    def tick(self, now: float) -> None:
        """Let time pass: call several times a second."""
        late, self._ticked_at = now - self._ticked_at, now
        if late > TICK_LATE:  # this process was stopped, not the others
            self._forgive(late, now)
        for member in list(self.members.values()):
            unheard = now - member.heard_at
            alone = member.was_connected and not member.connections
            if unheard >= LEFT_AFTER or (alone and unheard >= GONE_AFTER):
                self.leave(member, "gone" if alone else "silent")
            elif unheard >= QUIET_AFTER and not member.quiet:
                member.quiet, self._changed = True, True
        for hub, at in list(self.linked.items()):
            if now - at >= QUIET_AFTER:
                del self.linked[hub]
                self._changed = True

    def _forgive(self, late: float, now: float) -> None:
        for member in self.members.values():
            member.heard_at = min(member.heard_at + late, now)
        self.linked = {hub: min(at + late, now) for hub, at in self.linked.items()}

    def reached(self, to: bytes) -> tuple[Member | None, bytes | None]:
        """Return the member that a node is here, or the hub that leads to it; None for the other.

        Both are None if no hub carries the node.
        """
        member = self.members.get(to)
        if member is not None and not member.hub:
            return member, None
        home = self.map.home(to)
        return None, self.map.next_to(home) if home is not None else None


def _size(
    present: dict[bytes, Presence], left: dict[bytes, str], rights: dict[bytes, Rights]
) -> int:
    """Return an upper bound for the bytes in an answer, which is not far off."""
    size = 512 + 24 * len(present) + sum(24 + 4 * len(why) for why in left.values())
    for its in rights.values():
        for names in (its.publish, its.subscribe):
            size += 24 + sum(8 + 4 * len(name) for name in names or ())
    return size
