"""Bridges: the subscribers that carry what is sent on an exchange to the node.

An exchange has a bridge only while some peer is interested in its name, so that one
nobody remote listens to costs what a local one costs. Which names are wanted is
decided here; that somebody wants them is told by the control thread.
"""

import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from ...errors import EncodeError, ExchangeError
from ...history import Body, Frame, Retained
from ...local.exchange import Backpressure, Exchange
from ...local.process.logs import log
from ...local.registry import Registry
from ...names import is_pattern, matches
from ...protocol.codec.attachments import LARGE, Encoder
from ...protocol.codec.values import DEEP_BODY, KEPT_BUFFER, TOP, check_whole
from ...protocol.delivery.sequence import Numbering
from ...protocol.interest.interest import NameSet
from ...protocol.wire.data import topic
from .encoding import large_body, named_error
from .publisher import Publisher
from .shared import SMALL_BYTES
from .siblings import Siblings

NAMES_MOST = 1_000_000
"""Exchanges whose numbers are remembered at most: each takes some 300 bytes, and as many for each
peer that has acknowledged it."""


class Bridge:
    """The subscriber between one exchange and the node."""

    __slots__ = (
        "bodies", "encoder", "handed", "kept", "listed", "name", "outbound", "send", "topic",
        "wanted",
    )  # fmt: skip
    federations = 1
    inherits = True

    def __init__(self, name: str, outbound: Publisher) -> None:
        self.name = name
        self.topic = topic(name)
        self.wanted = False
        """Whether it carries what it is sent. One that is a lane of others is sent nothing."""
        self.handed: int | None = None
        """The last number that a `SharedBridge` has put into this lane; None if none ever has."""
        self.kept: Retained | None = None
        self.bodies: list[Body] = []
        self.listed = False
        self.encoder = Encoder()
        self.outbound = outbound
        self.send_by(_way_out(self, outbound))

    if TYPE_CHECKING:

        def send(self, msg: object, /) -> Backpressure | None:
            """Take a message; see `local.exchange.Bridge`."""

    def send_by(self, way: Callable[[object], Backpressure | None]) -> None:
        """Have each message taken by ``way`` itself: one call a message, not two."""
        object.__setattr__(self, "send", way)

    def renew(self) -> None:
        """Begin with a queue of its own: a send that is not through has the former one."""
        self.bodies = []
        self.send_by(_way_out(self, self.outbound))

    def enlist(self) -> None:
        """Have what is queued sent with the next that is."""
        if self.bodies and not self.listed:
            # One step:
            self.listed = True
            self.outbound.lanes.append(self)

    def keep(self, most: int) -> None:
        """Keep the last ``most`` messages, encoded, for peers that join late."""
        if most and self.kept:
            self.kept.most = most
        elif most or self.kept:
            self.kept = Retained(most) if most else None

    def prepare(self, kept: Sequence[tuple[object, float]]) -> list[tuple[Body, float]]:
        """Encode what was sent before the node was there; what cannot be is logged."""
        bodies: list[tuple[Body, float]] = []
        for msg, sent_at in kept:
            try:
                body = self.encoder.encode(msg)
                bodies.append((self.large(msg, body) if len(body) >= LARGE else body, sent_at))
            except EncodeError as error:
                log.warning("exchange %r: not kept for other nodes: %s", self.name, error)
        return bodies

    def inherit(self, prepared: list[tuple[Body, float]]) -> None:
        """Keep what was prepared; the lock of the exchange is held."""
        if prepared:
            self.outbound.inherit(self, prepared)

    def large(self, msg: object, body: Body) -> Body:
        """Return a message that has turned out large, in the form in which it travels."""
        return large_body(self.encoder, msg, body)

    def __repr__(self) -> str:
        """Name the exchange and whether anything crosses."""
        return f"<Bridge {self.name!r} {'open' if self.wanted else 'idle'}>"


def _way_out(bridge: Bridge, outbound: Publisher) -> Callable[[object], Backpressure | None]:
    """Return the `send` of a bridge.

    A function with all it needs at hand, and nothing in functions of their own that most
    messages have to pass: a call costs as much as a third of the packing.
    """
    encoder, append = bridge.encoder, bridge.bodies.append
    pace, monotonic, lanes = outbound.pace, outbound.monotonic, outbound.lanes
    see_to, send_alone = outbound.see_to, outbound.send_alone
    pop, push, level, new_packer = TOP.idle.pop, TOP.idle.append, TOP, TOP.new_packer

    def send(msg: object) -> Backpressure | None:
        """Encode a message on the caller's thread and queue it.

        Returns:
            What the sender has to wait for, after the local tasks, if too much is on its
            way already.

        Raises:
            EncodeError: naming the exchange and the path inside the message.
        """
        try:
            if encoder.attaching:
                body = encoder.encode(msg)
                size = len(body)
            else:  # `encode` of the codec, written out: 0.08 µs less
                try:
                    pack = pop()
                except IndexError:
                    pack = new_packer()
                touched = level.touched
                body = pack(msg)
                size = len(body)
                if size < KEPT_BUFFER:
                    push(pack)
                if size > DEEP_BODY or touched is not level.touched:
                    check_whole(body)
            if size >= LARGE:
                body = bridge.large(msg, body)
                size = len(body)
            if not bridge.wanted:
                return None
            append(body)
            # Looked at behind that: who takes away what is queued changes them before.
            if bridge.listed:
                if size <= SMALL_BYTES and monotonic() < pace.quiet_until:
                    return None
            elif not lanes:
                return send_alone(bridge, size)
            return see_to(bridge, size)
        except Exception as error:
            see_to(bridge, 0)
            named = named_error(bridge.name, msg, error)
            if named is None:
                raise
            raise named from error
        except BaseException:  # of a signal handler, perhaps right behind `append`
            see_to(bridge, 0)
            raise

    return send


def _too_many(name: str) -> Callable[[object], Backpressure | None]:
    """Return the `send` of a bridge that there is no more room for."""

    def send(msg: object) -> Backpressure | None:
        """Raise to the sender, whose local tasks get the message."""
        raise ExchangeError(
            f"exchange {name!r}: {NAMES_MOST:,} exchanges are remembered for peers already, and"
            " cannot be forgotten, because a peer is of an earlier version, slow or away;"
            " what is sent on more of them stays in this process"
        )

    return send


def _gone(msg: object) -> None:
    """Take the place of the `send` of a bridge whose exchange is gone."""


class Bridges:
    """All bridges of one node, and which names some peer wants.

    In Python's dev mode every federated exchange has a bridge at once: it encodes and
    throws away, so that a message which cannot travel fails on one machine already.
    """

    def __init__(
        self,
        registry: Registry,
        outbound: Publisher,
        federated: Callable[[str], bool],
        siblings: Siblings,
    ) -> None:
        self._registry = registry
        self._outbound = outbound
        self._federated = federated
        self._bridges: dict[str, Bridge] = {}
        self._made: list[str] = []
        self._wants = NameSet()
        self._open = True
        self._state = 0
        # Below the registry's lock, and never held while an exchange's is taken: an
        # exchange holds its own while it asks for the registry's.
        self._lock = threading.RLock()
        self._siblings = siblings
        self.spent: dict[str, int] = {}
        """Exchanges that could be forgotten here, were it not for other nodes; and their heads."""
        siblings.join(self)

    def get(self, name: str) -> Bridge:
        """Return the bridge of an exchange, made if need be."""
        with self._lock:
            bridge = self._bridges.get(name)
            if bridge is None:
                bridge = Bridge(name, self._outbound)
                with self._siblings.naming:
                    self.numbering.begin(name, *self._siblings.begun(self, name))
                    self._bridges[name] = bridge
                    self.spent.pop(name, None)
                if len(self.numbered) >= NAMES_MOST and name not in self.numbered:
                    bridge.send_by(_too_many(name))
                self._made.append(name)
                self._outbound.stir()
            return bridge

    def made(self) -> list[str]:
        """Return the names of the bridges that were made since this was asked last."""
        with self._lock:
            made, self._made = self._made, []
            return made

    def names(self) -> list[str]:
        """Return the names of all bridges. Any thread."""
        with self._lock:
            return list(self._bridges)

    def has(self, name: str) -> bool:
        """Tell whether there is a bridge, so that an exchange may be sent on. Any thread."""
        return name in self._bridges

    def let_go(self, most: int) -> list[str]:
        """Let go of the bridges, the oldest first, of exchanges that are gone.

        Args:
            most: how many are looked at.

        Returns:
            The exchanges that nothing was sent on, so that no numbers are left of them.
        """
        unused, heads = list[str](), self._outbound.numbering.heads
        with self._lock:
            oldest = list(islice(self._bridges, most))
        for name in oldest:
            self._siblings.dissolve(name, self._registry._has)
        with self._lock:
            for name in oldest:
                bridge = self._bridges.pop(name)
                # Who makes the exchange again has said so, or waits for the lock.
                used = bridge.bodies or bridge.listed or bridge.kept or self._registry._has(name)
                if used or self._siblings.keep(name):
                    self._bridges[name] = bridge
                else:
                    bridge.send_by(_gone)  # which else refers to the bridge
                    self.numbering.unused(name)
                    if name not in heads:
                        unused.append(name)
        return unused

    def forget(
        self, most: int, acked: Mapping[bytes, Mapping[str, int]]
    ) -> dict[bytes, dict[str, int]]:
        """Forget the numbers of exchanges without a bridge; see `Publisher.forget`."""
        with self._lock:

            def used(name: str) -> bool:
                return name in self._bridges or self._siblings.keep(name)

            agreed = partial(self._siblings.agreed, self)
            return self._outbound.forget(most, used, acked, agreed)

    def __len__(self) -> int:
        """Return how many there are. Any thread."""
        return len(self._bridges)

    def refresh(self, keys: Iterable[str], wanted: Callable[[str], bool]) -> None:
        """Look again at exchanges that ``keys`` cover, if `wanted` says that peers do."""
        keys = tuple(keys)
        with self._lock:
            self._state += 1
            for key in keys:
                (self._wants.update if wanted(key) else self._wants.remove)((key,))
        named = [self._registry.find(key) for key in keys if not is_pattern(key)]
        patterns = [key for key in keys if is_pattern(key)]
        for exchange in named:
            if exchange is not None:
                self.look(exchange)
        if patterns:
            for exchange in self._registry.exchanges():
                if any(matches(pattern, exchange.name) for pattern in patterns):
                    self.look(exchange)
        wanted = NameSet(keys).covers
        for name in self._siblings.shared(lambda n: wanted(n) and not self._registry._has(n)):
            self._place(name, None)

    def look(self, exchange: Exchange[object], fresh: bool = False) -> None:
        """Attach or detach an exchange's bridge, as peers' interest stands now.

        Done outside the lock, so whoever did it looks again: the last one to act has
        seen the last state. ``fresh`` says that nobody has the exchange yet.
        """
        self._place(exchange.name, exchange, fresh)

    def _place(self, name: str, exchange: Exchange[object] | None, fresh: bool = False) -> None:
        while True:
            with self._lock:
                state, found = self._state, self._judge(name)
            if found is None:
                return
            bridge, wanted = found
            idle, now = self._open and sys.flags.dev_mode, self._outbound.monotonic()
            self._siblings.place(self, exchange, bridge, wanted, now, idle, fresh)
            if state == self._state:
                return

    def _judge(self, name: str) -> tuple[Bridge, bool] | None:
        """Return the bridge of a name if there is one, and whether it is wanted."""
        if not self._federated(name):
            return None
        retained = self._registry.retention(name) if self._open else 0
        wanted = self._open and (retained > 0 or self._wants.covers(name))
        bridge = self.get(name) if wanted or sys.flags.dev_mode else self._bridges.get(name)
        if bridge is None:
            return None
        bridge.keep(retained)
        return bridge, wanted

    # What siblings ask for.

    def find(self, name: str) -> Bridge | None:
        """Return the bridge of an exchange, if there is one."""
        return self._bridges.get(name)

    def needs(self, name: str, head: int) -> bool:
        """Tell whether an exchange has to be remembered for this node, or stands below ``head``."""
        at = self.numbered.get(name)
        return name in self._bridges or (at is not None and not head <= at == self.spent.get(name))

    def knows(self, name: str) -> bool:
        """Tell whether an exchange has a place here, be it 0."""
        return name in self._bridges or name in self.numbered

    @property
    def numbering(self) -> Numbering:
        """The places given to each exchange."""
        return self._outbound.numbering

    @property
    def numbered(self) -> Mapping[str, int]:
        """The last place given on each exchange."""
        return self._outbound.numbering.heads

    def begin_at(self, name: str, head: int, fresh: bool = False) -> None:
        """Number an exchange, which this node does not carry now, from ``head`` + 1 on."""
        if head <= self.numbering.place(name):
            return
        with nullcontext() if fresh else self._outbound.held():
            self._outbound.begin_at(name, head)

    def heads(self) -> dict[str, int]:
        """Return the last numbers given, and to be given to what is queued."""
        bridges = list(self._bridges.values())
        queued = {bridge.name: len(bridge.bodies) for bridge in bridges if bridge.bodies}
        return {**queued, **{n: h + queued.get(n, 0) for n, h in dict(self.numbered).items()}}

    def raise_heads(self, heads: Mapping[str, int]) -> None:
        """Begin above the numbers of a node that is there no more, on what both had carried."""
        for name, head in heads.items():
            if name in self.numbered:
                self.begin_at(name, head)

    def settle(self) -> None:
        """Have all that was sent before this call queued here, whoever has carried it first."""
        self._siblings.settle()

    def tick(self, now: float) -> None:
        """See to what is queued and nobody has seen to."""
        self._siblings.tick(now)

    def kept(self, key: str) -> dict[str, tuple[int, int]]:
        """Return, by exchange that a key covers, which of its last messages are kept."""
        with self._lock:
            if is_pattern(key):
                found = [b for b in self._bridges.values() if b.kept and matches(key, b.name)]
            else:
                found = [self._bridges[key]] if key in self._bridges else []
        return self._outbound.kept(found)

    def recall(self, name: str, first: int, last: int) -> list[Frame]:
        """Return frames of what is kept of an exchange: a bounded part, oldest first."""
        bridge = self._bridges.get(name)
        return self._outbound.recall(bridge, first, last) if bridge is not None else []

    def close(self) -> None:
        """Detach every bridge, for good."""
        with self._lock:
            self._open = False
            self._state += 1
            bridges = list(self._bridges.values())
        now = self._outbound.monotonic()
        for bridge in bridges:
            exchange = self._registry.find(bridge.name)
            self._siblings.place(self, exchange, bridge, False, now)
        self._siblings.leave(self)
