"""Groups of one node: messages for members at peers, and those of peers for members here.

A message for a member travels under the token of its node, as a reply does, past all that is
queued. The progress of a member comes back the same way. `zexchange.groups` decides what is
sent, to whom, and what is sent again; `local.sharing` hands messages to the members of this
process.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ...errors import DecodeError, EncodeError
from ...groups.intake import Progress
from ...local.registry import Registry
from ...local.sharing.member import Member
from ...local.sharing.roster import GroupStats
from ...local.sharing.share import IDLE, Parcel, Share
from ...local.sharing.supply import REFUSED, Supply
from ...local.tasks.noted import NO_HEADERS
from ...local.tasks.stream import Delivery
from ...names import matches
from ...protocol.codec.attachments import decode_frame
from ...protocol.codec.values import encode
from ...protocol.security.permissions import permitted
from ...protocol.session.peers import Peer
from ...protocol.session.session import Session
from ...protocol.wire.jobs import (
    FRAME_COUNT,
    JOBS,
    MAX_JOBS_BYTES,
    PROGRESS,
    TOKEN_BYTES,
    Jobs,
    jobs_head,
    progress_frame,
    read_jobs,
    read_progress,
)
from ...protocol.wire.messages import GroupMember
from ...protocol.wire.notes import Notes, read_notes, write_notes

if TYPE_CHECKING:
    from ..outbound.publisher import Publisher

FRAME_BYTES = 64 << 10
"""A job frame is closed once its messages have this many bytes."""
SUPPLIES_MOST = 10_000
"""Exchanges on which one peer may send to members here at a time, counted for each member."""
TICK_EVERY = 0.25
"""Seconds between two looks for messages that have to be sent again."""
SWEEP_EVERY = 10.0
"""Seconds between two looks for supplies that are not used any longer."""
SUPPLIES_KEPT, SUPPLIES_KEPT_OF_ABSENT = 2 * IDLE, 10 * IDLE
"""Seconds for which a member knows the jobs that it has done for a sender: of one that is there,
which has forgotten the stint by then, and of one that has left, and may come back with it."""


class RemoteMember:
    """A member at a peer, as senders of this process see it."""

    def __init__(self, groups: "NodeGroups", peer: Peer, member: GroupMember) -> None:
        self.key, self.group, _, self.ahead = member
        self.node = peer.id
        self.number = member.number
        self.identity = (peer.hello.registry or peer.id, member.number)
        self._groups = groups
        # A peer whose rights change leaves, and comes again.
        subscribe, federated = peer.rights.subscribe, groups.federated
        self.admits: Callable[[str], bool] = lambda name: (
            permitted(subscribe, name) and federated(name)
        )

    def __repr__(self) -> str:
        return f"<member {self.number} of {self.group!r} at {self.node.hex()[:8]}>"

    @property
    def encodes(self) -> Callable[[Parcel], int] | None:
        """Encodes a parcel."""
        return encode_parcel

    def hand(self, share: Share, stint: int, first: int, jobs: Sequence[Parcel]) -> None:
        """Publish jobs under the token of the peer."""
        self._groups.send(self, share, stint, first, jobs)


def encode_parcel(parcel: Parcel) -> int:
    """Encode a message for a group once; return its size in bytes.

    Raises:
        EncodeError: it cannot be sent to another process.
    """
    body = parcel.body
    if body is None:
        msg = parcel.msg if parcel.declared is None else parcel.declared.encode(parcel.msg)
        body = encode(msg)
        if len(body) > MAX_JOBS_BYTES - FRAME_BYTES:
            raise EncodeError(
                f"a message of {len(body):,} bytes, and {MAX_JOBS_BYTES:,} may travel"
            )
        parcel.body = body
    return len(body)


class _SentStint:
    """The jobs that a peer was sent by one stint.

    Attributes:
        share: what is sent to the group.
        last: the number of the newest job that was sent.
    """

    __slots__ = ("last", "share")

    def __init__(self, share: Share) -> None:
        self.share = share
        self.last = 0


class NodeGroups:
    """The groups of one node.

    Args:
        session: who is there, and what they told.
        outbound: publishes frames.
        registry: has the members and the senders of this process.
        federated: returns whether an exchange takes part.
        reject: counts a frame or message that is refused.
        monotonic: the clock, in seconds.
        on_data_thread: has the data thread run a command.
    """

    def __init__(
        self,
        session: Session,
        outbound: "Publisher",
        registry: Registry,
        federated: Callable[[str], bool],
        reject: Callable[[str, str], None],
        monotonic: Callable[[], float],
        on_data_thread: Callable[[Callable[[], None]], None],
    ) -> None:
        self._session = session
        self._outbound = outbound
        self._registry = registry
        self.federated = federated
        self._reject = reject
        self._monotonic = monotonic
        self._on_data_thread = on_data_thread
        self._there: dict[tuple[bytes, int], RemoteMember] = {}
        self._sent: dict[bytes, dict[int, _SentStint]] = {}
        """The jobs that each peer was sent, by stint."""
        self._members: dict[int, Member] = {}
        self._supplies: dict[bytes, dict[tuple[int, str], Supply]] = {}
        """By peer, the supplies of members here, by member and exchange."""
        self._tick_at = self._sweep_at = 0.0

    # ------------------------------------------------------------------- members at peers

    def look(self) -> None:
        """Work out again which members are at peers. Control thread, with no lock held."""
        found = {(p.id, m.number): (p, m) for p, m in self._session.answering.members()}
        gone = [key for key in self._there if key not in found]
        new = [key for key in found if key not in self._there]
        if not gone and not new:
            return
        roster = self._registry._groups()
        left = [self._there.pop(key) for key in gone]
        came = [RemoteMember(self, *found[key]) for key in new]
        self._there.update(zip(new, came, strict=True))
        roster.went(left)
        roster.came(came)

    def nodes(self, name: str) -> set[bytes]:
        """Return the peers that have members of groups on an exchange. Any thread."""
        there = list(self._there.values())
        return {one.node for one in there if matches(one.key, name) and one.admits(name)}

    def groups(self, name: str, node: bytes) -> set[str]:
        """Return the groups of an exchange in which a peer has members. Any thread."""
        there = [one for one in list(self._there.values()) if one.node == node]
        return {one.group for one in there if matches(one.key, name) and one.admits(name)}

    def of(self, name: str) -> tuple[GroupStats, ...]:
        """Return the groups of an exchange, those that nothing was sent to as well. Any thread."""
        roster = self._registry._roster
        return () if roster is None or not name else roster.groups(name)

    def send(
        self, to: RemoteMember, share: Share, stint: int, first: int, jobs: Sequence[Parcel]
    ) -> None:
        """Publish jobs for a member. Any thread."""
        stints = self._sent.setdefault(to.node, {})
        sent = stints.get(stint)
        if sent is None:
            sent = stints[stint] = _SentStint(share)
        sent.last = max(sent.last, first + len(jobs) - 1)
        for number, run, notes in _runs(first, jobs):
            head = jobs_head(
                Jobs(
                    *(to.node, 0, self._session.me, to.number, stint, number, len(run)),
                    *(run[0].sent_at, share.name, run[0].redelivered, notes),
                )
            )
            self._outbound.reply(
                to.node, b"".join([head[TOKEN_BYTES:], *[job.body for job in run]])
            )

    def arrived(self, frame: bytes, peer: bytes, kind: int) -> None:
        """See `GroupEvents`."""
        if kind == JOBS:
            self.take(frame, peer)
        elif kind == PROGRESS:
            self.told(frame, peer)
        else:
            raise DecodeError(f"a frame under a token, of unknown kind {kind}")

    def told(self, frame: bytes, peer: bytes) -> None:
        """Take a progress report of a member at a peer. Data thread.

        Raises:
            DecodeError: it is malformed, not for this node, not of this peer, or of jobs that this
                peer was not sent.
        """
        receiver, origin, progress = read_progress(frame)
        if receiver != self._session.me or origin != peer:
            raise DecodeError("a progress report that is not for this node, or not of this peer")
        stint = progress.stint
        sent = self._sent.get(peer, {}).get(stint)
        if sent is not None:
            if progress.got > sent.last:
                raise DecodeError(
                    f"a progress report of {progress.got} jobs, of {sent.last} that were sent"
                )
            sent.share.told(progress)
        elif any(stint in stints for stints in list(self._sent.values())):
            raise DecodeError("a progress report of jobs of another peer")

    # ------------------------------------------------------------------- members of this node

    def change(self, member: Member, added: bool) -> GroupMember:
        """Take note of a member of this process; return what peers are told. Any thread."""
        if added:
            self._members[member.number] = member
        else:
            self._members.pop(member.number, None)
            for supplies in list(self._supplies.values()):
                for key in [key for key in list(supplies) if key[0] == member.number]:
                    supplies.pop(key).say(ended=True)
        return GroupMember(member.key, member.group, member.number, member.ahead)

    def take(self, frame: bytes, peer: bytes) -> None:
        """Take messages of a peer for a member here. Data thread.

        Raises:
            DecodeError: they are malformed, not for this node, or not of this peer.
        """
        jobs = read_jobs(frame)
        if jobs.receiver != self._session.me or jobs.origin != peer:
            raise DecodeError("a job frame that is not for this node, or not of this peer")
        known = self._session.members.peers.get(peer)
        if known is None or not known.rights.may_publish(jobs.name):
            self._refuse(jobs, peer)
            raise DecodeError(f"may not publish on {jobs.name!r}")
        member = self._members.get(jobs.member)
        fits = member is not None and matches(member.key, jobs.name) and self.federated(jobs.name)
        if member is None or not fits:
            self._refuse(jobs, peer)  # it has just ended
            return
        supplies = self._supplies.setdefault(peer, {})
        supply = supplies.get((jobs.member, jobs.name))
        if supply is None:
            _make_room(supplies)
            supply = supplies[jobs.member, jobs.name] = Supply(
                member.mailbox, partial(self._say, peer), self._monotonic, member.ahead
            )
        supply.take(jobs.stint, jobs.first, self._items(frame, jobs, member, peer))
        member.wake()

    def _refuse(self, jobs: Jobs, peer: bytes) -> None:
        """Have others handle jobs that no member here takes."""
        self._say(peer, Progress(jobs.stint, jobs.first - 1, 0, 0.0, ended=True))

    def _items(self, frame: bytes, jobs: Jobs, member: Member, peer: bytes) -> list[object]:
        """Return what a member is to get of a job frame."""
        origin = peer.hex()
        try:
            values = decode_frame(frame, jobs.body, jobs.count)
        except DecodeError as error:
            self._reject(origin, str(error))
            return [REFUSED] * jobs.count
        headers = NO_HEADERS
        if jobs.notes:
            headers = next((n.headers for n in read_notes(jobs.notes, jobs.count)), headers)
        exchange = self._registry.find(jobs.name)
        declared = None if exchange is None else exchange._declared
        if declared is None and member.bare:
            return values
        items = list[object]()
        for at, value in enumerate(values):
            if declared is not None:
                try:
                    value = declared.codec.decode(value)
                except Exception as error:
                    self._reject(origin, f"{jobs.name!r}: {error}")
                    items.append(REFUSED)
                    continue
            told = headers if at == jobs.count - 1 else NO_HEADERS
            item: Delivery[Any] = Delivery(
                jobs.name, value, origin, None, jobs.sent_at, told, jobs.redelivered
            )
            items.append(member.form(item))
        return items

    def _say(self, node: bytes, progress: Progress) -> None:
        """Tell a peer how far a member is with its messages. Any thread."""
        frame = progress_frame(node, 0, self._session.me, progress)
        # After what the member has sent meanwhile: if its process ends now, its results are not
        # lost while its work counts as done.
        self._outbound.reply(node, frame[TOKEN_BYTES:], in_turn=True)

    def _sweep(self) -> None:
        """Forget the supplies that peers do not use any longer. Data thread, as for `take`.

        Those of a peer that has left stay for a while: it may not have noticed that we took it for
        gone, and may send again what its members here have in hand.
        """
        peers, now = self._session.members.peers, self._monotonic()
        for peer, supplies in list(self._supplies.items()):
            kept = SUPPLIES_KEPT if peer in peers else SUPPLIES_KEPT_OF_ABSENT
            for key in [key for key, supply in list(supplies.items()) if supply.rested(now, kept)]:
                supplies.pop(key, None)
            if not supplies:
                self._supplies.pop(peer, None)

    def shares(self) -> list[Share]:
        """Return what this process sends to groups that have, or had, members at peers."""
        roster = self._registry._roster
        return [] if roster is None else [share for share in roster.shares() if share.travels]

    # ----------------------------------------------------------------------------- time

    def tick(self, now: float) -> None:
        """Send again what is not confirmed. Control thread, with no lock held."""
        roster = self._registry._roster
        if roster is not None and now >= self._tick_at:
            self._tick_at = now + TICK_EVERY
            roster.tick()
        if now >= self._sweep_at and (self._supplies or self._sent):
            self._sweep_at = now + SWEEP_EVERY
            self._forget()
            self._on_data_thread(self._sweep)

    def _forget(self) -> None:
        """Forget what was sent by supplies that are over. A peer that has left may still report."""
        there = {node for node, _ in self._there}
        for node, stints in list(self._sent.items()):
            for stint in [one for one, sent in list(stints.items()) if not sent.share.has(one)]:
                stints.pop(stint, None)
            if not stints and node not in there:
                self._sent.pop(node, None)

    def end(self) -> None:
        """Take note that this node is closed: nobody is reached by it any longer."""
        there, self._there = list(self._there.values()), {}
        if there:
            self._registry._groups().went(there)


def _make_room(supplies: dict[tuple[int, str], Supply]) -> None:
    """Forget half of the supplies that are idle, if there are as many supplies as may be.

    A sender that goes on by one of these is told that it begins in the middle, and begins afresh.

    Raises:
        DecodeError: none is idle.
    """
    if len(supplies) < SUPPLIES_MOST:
        return
    idle = [key for key, supply in list(supplies.items()) if supply.idle]
    for key in idle[: len(idle) // 2 + 1]:
        supplies.pop(key, None)
    if not idle:
        raise DecodeError(f"messages for groups wait on {SUPPLIES_MOST:,} exchanges already")


def _runs(first: int, jobs: Sequence[Parcel]) -> Iterable[tuple[int, Sequence[Parcel], bytes]]:
    """Return the jobs of each frame, with the number of the first and the notes on the last."""
    small = len(jobs) <= FRAME_COUNT and sum([job.size for job in jobs]) < FRAME_BYTES
    if small and not any(job.redelivered or job.headers for job in jobs):
        yield first, jobs, b""
        return
    begin, size = 0, 0
    for at, job in enumerate(jobs):
        size += job.size
        last = at + 1 == len(jobs)
        if (
            last
            or job.headers
            or size >= FRAME_BYTES
            or at + 1 - begin >= FRAME_COUNT
            or jobs[at + 1].redelivered != job.redelivered
        ):
            notes = write_notes(Notes(0, job.headers)) if job.headers else b""
            yield first + begin, jobs[begin : at + 1], notes
            begin, size = at + 1, 0
