"""The data thread: it reads a socket for each peer or hub, and runs the tasks.

This thread owns the data sockets. Other threads give it commands through a queue (`Receiver.do`).
It decides nothing about membership. A `PeerReceiver` knows what a frame means, and a `DataSource`
knows the subscriptions of its socket.

A turn of the loop (`Receiver._turn`) carries out all commands, then goes on with the long jobs,
which are cut into pieces, and then reads each source that may have frames. It reads at most 64
frames from each, or for 5 ms (`BUDGET`, `BUDGET_SECONDS`), so that no flood starves the other
peers; or for 1 ms (`SLICE_SECONDS`) if the source had more than that the last time, so that a peer
that keeps this thread busy delays each message of others by that. A source that brought anything
but messages, or frames that were refused, is left alone for a while afterwards (`Receiver._serve`).

The descriptor of a ZeroMQ socket is edge-triggered, and any call on the socket may consume its
wake-up. So a source on whose socket something was called is *hot*, even if the poller says
nothing: it is read in each turn until there is nothing left.

A peer that leaves has a second for what is still on its way (`Receiver.hush`). After that its
position is kept in `Departed`, where it resumes if it comes back in time, and later its counts in
`Former`.

The class is long because all of this is of one piece: when a peer comes, moves to another
connection, leaves or returns, the same few tables change. The loop reads them, and no other
thread may touch them.
"""

import weakref
from collections import deque
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING

import zmq

from ...errors import DecodeError
from ...local.late_join import CatchUp
from ...protocol.delivery.departed import Departed
from ...protocol.delivery.former import Former
from ...protocol.delivery.sequence import ReceiveState, everything
from ...protocol.interest.changes import Changes
from ...protocol.interest.interest import NameSet
from ...protocol.rate_limit import TokenBucket
from ...protocol.session.effects import OpenReceiver
from ...protocol.session.readiness import MAX_NAMES
from ..security.guard import CurveGuard
from ..transport.endpoints import HUB_PREFIX
from ..transport.sockets import (
    DO_NOT_WAIT,
    EVENTS,
    READABLE,
    Sockets,
    connect,
)
from ..transport.threads import FOREVER, Ready
from .context import ReceiveContext
from .merging import Sources, identities
from .peer_stream import PeerReceiver
from .sources import DataSource, HubSource

if TYPE_CHECKING:
    from ..transport.environment import Environment

BUDGET = 64
"""Frames read from one peer before the next peer, and the commands, have their turn."""
BUDGET_SECONDS = 0.005
"""Seconds, tasks included, after which its turn ends as well: so long may another peer wait."""
SLICE_SECONDS = 0.001
"""The same for a peer of which not all could be read in its turn before."""
GOODBYE_SECONDS = 1.0
"""Seconds for what a peer sent before its goodbye; its sockets linger no longer than that."""
PATIENCE = 0.015
"""Seconds by which a turn may exceed `BUDGET_SECONDS` or `SLICE_SECONDS`, while this thread has had
the processor for no more than half of those."""
NAMES_AT_ONCE = 200
"""Names to subscribe to in one turn, of those that a peer has told (`MAX_NAMES` at most)."""
REST_MOST = 0.1
"""Seconds for which a peer is not read, at most, after it sent anything but messages. It rests for
as long as reading that took."""
REFUSED_REST = 9
"""The rest is so many times as long if something was refused: malformed, unreadable, or not
permitted. A peer that keeps to the protocol and to its permissions sends nothing of that kind, and
one that does gets a tenth of the time. This leaves out connections to hubs, where other peers would
pay for it."""
PROOF_SECONDS, PROOF_SHARE = 1.0, 0.02
"""Seconds that the proofs of one peer may take at once, and the share of the time that they may
take from then on; for what takes more the peer rests as if it had been refused. Reading one with
thousands of names takes 10 ms or more, in which others wait, and a token needs but one."""
DRAIN_ROUNDS = 1000
"""How often `BUDGET` frames are read from what has arrived of a peer that has left."""
DRAIN_SECONDS = 0.1
"""Seconds for anything but messages there, and for all that has arrived on a socket before another
socket takes its place: the rest is asked for again. They count by the clock: a thread that waits
for the interpreter's lock at each frame could take many times as long, and others wait for it."""
DRAIN_SHARE = 0.01
"""The share of the time that goes into such sockets of a peer that has them replaced over and
over."""
GREEDY = attrgetter("greedy")
FORGOTTEN = "a return that would be told of: more peers were away for too long than are remembered"


class Receiver:
    """The data thread of a node, and its tables of peers and sockets."""

    def __init__(
        self,
        sockets: Sockets,
        receive_context: ReceiveContext,
        ended: Callable[[], None],
        world: "Environment",
        changes: Changes,
        processes: Sources,
        guard: CurveGuard | None = None,
    ) -> None:
        self._sockets = sockets
        self._guard = guard
        self._monotonic, self._spent = world.monotonic, world.spent
        self._receive_context = receive_context
        self._ended = ended
        self._changes = changes
        self._processes = processes
        self._keys = NameSet()
        self._epoch = 0
        self._wasted = False
        """Whether some of what was read last was no message."""
        self._commands: deque[Callable[[], None]] = deque()
        self._hot: dict[DataSource, None] = {}
        self._leaving: dict[bytes, tuple[float, dict[str, int]]] = {}
        self._peer_receivers: dict[bytes, PeerReceiver] = {}
        self._sources: dict[bytes, DataSource] = {}
        """By peer, the source that it is received by."""
        self._pursuits: dict[bytes, Iterator[None]] = {}
        """By peer, the steps that remain of a `PeerReceiver.pursuit`."""
        self._told: dict[bytes, deque[str]] = {}
        """By peer, the names that it has told us and that are still to be looked at."""
        self._widened = set[bytes]()
        self._by_fd: dict[int, DataSource] = {}
        self._hub_sources: dict[str, HubSource] = {}
        self._drains = TokenBucket(DRAIN_SECONDS, DRAIN_SHARE)
        self._proofs = TokenBucket(PROOF_SECONDS, PROOF_SHARE)
        self._waker = world.waker()
        self._poller = world.poller()
        self._poller.watch(self._waker.fd)
        self._running = True
        self._joiners: list[tuple[str, weakref.ref[CatchUp]]] = []
        self._joiners_most = 8
        self._gathering: list[tuple[float, weakref.ref[CatchUp]]] = []
        """Joiners that wait for the history of all peers, and until when each of them waits."""
        self._meeting = True
        """Whether this node is still joining: a peer that comes now was there before."""
        self._departed = Departed[str, ReceiveState]()
        self._former = Former()
        self._since: dict[str, int] = {}
        """The epoch in which each key was added."""
        self.thread = world.loop("zexchange-data", self._poller.wait, self._turn, self._last)

    # ---------------------------------------------------------- called by other threads

    def do(self, command: Callable[[], None]) -> None:
        """Run a command on the data thread, after those given before. Any thread."""
        self._commands.append(command)
        self._waker.wake()

    def with_peer_receiver(self, peer: bytes, act: Callable[[PeerReceiver], None]) -> None:
        """Call ``act`` on the data thread with the receiver of a peer, if any. Any thread."""

        def command() -> None:
            peer_receiver = self._peer_receivers.get(peer)
            if peer_receiver is not None:
                act(peer_receiver)

        self.do(command)

    def stop(self) -> None:
        """Read what has arrived, close the sockets and end the thread. Any thread."""
        self.do(self._stop)

    def close(self) -> None:
        """Close the descriptors that are not sockets: those of the poller and the waker."""
        self._poller.close()
        self._waker.close()

    @property
    def busy(self) -> tuple[float, str] | None:
        """Since when tasks have held the thread, and which exchange called them. Any thread."""
        return self._receive_context.busy

    @property
    def peers(self) -> int:
        """How many peers are received. Any thread."""
        return len(self._peer_receivers)

    @property
    def recovering(self) -> bool:
        """Whether `tick` has anything to do. Any thread."""
        if self._leaving or self._gathering or self._departed.next_at <= self._monotonic():
            return True
        return any(peer_receiver.pursuing for peer_receiver in list(self._peer_receivers.values()))

    def parked(self) -> dict[tuple[str, str], int]:
        """Return how many messages are parked, by exchange and origin. Any thread."""
        return {
            (name, peer_receiver.origin): n
            for peer_receiver in list(self._peer_receivers.values())
            for name, n in peer_receiver.recovery.parked().items()
        }

    def positions(self) -> dict[str, ReceiveState]:
        """Return our positions by origin, some origins that have left included. Any thread."""
        peer_receivers = list(self._peer_receivers.values())
        here = {peer_receiver.origin: peer_receiver.positions for peer_receiver in peer_receivers}
        return {**self._former.there, **self._departed.there, **here}

    # ------------------------------------------------------- commands, on the data thread

    def follow(self) -> None:
        """Follow the changes of our interest that were made since the last call."""
        for change in self._changes.to_follow():
            self._resubscribe(*change)

    def _resubscribe(self, epoch: int, added: tuple[str, ...], removed: tuple[str, ...]) -> None:
        """Change the subscriptions at every peer, and ask each to prove the new epoch."""
        self._keys.remove(removed)
        self._keys.update(added)
        for key in removed:
            self._since.pop(key, None)
        self._since.update(dict.fromkeys(added, epoch))
        self._epoch = epoch
        for peer_receiver in self._peer_receivers.values():
            peer_receiver.expect(epoch, added, removed)
        for away in self._departed.there.values():
            away.expect(epoch, added, removed)
        if removed:
            self._former.drop(removed, self._keys)
        for source in self._by_fd.values():
            source.change(self._keys, epoch, added, removed)
            # The calls on the socket may have consumed its wake-up.
            self._hot[source] = None

    def look_again(self) -> None:
        """Take note that more exchanges take part."""
        for peer_receiver in self._peer_receivers.values():
            peer_receiver.look_again()

    def narrow(self, peer: bytes, names: tuple[str, ...], anew: bool = False) -> None:
        """Queue names that a peer has told us, to subscribe there to those that we want.

        If they are told ``anew``, they replace all that the peer told before. At a hub they do not:
        other peers behind it may have told those.
        """
        source = self._sources.get(peer)
        if source is None:
            return
        if anew and not source.hub:
            source.told = {}
        if len(source.told) < MAX_NAMES:
            new = [name for name in dict.fromkeys(names) if name not in source.told]
            source.told.update(dict.fromkeys(new))
            self._told.setdefault(peer, deque()).extend(new)

    def _go_on_narrowing(self) -> None:
        """Subscribe to some more of the names that were told; messages are read in between."""
        for peer, names in list(self._told.items()):
            source = self._sources[peer]
            some = [names.popleft() for _ in range(min(NAMES_AT_ONCE, len(names)))]
            if source.widen(self._keys, some):
                self._widened.add(peer)
            if not names:
                del self._told[peer]
                if peer in self._widened:
                    # The same token once more: the answer shows what was sent on them before.
                    self._widened.discard(peer)
                    source.ask_proof(self._epoch)
            self._hot[source] = None

    def tune(self, asked: OpenReceiver) -> None:
        """Receive from a peer, or by another connection than before with the same positions."""
        peer = asked.peer
        if peer in self._leaving:  # it is back already
            self._end(peer)
        before, known = self._sources.get(peer), self._hub_sources.get(asked.endpoint)
        if known is not None and known is before:
            self._prove_again(known)
            return
        if before is not None and not before.hub and asked.unproven and before.spare():
            self._hot[before] = None  # the look at it may have consumed its wake-up
            return
        # First: to make a peer receiver takes away what is remembered of a peer that has left.
        source = known or self._new_source(asked)
        if source is None:
            return
        if peer not in self._peer_receivers:
            self._peer_receivers[peer] = self._new_peer_receiver(asked)
        if isinstance(source, HubSource):
            self._hub_sources[asked.endpoint] = source
        if before is not None:
            self._replace(peer, before)
            if not (before.hub or source.hub):
                source.told, source.narrow = before.told, before.narrow
                if len(source.narrow) > NAMES_AT_ONCE:  # some in a turn, as when they were told
                    source.narrow, self._told[peer] = {}, deque(source.told)
        self._sources[peer] = source
        proven = source.board(self._peer_receivers[peer])
        if known is None:
            self._connect(source, peer, asked.key)
        elif proven is not None:
            known.proven(proven)
        elif before is not None:
            self._prove_again(known)  # otherwise the peer gives the proof when it hears of us

    def _new_source(self, asked: OpenReceiver) -> DataSource | None:
        """Return a fresh connection to receive a peer by; None if there is no socket."""
        endpoint, socket = asked.endpoint, self._new_socket(asked.peer)
        if socket is None:
            return None
        if not endpoint.startswith(HUB_PREFIX):
            return DataSource(endpoint, socket, self._receive_context, asked.rights.publish)
        return HubSource(endpoint, socket, self._receive_context)

    def _new_socket(self, peer: bytes) -> "zmq.Socket[bytes] | None":
        """Return a socket to receive a peer by; None, with a report, if none can be made.

        Perhaps no descriptor is left. The session asks again as long as nothing is proven.
        """
        try:
            return self._sockets.sub()
        except zmq.ZMQError as error:
            self._receive_context.control.rejected(peer.hex(), f"no socket to receive by: {error}")
            return None

    def _new_peer_receiver(self, asked: OpenReceiver) -> PeerReceiver:
        origin = asked.peer.hex()
        carries = NameSet(asked.exchanges).covers if asked.exchanges else everything
        positions = self._departed.back(origin)
        peer_receiver = PeerReceiver(
            asked.peer, self._receive_context, asked.acknowledge, positions, carries
        )
        self._receive_context.restrict(peer_receiver.positions, asked.rights, self._epoch)
        if not peer_receiver.returned:
            former = self._former.back(origin)
            if former is not None:
                peer_receiver.positions.count_on(former)
            # Each key in its own epoch: a hub may have brought the proof of that already.
            for key, epoch in self._since.items():
                peer_receiver.positions.expect(epoch, (key,), ())
        if asked.registry:
            keyed = self._guard is not None and self._guard.policy is not None
            hub = asked.key if asked.endpoint.startswith(HUB_PREFIX) else None
            known = identities(asked.registry, asked.peer, hub, asked.endpoint, keyed)
            self._processes.join(known, peer_receiver, self.do)
        for key, joiner in self._joiners:
            catch_up = joiner()
            if catch_up is not None:
                peer_receiver.history_fetcher.recall(key, catch_up, expected=self._meeting)
        return peer_receiver

    def _connect(self, source: DataSource, peer: bytes, key: bytes) -> None:
        """Subscribe a fresh socket to what we want, ask for the proof, and connect it."""
        source.begin(self._keys, self._epoch)
        self._by_fd[source.fd] = source
        self._poller.watch(source.fd)
        endpoint = source.endpoint.removeprefix(HUB_PREFIX)
        try:
            if self._unlock(source, endpoint, key):
                connect(source.socket, endpoint)
        except zmq.ZMQError as error:
            reason = f"cannot connect to {endpoint[:200]!r}: {error}"
            self._receive_context.control.rejected(peer.hex(), reason)
        # Connecting may have set off the FD before it was watched.
        self._hot[source] = None

    def _unlock(self, source: DataSource, endpoint: str, key: bytes) -> bool:
        """Have a fresh socket expect a key; return whether it may be connected at all."""
        if self._guard is None:
            return True
        unlock = self._guard.unlock_hub if source.hub else self._guard.unlock
        return unlock(source.socket, endpoint, key)

    def renew(self, down: str, key: bytes) -> None:
        """Replace the data connection to a hub, and ask for the proof again."""
        source = self._hub_sources.get(HUB_PREFIX + down)
        socket = self._new_socket(b"") if source is not None else None
        if source is not None and socket is not None:
            self._close_socket(source)
            source.open(socket)
            self._connect(source, b"", key)

    def _prove_again(self, source: HubSource) -> None:
        source.prove_again(self._epoch, self._monotonic())
        self._hot[source] = None

    def recall(self, key: str, catch_up: CatchUp, noted: Callable[[], None]) -> None:
        """Fetch for a late joiner what each peer keeps, including peers that are still to come.

        Args:
            key: the name or pattern that the joiner is attached to.
            catch_up: stands in for the joiner.
            noted: called when all peers that are here have been asked.
        """
        if len(self._joiners) >= self._joiners_most:
            self._joiners = [joiner for joiner in self._joiners if joiner[1]() is not None]
            self._joiners_most = 2 * len(self._joiners) + 8
        there = weakref.ref(catch_up)
        self._joiners.append((key, there))
        for peer_receiver in self._peer_receivers.values():
            peer_receiver.history_fetcher.recall(key, catch_up)
        noted()
        if catch_up.gathering:
            self._gathering.append(
                (self._receive_context.elapsed.seconds + self._receive_context.timeout, there)
            )

    def met(self, noted: Callable[[], None]) -> None:
        """Take note that this node has joined: a peer that comes now was not there before.

        ``noted`` is called after that.
        """
        self._meeting = False
        noted()

    def _give_up_gathering(self) -> None:
        """Have joiners wait no longer for peers that have not said in time what they keep."""
        elapsed, waiting = self._receive_context.elapsed.seconds, self._gathering
        self._gathering = []
        for until, there in waiting:
            catch_up = there()
            if catch_up is None or not catch_up.gathering:
                continue
            if elapsed >= until:
                catch_up.expire()
            else:
                self._gathering.append((until, there))

    def hush(self, peer: bytes, heads: dict[str, int], final: bool = True) -> None:
        """Deliver what has arrived from a peer that leaves, and then receive no more from it.

        A goodbye overtakes messages that are still on their way on the data connection, so those
        have `GOODBYE_SECONDS` to come. Messages that are missing then are lost.

        Args:
            peer: the one that leaves.
            heads: by exchange, the last number that it has sent, if that is known.
            final: whether it will not come back. Otherwise our positions are remembered.
        """
        peer_receiver = self._peer_receivers.get(peer)
        if peer_receiver is None:
            return
        now = self._monotonic()
        self._drain(self._sources[peer])
        peer_receiver.ended = final
        for name, head in heads.items():
            peer_receiver.expose(name, head, now)
        self._leaving[peer] = (self._receive_context.elapsed.seconds + GOODBYE_SECONDS, heads)
        self._end_if_complete(peer)

    def _end_if_complete(self, peer: bytes) -> None:
        """End a peer that has left, once all that it sent to us is here or its time is over."""
        until, heads = self._leaving[peer]
        where, wanted = self._peer_receivers[peer].positions.positions, self._keys.covers
        late = self._receive_context.elapsed.seconds >= until
        if late or all(where.get(n, -1) >= h or not wanted(n) for n, h in heads.items()):
            self._end(peer)

    def _end(self, peer: bytes) -> None:
        """Receive no more from a peer, and account for what is missing of it."""
        self._leaving.pop(peer, None)
        peer_receiver = self._peer_receivers.get(peer)
        if peer_receiver is None:
            return
        self._drain(self._sources[peer])
        self._leave(peer)
        self._pursuits.pop(peer, None)
        self._told.pop(peer, None)
        self._widened.discard(peer)
        peer_receiver.end()
        del self._peer_receivers[peer]
        if peer_receiver.ended:
            self._remember(peer_receiver.origin, peer_receiver.positions, ended=True)
        else:
            self._departed.leave(peer_receiver.origin, peer_receiver.positions, self._monotonic())

    def _remember(self, origin: str, positions: ReceiveState, ended: bool = False) -> None:
        """Remember the counts of a peer that will not resume where it was."""
        for _ in range(self._former.remember(origin, positions, ended)):
            self._receive_context.control.rejected(self._receive_context.me.hex(), FORGOTTEN)

    def _replace(self, peer: bytes, source: DataSource) -> None:
        """Take a peer off a connection that another one replaces; read first what has arrived.

        A peer that moves again and again has less and less read: each time it may have sent much.
        """
        began = now = self._monotonic()
        until = began + self._drains.left(peer, began)
        while now < until and self._read(source):
            now = self._monotonic()
        self._drains.take(peer, now - began, now)
        self._leave(peer)

    def _leave(self, peer: bytes) -> None:
        """Take a peer off its connection, which is closed with the last peer."""
        source = self._sources.pop(peer)
        source.leave(peer)
        if not source.peer_receivers:
            self._hub_sources.pop(source.endpoint, None)
            self._close_socket(source)

    def _close_socket(self, source: DataSource) -> None:
        self._hot.pop(source, None)
        del self._by_fd[source.fd]
        self._poller.forget(source.fd)
        source.socket.close()

    def _drain(self, source: DataSource) -> None:
        """Deliver what has arrived from a peer that has left; not all of it if no messages come."""
        wasted = 0.0
        for _ in range(DRAIN_ROUNDS):
            began = self._monotonic()
            if not self._serve(source) or wasted > DRAIN_SECONDS:
                break
            if source.rest_until > began:
                wasted += self._monotonic() - began

    def tick(self) -> None:
        """Start asking again for what is missing, or giving it up, and end peers that left."""
        now = self._monotonic()
        self._receive_context.elapsed.look(now)
        if self._gathering:
            self._give_up_gathering()
        for peer, peer_receiver in list(self._peer_receivers.items()):
            if peer_receiver.pursuing and peer not in self._pursuits:
                self._pursuits[peer] = peer_receiver.pursuit(now)
            if peer in self._leaving:
                self._end_if_complete(peer)
        for origin, positions in self._departed.expire(now):
            self._remember(origin, positions)

    def _stop(self) -> None:
        self._running = False
        for peer in list(self._peer_receivers):
            self.hush(peer, {})

    # ------------------------------------------------------------------------- the thread

    def _last(self) -> None:
        self.close()
        self._ended()

    def _turn(self, ready: Ready) -> float | None:
        hot, commands = self._hot, self._commands
        if len(ready) == 1 and not hot and not commands:
            # A message has come alone, and is handed on without delay. A command that comes
            # meanwhile wakes the loop again.
            alone = self._by_fd.get(ready[0][0])
            if alone is not None:
                if self._read(alone):
                    hot[alone] = None
                return 0.0 if hot or self._receive_context.ahead else FOREVER
        for fd, _ in ready:
            source = self._by_fd.get(fd)
            if source is not None:
                hot[source] = None
            elif fd == self._waker.fd:
                self._waker.clear()
        until = self._monotonic() + BUDGET_SECONDS if commands else 0.0
        while commands:
            commands.popleft()()
            if self._monotonic() > until:
                break  # a peer may send again without end, asked for or not
        if self._told:
            self._go_on_narrowing()
        if self._receive_context.ahead:
            self._go_ahead()
        if self._pursuits:
            self._go_on_pursuing()
        now, resting = self._monotonic(), list[float]()
        for source in sorted(hot, key=GREEDY):
            if source.rest_until > now:
                resting.append(source.rest_until - now)
            elif source in hot and not self._serve(source):
                hot.pop(source, None)
        if not self._running:
            return None
        waiting = self._told or self._pursuits or commands or self._receive_context.ahead
        if waiting or len(hot) > len(resting):
            return 0.0
        return min(resting, default=FOREVER)

    def _go_ahead(self) -> None:
        """Deliver more of the parked frames that are next, of one peer in each turn."""
        ahead = self._receive_context.ahead
        peer = next(iter(ahead))
        del ahead[peer]
        peer_receiver = self._peer_receivers.get(peer)
        if peer_receiver is not None and peer_receiver.go_on():
            ahead[peer] = None  # after those of other peers

    def _go_on_pursuing(self) -> None:
        """Ask again for what is missing, or give it up; messages are read in between."""
        until = self._monotonic() + BUDGET_SECONDS
        for peer, steps in list(self._pursuits.items()):
            del self._pursuits[peer]
            for _ in steps:
                if self._monotonic() > until:
                    self._pursuits[peer] = steps  # after those of other peers
                    return

    def _serve(self, source: DataSource) -> bool:
        """Read a source, and have it rest for as long as that took if not all were messages.

        A ready with thousands of names takes far longer than the budget.
        """
        context = self._receive_context
        began, refused, self._wasted = self._monotonic(), context.refused, False
        more = self._read(source)
        hostile = context.refused > refused and not source.hub
        if self._wasted or hostile:
            now = self._monotonic()
            took, much = now - began, hostile
            if not hostile and not source.hub:
                much = not self._proofs.take(source.peer, took, now)
            source.rest_until = now + min(took * (REFUSED_REST if much else 1), REST_MOST)
        return more

    def _read(self, source: DataSource) -> bool:
        """Take frames from a source, within its budget; return whether there may be more."""
        receive, take, rest = source.receive, source.take, source.rest
        until = began = 0.0
        budget = SLICE_SECONDS if source.greedy else BUDGET_SECONDS
        for _ in range(BUDGET):
            try:
                frame = receive(DO_NOT_WAIT)
            except zmq.Again:
                source.greedy = False
                return False
            try:
                proven = take(frame, rest)
                if proven is not None:
                    source.proven(proven)
                    self._wasted = True
            except DecodeError as error:
                rest(frame)  # so that none of its parts is taken for a frame
                self._receive_context.reject(source.peer.hex(), str(error))
                self._wasted = True
            if not until:
                # Looked at once, after the first frame: if that was the only one, this costs half
                # of an `Again`, and if it was not, mostly more than a few follow.
                if not int(source.socket.getsockopt(EVENTS)) & READABLE:
                    source.greedy = False
                    return False
                until, began = self._monotonic() + budget, self._spent()
            elif (late := self._monotonic() - until) > 0 and (
                late > PATIENCE or self._spent() - began > budget / 2
            ):
                break  # otherwise other threads had the processor meanwhile
        source.greedy = True
        return True
