"""The running parts of a node: sockets, threads and the session, from start to close.

Three threads: *control* runs the loop here and alone touches the session and the
control sockets; *data* reads and delivers (inbound); *sender* takes along what callers
left in the queue (outbound). They meet in queues and wakers, never in each other's
sockets. Public calls look at the session under `changed`, which the control thread
holds while it works and notifies when it has.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from encodings import idna as idna  # or `getaddrinfo` would, on a thread of ours
from typing import TYPE_CHECKING, Any

from ...history import WINDOW, Body, Ring
from ...local.exchange import Exchange
from ...local.late_join import RemoteCatchUp
from ...local.registry import Registry
from ...local.tasks import eventloops
from ...local.tasks.feeds import orphans, tidy
from ...protocol.hub.client import HubSelector
from ...protocol.interest.changes import Changes
from ...protocol.session.events import Event, Lost
from ...protocol.session.session import Session
from ...protocol.unanswered import Given
from ...protocol.wire.data import read_token
from ...protocol.wire.envelopes import node_at
from ...protocol.wire.messages import Ack, Address, Control, Label, Recall, Replay
from ..config import NodeConfig, Scope
from ..inbound.context import ReceiveContext, ReceiverEvents
from ..inbound.merging import sources_of
from ..inbound.receiver import Receiver
from ..inbound.rejections import Misfit, RejectionCounter
from ..outbound.bridges import Bridges
from ..outbound.publisher import Publisher
from ..outbound.siblings import siblings_of
from ..peering.binding import Listeners
from ..peering.discovery import Discovery
from ..peering.hub_links import HubTransport
from ..peering.links import Controls
from ..peering.mdns import MdnsDiscovery, require
from ..peering.unanswered import Missing
from ..security.guard import CurveGuard
from ..transport.descriptors import shares
from ..transport.dns import Resolver
from ..transport.endpoints import HUB_PREFIX, parse_tcp
from ..transport.threads import Ready
from .environment import NodeEnvironment
from .executor import EffectExecutor
from .hub_client import HubClient
from .memory import Memory
from .replays import ReplayBacklog
from .stalls import SlowPeerMonitor
from .watchdog import Watchdog

if TYPE_CHECKING:
    from ..transport.sockets import Socket

TICK = 0.1
"""Seconds between two looks at the clock."""
SUBSCRIPTIONS_SECONDS = 0.02
"""Seconds in a turn in which is read on what is subscribed to."""
SETTLE_ROUNDS = 16
"""Times in a turn that control sockets are read again before other work has its turn."""


class Engine(ReceiverEvents):
    """A node's running parts. Made, started and closed once; a forked child makes its own."""

    def __init__(
        self,
        plan: NodeConfig,
        me: bytes,
        label: Label,
        registry: Registry,
        events: Exchange[Event],
        world: NodeEnvironment,
        guard: CurveGuard | None = None,
        scope: Scope | None = None,
        join_timeout: float = 0.0,
    ) -> None:
        self.plan = plan
        self.scope = scope or Scope(plan.exchanges)
        """Tells whether an exchange takes part."""
        self._guard = guard
        self.world = world
        self.me = me
        self.registry = registry
        self.changed = world.condition()
        self.closed = False
        self._finished = False
        self._inbox: deque[Callable[[], None]] = deque()
        self._acks: deque[tuple[bytes, dict[str, int]]] = deque()
        self.rejection_counter = RejectionCounter(self._count_rejection_counter)
        self._replays = ReplayBacklog()
        self._waker = world.waker()
        self._poller = world.poller()
        self._poller.watch(self._waker.fd)
        self._sockets = world.sockets()
        self._probes = world.probes(self._poller)
        self._hubs = HubSelector(me, plan.federation, label, plan.hubs, world.monotonic())
        self._vouching = guard.vouching(self._hubs) if guard else None
        lookups = Resolver(self.post)
        self._controls = self._make_controls(lookups, guard)
        xpub = self._sockets.xpub()
        if guard:
            self._judge_connections(guard, xpub)
        self._controls.spent = world.spent
        if isinstance(self._controls, HubTransport):
            self._controls.open()
        ring = Ring(plan.replay_bytes, plan.replay_messages, WINDOW)
        gate = guard.gate if guard else None
        there = world.descriptors()
        self._room = shares(None if there is None else there - plan.descriptors())
        self.outbound = Publisher(xpub, me, self._waker.wake, ring, self.may_wait, world, gate)
        self.siblings = siblings_of(registry, world.new_id)
        self.bridges = Bridges(registry, self.outbound, self.scope, self.siblings)
        try:
            router = self._controls.router
            self._places = world.places(plan, me.hex(), router, xpub, self.outbound.apart)
        except BaseException:
            self.bridges.close()
            self._abandon()
            raise
        self._poller.watch(self.outbound.fileno())
        self._xpub_fd = self.outbound.fileno()
        clock = world.monotonic
        receive_context = ReceiveContext(
            me, registry, self.scope, self, plan.recovery_timeout, clock
        )
        self.changes = Changes()
        self.inbound = Receiver(
            self._sockets,
            receive_context,
            self._end,
            world,
            self.changes,
            sources_of(registry),
            guard,
        )
        self.watch = Watchdog(self.inbound)
        self.session = self._make_session(label, ring)
        self.memory = Memory(self.bridges, self.outbound.numbering, self.session)
        self.discovery = Discovery(self.session, lookups, (*plan.peers, *plan.parents), clock)
        until = clock() + join_timeout
        self.missing = Missing(plan.federation, self.session, self._hubs, until)
        self.effects = EffectExecutor(
            self.session,
            self._controls,
            self._probes,
            self.outbound,
            lookups,
            self.inbound,
            self.bridges,
            events,
            world,
            self.changed,
        )
        self.stalls = SlowPeerMonitor(self.session, self.outbound, self.effects, plan.stall)
        self.hub_client = (
            HubClient(
                plan.federation,
                me,
                self.session,
                self.outbound,
                self.inbound,
                self.probe,
                world.monotonic,
                self._hubs,
                self._controls,
                lookups,
                guard,
            )
            if isinstance(self._controls, HubTransport)
            else None
        )
        self.thread = world.loop(
            "zexchange-control",
            self._poller,
            self._turn,
            self._let_go,
        )
        self._tick_at = 0.0

    def _judge_connections(self, guard: CurveGuard, xpub: "Socket") -> None:
        """Have every connection judged, before anything is bound."""
        controls = self._controls
        guard.open(
            self._sockets,
            self._poller,
            self._turned_away,
            controls.try_again,
            controls.hang_up,
            self._shut_out,
        )
        guard.watch("control", controls.router)
        guard.watch("data", xpub)

    def _make_session(self, label: Label, ring: Ring) -> Session:
        session = Session(
            self.me,
            self.plan.federation,
            label,
            self._places.addresses,
            self._reachable,
            now=self.world.monotonic(),
            started=self.world.time(),
            acknowledge=(max(1, ring.window // 4), max(1, ring.most_messages // 4)),
            room=self._room,
            numbering=self.outbound.numbering,
            policy=self._guard.policy if self._guard else None,
            registry=self.siblings.id,
            exchanges=self._carried(),
            changes=self.changes,
            given=Given(self.plan.peers),
        )
        if self._vouching:
            session.vouch(self._vouching)
        if self._guard and self._guard.gate:
            self._guard.gate.calls = session.calls
        return session

    def _carried(self) -> tuple[str, ...]:
        """Return what takes part, as peers are told: nothing where everything does."""
        return () if "**" in self.scope.exchanges else self.scope.exchanges

    def widened(self) -> None:
        """Take note that more exchanges take part. Any thread."""
        for exchange in self.registry.exchanges():
            if self.scope(exchange.name):
                self.bridges.look(exchange)
        self.inbound.do(self.inbound.look_again)
        self.post(lambda: self.session.carry(self._carried()))

    def _make_controls(self, lookups: Resolver, guard: CurveGuard | None) -> Controls:
        received = self._received, self._refused_frame, self._replayed
        common = self._sockets, self._poller, lookups, *received
        monotonic = self.world.monotonic
        if not self.plan.hubs:
            return Controls(*common, monotonic, guard)
        ours = self.me, self._hubs, monotonic, self._heard_of_hub
        return HubTransport(*common, *ours, guard, self._vouching)

    # ---------------------------------------------------------------- start and close

    def abandon(self) -> None:
        """Undo a start that failed, before any thread was started."""
        self._places.withdraw()
        self.bridges.close()
        self.inbound.close()
        self._abandon()

    def _abandon(self) -> None:
        self._sockets.destroy()
        self._let_go()

    def _let_go(self) -> None:
        self._poller.close()
        self._waker.close()

    def start(self, interest: Sequence[str]) -> None:
        """Start the threads, show ourselves, and dial every candidate."""
        now = self.world.monotonic()
        self.session.change_interest([(key, True) for key in interest], now)
        self._places.publish()
        self._places.rescan(self.session, now)
        self.discovery.start(now, self._lan())
        self.outbound.start()
        self.inbound.thread.start()
        self.thread.start()

    def _lan(self) -> MdnsDiscovery | None:
        """Return what looks around on the local network, if that was asked for."""
        listen = self.plan.listen
        if not (self.plan.lan and listen):
            return None
        require()
        control = parse_tcp(self.session.addresses[-1].control)
        return MdnsDiscovery(self.plan.federation, self.me.hex(), listen[0], control, self.post)

    def close(self, linger: float) -> None:
        """Say goodbye, stop the threads and close the sockets, within ``linger`` and a bit."""
        if not self.changed.look(self._begin_to_close):
            return
        self.bridges.close()
        self.post(lambda: self._leave(linger))
        for thread in (self.thread, self.inbound.thread):
            if not thread.current:
                thread.join(timeout=linger + 2.0)
        self.discovery.join(linger + 1.0)
        self._places.withdraw()  # where the control thread could not

    def _begin_to_close(self, held: bool) -> bool:
        if self.closed:
            return False
        self.closed = True
        if held:  # else all are told at the end of the control thread's turn
            self.changed.notify_all()
        return True

    def _leave(self, linger: float) -> None:
        """On the control thread: the last words."""
        self.missing.tell(math.inf)
        # In the same turn: who finds our sockets gone refuses us, and we would complain.
        self._places.withdraw()
        self.discovery.close()
        self.session.leave(self.heads())
        self.effects.carry_out()
        if self.hub_client:
            self.hub_client.leave()
        self.outbound.close(linger)
        self._controls.close(linger)
        self._probes.close()
        if self._guard:
            self._guard.close()
        self._finished = True
        self.changed.notify_all()
        self.inbound.stop()

    def _end(self) -> None:
        """On the data thread, which ends last: a user's task may be holding it for long."""
        self.thread.join()
        # Bounded: every socket was closed with a linger of its own.
        self._sockets.term()

    @property
    def finished(self) -> bool:
        """Whether the last words are said: what is posted from now on is not done."""
        return self._finished

    @property
    def hidden(self) -> bool:
        """Whether nobody on this host can connect to us for want of descriptors."""
        return self._places.hidden

    @property
    def places(self) -> Listeners:
        """Where we can be found."""
        return self._places

    @property
    def bound(self) -> tuple[str, ...]:
        """The TCP endpoints that are bound, whatever others are told."""
        return self._places.bound

    def endpoints(self) -> tuple[list[str], list[str]]:
        """Return the endpoints that we have bound, and those that we have dialled."""
        bound = [e for a in self.session.addresses for e in (a.control, a.data)]
        peers, hubs = list(self.session.members.peers.values()), self._hubs.hubs.values()
        data = [peer.data for peer in peers if not peer.carried]
        data += [e for hub in hubs for e in (hub.up, hub.down) if e]
        return bound, [*self._controls.endpoints, *data]

    def disown(self) -> None:
        """In a forked child: let go of what belongs to the parent, without touching sockets."""
        self.closed = True
        self._places.release()
        for held in (self._poller, self._waker, self.inbound):
            held.close()

    # ------------------------------------------------------- called by any other thread

    def post(self, command: Callable[[], None]) -> None:
        """Run a command on the control thread."""
        self._inbox.append(command)
        self._waker.wake()

    def want(self, key: str, wanted: bool) -> None:
        """Take note that local tasks began, or ceased, to want a name or pattern. Any thread."""
        self.changes.step(key, wanted)
        if wanted:
            self._waker.wake()
        else:
            self.inbound.do(self._drop)

    def _drop(self) -> None:
        """On the data thread, between two frames: make a change that drops keys."""
        self.changes.make(dropping=True)
        self.inbound.follow()
        self._waker.wake()

    def post_after_interest(self, command: Callable[[], None]) -> None:
        """Run a command on the control thread, after what was dropped before is told as well."""

        def drop() -> None:
            self._drop()
            self.post(command)

        if self.changes.settled:
            self.post(command)
        else:
            self.inbound.do(drop)

    def proven(self, peer: bytes, epoch: int) -> None:
        """See `ReceiverEvents`."""
        self.post(lambda: self.session.proven(peer, epoch))

    def forgot(self, peer: bytes, number: int) -> None:
        """See `ReceiverEvents`."""
        self.post(lambda: self.session.has_forgotten(peer, number))

    def consumed(self, peer: bytes, positions: dict[str, int]) -> None:
        """See `ReceiverEvents`: gathered here, told by the control thread in one message a peer."""
        quiet = not self._acks
        self._acks.append((peer, positions))
        if quiet:
            self._waker.wake()

    def recall(self, key: str, arrears: RemoteCatchUp, noted: Callable[[], None]) -> None:
        """Have a late joiner given the history of every peer, once its key is in force there.

        After the change of interest that came with it, if there is one.
        """

        def recall() -> None:
            self._drop()
            self.inbound.recall(key, arrears, noted)

        self.inbound.do(recall)

    def ask(self, peer: bytes, request: Replay | Recall) -> None:
        """See `ReceiverEvents`."""
        self.post(lambda: self._ask(peer, request))

    def _ask(self, node: bytes, message: Replay | Recall) -> None:
        peer = self.session.members.peers.get(node)
        if peer and peer.link:
            self._controls.say(peer.link, message)

    def lost(self, event: Lost) -> None:
        """See `ReceiverEvents`."""
        self.post(lambda: self.session.tell(event))

    def heads(self) -> dict[str, int]:
        """Return the head of every exchange, all that was sent before the call included."""
        self.siblings.settle()
        return self.outbound.heads()

    def may_wait(self) -> bool:
        """Tell whether the calling thread may wait for what the node's threads do."""
        if self.inbound.thread.current or self.thread.current:
            return False
        return not eventloops.held_up_here()

    def _replayed(self, link: str, frame: Body) -> None:
        peer = self.session.members.linked_to(link)
        if peer is not None and peer.link != link:
            return  # a hub's word, perhaps, for one that we reach without it
        # What does not fit is asked for again: a data thread that a task holds takes nothing.
        if peer is not None and self._replays.enter(len(frame)):
            self.inbound.with_peer_receiver(
                peer.id, lambda peer_receiver: peer_receiver.replayed(frame)
            )
            self.inbound.do(lambda: self._replays.leave(len(frame)))

    def rejected(self, source: str, reason: str) -> None:
        """See `ReceiverEvents`."""
        self.rejection_counter.add(source, reason, "")

    def _count_rejection_counter(self, take: Callable[[], list[Misfit]]) -> None:
        def count() -> None:
            for origin, reason, detail, n in take():
                self.session.reject(origin, reason, detail, n)

        self.post(count)

    # ------------------------------------------------------------------ the control thread

    def _turn(self, ready: Ready) -> float | None:
        finished = self._finished
        if finished:  # and what was to be done then has failed
            return None
        fds = [fd for fd, _ in ready]
        if self._waker.fd in fds:
            self._waker.clear()
        with self.changed:
            self._controls.begin(self.world.monotonic())
            for fd in fds:
                if fd == self._xpub_fd:
                    self.outbound.poll()
                elif not (self._controls.ready(fd) or self._probes.ready(fd)) and self._guard:
                    self._guard.ready(fd)
            self._tell_interest()
            while self._inbox:
                self._inbox.popleft()()
                if self._finished:
                    return None
            self._tokens()
            self._tell_names()
            self._tell_acks()
            self._tick(self.world.monotonic())
            self.effects.carry_out()
            # Not for ever: a peer that floods us must not stop the clock.
            for _ in range(SETTLE_ROUNDS):
                if not self._controls.settle():
                    break
                self.effects.carry_out()
            self.stalls.keep_promises()
            self.changed.notify_all()
        self._controls.end()
        self.outbound.window.room.turned_at = self.world.monotonic()
        return self._controls.patience(TICK)

    def _tell_interest(self) -> None:
        changes = self.changes
        if changes.pending:
            changes.make(dropping=False)
            self.session.tell_changes(self.world.monotonic())

    def _tokens(self) -> None:
        """Hand the session the tokens that were (un)subscribed at our data endpoint."""
        # libzmq keeps all that has come, read or not: only who reads on knows whom to cut.
        until = self.world.monotonic() + SUBSCRIPTIONS_SECONDS
        demand = self.outbound.demand
        while demand.unread and self.world.monotonic() < until:
            self.outbound.poll(wait=True)
        for _ in range(demand.topics.told()):
            self.session.reject("data", "a connection with more subscriptions than are kept")
        for _ in range(len(demand.subscriptions)):
            frame = demand.subscriptions.popleft()
            token = read_token(frame[1:])
            if token is None and self.hub_client:
                self.hub_client.asked(frame)
            elif token is not None and frame[0] in (0, 1):
                self.session.token(*token, subscribed=frame[0] == 1)

    def _tell_names(self) -> None:
        """Tell the session of exchanges that are new: some peers need every name told."""
        names = self.bridges.made()
        if names and self._guard and self._guard.policy:
            self.session.publishes(names)

    def _tell_acks(self) -> None:
        acks: dict[bytes, dict[str, int]] = {}
        for _ in range(len(self._acks)):
            node, positions = self._acks.popleft()
            acks.setdefault(node, {}).update(positions)
        for node, positions in acks.items():
            peer = self.session.members.peers.get(node)
            if peer and peer.link:
                self._controls.say(peer.link, Ack(self.me, positions, to=node))

    def _tick(self, now: float) -> None:
        if now < self._tick_at:
            return
        self._tick_at = now + TICK
        self.outbound.poll()
        self._probes.expire(now)
        self.siblings.tick(now)
        if self.hub_client:
            self.hub_client.tick(now)
        if self._guard:
            self._look_at_keys(self._guard, now)
        self.session.tick(now)
        self.watch.look(now)
        self.stalls.look(now)
        self.memory.look(now)
        if self.inbound.recovering:
            self.inbound.do(self.inbound.tick)
        if orphans:  # with no lock held, and also where nobody uses an exchange any more
            self.inbound.do(tidy)
        self._places.mind_descriptors(self.session)
        if self._places.rescan(self.session, now):
            self._controls.read_router()
        self.discovery.tick(now)
        self.missing.tell(now)

    def _look_at_keys(self, guard: CurveGuard, now: float) -> None:
        """Act on it when other keys are authorized, or for something else."""
        before = guard.policy
        policy = guard.tick(now)
        if policy is not None and before is not None:
            self.session.change_policy(policy, now)
            if self.hub_client:
                self.hub_client.keys_changed(before, policy)
            self.effects.carry_out()
            guard.cut_off(before, self.outbound.cut_off)

    def _turned_away(self, source: str, reason: str, detail: str) -> None:
        self.session.reject(source, reason, detail)
        for dialled in (self.session.turned_away, self._hubs.obstructed):
            dialled(source, detail or reason)

    def _shut_out(self, endpoint: str) -> None:
        now = self.world.monotonic()
        self.session.shut_out(endpoint, now)
        self._hubs.shut_out(endpoint, now)

    def _received(
        self,
        message: Control,
        route: Any,
        link: str | None,
        key: bytes = b"",
        hub: str = "",
    ) -> bool:
        # First what tasks here want by now: who joins after they were attached is told.
        self._tell_interest()
        self.session.receive(message, route, link, self.world.monotonic(), key, hub)
        return message.sender in self.session.members.peers

    def _refused_frame(self, source: str, reason: str) -> None:
        self.session.reject(source, reason)

    def _reachable(self, address: Address) -> bool:
        if node_at(address.control) is not None:
            return self.hub_client is not None
        return self._places.reachable(address)

    # ---------------------------------------------------------------------------- hubs

    def probe(self, endpoint: str, answer: Callable[[str, bool], None]) -> None:
        """Find out whether anything listens at an endpoint. Control thread only."""
        self._probes.probe(endpoint, self.world.monotonic(), answer)

    def marked(self, hub_source: str, mark: int) -> None:
        """See `ReceiverEvents`."""
        down, now = hub_source.removeprefix(HUB_PREFIX), self.world.monotonic
        self.post(lambda: self._hubs.marked(down, mark, now()))

    def _heard_of_hub(self) -> None:
        if self.hub_client:
            self.hub_client.news()
