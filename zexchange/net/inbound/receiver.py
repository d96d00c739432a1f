"""The way in: the data thread reads a socket for each peer or hub, and runs the tasks.

This thread owns the data sockets. It takes commands from the control thread through a
queue and reads a bounded number of frames from each peer in turn, so that no flood
starves the rest. It decides nothing about membership. What a frame means is the business of the
`PeerReceiver`, what a socket is subscribed to that of its `DataSource`.

What is left is long, but of one piece: that a peer comes, moves to another connection, leaves
and returns changes the same few tables, which the loop reads, and which no other thread may touch.
"""

import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import zmq

from ...errors import DecodeError
from ...local.late_join import RemoteCatchUp
from ...protocol.delivery.departed import Departed
from ...protocol.delivery.former import Former
from ...protocol.delivery.sequence import ReceiveState, everything
from ...protocol.interest.changes import Changes
from ...protocol.interest.interest import NameSet
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
"""Frames read from one peer before the next has its turn, and what others ask for."""
BUDGET_SECONDS = 0.005
"""Or as many seconds, tasks included: as long a message of another may have to wait."""
GOODBYE_SECONDS = 1.0
"""Seconds for what a peer sent before its goodbye; its sockets linger as long at most."""
PATIENCE = 0.015
"""Seconds more, where this thread had the processor for less than half of them."""
NAMES_AT_ONCE = 200
"""Names that a peer has told, of as many as `MAX_NAMES`, subscribed to in a turn."""
REST_MOST = 0.1
"""Seconds for which a peer is not read, at most, after what it sent was no messages: as many as
that took."""
REFUSED_REST = 9
"""Times as many, where some of it was refused: malformed, unreadable, or not permitted. No peer
that keeps to the protocol and to its permissions sends any, so all of them get a tenth of the time.
Not so by the connection to a hub, where others would pay for it."""
DRAIN_ROUNDS = 1000
"""Budgets granted to what has arrived on a socket of a peer that has left."""
DRAIN_SECONDS = 0.1
"""Seconds that are granted to what is no messages there, and to all that has arrived on a socket
before another one takes its place: what is left is asked for again."""
FORGOTTEN = "a return that would be told of: more peers were away for too long than are remembered"


class Receiver:
    """The data thread."""

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
        """Whether what was read last was no messages, or not all of it."""
        self._commands: deque[Callable[[], None]] = deque()
        self._hot: dict[DataSource, None] = {}
        self._leaving: dict[bytes, tuple[float, dict[str, int]]] = {}
        self._peer_receivers: dict[bytes, PeerReceiver] = {}
        self._sources: dict[bytes, DataSource] = {}
        """By peer, what it is received by."""
        self._pursuits: dict[bytes, Iterator[None]] = {}
        """By peer, the rest of a look at all that is missing of it."""
        self._told: dict[bytes, deque[str]] = {}
        """By peer, names that it has told and that have not been looked at."""
        self._widened = set[bytes]()
        self._by_fd: dict[int, DataSource] = {}
        self._hub_sources: dict[str, HubSource] = {}
        self._waker = world.waker()
        self._poller = world.poller()
        self._poller.watch(self._waker.fd)
        self._running = True
        self._joiners: list[tuple[str, weakref.ref[RemoteCatchUp]]] = []
        self._joiners_most = 8
        self._gathering: list[tuple[float, weakref.ref[RemoteCatchUp]]] = []
        """Until when joiners wait for what all peers keep."""
        self._meeting = True
        """Whether the peers that come now are those that were there when this node joined."""
        self._departed = Departed[str, ReceiveState]()
        self._former = Former()
        self._since: dict[str, int] = {}
        """The epoch in which each key was added."""
        self.thread = world.loop(
            "zexchange-data",
            self._poller.wait,
            self._turn,
            self._last,
        )

    # ---------------------------------------------------------- called by other threads

    def do(self, command: Callable[[], None]) -> None:
        """Run a command on the data thread, after those given before. Any thread."""
        self._commands.append(command)
        self._waker.wake()

    def with_peer_receiver(self, peer: bytes, act: Callable[[PeerReceiver], None]) -> None:
        """Act on the data thread with the receiver of a peer, if it has one. Any thread."""

        def command() -> None:
            peer_receiver = self._peer_receivers.get(peer)
            if peer_receiver is not None:
                act(peer_receiver)

        self.do(command)

    def stop(self) -> None:
        """Read what has arrived, close the sockets and end the thread. Any thread."""
        self.do(self._stop)

    def close(self) -> None:
        """Let go of the descriptors that are not sockets."""
        self._poller.close()
        self._waker.close()

    @property
    def busy(self) -> tuple[float, str] | None:
        """Since when, and with which exchange, tasks have held the thread. Any thread."""
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
        """Return where we stand with each origin, some that have left included. Any thread."""
        peer_receivers = list(self._peer_receivers.values())
        here = {peer_receiver.origin: peer_receiver.positions for peer_receiver in peer_receivers}
        return {**self._former.there, **self._departed.there, **here}

    # ------------------------------------------------------- commands, on the data thread

    def follow(self) -> None:
        """Follow the changes of our interest that were made since."""
        for change in self._changes.to_follow():
            self._resubscribe(*change)

    def _resubscribe(self, epoch: int, added: tuple[str, ...], removed: tuple[str, ...]) -> None:
        """Change what is asked of every peer, and ask it to prove the new epoch."""
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
            # Whatever a call on a socket has taken in may have eaten its wake-up.
            self._hot[source] = None

    def look_again(self) -> None:
        """Take note that more exchanges take part."""
        for peer_receiver in self._peer_receivers.values():
            peer_receiver.look_again()

    def narrow(self, peer: bytes, names: tuple[str, ...], anew: bool = False) -> None:
        """Subscribe at one peer to names that it has told us, as far as they are wanted.

        If they are told ``anew``, to no others that it told; but others behind its hub may have.
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
        """Subscribe to some more of the names that were told: messages go on meanwhile."""
        for peer, names in list(self._told.items()):
            source = self._sources[peer]
            some = [names.popleft() for _ in range(min(NAMES_AT_ONCE, len(names)))]
            if source.widen(self._keys, some):
                self._widened.add(peer)
            if not names:
                del self._told[peer]
                if peer in self._widened:
                    # Once more the same token: the answer shows what was sent on them before.
                    self._widened.discard(peer)
                    source.ask_proof(self._epoch)
            self._hot[source] = None

    def tune(self, asked: OpenReceiver) -> None:
        """Receive from a peer, or by another connection than before, and keep the positions."""
        peer = asked.peer
        if peer in self._leaving:  # it is back already
            self._end(peer)
        before, known = self._sources.get(peer), self._hub_sources.get(asked.endpoint)
        if known is not None and known is before:
            self._prove_again(known)
            return
        if before is not None and asked.unproven and before.spare():
            self._hot[before] = None  # the look at it may have eaten its wake-up
            return
        # First: a peer receiver takes along what is remembered of a peer that has left.
        source = known or self._new_source(asked)
        if source is None:
            return
        if peer not in self._peer_receivers:
            self._peer_receivers[peer] = self._new_peer_receiver(asked)
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
            self._prove_again(known)  # else it proves itself when it hears of us

    def _new_source(self, asked: OpenReceiver) -> DataSource | None:
        """Return a fresh connection to receive a peer by; None if there is no socket."""
        endpoint, socket = asked.endpoint, self._new_socket(asked.peer)
        if socket is None:
            return None
        if not endpoint.startswith(HUB_PREFIX):
            return DataSource(endpoint, socket, self._receive_context, asked.rights.publish)
        source = self._hub_sources[endpoint] = HubSource(endpoint, socket, self._receive_context)
        return source

    def _new_socket(self, peer: bytes) -> "zmq.Socket[bytes] | None":
        """Return a socket to receive by; None if there is none, told as of a peer.

        No descriptor is left, perhaps: asked for again while nothing is proven.
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
            # Each in its own epoch: behind a hub, a proof of that may have come before us.
            for key, epoch in self._since.items():
                peer_receiver.positions.expect(epoch, (key,), ())
        if asked.registry:
            keyed = self._guard is not None and self._guard.policy is not None
            hub = asked.key if asked.endpoint.startswith(HUB_PREFIX) else None
            known = identities(asked.registry, asked.peer, hub, asked.endpoint, keyed)
            self._processes.join(known, peer_receiver, self.do)
        for key, joiner in self._joiners:
            arrears = joiner()
            if arrears is not None:
                peer_receiver.history_fetcher.recall(key, arrears, expected=self._meeting)
        return peer_receiver

    def _connect(self, source: DataSource, peer: bytes, key: bytes) -> None:
        """Have a fresh socket receive from its endpoint what we want, and ask for the proof."""
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
        """Have a fresh socket expect a key; tell whether it may be connected at all."""
        if self._guard is None:
            return True
        unlock = self._guard.unlock_hub if source.hub else self._guard.unlock
        return unlock(source.socket, endpoint, key)

    def renew(self, down: str, key: bytes) -> None:
        """Replace the connection by which a hub's data comes, and ask for proof again."""
        source = self._hub_sources.get(HUB_PREFIX + down)
        socket = self._new_socket(b"") if source is not None else None
        if source is not None and socket is not None:
            self._close_socket(source)
            source.open(socket)
            self._connect(source, b"", key)

    def _prove_again(self, source: HubSource) -> None:
        source.prove_again(self._epoch, self._monotonic())
        self._hot[source] = None

    def recall(self, key: str, arrears: RemoteCatchUp, noted: Callable[[], None]) -> None:
        """Have a late joiner given what each peer keeps, those to come included."""
        if len(self._joiners) >= self._joiners_most:
            self._joiners = [joiner for joiner in self._joiners if joiner[1]() is not None]
            self._joiners_most = 2 * len(self._joiners) + 8
        there = weakref.ref(arrears)
        self._joiners.append((key, there))
        for peer_receiver in self._peer_receivers.values():
            peer_receiver.history_fetcher.recall(key, arrears)
        noted()
        if arrears.gathering:
            self._gathering.append(
                (self._receive_context.elapsed.seconds + self._receive_context.timeout, there)
            )

    def met(self, noted: Callable[[], None]) -> None:
        """Take note that this node has joined: a peer that comes now was not there before."""
        self._meeting = False
        noted()

    def _give_up_gathering(self) -> None:
        """Have joiners wait no longer for peers that do not tell what they keep."""
        elapsed, waiting = self._receive_context.elapsed.seconds, self._gathering
        self._gathering = []
        for until, there in waiting:
            arrears = there()
            if arrears is None or not arrears.gathering:
                continue
            if elapsed >= until:
                arrears.expire()
            else:
                self._gathering.append((until, there))

    def hush(self, peer: bytes, heads: dict[str, int], final: bool = True) -> None:
        """Deliver what has arrived from a peer, then receive no more.

        A goodbye overtakes what is still on its way on the data connection: then that has
        a moment to come. What is missing at the end up to ``heads``, or up to what we know
        otherwise, is lost. Unless it is ``final``, where it ended is remembered for its return.
        """
        peer_receiver = self._peer_receivers.get(peer)
        if peer_receiver is None:
            return
        now = self._monotonic()
        self._drain(self._sources[peer])
        peer_receiver.ended = final
        for name, head in heads.items():
            peer_receiver.recovery.expose(name, head, now)
        self._leaving[peer] = (self._receive_context.elapsed.seconds + GOODBYE_SECONDS, heads)
        self._end_if_complete(peer)

    def _end_if_complete(self, peer: bytes) -> None:
        """End a peer that has left once all is there that it has sent us, or after a while."""
        until, heads = self._leaving[peer]
        where, wanted = self._peer_receivers[peer].positions.positions, self._keys.covers
        late = self._receive_context.elapsed.seconds >= until
        if late or all(where.get(n, -1) >= h or not wanted(n) for n, h in heads.items()):
            self._end(peer)

    def _end(self, peer: bytes) -> None:
        """Close a peer's socket, and account for what is missing of it."""
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
        """Remember what came of a peer that will not go on where it was."""
        for _ in range(self._former.remember(origin, positions, ended)):
            self._receive_context.control.rejected(self._receive_context.me.hex(), FORGOTTEN)

    def _replace(self, peer: bytes, source: DataSource) -> None:
        """Receive a peer no longer by a connection in whose place another one comes."""
        began = self._spent()
        while self._read(source) and self._spent() - began < DRAIN_SECONDS:
            pass
        self._leave(peer)

    def _leave(self, peer: bytes) -> None:
        """Receive a peer no longer by its connection, which goes with the last."""
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
        """Deliver what has arrived from a peer that has left; not all, where it is no messages."""
        wasted = 0.0
        for _ in range(DRAIN_ROUNDS):
            began = self._monotonic()
            if not self._serve(source) or wasted > DRAIN_SECONDS:
                break
            if source.rest_until > began:
                wasted += self._monotonic() - began

    def tick(self) -> None:
        """Ask again, or give up, where something is missing."""
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
            # A message that has come alone, to be handed on without delay. A command that is
            # given meanwhile wakes us again.
            alone = self._by_fd.get(ready[0][0])
            if alone is not None:
                if self._read(alone):
                    hot[alone] = None
                return 0.0 if hot else FOREVER
        for fd, _ in ready:
            source = self._by_fd.get(fd)
            if source is not None:
                hot[source] = None
            elif fd == self._waker.fd:
                self._waker.clear()
        while commands:
            commands.popleft()()
        if self._told:
            self._go_on_narrowing()
        if self._pursuits:
            self._go_on_pursuing()
        now, resting = self._monotonic(), list[float]()
        for source in list(hot):
            if source.rest_until > now:
                resting.append(source.rest_until - now)
            elif source in hot and not self._serve(source):
                hot.pop(source, None)
        if not self._running:
            return None
        if self._told or self._pursuits or commands or len(hot) > len(resting):
            return 0.0
        return min(resting, default=FOREVER)

    def _go_on_pursuing(self) -> None:
        """Ask again, or give up, where something is missing: messages go on meanwhile."""
        until = self._monotonic() + BUDGET_SECONDS
        for peer, steps in list(self._pursuits.items()):
            del self._pursuits[peer]
            for _ in steps:
                if self._monotonic() > until:
                    self._pursuits[peer] = steps  # behind those of others
                    return

    def _serve(self, source: DataSource) -> bool:
        """Read a peer, and have it rest as long again where what it sent was no messages.

        With a ready of thousands of names that takes far longer than its budget.
        """
        context = self._receive_context
        began, refused, self._wasted = self._monotonic(), context.refused, False
        more = self._read(source)
        hostile = context.refused > refused and not source.hub
        if self._wasted or hostile:
            now = self._monotonic()
            took = (now - began) * (REFUSED_REST if hostile else 1)
            source.rest_until = now + min(took, REST_MOST)
        return more

    def _read(self, source: DataSource) -> bool:
        """Take frames from a peer, within its budget; tell whether there may be more."""
        receive, take, rest = source.socket.recv, source.take, source.rest
        until = began = 0.0
        for _ in range(BUDGET):
            try:
                frame = receive(DO_NOT_WAIT)
            except zmq.Again:
                return False
            try:
                proven = take(frame, rest)
                if proven is not None:
                    source.proven(proven)
                    self._wasted = True
            except DecodeError as error:
                rest(frame)  # that nothing of it is taken for a frame
                self._receive_context.reject(source.peer.hex(), str(error))
                self._wasted = True
            if not until:
                # Asked for once: half of what `Again` costs where that was all, and where it
                # was not, more than a few mostly come.
                if not int(source.socket.getsockopt(EVENTS)) & READABLE:
                    return False
                until, began = self._monotonic() + BUDGET_SECONDS, self._spent()
            elif (late := self._monotonic() - until) > 0 and (
                late > PATIENCE or self._spent() - began > BUDGET_SECONDS / 2
            ):
                break  # else it was others that ran meanwhile
        return True
