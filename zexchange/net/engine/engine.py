"""The running parts of a node: sockets, threads and the session, from start to close.

A node has three threads. The *control* thread runs the loop in this file, and it alone touches the
session and the control sockets. The *data* thread reads data sockets and delivers messages
(`net.inbound`). The *sender* thread sends what callers of `send` have left in the queue
(`net.outbound`). They exchange work through queues and wake each other up. The data socket (XPUB)
is used by callers of `send`, the sender and the control thread, under its own lock; every other
socket belongs to one thread.

A turn of the control thread (`_turn`) has a fixed order. It reads the sockets that are ready, tells
the session of new interest, runs the commands that other threads have posted, and passes on tokens,
names and acknowledgements. Ten times a second it also lets time pass (`_tick`). Then it carries out
the effects that the session asks for. Reading and effects are repeated a few times while control
messages keep coming in, since most of them lead to an answer.

The control thread holds the condition `changed` during a turn and notifies it at the end. A public
call that reads the session, such as a wait, does so under that lock, and so sees the state between
two turns.

The file is long because the order matters: each part of a node relies on the parts that are made
before it, have their turn before it and are closed after it.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from encodings import idna as idna  # else `getaddrinfo` would import it, on one of our threads

from ...history import WINDOW, Ring
from ...local.late_join import CatchUp
from ...local.registry import Exchange, Registry
from ...local.sharing.member import Member
from ...local.tasks import eventloops
from ...local.tasks.feeds import orphans, tidy
from ...protocol.hub.client import HubSelector
from ...protocol.interest.changes import Changes
from ...protocol.session.events import Event, Lost
from ...protocol.session.session import Session
from ...protocol.unanswered import Given
from ...protocol.wire.data import read_token
from ...protocol.wire.messages import Ack, Control, GroupMember, Label, Recall, Replay
from ..config import NodeConfig, Scope
from ..inbound.context import ReceiveContext, ReceiverEvents
from ..inbound.merging import sources_of
from ..inbound.receiver import Receiver
from ..inbound.rejections import RejectionCounter
from ..outbound.bridges import Bridges
from ..outbound.publisher import Publisher
from ..outbound.siblings import siblings_of
from ..peering.discovery import Discovery
from ..peering.hub_links import HubTransport
from ..peering.links import Controls
from ..peering.mdns import MdnsDiscovery
from ..peering.unanswered import Missing
from ..security.guard import CurveGuard
from ..transport.descriptors import shares
from ..transport.dns import Resolver
from ..transport.endpoints import HUB_PREFIX, parse_tcp
from ..transport.threads import Ready
from .answers import Answers
from .counting import NodeCounts
from .environment import NodeEnvironment
from .executor import EffectExecutor
from .groups import NodeGroups
from .hub_client import HubClient
from .memory import Memory
from .requests import NodeRequests
from .slow_peers import SlowPeerMonitor
from .traffic import TrafficLooks
from .watchdog import Watchdog

TICK = 0.1
"""Seconds between two ticks: how often time-dependent parts have their turn."""
SUBSCRIPTIONS_SECONDS = 0.02
"""Most seconds of a turn that are spent on reading subscriptions."""
SETTLE_ROUNDS = 16
"""Most times that a turn reads the control sockets again before it ends."""


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
        guard: CurveGuard,
        scope: Scope | None = None,
        join_timeout: float = 0.0,
    ) -> None:
        self.plan, self.world, self.me, self.registry = plan, world, me, registry
        self.scope = scope or Scope(plan.exchanges)
        """Called with the name of an exchange; returns whether it takes part in the federation."""
        self._guard = guard
        self.changed = world.condition()
        self.closed = self.finished = False
        """`finished`: the goodbye has been said, and commands posted from then on are not run."""
        self._inbox: deque[Callable[[], None]] = deque()
        self._responder_steps: deque[tuple[str, bool]] = deque()
        self._member_steps: deque[tuple[GroupMember, bool]] = deque()
        self._acks: deque[tuple[bytes, dict[str, int]]] = deque()
        self._asked: deque[tuple[bytes, Replay | Recall]] = deque()
        self._tick_at = 0.0
        self._lookups = Resolver(self.post)
        self._open_sockets()
        self._make_outbound()
        self._bind()
        self._make_session(label)
        self._make_inbound()
        self._make_controls(events)
        self._make_clockwork(join_timeout)
        wait = self._poller.wait
        self.thread = world.loop("zexchange-control", wait, self._turn, self._let_go)

    def _open_sockets(self) -> None:
        """Make the sockets and the poller; the guard judges connections from the first one on."""
        world = self.world
        self._waker, self._poller = world.waker(), world.poller()
        self._poller.watch(self._waker.fd, self._waker.clear)
        self._sockets = world.sockets()
        self._probes = world.probes(self._poller)
        self._router, self._xpub = self._sockets.router(), self._sockets.xpub()
        self._guard.open(self._sockets, self._poller, self._router, self._xpub)
        there = world.descriptors()
        self._room = shares(None if there is None else there - self.plan.descriptors())

    def _make_outbound(self) -> None:
        """Make the path from `send` to the data socket."""
        plan, gate = self.plan, self._guard.gate
        self._ring = Ring(plan.replay_bytes, plan.replay_messages, WINDOW)
        self.outbound = Publisher(
            self._xpub, self.me, self._waker.wake, self._ring, self.may_wait, self.world, gate
        )
        self.siblings = siblings_of(self.registry, self.world.new_id)
        self.bridges = Bridges(self.registry, self.outbound, self.scope, self.siblings)

    def _bind(self) -> None:
        """Bind the control socket and the data socket, so that peers can find us."""
        world, left, apart = self.world, self.world.descriptors_at_most, self.outbound.apart
        sockets = self._router, self._xpub
        try:
            self.places = world.places(self.plan, self.me.hex(), *sockets, self._guard, left, apart)
        except BaseException:
            self.bridges.close()
            self._abandon()
            raise
        self._poller.watch(self.outbound.fileno(), self.outbound.poll)

    def _make_session(self, label: Label) -> None:
        """Make the session, the state machine on which all parts made later depend."""
        plan, guard, now = self.plan, self._guard, self.world.monotonic()
        self.hubs = HubSelector(self.me, plan.federation, label, plan.hubs, now)
        self.changes = Changes()
        self.session = Session(
            self.me,
            plan.federation,
            label,
            self.places.addresses,
            self.places.reachable,
            now,
            started=self.world.time(),
            acknowledge=(max(1, self._ring.window // 4), max(1, self._ring.most_messages // 4)),
            room=self._room,
            numbering=self.outbound.numbering,
            policy=guard.policy,
            registry=self.siblings.id,
            exchanges=self._carried(),
            changes=self.changes,
            given=Given(plan.peers),
            vouching=guard.vouching(self.hubs),
        )
        if guard.gate:
            guard.gate.calls = self.session.calls

    def _make_inbound(self) -> None:
        """Make the path from data sockets to the tasks."""
        world, registry, timeout = self.world, self.registry, self.plan.recovery_timeout
        self.requests = NodeRequests(self.session, self.outbound, registry, self._probes)
        self.rejection_counter = RejectionCounter(self.post, self.session.reject)
        self.groups = NodeGroups(
            *(self.session, self.outbound, registry, self.scope, self.rejected, world.monotonic),
            lambda command: self.inbound.do(command),
        )
        context = ReceiveContext(
            *(self.me, registry, self.scope, self, timeout, world.monotonic),
            *(self.requests, self.groups),
        )
        sources = sources_of(registry)
        self.inbound = Receiver(
            self._sockets, context, self._end, world, self.changes, sources, self._guard
        )
        self.requests.data_thread = self.inbound.thread
        self.watch = Watchdog(self.inbound, world)

    def _make_controls(self, events: Exchange[Event]) -> None:
        """Make the control sockets, and the parts that handle what arrives there."""
        guard, session, world = self._guard, self.session, self.world
        self.counts = NodeCounts(
            *(session, self.outbound, self.bridges, self.inbound),
            *(self.registry, self.scope, self.watch, world),
        )
        self.traffic = TrafficLooks(session, self.counts, self._say, world.monotonic)
        window, latest = self.outbound.window, self.outbound.latest
        self._answers = Answers(session, self.inbound, window, latest, self.traffic)
        wires = self._sockets, self._poller, self._lookups, self._router, session, self._answers
        clock = world.monotonic
        hubs: HubTransport | None = None
        if self.plan.hubs:
            hubs = HubTransport(*wires, clock, guard, self.hubs, session.vouching)
        self._controls = hubs or Controls(*wires, clock, guard)
        self._controls.spent = world.spent
        guard.listener = self._controls
        self.effects = EffectExecutor(
            session,
            self._controls,
            self._probes,
            self.outbound,
            self._lookups,
            self.inbound,
            self.bridges,
            events,
            world,
            self.changed,
            self.watch,
            self.requests,
            self.counts,
        )
        self.hub_client = hubs and HubClient(
            self.plan.federation,
            session,
            self.outbound,
            self.inbound,
            self._probes,
            world.monotonic,
            self.hubs,
            hubs,
            self._lookups,
            guard,
        )

    def _make_clockwork(self, join_timeout: float) -> None:
        """Make the parts that have their turn at each tick."""
        plan, session, monotonic = self.plan, self.session, self.world.monotonic
        self.memory = Memory(self.bridges, self.outbound.numbering, session)
        peers = *plan.peers, *plan.parents
        self.discovery = Discovery(session, self._lookups, peers, monotonic)
        self.missing = Missing(plan.federation, session, self.hubs, monotonic() + join_timeout)
        self.slow_peer_monitor = SlowPeerMonitor(session, self.outbound, self._answers, plan.stall)

    def _carried(self) -> tuple[str, ...]:
        """Return the exchanges that take part, as peers are told: empty if all of them do."""
        return () if "**" in self.scope.exchanges else self.scope.exchanges

    def widened(self) -> None:
        """Take note that more exchanges take part. Any thread."""
        for exchange in self.registry.exchanges():
            if self.scope(exchange.name):
                self.bridges.look(exchange)
        self.inbound.do(self.inbound.look_again)
        self.post(self._carry)

    def _carry(self) -> None:
        self.session.exchanges = self._carried()

    # ---------------------------------------------------------------- start and close

    def abandon(self) -> None:
        """Undo a start that failed, before any thread was started."""
        self.places.withdraw()
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
        """Start the threads, publish our endpoints, and dial every candidate."""
        now = self.world.monotonic()
        self.session.readiness.change_interest([(key, True) for key in interest], now)
        self.places.publish()
        self.places.rescan(self.session, now)
        self.discovery.start(now, self._lan())
        self.outbound.start()
        self.inbound.thread.start()
        self.thread.start()

    def _lan(self) -> MdnsDiscovery | None:
        """Return the discovery on the local network, or None if it was not asked for."""
        listen = self.plan.listen
        if not (self.plan.lan and listen):
            return None
        control = parse_tcp(self.session.addresses[-1].control)
        return MdnsDiscovery(self.plan.federation, self.me.hex(), listen[0], control, self.post)

    def close(self, linger: float) -> None:
        """Say goodbye, stop the threads and close the sockets.

        Any thread; a second call returns at once. Each of the two threads is waited for ``linger``
        + 2 seconds at most, and discovery ``linger`` + 1 seconds.
        """
        if not self.changed.look(self._begin_to_close):
            return
        self.bridges.close()
        self.post(lambda: self._leave(linger))
        for thread in (self.thread, self.inbound.thread):
            if not thread.current:
                thread.join(timeout=linger + 2.0)
        self.groups.end()  # without the lock: messages may be released, and run their finalisers
        self.discovery.join(linger + 1.0)
        self.places.withdraw()  # in case the control thread did not get there

    def _begin_to_close(self, held: bool) -> bool:
        if self.closed:
            return False
        self.closed = True
        if held:  # otherwise the control thread notifies at the end of its turn
            self.changed.notify_all()
        return True

    def _leave(self, linger: float) -> None:
        """Say goodbye and close all parts but the data thread. Control thread."""
        self.missing.tell(math.inf)
        self.counts.end()
        # In the same turn as the goodbye: a peer that found our sockets gone before it heard the
        # goodbye would refuse us, and we would log that.
        self.places.withdraw()
        self.discovery.close()
        self.session.peering.leave(self.heads())
        self.effects.carry_out()
        if self.hub_client:
            self.hub_client.leave()
        self.outbound.close(linger)
        self._controls.close(linger)
        self._probes.close()
        self._guard.close()
        self.finished = True
        self.requests.end()
        self.changed.notify_all()
        self.inbound.stop()

    def _end(self) -> None:
        """Terminate the ZeroMQ context. Data thread, which ends last: a task may block it."""
        self.thread.join()
        # This ends in bounded time: every socket was closed with a linger of its own.
        self._sockets.term()

    def endpoints(self) -> tuple[list[str], list[str]]:
        """Return the endpoints that we have bound, and those that we have dialled."""
        bound = [e for a in self.session.addresses for e in (a.control, a.data)]
        peers, hubs = list(self.session.members.peers.values()), self.hubs.hubs.values()
        data = [peer.data for peer in peers if not peer.carried]
        data += [e for hub in hubs for e in (hub.up, hub.down) if e]
        return bound, [*self._controls.endpoints, *data]

    def disown(self) -> None:
        """In a forked child: release what belongs to the parent, without touching sockets."""
        self.closed = True
        self.places.release()
        for held in (self._poller, self._waker, self.inbound):
            held.close()

    # ------------------------------------------------------- called by any other thread

    def post(self, command: Callable[[], None]) -> None:
        """Have the control thread run a command. Any thread."""
        self._inbox.append(command)
        self._waker.wake()

    def want(self, key: str, wanted: bool) -> None:
        """Take note that local tasks began or ceased to want a name or pattern. Any thread."""
        self.changes.step(key, wanted)
        if wanted:
            self._waker.wake()
        else:
            self.inbound.do(self._drop)

    def answers(self, name: str, answers: bool) -> None:
        """Take note that an exchange has got responders here, or has lost them. Any thread."""
        self._responder_steps.append((name, answers))
        self._waker.wake()

    def members(self, member: Member, added: bool) -> None:
        """Take note that this process has a member of a group more, or one fewer. Any thread."""
        self._member_steps.append((self.groups.change(member, added), added))
        self._waker.wake()

    def _gone(self, peer: bytes) -> None:
        """Take note that nothing listens at a responder that is waited for. Control thread."""
        self.inbound.do(lambda: self.requests.left(peer, "nothing listens there any longer"))

    def _drop(self) -> None:
        """Make a change of interest that drops keys. Data thread, between two frames."""
        self.changes.make(dropping=True)
        self.inbound.follow()
        self._waker.wake()

    def post_after_interest(self, command: Callable[[], None]) -> None:
        """Have the control thread run a command once the interest dropped so far has been taken in.

        Any thread.
        """

        def drop() -> None:
            self._drop()
            self.post(command)

        if self.changes.settled:
            self.post(command)
        else:
            self.inbound.do(drop)

    def proven(self, peer: bytes, epoch: int) -> None:
        """See `ReceiverEvents`."""
        self.post(lambda: self.session.readiness.proven(peer, epoch))

    def forgot(self, peer: bytes, number: int) -> None:
        """See `ReceiverEvents`."""
        self.post(lambda: self.session.forgetting.has_forgotten(peer, number))

    def consumed(self, peer: bytes, positions: dict[str, int]) -> None:
        """See `ReceiverEvents`. The control thread sends all of them in one message a peer."""
        quiet = not self._acks
        self._acks.append((peer, positions))
        if quiet:
            self._waker.wake()

    def recall(self, key: str, catch_up: CatchUp, noted: Callable[[], None]) -> None:
        """Have a late joiner given the history of every peer, once its key is in force there.

        The change of interest that came with it, if there is one, is made first.
        """

        def recall() -> None:
            self._drop()
            self.inbound.recall(key, catch_up, noted)

        self.inbound.do(recall)

    def ask(self, peer: bytes, request: Replay | Recall) -> None:
        """See `ReceiverEvents`. One wake-up is enough for many requests."""
        quiet = not self._asked
        self._asked.append((peer, request))
        if quiet:
            self._waker.wake()

    def _say(self, node: bytes, message: Control) -> None:
        peer = self.session.members.peers.get(node)
        if peer and peer.link:
            self._controls.say(peer.link, message)

    def lost(self, event: Lost) -> None:
        """See `ReceiverEvents`."""
        self.post(lambda: self.session.tell(event))

    def heads(self) -> dict[str, int]:
        """Return the head of every exchange. All messages sent before the call are counted."""
        self.siblings.settle()
        return self.outbound.heads()

    def may_wait(self) -> bool:
        """Return whether the calling thread may wait for something that the node's threads do."""
        if self.inbound.thread.current or self.thread.current:
            return False
        return not eventloops.held_up_here()

    def rejected(self, source: str, reason: str) -> None:
        """See `ReceiverEvents`."""
        self.rejection_counter.add(source, reason)

    # ------------------------------------------------------------------ the control thread

    def _turn(self, ready: Ready) -> float | None:
        finished = self.finished
        if finished:  # the commands of an earlier turn, which finished the engine, have failed
            return None
        with self.changed:
            self._poller.handle(ready)
            # What subscriptions and handshakes took just now is not taken from what is read here.
            self._controls.begin(self.world.monotonic())
            self._controls.settle()
            self.session.readiness.tell_added(self.world.monotonic())
            while self._inbox:
                self._inbox.popleft()()
                if self.finished:
                    return None
            self._tokens()
            self._tell_names()
            self._tell_responders()
            self._tell_members()
            self._tell_acks()
            for _ in range(len(self._asked)):
                self._say(*self._asked.popleft())
            self._tick(self.world.monotonic())
            self.effects.carry_out()
            # Bounded: a peer that floods us must not stop the clock.
            for _ in range(SETTLE_ROUNDS):
                if not self._controls.settle():
                    break
                self.effects.carry_out()
            self.slow_peer_monitor.keep_promises()
            restless = self.session.restless
            self.requests.look()
            self.changed.notify_all()
        self._controls.end()
        if restless:  # without the lock: others get what a member that has left did not do
            self.groups.look()
        self.groups.tick(self.world.monotonic())
        self.outbound.window.room.turned_at = self.world.monotonic()
        return self._controls.patience(TICK)

    def _tokens(self) -> None:
        """Hand the session the tokens that were (un)subscribed at our data endpoint."""
        # libzmq keeps all subscriptions that have come, read or not. Only by reading them do we
        # learn which connection sends too many and has to be cut.
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
                self.session.readiness.token(*token, subscribed=frame[0] == 1)

    def _tell_names(self) -> None:
        """Tell the session the names of new exchanges: some peers have to be told every name."""
        names = self.bridges.made()
        if names and self._guard.policy:
            self.session.readiness.publishes(names)

    def _tell_responders(self) -> None:
        """Tell the session on which exchanges responders came or went."""
        if steps := self._responder_steps:
            self.session.answering.change([steps.popleft() for _ in range(len(steps))])

    def _tell_members(self) -> None:
        """Tell the session which members of groups came or went."""
        if steps := self._member_steps:
            self.session.answering.change_members([steps.popleft() for _ in range(len(steps))])

    def _tell_acks(self) -> None:
        acks: dict[bytes, dict[str, int]] = {}
        for _ in range(len(self._acks)):
            node, positions = self._acks.popleft()
            acks.setdefault(node, {}).update(positions)
        for node, positions in acks.items():
            self._say(node, Ack(self.me, positions, to=node))

    def _tick(self, now: float) -> None:
        if now < self._tick_at:
            return
        self._tick_at = now + TICK
        self.outbound.poll()
        self._probes.expire(now)
        self.siblings.tick(now)
        self.requests.tick(now, self._gone)
        if self.hub_client:
            self.hub_client.tick(now)
        self._look_at_keys(self._guard, now)
        self.session.tick(now)
        self.watch.look(now)
        self.slow_peer_monitor.look(now)
        self.memory.look(now)
        self.counts.tick(now)
        self.traffic.tick(now)
        if self.inbound.recovering:
            self.inbound.do(self.inbound.tick)
        if orphans:  # here no lock is held; and it is done even if no exchange is in use any longer
            self.inbound.do(tidy)
        self.places.mind_descriptors(self.session)
        if self.places.rescan(self.session, now):
            self._controls.read_router()
        self.discovery.tick(now)
        self.missing.tell(now)

    def _look_at_keys(self, guard: CurveGuard, now: float) -> None:
        """Take in a policy whose authorized keys or permissions have changed."""
        before = guard.policy
        policy = guard.tick(now)
        if policy is not None and before is not None:
            self.session.change_policy(policy, now)
            if self.hub_client:
                self.hub_client.keys_changed(before, policy)
            self.effects.carry_out()
            changed = before.changed(policy)
            self.outbound.apart(lambda: guard.cut(changed))

    def marked(self, hub_source: str, mark: int) -> None:
        """See `ReceiverEvents`."""
        down, now = hub_source.removeprefix(HUB_PREFIX), self.world.monotonic
        self.post(lambda: self.hubs.marked(down, mark, now()))
