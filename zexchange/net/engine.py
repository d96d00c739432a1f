"""The running parts of a node: sockets, threads and the session, from start to close.

Three threads: *control* runs the loop here and alone touches the session and the
control sockets; *data* reads and delivers (inbound); *sender* takes along what callers
left in the queue (outbound). They meet in queues and wakers, never in each other's
sockets. Public calls look at the session under `changed`, which the control thread
holds while it works and notifies when it has.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import zmq

from ..errors import Unreachable
from ..local.exchange import Exchange
from ..local.registry import Registry
from ..names import matches
from ..protocol.effects import (
    Announce,
    Dial,
    Effect,
    HangUp,
    Hush,
    Probe,
    Redial,
    Reply,
    Resubscribe,
    Say,
    Tell,
    Tune,
    Wanted,
)
from ..protocol.events import Event
from ..protocol.interest import Keys
from ..protocol.membership import Peer
from ..protocol.session import Session
from ..protocol.values import Ack, Address, Control, Label
from ..protocol.wire import read_token, topic
from .bridge import Bridges
from .control import Controls
from .endpoints import Tcp, parse_tcp, reachable
from .inbound import Inbound, Reports
from .outbound import Outbound
from .rendezvous import Rendezvous
from .sockets import Poller, Waker, new_context, new_xpub
from .watch import DataWatch

TICK = 0.1
"""Seconds between two looks at the clock."""
RESCAN = 2.0
"""Seconds between two looks into the rendezvous directory."""
_log = logging.getLogger("zexchange")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a node was asked to be."""

    federation: str
    label: str = ""
    listen: tuple[Tcp, Tcp] | None = None
    advertise: tuple[Tcp, Tcp] | None = None
    peers: tuple[str, ...] = ()
    local: bool = True
    exchanges: tuple[str, ...] = ("**",)

    def for_child(self, parent: str | None) -> "Plan":
        """Return the plan of a forked child: its parent has the ports, so it takes free ones.

        It dials its parent, which is the one node that it knows of.
        """
        if self.listen is None:
            return self
        a = self.advertise
        return replace(
            self,
            listen=(Tcp(self.listen[0].host, 0), Tcp(self.listen[1].host, 0)),
            advertise=(Tcp(a[0].host, 0), Tcp(a[1].host, 0)) if a else None,
            peers=(*self.peers, parent) if parent and parent not in self.peers else self.peers,
        )

    def check_same(self, asked: "Plan") -> None:
        """Refuse to share a node that was asked for with other explicit arguments.

        Raises:
            ValueError: naming them.
        """
        default = Plan(self.federation)
        other = [
            f.name
            for f in fields(self)
            if getattr(asked, f.name) not in (getattr(default, f.name), getattr(self, f.name))
        ]
        if other:
            raise ValueError(
                f"this process is in federation {self.federation!r} already, with other "
                f"{', '.join(other)}: close that node first, or ask for the same"
            )

    def federated(self, name: str) -> bool:
        """Tell whether an exchange takes part."""
        return any(matches(pattern, name) for pattern in self.exchanges)


class Engine(Reports):
    """A node's running parts. Made, started and closed once; a forked child makes its own."""

    def __init__(
        self, plan: Plan, me: bytes, label: Label, registry: Registry, events: Exchange[Event]
    ) -> None:
        self.plan = plan
        self.me = me
        self.registry = registry
        self.changed = threading.Condition()
        self.closed = False
        self._events = events
        self._finished = False
        self._inbox: deque[Callable[[], None]] = deque()
        self._steps: deque[tuple[str, bool]] = deque()
        self._acks: dict[bytes, dict[str, int]] = {}
        self._acks_lock = threading.Lock()
        self._waker = Waker()
        self._poller = Poller()
        self._poller.watch(self._waker.fd)
        self._context = new_context()
        self._rendezvous: Rendezvous | None = None
        self._controls = Controls(self._context, self._poller, self._received, self._refused_frame)
        xpub = new_xpub(self._context)
        self.outbound = Outbound(xpub, me, self._waker.wake)
        self.bridges = Bridges(registry, self.outbound, plan.federated)
        try:
            addresses = self._bind(xpub)
        except BaseException:
            self.abandon()
            raise
        self._poller.watch(self.outbound.fileno())
        self._xpub_fd = self.outbound.fileno()
        self.inbound = Inbound(self._context, me, registry, plan.federated, self, self._end)
        self.watch = DataWatch(self.inbound)
        self.session = Session(
            me, plan.federation, label, addresses, self._reachable, time.monotonic()
        )
        self.thread = threading.Thread(target=self._run, name="zexchange-control", daemon=True)
        self._tick_at = self._rescan_at = 0.0

    # ---------------------------------------------------------------- start and close

    def _bind(self, xpub: "zmq.Socket[bytes]") -> tuple[Address, ...]:
        """Bind control and data endpoints and return what to tell others of them."""
        addresses = []
        if self.plan.local:
            self._rendezvous = Rendezvous(self.plan.federation, self.me.hex())
            _bind(self._controls.router, self._rendezvous.control)
            _bind(xpub, self._rendezvous.data)
            addresses.append(Address(self._rendezvous.control, self._rendezvous.data))
        if self.plan.listen:
            control = _bind(self._controls.router, str(self.plan.listen[0]))
            data = _bind(xpub, str(self.plan.listen[1]))
            if self.plan.advertise:
                control = _advertised(self.plan.advertise[0], control)
                data = _advertised(self.plan.advertise[1], data)
            addresses.append(Address(control, data))
        return tuple(addresses)

    def abandon(self) -> None:
        """Undo a start that failed, before any thread was started."""
        if self._rendezvous:
            self._rendezvous.withdraw()
        self._context.destroy(linger=0)
        self._poller.close()
        self._waker.close()

    def start(self, interest: Sequence[str]) -> None:
        """Start the threads, show ourselves, and dial every candidate."""
        now = time.monotonic()
        self.session.change_interest([(key, True) for key in interest], now)
        if self._rendezvous:
            self._rendezvous.publish()
            self._rescan(self._rendezvous, now)
        for endpoint in self.plan.peers:
            self.session.add_candidate(endpoint, "static", now)
        self.outbound.start()
        self.inbound.thread.start()
        self.thread.start()

    def close(self, linger: float) -> None:
        """Say goodbye, stop the threads and close the sockets, within ``linger`` and a bit."""
        with self.changed:
            if self.closed:
                return
            self.closed = True
        if self._rendezvous:
            self._rendezvous.withdraw()
        self.bridges.close()
        self.post(lambda: self._leave(linger))
        for thread in (self.thread, self.inbound.thread):
            if thread is not threading.current_thread():
                thread.join(timeout=linger + 2.0)

    def _leave(self, linger: float) -> None:
        """On the control thread: the last words."""
        self.session.leave(self.outbound.heads())
        self._carry_out()
        self.outbound.close(linger)
        self._controls.close(linger)
        self._finished = True
        self.inbound.stop()

    def _end(self) -> None:
        """On the data thread, which ends last: a user's task may be holding it for long."""
        self.thread.join()
        # Bounded: every socket was closed with a linger of its own.
        self._context.term()

    def endpoints(self) -> tuple[list[str], list[str]]:
        """Return the endpoints that we have bound, and those that we have dialled."""
        bound = [e for a in self.session.addresses for e in (a.control, a.data)]
        data = [peer.data for peer in list(self.session.members.peers.values())]
        return bound, [*self._controls.endpoints, *data]

    def disown(self) -> None:
        """In a forked child: let go of what belongs to the parent, without touching sockets."""
        self.closed = True
        if self._rendezvous:
            self._rendezvous.release()
        for held in (self._poller, self._waker, self.inbound):
            held.close()

    # ------------------------------------------------------- called by any other thread

    def post(self, command: Callable[[], None]) -> None:
        """Run a command on the control thread."""
        self._inbox.append(command)
        self._waker.wake()

    def want(self, key: str, wanted: bool) -> None:
        """Take note that local tasks began, or ceased, to want a name or pattern."""
        quiet = not self._steps
        self._steps.append((key, wanted))
        if quiet:
            self._waker.wake()

    def call(self, command: Callable[[], None], timeout: float) -> bool:
        """Run a command on the control thread and wait for it; tell whether it was run.

        Interest that was changed before is taken in first.
        """
        done = threading.Event()

        def run() -> None:
            command()
            done.set()

        self.post(run)
        return done.wait(timeout)

    def proven(self, peer: bytes, epoch: int) -> None:
        """See `Reports`."""
        self.post(lambda: self.session.proven(peer, epoch))

    def consumed(self, peer: bytes, name: str, position: int) -> None:
        """See `Reports`: gathered here, told by the control thread in one message a peer."""
        with self._acks_lock:
            quiet = not self._acks
            self._acks.setdefault(peer, {})[name] = position
        if quiet:
            self._waker.wake()

    def rejected(self, peer: bytes, reason: str) -> None:
        """See `Reports`."""
        self.post(lambda: self.session.reject(peer.hex(), reason))

    # ------------------------------------------------------------------ the control thread

    def _run(self) -> None:
        while not self._finished:
            try:
                self._turn()
            except Exception:
                _log.exception("the control thread failed and goes on")
                time.sleep(0.05)
        self._poller.close()
        self._waker.close()

    def _turn(self) -> None:
        fds = self._poller.wait(TICK)
        if self._waker.fd in fds:
            self._waker.clear()
        with self.changed:
            for fd in fds:
                if fd == self._xpub_fd:
                    self.outbound.poll()
                else:
                    self._controls.ready(fd)
            self._take_steps()
            while self._inbox:
                self._inbox.popleft()()
                if self._finished:
                    return
            self._tokens()
            self._tell_acks()
            self._tick(time.monotonic())
            self._carry_out()
            self.changed.notify_all()

    def _take_steps(self) -> None:
        steps = []
        while self._steps:
            steps.append(self._steps.popleft())
        if steps:
            self.session.change_interest(steps, time.monotonic())

    def _tokens(self) -> None:
        """Hand the session the tokens among what was (un)subscribed at our data endpoint."""
        while self.outbound.subscriptions:
            frame = self.outbound.subscriptions.popleft()
            token = read_token(frame[1:])
            if token is not None and frame[0] in (0, 1):
                self.session.token(*token, subscribed=frame[0] == 1)

    def _tell_acks(self) -> None:
        with self._acks_lock:
            acks, self._acks = self._acks, {}
        for node, positions in acks.items():
            peer = self.session.members.peers.get(node)
            if peer and peer.link:
                self._controls.say(peer.link, Ack(self.me, positions))

    def _tick(self, now: float) -> None:
        if now < self._tick_at:
            return
        self._tick_at = now + TICK
        # Reading a socket's state can eat the wake-up of its descriptor: look anyway.
        self.outbound.poll()
        self._controls.read_all()
        self._controls.expire_probes(now)
        self.session.tick(now)
        self.watch.look(now)
        if self._rendezvous and now >= self._rescan_at:
            self._rescan_at = now + RESCAN
            self._rescan(self._rendezvous, now)

    def _rescan(self, rendezvous: Rendezvous, now: float) -> None:
        """Look who is there, and who is not any more."""
        try:
            rendezvous.mend()
            living = set(rendezvous.others())
        except (OSError, Unreachable) as error:
            self.session.reject("rendezvous", str(error))
            return
        for endpoint in living:
            self.session.add_candidate(endpoint, "rendezvous", now)
        for candidate in list(self.session.members.candidates.values()):
            if candidate.source == "rendezvous" and candidate.endpoint not in living:
                self.session.drop_candidate(candidate.endpoint)

    def _received(self, message: Control, route: Any, link: str | None) -> None:
        self.session.receive(message, route, link, time.monotonic())

    def _refused_frame(self, source: str, reason: str) -> None:
        self.session.reject(source, reason)

    def _reachable(self, address: Address) -> bool:
        return reachable(address, self.plan.local)

    # ---------------------------------------------------------------------- effects

    def _carry_out(self) -> None:
        while effects := self.session.take():
            for effect in effects:
                self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        """Carry out one effect. The order of the cases is that of their frequency."""
        match effect:
            case Say(endpoint, message):
                self._controls.say(endpoint, message)
            case Reply(route, message):
                self._controls.reply(route, message)
            case Probe(endpoint):
                self._controls.probe(endpoint, time.monotonic(), self._probed)
            case Announce(peer, epoch, keys):
                self._announce(peer, epoch, keys)
            case Resubscribe(epoch, added, removed):
                self.inbound.do(lambda: self.inbound.resubscribe(epoch, added, removed))
            case Tune(peer, endpoint):
                self.inbound.do(lambda: self.inbound.tune(peer, endpoint))
            case Hush(peer):
                self.inbound.do(lambda: self.inbound.hush(peer))
            case Wanted(keys):
                self.bridges.refresh(keys, self._count_wanting)
            case Tell(event):
                self._tell(event)
            case Dial(endpoint):
                self._controls.dial(endpoint)
            case HangUp(endpoint):
                self._controls.hang_up(endpoint)
            case Redial(endpoint):
                self._controls.redial(endpoint)

    def _probed(self, endpoint: str, listening: bool) -> None:
        self.session.probed(endpoint, listening, time.monotonic())

    def _count_wanting(self, key: str) -> int:
        return sum(key in p.interest.keys for p in self.session.members.peers.values())

    def _announce(self, node: bytes, epoch: int, keys: tuple[str, ...] | None) -> None:
        peer = self.session.members.peers.get(node)
        if peer is not None:
            self.outbound.announce(node, epoch, peer.interest.keys if keys is None else Keys(keys))
            self.session.announced(node, epoch)

    def _tell(self, event: Event) -> None:
        """Log an event and hand it to the tasks of `Node.events`, on the data thread."""
        _log.info("%s", event)
        self.inbound.do(lambda: self._events.deliver([event], "", 0, time.time()))

    def beacon_unacknowledged(self, goal: dict[str, int]) -> None:
        """Ask every peer that lags behind ``goal`` how far it is. Control thread only."""
        peers = self.session.members.peers.values()
        names = {name for peer in peers for name in self.lag(peer, goal)}
        self.outbound.beacon((name, topic(name)) for name in names)

    @staticmethod
    def lag(peer: Peer, goal: dict[str, int]) -> list[str]:
        """Return the names of which a peer is promised all and has not acknowledged ``goal``."""
        acked, in_force = peer.acked, peer.interest.in_force
        return [n for n, head in goal.items() if acked.get(n, 0) < head and in_force(n)]


def _advertised(advertise: Tcp, bound: str) -> str:
    """Return what others are told: a port that was left open is the one we got."""
    return str(Tcp(advertise.host, advertise.port or parse_tcp(bound).port))


def _bind(socket: "zmq.Socket[bytes]", endpoint: str) -> str:
    """Bind an endpoint and return it as bound.

    Raises:
        Unreachable: if it is taken or cannot be bound.
    """
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        hint = "another process listens there" if error.errno == zmq.EADDRINUSE else "check it"
        raise Unreachable(f"cannot listen on {endpoint}: {error} ({hint})") from error
    return bytes(socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()
