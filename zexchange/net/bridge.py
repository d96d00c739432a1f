"""Bridges: the subscribers that carry what is sent on an exchange to the node.

An exchange has a bridge only while some peer is interested in its name, so that one
nobody remote listens to costs what a local one costs. Which names are wanted is
decided here; that somebody wants them is told by the control thread.
"""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from ..errors import EncodeError
from ..history import Body, Frame, Retained
from ..local.exchange import Exchange, Room
from ..local.logs import log
from ..local.registry import Registry
from ..names import is_pattern, matches
from ..protocol.buffers import LARGE, Encoder
from ..protocol.codec import DEEP_BODY, KEPT_BUFFER, TOP, check_whole, explained_error
from ..protocol.wire import MAX_BODY_BYTES, topic
from .outbound import Outbound

SMALL_BYTES = 4096
"""Of larger messages it matters how many are queued, at any moment."""


class Bridge:
    """The subscriber between one exchange and the node."""

    __slots__ = (
        "_outbound", "bodies", "encoder", "kept", "listed", "name", "send", "topic", "wanted",
    )  # fmt: skip

    def __init__(self, name: str, outbound: Outbound) -> None:
        self.name = name
        self.topic = topic(name)
        self.wanted = False
        self.kept: Retained | None = None
        self.bodies: list[Body] = []
        self.listed = False
        self.encoder = Encoder()
        self._outbound = outbound
        self.send = _way_out(self, outbound)

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
            self._outbound.inherit(self, prepared)

    def named(self, msg: object, error: Exception) -> EncodeError | None:
        """Return an error that says what cannot be encoded, and names the exchange, too.

        None if nothing is wrong with the message: then a signal handler has raised.
        """
        found = explained_error(msg, error)
        if found is None and not isinstance(error, EncodeError):
            return None
        return EncodeError(f"exchange {self.name!r}: {found or error}")

    def large(self, msg: object, body: Body) -> Body:
        """Return a message that has turned out large, in the form in which it travels."""
        body = self.encoder.large(msg, body)
        if len(body) > MAX_BODY_BYTES:
            limit = MAX_BODY_BYTES >> 20
            raise EncodeError(f"msg: {len(body)} bytes encoded, over {limit} MiB")
        return body

    def __repr__(self) -> str:
        """Name the exchange and whether anything crosses."""
        return f"<Bridge {self.name!r} {'open' if self.wanted else 'idle'}>"


def _way_out(bridge: Bridge, outbound: Outbound) -> Callable[[object], Room | None]:
    """Return the `send` of a bridge.

    A function with all it needs at hand, and nothing in functions of their own that most
    messages have to pass: a call costs as much as a third of the packing.
    """
    encoder, append = bridge.encoder, bridge.bodies.append
    pace, monotonic, lanes = outbound.pace, outbound.monotonic, outbound.lanes
    see_to, send_alone = outbound.see_to, outbound.send_alone
    pop, push, level, new_packer = TOP.idle.pop, TOP.idle.append, TOP, TOP.new_packer

    def send(msg: object) -> Room | None:
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
            named = bridge.named(msg, error)
            if named is None:
                raise
            raise named from error
        except BaseException:  # of a signal handler, perhaps right behind `append`
            see_to(bridge, 0)
            raise

    return send


class Bridges:
    """All bridges of one node, and which names some peer wants.

    In Python's dev mode every federated exchange has a bridge at once: it encodes and
    throws away, so that a message which cannot travel fails on one machine already.
    """

    def __init__(
        self, registry: Registry, outbound: Outbound, federated: Callable[[str], bool]
    ) -> None:
        self._registry = registry
        self._outbound = outbound
        self._federated = federated
        self._bridges: dict[str, Bridge] = {}
        self.made: list[str] = []
        """The names of all bridges, in the order in which they were made."""
        self._wants: Counter[str] = Counter()
        self._patterns: set[str] = set()
        self._open = True
        self._state = 0
        # Below the registry's lock, and never held while an exchange's is taken: an
        # exchange holds its own while it asks for the registry's.
        self._lock = threading.RLock()

    def get(self, name: str) -> Bridge:
        """Return the bridge of an exchange, made if need be."""
        with self._lock:
            bridge = self._bridges.get(name)
            if bridge is None:
                bridge = self._bridges[name] = Bridge(name, self._outbound)
                self.made.append(name)
                self._outbound.stir()
            return bridge

    def refresh(self, keys: Iterable[str], count: Callable[[str], int]) -> None:
        """Look again at exchanges that ``keys`` cover; ``count`` says how many peers want one."""
        keys = tuple(keys)
        with self._lock:
            self._state += 1
            for key in keys:
                self._want(key, count(key))
        named = [self._registry.find(key) for key in keys if not is_pattern(key)]
        patterns = [key for key in keys if is_pattern(key)]
        for exchange in named:
            if exchange is not None:
                self.look(exchange)
        if patterns:
            for exchange in self._registry.exchanges():
                if any(matches(pattern, exchange.name) for pattern in patterns):
                    self.look(exchange)

    def _want(self, key: str, number: int) -> None:
        if number:
            self._wants[key] = number
        else:
            del self._wants[key]
        if is_pattern(key):
            (self._patterns.add if number else self._patterns.discard)(key)

    def look(self, exchange: Exchange[object]) -> None:
        """Attach or detach an exchange's bridge, as peers' interest stands now.

        Done outside the lock, so whoever did it looks again: the last one to act has
        seen the last state.
        """
        while True:
            with self._lock:
                state, bridge = self._state, self._judge(exchange.name)
            if bridge is None:
                return
            if bridge.wanted or (self._open and sys.flags.dev_mode):
                exchange.attach_bridge(bridge)
            else:
                exchange.detach_bridge(bridge)
            if state == self._state:
                return

    def _judge(self, name: str) -> Bridge | None:
        """Open or close the bridge of a name, and return it if there is or shall be one."""
        if not self._federated(name):
            return None
        retained = self._registry.retention(name) if self._open else 0
        wanted = self._open and (retained > 0 or self._wanted(name))
        bridge = self.get(name) if wanted or sys.flags.dev_mode else self._bridges.get(name)
        if bridge is not None:
            bridge.keep(retained)
            bridge.wanted = wanted
        return bridge

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

    def _wanted(self, name: str) -> bool:
        return name in self._wants or any(matches(pattern, name) for pattern in self._patterns)

    def close(self) -> None:
        """Detach every bridge, for good."""
        with self._lock:
            self._open = False
            self._state += 1
            bridges = list(self._bridges.values())
        for bridge in bridges:
            bridge.wanted = False
            exchange = self._registry.find(bridge.name)
            if exchange is not None:
                exchange.detach_bridge(bridge)
