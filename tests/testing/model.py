"""What the contract says of a simulated federation, followed message by message.

A `Member` is a node and what is attached to it; a `Listener` is one task, which sees
messages and losses in their order. Per origin and exchange, each of them must see numbers
without a break, and everything that was sent since it was promised.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from zexchange import Delivery, Lost, Node, NotReady, PeerLeft, PeerSlow
from zexchange.local.tasks.stream import Stream
from zexchange.names import is_pattern, matches
from zexchange.protocol.session.peers import Peer
from zexchange.testing import Network
from zexchange.testing.wire import Faults

NAMES = ("a", "a.x", "a.y", "b")
KEYS = (*NAMES, "a.*", "a.**", "**")
CAUGHT_UP_AFTER = 20.0
"""Seconds after a disturbance in which a recovery may still fail because of it."""
HEALTHY_AFTER = 3.0
"""Seconds after a disturbance in which a peer may be found slow because of it."""

VOID = 0
"""In the place of a message, where a number was never given."""
Where = tuple[str, str]
"""An origin and an exchange."""


def covers(key: str, name: str) -> bool:
    return matches(key, name) if is_pattern(key) else key == name


@dataclass(eq=False)
class Listener:
    """One task, attached to a name or a pattern, and what it is owed."""

    member: "Member"
    key: str
    stream: Stream[Any]
    next: dict[Where, int] = field(default_factory=dict)
    promised: dict[Where, int] = field(default_factory=dict)
    """The first number that was promised; what was sent before may come, or not."""
    owed: dict[Where, list[int]] = field(default_factory=dict)
    breaks: set[Where] = field(default_factory=set)
    floor: dict[Where, int] = field(default_factory=dict)
    answering: Callable[[Any], None] | None = None

    def read(self) -> Iterator[str]:
        """Take what has come, and say what is wrong with it."""
        while len(self.stream):
            item = self.stream.get(timeout=0)
            if isinstance(item, Delivery) and item.origin is not None:
                yield from self._delivery(item)
            elif isinstance(item, Lost):
                where, ledger = (item.origin, item.exchange), self.member.federation.sent
                head = len(ledger.get(where, ()))
                if item.last > head:
                    yield f"{self} lost up to {item.last} of {where}, of which {head} were sent"
                yield from self._step(where, item.first, item.last)
                yield from self.member.federation.unjustified(self, item)

    def _delivery(self, item: Delivery) -> Iterator[str]:
        where = (str(item.origin), item.name)
        seq = item.seq or 0
        sent = self.member.federation.sent.get(where, [])
        if not 0 < seq <= len(sent) or sent[seq - 1] != item.msg[0]:
            yield f"{self} got {item.msg[0]} of {where} as number {seq}"
        if not covers(self.key, item.name):
            yield f"{self} got {where}"
        if seq <= self.floor.get(where, 0):
            yield f"{self} got {seq} of {where}, which was sent before it was there"
        yield from self._step(where, seq, seq)

    def _step(self, where: Where, first: int, last: int) -> Iterator[str]:
        expected, promised = self.next.get(where, 0), self.promised.get(where, first)
        while self.member.federation.void(where, expected):
            expected += 1
        broken = where in self.breaks or first <= promised
        if first != expected and not (broken and first > expected):
            yield f"{self} expected {expected} of {where}, not {first} to {last}"
        if first != expected:
            self.breaks.discard(where)
        owed = self.owed.get(where, [])
        if owed and owed[0] < first:
            yield f"{self} has missed {owed[0]} to {first - 1} of {where} without a word"
        self.next[where] = last + 1
        self.owed[where] = [n for n in owed if n > last]

    def __str__(self) -> str:
        return f"{self.member.name}[{self.key}]"


class Member:
    """One node, as long as it runs, and what is attached to it."""

    def __init__(self, federation: "Federation", name: str, node: Node) -> None:
        self.federation = federation
        self.name = name
        self.node = node
        self.id = node.id
        self.listeners: list[Listener] = []
        self.since: dict[str, int | None] = {}
        """The epoch in which a key was first wanted; None while that is not known."""
        self.left: set[str] = set()
        self.slow: set[str] = set()
        self.stopped = False
        node.events.handler(self._happened)

    @property
    def engine(self) -> Any:
        return self.node._engine

    def _happened(self, event: object) -> None:
        if isinstance(event, PeerLeft):
            self.left.add(event.peer)
            # Whoever lives comes back, and goes on where it was.
            ended = all(event.peer != member.id for member in self.federation.members)
            for listener in self.listeners if ended else ():
                listener.breaks |= {(event.peer, name) for name in NAMES}
                if event.reason != "bye":
                    for where in [where for where in listener.owed if where[0] == event.peer]:
                        listener.owed[where] = []
                for name in NAMES:
                    listener.promised.pop((event.peer, name), None)
        elif isinstance(event, PeerSlow) and event.slow and not event.ourselves:
            self.slow.add(event.peer)
            self.federation.found_slow(self, event.peer)

    # ------------------------------------------------------------------------ attaching

    def attach(self, key: str) -> Listener:
        registry = self.node.registry
        covered = {name for name in NAMES if any(covers(k, name) for k in self.since)}
        source: Any = registry.match(key) if is_pattern(key) else registry.get(key)
        listener = Listener(self, key, source.stream(1 << 40, "block", details=True))
        for name in NAMES:
            if covers(key, name) and name not in covered:
                for origin in self._not_followed(name):
                    head = len(self.federation.sent.get((origin.id, name), ()))
                    listener.floor[origin.id, name] = head
        self.since.setdefault(key, None)
        self.listeners.append(listener)
        return listener

    def answer(self, name: str, other: str, count: int, size: int) -> None:
        """Answer what others send on one exchange on another, on the data thread."""
        listener = self.attach(name)

        def answering(message: tuple[int, bytes, str]) -> None:
            if message[2] not in ("", self.name):
                for _ in range(count):
                    self.federation.overdrawn.add(self.name)
                    self.federation.send(self, other, size, answer=False)

        listener.answering = self.node.registry.get(name).handler(answering)

    def _not_followed(self, name: str) -> list["Member"]:
        """The origins whose messages on an exchange are not handed on here now.

        Of these, a task must not be given what was sent before it was there. Of the others it may
        be: they are followed under another key, or one that waits. This hides no loss: what a task
        is owed is noted as it is sent (`Member.promised`), whatever came before.
        """
        positions = self.engine.inbound.positions()  # also of who has left, and may be back
        waited = {
            o: {k for keys in at._pending.values() for k in keys} for o, at in positions.items()
        }
        followed = {
            origin
            for origin, at in positions.items()
            if at.in_force.covers(name) or any(covers(key, name) for key in waited[origin])
        }
        return [member for member in self.federation.members if member.id not in followed]

    def detach(self, listener: Listener) -> None:
        listener.stream.close()
        if listener.answering is not None:
            self.node.registry.get(listener.key).detach(listener.answering)
        self.listeners.remove(listener)
        if not any(other.key == listener.key for other in self.listeners):
            del self.since[listener.key]

    def note(self) -> None:
        """Take note of the epoch in which what was attached is told."""
        if self.engine.changes.settled:
            epoch = self.engine.session.interest.epoch
            self.since.update({k: epoch for k, at in self.since.items() if at is None})

    def promised(self, origin: "Member", listener: Listener, name: str) -> bool:
        """Tell whether an origin has promised a listener what it sends from now on."""
        since = self.since[listener.key]
        peer: Peer | None = origin.engine.session.members.peers.get(bytes.fromhex(self.id))
        if peer is None or since is None or not covers(listener.key, name):
            return False
        interest = peer.interest
        told = max(interest.whole, interest.since.get(listener.key, 1 << 60))
        return interest.announced >= max(since, told)


class Federation:
    """Every member, what each has sent, and what disturbed whom when."""

    def __init__(self, seed: int) -> None:
        self.network = Network(seed)
        self.members: list[Member] = []
        self.sent: dict[Where, list[int]] = {}
        """By origin and exchange, the messages in the order of their numbers."""
        self.parted: set[frozenset[str]] = set()
        self.refused: set[str] = set()
        """The names of nodes at which connections are refused."""
        self.disturbed: dict[str, float] = {}
        """By the name of a node, when it was last cut off, stopped or restarted."""
        self.overdrawn: set[str] = set()
        """The names of nodes that have sent where they may not wait."""
        self.wrong: list[str] = []
        self.suspicions: list[tuple[Member, str, str]] = []
        self.faulty = 0.0
        """When the wire was last made worse than a good one."""
        self._serial = 0

    def void(self, where: Where, number: int) -> bool:
        """Tell whether a number was never given, because the exchange was forgotten."""
        sent = self.sent.get(where, [])
        return 0 < number <= len(sent) and sent[number - 1] == VOID

    def running(self) -> list[Member]:
        return [member for member in self.members if not member.stopped]

    def start(self, name: str, join_timeout: float = 0.0, **arguments: Any) -> Member:
        node = self.network.node(name, join_timeout=join_timeout, **arguments)
        member = Member(self, name, node)
        self.members.append(member)
        self.disturb(name)
        return member

    def remove(self, member: Member, kill: bool) -> None:
        """End a member: what it had sent and not announced is excused if it is killed."""
        self.disturb(member.name)
        if member.name in self.refused:
            self.accept(member.name)
        if kill:
            self.network.kill(member.node)
        else:
            member.node.close(timeout=3.0)
        self.members.remove(member)

    def disturb(self, *names: str) -> None:
        self.disturbed.update(dict.fromkeys(names, self.network.now))

    def refuse(self, name: str) -> None:
        """Have whoever is connected to a node cut off, and refused."""
        self.network.refuse(name)
        self.refused.add(name)

    def accept(self, name: str) -> None:
        self.network.accept(name)
        self.refused.discard(name)
        self.disturb(*(member.name for member in self.members))  # they have yet to connect

    # -------------------------------------------------------------------------- sending

    def send(self, member: Member, name: str, size: int, answer: bool = True) -> None:
        """Send a message; whoever answers may do so if ``answer``."""
        exchange = member.node.registry.get(name)
        self._serial += 1
        message = (self._serial, bytes(size), member.name if answer else "")
        bridge = member.engine.bridges._bridges.get(name)
        where = (member.id, name)
        if bridge is not None and bridge.wanted:
            ledger = self.sent.setdefault(where, [])
            # Forgotten meanwhile: it starts behind all that was.
            ledger += [VOID] * (member.engine.outbound.numbering.start(name) - len(ledger))
            ledger.append(self._serial)
            for other in self.members:
                for listener in other.listeners if other is not member else ():
                    if other.promised(member, listener, name):
                        listener.promised.setdefault(where, len(ledger))
                        listener.owed.setdefault(where, []).append(len(ledger))
        before = self.network.now
        exchange.send(message)
        if self.network.now - before > 30:
            self.wrong.append(f"{member.name} waited {self.network.now - before:g} s to send")

    # ------------------------------------------------------------------------- checking

    def check(self) -> None:
        """Read what has come, everywhere; fail if anything is not as it was promised."""
        for pair in self.parted:
            self.disturb(*pair)
        if self.refused:  # each of the others is cut off from it
            self.disturb(*(member.name for member in self.members))
        if self.network._wire.faults != Faults():
            self.faulty = self.network.now
        for member in self.members:
            if member.stopped:
                self.disturb(member.name)
            member.note()
            for listener in member.listeners:
                self.wrong += listener.read()
            ring = member.engine.outbound.window._ring
            if ring.bytes > ring.most_bytes + ring.window + (1 << 20):
                self.wrong.append(f"{member.name} keeps {ring.bytes} bytes")
        assert not self.wrong, "\n".join(self.wrong[:10])

    def unjustified(self, listener: Listener, lost: Lost) -> Iterator[str]:
        """Say why a loss should not have been."""
        member, network = listener.member, self.network
        origin = next((m for m in self.members if m.id == lost.origin), None)
        text = f"{listener} lost {lost.first} to {lost.last} of {lost.exchange}: {lost.reason}"
        if origin is None or lost.origin in member.left:
            return
        if lost.reason == "no longer kept by its origin":
            window = origin.engine.outbound.window
            slow = member.id in origin.slow or bytes.fromhex(member.id) in window._slow
            if not slow and member.id not in origin.left:
                # It may have been slow for a moment: then that is still to be told.
                self.suspicions.append((origin, member.id, f"{text}, but was never slow"))
        elif lost.reason == "not recovered in time":
            late = max(self.disturbed.get(m.name, 0.0) for m in (member, origin))
            if network.now - late > CAUGHT_UP_AFTER:
                yield f"{text}, though nothing was in the way"
        else:
            yield f"{text}, though it has not left"

    def found_slow(self, origin: Member, peer: str) -> None:
        """Note what is wrong if a node takes another for slow that nothing is wrong with."""
        other = next((m for m in self.members if m.id == peer), None)
        if other is not None and origin.name not in self.overdrawn:
            late = max(self.disturbed.get(m.name, 0.0) for m in (other, origin))
            if self.network.now - max(late, self.faulty) > HEALTHY_AFTER:
                self.wrong.append(f"{origin.name} takes {other.name} for slow")

    def faults(self, **faults: Any) -> None:
        self.faulty = self.network.now
        self.network.faults(**faults)

    def flush(self, member: Member, timeout: float) -> None:
        """Flush; then who is healthy and promised everything has all there was before."""
        before = {where: len(ledger) for where, ledger in self.sent.items()}
        try:
            member.node.flush(timeout)
        except NotReady:
            return
        self.check()
        peers = member.engine.session.members.peers.values()
        slow = member.engine.outbound.window.slow_peers()
        healthy = {peer.id.hex() for peer in peers if peer.id not in slow}
        for other in self.members:
            for listener in other.listeners if other.id in healthy else ():
                for where, owed in listener.owed.items():
                    lacks = [n for n in owed if n <= before.get(where, 0)]
                    if where[0] == member.id and other.promised(member, listener, where[1]):
                        assert not lacks, f"{listener} lacks {lacks} of {where} after a flush"

    def calm(self) -> None:
        """End every fault, let all come to rest, and see that everything adds up."""
        network = self.network
        network.faults()
        for pair in list(self.parted):
            network.heal(*pair)
            self.parted.discard(pair)
        for name in list(self.refused):
            self.accept(name)
        for member in self.members:
            if member.stopped:
                network.resume(member.node)
                member.stopped = False
        network.settle()
        self.check()
        told = [text for origin, peer, text in self.suspicions if peer not in origin.slow]
        assert not told, "\n".join(told)
        self.suspicions.clear()
        living = {member.id for member in self.members}
        for member in self.members:
            known = {peer.id for peer in member.node.peers}
            assert known == living - {member.id}, f"{member.name} knows {member.node.peers}"
            for listener in member.listeners:
                for where, owed in listener.owed.items():
                    gone = where[0] not in living
                    assert gone or not owed, f"{listener} was never given {owed[:5]} of {where}"
                for origin in self.members:
                    for name in NAMES if origin is not member else ():
                        promised = member.promised(origin, listener, name)
                        assert promised is covers(listener.key, name), f"{listener}: {name}"
