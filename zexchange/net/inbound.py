"""The way in: one SUB per peer, read by the data thread, which also runs the tasks.

This thread owns the data sockets. It takes commands from the control thread through a
queue and reads a bounded number of frames from each peer in turn, so that no flood
starves the rest; what a frame means is the business of the peer's `Inlet`. It decides
nothing about membership.
"""

import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import zmq

from ..errors import DecodeError
from ..history import Bulk
from ..local.arrears import Arrears
from ..protocol.changing import Changes
from ..protocol.departed import Departed
from ..protocol.effects import Tune
from ..protocol.interest import Keys
from ..protocol.permissions import Patterns, restricted
from ..protocol.proving import MAX_NAMES
from ..protocol.sequence import Positions, count_together, everything
from ..protocol.wire import MAX_ATTACHED, ready_topic, topic, topics
from .desk import Desk
from .guard import Guard
from .inlet import Inlet
from .merging import identities
from .sockets import (
    DO_NOT_WAIT,
    EVENTS,
    RCVMORE,
    READABLE,
    connect,
    subscribe,
    unsubscribe,
)
from .threads import FOREVER, Ready
from .trunk import PREFIX, REFRESH_EVERY, TOKENS_MOST, Passenger, Trunk

if TYPE_CHECKING:
    from .world import Sockets, World

BUDGET = 64
"""Frames read from one peer before the next has its turn, and what others ask for."""
BUDGET_SECONDS = 0.02
"""Or as many seconds, tasks included."""
GOODBYE_SECONDS = 1.0
"""Seconds for what a peer sent before its goodbye; its sockets linger as long at most."""
DRAIN_ROUNDS = 1000
"""Budgets granted to what has arrived on a socket before it is closed."""
FORMER_MOST = 256
"""Peers that have left for good, or for too long, and of which is still known what came."""


class Tuner:
    """The data connection to one peer: a socket, and the tokens it is subscribed to."""

    def __init__(self, inlet: Inlet, socket: "zmq.Socket[bytes]", publish: Patterns = None) -> None:
        self.inlet = inlet
        self._publish = publish
        self.tokens: list[int] = []
        self.told: dict[str, None] = {}
        """Names that the peer has told, because it does not honour our prefixes."""
        self.narrow: dict[str, None] = {}
        """Those of them that are subscribed to."""
        self.socket = socket
        self.fd = int(socket.getsockopt(zmq.FD))

    def topics(self, key: str) -> list[bytes]:
        """Return what to subscribe to for a key.

        A peer that may not publish everything is told a part of the key alone, and may honour
        that where it refuses the prefixes of the whole.
        """
        parts = () if self._publish is None else restricted([key], self._publish)
        return [topic for part in {key: None, **dict.fromkeys(parts)} for topic in topics(part)]

    def rest(self, frame: bytes) -> Bulk:
        """Return a frame with those behind it that belong to it, which have all arrived."""
        buffers: list[memoryview] = []
        while self.socket.getsockopt(RCVMORE):
            part = self.socket.recv(DO_NOT_WAIT, copy=False)
            if len(buffers) <= MAX_ATTACHED:
                buffers.append(part.buffer)
        return Bulk(frame, tuple(buffers))


class Inbound:
    """The data thread."""

    def __init__(
        self,
        sockets: "Sockets",
        desk: Desk,
        ended: Callable[[], None],
        world: "World",
        changes: Changes,
        guard: Guard | None = None,
    ) -> None:
        self._sockets = sockets
        self._guard = guard
        self._monotonic = world.monotonic
        self._desk = desk
        self._ended = ended
        self._changes = changes
        self._keys = Keys()
        self._epoch = 0
        self._commands: deque[Callable[[], None]] = deque()
        self._hot: dict[Tuner | Trunk, None] = {}
        self._leaving: dict[bytes, tuple[float, dict[str, int]]] = {}
        self._tuners: dict[bytes, Tuner | Passenger] = {}
        self._by_fd: dict[int, Tuner | Trunk] = {}
        self._trunks: dict[str, Trunk] = {}
        self._waker = world.waker()
        self._poller = world.poller()
        self._poller.watch(self._waker.fd)
        self._running = True
        self._joiners: list[tuple[str, weakref.ref[Arrears]]] = []
        self._joiners_most = 8
        self._departed = Departed[str, Positions]()
        self._former: dict[str, Positions] = {}
        self._since: dict[str, int] = {}
        """The epoch in which each key was added."""
        self.thread = world.loop(
            "zexchange-data",
            self._poller,
            self._turn,
            self._last,
        )

    # ---------------------------------------------------------- called by other threads

    def do(self, command: Callable[[], None]) -> None:
        """Run a command on the data thread, after those given before. Any thread."""
        self._commands.append(command)
        self._waker.wake()

    def with_inlet(self, peer: bytes, act: Callable[[Inlet], None]) -> None:
        """Do something on the data thread with the inlet of a peer, if it has one. Any thread."""

        def command() -> None:
            tuner = self._tuners.get(peer)
            if tuner is not None:
                act(tuner.inlet)

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
        return self._desk.busy

    @property
    def recovering(self) -> bool:
        """Whether `tick` has anything to do. Any thread."""
        tuners = list(self._tuners.values())
        if self._leaving or self._departed.next_at <= self._monotonic():
            return True
        return any(tuner.inlet.pursuing for tuner in tuners)

    def parked(self) -> dict[tuple[str, str], int]:
        """Return how many messages are parked, by exchange and origin. Any thread."""
        inlets = [tuner.inlet for tuner in list(self._tuners.values())]
        parked = [(inlet.origin, inlet.recovery.parked()) for inlet in inlets]
        return {(name, origin): n for origin, by_name in parked for name, n in by_name.items()}

    def positions(self) -> dict[str, Positions]:
        """Return where we stand with each origin, some that have left included. Any thread."""
        inlets = [tuner.inlet for tuner in list(self._tuners.values())]
        here = {inlet.origin: inlet.positions for inlet in inlets}
        return {**self._former, **self._departed.there, **here}

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
        for tuner in self._tuners.values():
            tuner.inlet.expect(epoch, added, removed)
        for away in self._departed.there.values():
            away.expect(epoch, added, removed)
        for former in self._former.values() if removed else ():
            former.expect(epoch, (), removed)
        for way in self._by_fd.values():
            for key in removed:
                unsubscribe(way.socket, *way.topics(key))
            for key in added:
                subscribe(way.socket, *way.topics(key))
            self._narrow(way)
            # The token last: the peer sees it after the names.
            self._ask_proof(way)
            # Whatever a call on a socket has taken in may have eaten its wake-up.
            self._hot[way] = None

    def look_again(self) -> None:
        """Take note that more exchanges take part."""
        for tuner in self._tuners.values():
            tuner.inlet.look_again()

    def narrow(self, peer: bytes, names: tuple[str, ...], anew: bool = False) -> None:
        """Subscribe at one peer to names that it has told us, as far as they are wanted.

        If they are told ``anew``, to no others that it told; but others behind its hub may have.
        """
        tuner = self._tuners.get(peer)
        way = tuner.trunk if isinstance(tuner, Passenger) else tuner
        if anew and isinstance(way, Tuner):
            way.told = {}
        if way is not None and len(way.told) < MAX_NAMES:
            way.told.update(dict.fromkeys(names))
            if self._narrow(way):
                # Once more the same token: the answer shows what was sent on them before.
                self._ask_proof(way)
                self._hot[way] = None

    def _narrow(self, tuner: Tuner | Trunk) -> bool:
        """Subscribe to what is wanted of the names that were told; tell whether any is new."""
        wanted = dict.fromkeys(filter(self._keys.covers, tuner.told))
        new = [name for name in wanted if name not in tuner.narrow]
        gone = [name for name in tuner.narrow if name not in wanted]
        tuner.narrow = wanted
        unsubscribe(tuner.socket, *map(topic, gone))
        subscribe(tuner.socket, *map(topic, new))
        return bool(new)

    def tune(self, asked: Tune) -> None:
        """Receive from a peer, or replace the socket to it and keep the positions."""
        peer, endpoint = asked.peer, asked.endpoint
        if peer in self._leaving:  # it is back already
            self._end(self._tuners[peer])
        # First: an inlet takes along what is remembered of a peer that has left.
        socket = None if endpoint in self._trunks else self._new_socket(peer)
        if socket is None and endpoint not in self._trunks:
            return
        tuner = self._tuners.get(peer)
        inlet = tuner.inlet if tuner is not None else self._new_inlet(asked)
        if socket is None or endpoint.startswith(PREFIX):
            self._board(inlet, tuner, endpoint, asked.key, socket)
            return
        fresh = Tuner(inlet, socket, asked.rights.publish)
        if tuner is not None:
            self._close_socket(tuner)
        if isinstance(tuner, Tuner):
            fresh.told, fresh.narrow = tuner.told, tuner.narrow
        self._tuners[peer] = fresh
        self._connect(fresh, peer, endpoint, asked.key)

    def _new_socket(self, peer: bytes) -> "zmq.Socket[bytes] | None":
        """Return a socket to receive by; None if there is none, told as of a peer.

        No descriptor is left, perhaps: asked for again while nothing is proven.
        """
        try:
            return self._sockets.sub()
        except zmq.ZMQError as error:
            self._desk.control.rejected(peer, f"no socket to receive by: {error}")
            return None

    def _new_inlet(self, asked: Tune) -> Inlet:
        origin = asked.peer.hex()
        carries = Keys(asked.exchanges).covers if asked.exchanges else everything
        positions = self._departed.back(origin)
        inlet = Inlet(asked.peer, self._desk, asked.acknowledge, positions, carries)
        self._desk.restrict(inlet.positions, asked.peer, asked.rights, self._epoch)
        if not inlet.returned:
            former = self._former.pop(origin, None)
            if former is not None:
                inlet.positions.count_on(former)
            # Each in its own epoch: behind a hub, a proof of that may have come before us.
            for key, epoch in self._since.items():
                inlet.positions.expect(epoch, (key,), ())
        if asked.registry:
            keyed = self._guard is not None and self._guard.policy is not None
            hub = asked.key if asked.endpoint.startswith(PREFIX) else None
            known = identities(asked.registry, asked.peer, hub, asked.endpoint, keyed)
            self._desk.sources.join(known, inlet, self.do)
        for key, joiner in self._joiners:
            arrears = joiner()
            if arrears is not None:
                inlet.latecomers.recall(key, arrears)
        return inlet

    def _connect(self, way: Tuner | Trunk, peer: bytes, endpoint: str, key: bytes = b"") -> None:
        """Have a fresh socket receive from an endpoint what we want, and ask for the proof."""
        for wanted in self._keys:
            subscribe(way.socket, *way.topics(wanted))
        subscribe(way.socket, *map(topic, way.narrow))
        self._ask_proof(way)
        self._by_fd[way.fd] = way
        self._poller.watch(way.fd)
        try:
            if self._unlock(way, endpoint, key):
                connect(way.socket, endpoint)
        except zmq.ZMQError as error:
            reason = f"cannot connect to {endpoint[:200]!r}: {error}"
            self._desk.control.rejected(peer, reason)
        # Connecting may have set off the FD before it was watched.
        self._hot[way] = None

    def _unlock(self, way: Tuner | Trunk, endpoint: str, key: bytes) -> bool:
        """Have a fresh socket expect a key; tell whether it may be connected at all."""
        if self._guard is None:
            return True
        unlock = self._guard.unlock_hub if isinstance(way, Trunk) else self._guard.unlock
        return unlock(way.socket, endpoint, key)

    def renew(self, down: str, key: bytes) -> None:
        """Replace the connection by which a hub's data comes, and ask for proof again."""
        trunk = self._trunks.get(PREFIX + down)
        socket = self._new_socket(b"") if trunk is not None else None
        if trunk is not None and socket is not None:
            self._hot.pop(trunk, None)
            del self._by_fd[trunk.fd]
            self._poller.forget(trunk.fd)
            trunk.socket.close()
            trunk.reopen(socket)
            self._connect(trunk, b"", down, key)

    def _board(
        self,
        inlet: Inlet,
        before: Tuner | Passenger | None,
        endpoint: str,
        key: bytes,
        socket: "zmq.Socket[bytes] | None",
    ) -> None:
        """Receive from a peer by the connection to a hub: a new one, if there is a ``socket``."""
        peer = inlet.peer
        if socket is None:
            trunk = self._trunks[endpoint]
        else:
            trunk = self._trunks[endpoint] = Trunk(endpoint, socket, self._desk)
        if isinstance(before, Passenger) and before.trunk is trunk:
            self._prove_again(before.trunk)
            return
        if before is not None:
            self._close_socket(before)
        self._tuners[peer] = Passenger(inlet, trunk)
        proven = trunk.board(inlet)
        if socket is not None:
            self._connect(trunk, peer, endpoint.removeprefix(PREFIX), key)
        elif proven is not None:
            self._proven(trunk, proven)
        elif before is not None:
            self._prove_again(trunk)  # else it proves itself when it hears of us

    def _prove_again(self, trunk: Trunk) -> None:
        """Ask everybody behind a hub once more, but not once for each."""
        now = self._monotonic()
        if now >= trunk.refresh_at:
            trunk.refresh_at = now + REFRESH_EVERY
            token = ready_topic(self._desk.me, self._epoch)
            unsubscribe(trunk.socket, token)
            subscribe(trunk.socket, token)
            self._hot[trunk] = None

    def recall(self, key: str, arrears: Arrears, noted: Callable[[], None]) -> None:
        """Have a late joiner given what each peer keeps, those to come included."""
        if len(self._joiners) >= self._joiners_most:
            self._joiners = [joiner for joiner in self._joiners if joiner[1]() is not None]
            self._joiners_most = 2 * len(self._joiners) + 8
        self._joiners.append((key, weakref.ref(arrears)))
        for tuner in self._tuners.values():
            tuner.inlet.latecomers.recall(key, arrears)
        noted()

    def _ask_proof(self, tuner: Tuner | Trunk) -> None:
        """Subscribe to the token of this epoch; those before go when its answer is there.

        Not sooner: a token that is dropped while its answer is on the way filters the
        answer out, and with it the promise for what follows.
        """
        subscribe(tuner.socket, ready_topic(self._desk.me, self._epoch))
        tuner.tokens.append(self._epoch)
        if isinstance(tuner, Trunk) and len(tuner.tokens) > TOKENS_MOST:
            # One peer behind a hub that proves nothing must not have them pile up.
            self._proven(tuner, tuner.tokens[-TOKENS_MOST])

    def _proven(self, tuner: Tuner | Trunk, proven: int) -> None:
        """Drop the tokens of the epochs before the one that was proven."""
        for epoch in [epoch for epoch in tuner.tokens if epoch < proven]:
            tuner.tokens.remove(epoch)
            unsubscribe(tuner.socket, ready_topic(self._desk.me, epoch))

    def hush(self, peer: bytes, heads: dict[str, int], final: bool = True) -> None:
        """Deliver what has arrived from a peer, then receive no more.

        A goodbye overtakes what is still on its way on the data connection: then that has
        a moment to come. What is missing at the end up to ``heads``, or up to what we know
        otherwise, is lost. Unless it is ``final``, where it ended is remembered for its return.
        """
        tuner = self._tuners.get(peer)
        if tuner is None:
            return
        now = self._monotonic()
        self._drain(tuner)
        tuner.inlet.ended = final
        for name, head in heads.items():
            tuner.inlet.recovery.expose(name, head, now)
        self._leaving[peer] = (self._desk.elapsed.seconds + GOODBYE_SECONDS, heads)
        self._end_if_complete(tuner)

    def _end_if_complete(self, tuner: Tuner | Passenger) -> None:
        """End a peer that has left once all is there that it has sent us, or after a while."""
        until, heads = self._leaving[tuner.inlet.peer]
        where, wanted = tuner.inlet.positions.positions, self._keys.covers
        late = self._desk.elapsed.seconds >= until
        if late or all(where.get(n, -1) >= h or not wanted(n) for n, h in heads.items()):
            self._end(tuner)

    def _end(self, tuner: Tuner | Passenger) -> None:
        """Close a peer's socket, and account for what is missing of it."""
        inlet = tuner.inlet
        self._leaving.pop(inlet.peer, None)
        if inlet.peer in self._tuners:
            self._close_socket(tuner)
            inlet.end()
            del self._tuners[inlet.peer]
            if inlet.ended:
                self._remember(inlet.origin, inlet.positions)
            else:
                self._departed.leave(inlet.origin, inlet.positions, self._monotonic())

    def _remember(self, origin: str, positions: Positions) -> None:
        """Remember what came of a peer that will not go on where it was."""
        positions.lapse()
        self._former[origin] = positions
        if len(self._former) > FORMER_MOST:
            del self._former[next(iter(self._former))]
        count_together(self._former.values())

    def _close_socket(self, tuner: Tuner | Passenger) -> None:
        self._drain(tuner)
        way = tuner.trunk if isinstance(tuner, Passenger) else tuner
        if isinstance(way, Trunk):
            way.leave(tuner.inlet.peer)
            if way.inlets:
                return
            del self._trunks[way.endpoint]
        self._hot.pop(way, None)
        del self._by_fd[way.fd]
        self._poller.forget(way.fd)
        way.socket.close()

    def _drain(self, tuner: Tuner | Passenger) -> None:
        way = tuner.trunk if isinstance(tuner, Passenger) else tuner
        for _ in range(DRAIN_ROUNDS):
            if not self._read(way):
                break

    def tick(self) -> None:
        """Ask again, or give up, where something is missing."""
        now = self._monotonic()
        self._desk.elapsed.look(now)
        for tuner in list(self._tuners.values()):
            if tuner.inlet.pursuing:
                tuner.inlet.pursue(now)
            if tuner.inlet.peer in self._leaving:
                self._end_if_complete(tuner)
        for origin, positions in self._departed.expire(now):
            self._remember(origin, positions)

    def _stop(self) -> None:
        self._running = False
        for peer in list(self._tuners):
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
            tuner = self._by_fd.get(fd)
            if tuner is not None:
                hot[tuner] = None
            elif fd == self._waker.fd:
                self._waker.clear()
        while commands:
            commands.popleft()()
        for tuner in list(hot):
            if tuner in hot and not self._read(tuner):
                hot.pop(tuner, None)
        if not self._running:
            return None
        return 0.0 if hot or commands else FOREVER

    def _read(self, tuner: Tuner | Trunk) -> bool:
        """Take frames from a peer, within its budget; tell whether there may be more."""
        receive, take = tuner.socket.recv, tuner.inlet.take
        until = 0.0
        for _ in range(BUDGET):
            try:
                frame = receive(DO_NOT_WAIT)
            except zmq.Again:
                return False
            try:
                proven = take(frame, tuner.rest)
                if proven is not None:
                    self._proven(tuner, proven)
            except DecodeError as error:
                tuner.rest(frame)  # that nothing of it is taken for a frame
                self._desk.control.rejected(tuner.inlet.peer, str(error))
            if not until:
                # Asked for once: half of what `Again` costs where that was all, and where it
                # was not, more than a few mostly come.
                if not int(tuner.socket.getsockopt(EVENTS)) & READABLE:
                    return False
                until = self._monotonic() + BUDGET_SECONDS
            elif self._monotonic() > until:
                break
        return True
