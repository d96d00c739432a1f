"""A bridge: the subscriber that passes the messages of an exchange to the node.

A bridge is attached only while some peer is interested in the name, so that an exchange without
remote listeners costs no more than a local one.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ...errors import EncodeError, ExchangeError
from ...history import Body, Bulk, Retained
from ...local.exchange import Backpressure
from ...local.process.logs import log
from ...local.tasks.noted import NO_HEADERS, Noted
from ...protocol.codec.attachments import LARGE, Encoder
from ...protocol.codec.values import DEEP_BODY, KEPT_BUFFER, TOP, check_whole, explained_error
from ...protocol.wire.data import MAX_BODY_BYTES, topic
from ...protocol.wire.notes import Notes, question, write_notes
from .publisher import Publisher

SMALL_BYTES = 4096
"""The publisher is called for each message that is larger, even while another thread is about to
send: how many of them are queued matters at any moment."""
QUEUED_MOST = 8
"""Messages of a conflated exchange that are queued before older ones are dropped from the queue."""
REPLACED = Bulk(b"", ())
"""Takes the place of a message in the queue of a conflated exchange."""


class Bridge:
    """The subscriber between one exchange and the node."""

    __slots__ = (
        "_packed", "bodies", "conflated", "encoder", "handed", "kept", "listed", "name", "noted",
        "outbound", "refuses", "send", "takes_packed", "topic", "wanted",
    )  # fmt: skip
    federations = 1
    inherits = True

    def __init__(self, name: str, outbound: Publisher) -> None:
        self.name = name
        self.topic = topic(name)
        self.wanted = False
        """Whether it encodes messages for peers. False while it is only a lane of a `SharedBridge`:
        then the exchange calls that one."""
        self.handed: int | None = None
        """The last number that a `SharedBridge` has put into this lane; None before the first."""
        self.kept: Retained | None = None
        self.conflated = False
        """Whether only the newest message counts; see `conflate`."""
        self.bodies: list[Body] = []
        self.listed = self.noted = False
        self.refuses: str | None = None
        """Why nothing can be sent here: the text of the error that the sender gets."""
        self.encoder = Encoder()
        self.outbound = outbound
        self._begin()

    if TYPE_CHECKING:

        def send(self, msg: object, /) -> Backpressure | None:
            """Encode a message and queue it. See `local.exchange.Bridge`."""

    def send_by(self, way: Callable[[object], Backpressure | None]) -> None:
        """Make ``way`` the `send` of this bridge: one call for each message instead of two."""
        object.__setattr__(self, "send", way)
        self._packed: Callable[[bytes], Backpressure | None] | None = None
        self.takes_packed = False

    def send_noted(self, item: Noted) -> Backpressure | None:
        """Encode and queue a message with headers, or a question, as `send` does with others."""
        if self.refuses is not None:
            raise ExchangeError(self.refuses)
        try:
            to, encoder = item.to, self.encoder
            if to is None or item.headers is not NO_HEADERS or encoder.attaching:
                body = whole_body(encoder, item)
            else:  # a question to one node: `whole_body`, written out
                packed = TOP.pack(item.msg)
                if len(packed) < LARGE:
                    body = Bulk(packed, (), question(item.number, to))
                else:
                    body = whole_body(encoder, item)
            if not self.wanted:
                return None
            size = body.size if type(body) is Bulk else len(body)
            self.noted = True  # before the message is queued
            if self.conflated:
                self.bodies.append(body if isinstance(body, Bulk) else Bulk(body, ()))
                room = self.outbound.see_to(self, size)
                return None if room is None or self.outbound.offers(self.name) else room
            self.bodies.append(body)
            if self.listed or self.outbound.lanes:
                return self.outbound.see_to(self, size)
            return self.outbound.send_alone(self, size)
        except Exception as error:
            self.outbound.see_to(self, 0)
            named = named_error(self.name, item.msg, error)
            if named is None:
                raise
            raise named from error
        except BaseException:  # of a signal handler, perhaps right after `append`
            self.outbound.see_to(self, 0)
            raise

    def renew(self) -> None:
        """Begin with an empty queue: a send that is still running adds to the former one."""
        self.bodies = []
        self._begin()

    def _begin(self) -> None:
        """Send by the way of this bridge's kind."""
        way = _way_of_the_newest if self.conflated else _way_out
        self.send_by(way(self, self.outbound))
        self.takes_packed = not self.conflated

    @property
    def packed(self) -> Callable[[bytes], Backpressure | None] | None:
        """Takes a message that is MessagePack already; made at its first use, by a typed exchange.

        None while every message has to come as it is.
        """
        if self.takes_packed and self._packed is None:
            self._packed = _packed_way_out(self, self.outbound)
        return self._packed

    def conflate(self, conflated: bool) -> None:
        """Have only the newest message count from now on, or every one of them.

        The exchange has to look up its ways out again.
        """
        if conflated is not self.conflated:
            self.conflated = conflated
            self._begin()

    def enlist(self) -> None:
        """List the queue, so that the next thread that sends empties it, too."""
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
        """Encode messages that were sent before the node was there; log those that cannot be.

        ``kept`` has each message and the time at which it was sent, in seconds since 1970.
        """
        bodies: list[tuple[Body, float]] = []
        for msg, sent_at in kept:
            try:
                bodies.append((whole_body(self.encoder, msg), sent_at))
            except EncodeError as error:
                log.warning("exchange %r: not kept for other nodes: %s", self.name, error)
        return bodies

    def inherit(self, prepared: list[tuple[Body, float]]) -> None:
        """Keep the prepared messages. The caller holds the lock of the exchange."""
        if prepared:
            self.outbound.inherit(self, prepared)

    def __repr__(self) -> str:
        """Name the exchange, and say whether messages go to peers."""
        return f"<Bridge {self.name!r} {'open' if self.wanted else 'idle'}>"


def _way_out(bridge: Bridge, outbound: Publisher) -> Callable[[object], Backpressure | None]:
    """Return the `send` of a bridge.

    A closure with everything it needs in local variables. The steps that most messages take are
    written out in it: a call costs as much as a third of the packing.
    """
    encoder, append = bridge.encoder, bridge.bodies.append
    pace, monotonic, lanes = outbound.pace, outbound.monotonic, outbound.lanes
    see_to, send_alone = outbound.see_to, outbound.send_alone
    pop, push, level, new_packer = TOP.idle.pop, TOP.idle.append, TOP, TOP.new_packer

    def send(msg: object) -> Backpressure | None:
        """Encode a message on the caller's thread and queue it.

        Returns:
            The wait that the sender makes after the local tasks, if too much is on its way already.

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
                body = large_body(encoder, msg, body)
                size = len(body)
            if not bridge.wanted:
                return None
            append(body)
            # `listed` and `lanes` are read after `append`. A thread that empties the queue changes
            # them before it looks at `bodies`: if they are unchanged here, it will see the message.
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
        except BaseException:  # of a signal handler, perhaps right after `append`
            see_to(bridge, 0)
            raise

    return send


def _packed_way_out(bridge: Bridge, outbound: Publisher) -> Callable[[bytes], Backpressure | None]:
    """Return the `send` of a bridge for messages that are MessagePack already."""
    append = bridge.bodies.append
    pace, monotonic, lanes = outbound.pace, outbound.monotonic, outbound.lanes
    see_to, send_alone = outbound.see_to, outbound.send_alone

    def send_packed(body: bytes) -> Backpressure | None:
        """Queue a message, and do everything else, as `send` does."""
        try:
            size = len(body)
            if size >= LARGE:
                check_size(bridge.name, size)
            if not bridge.wanted:
                return None
            append(body)
            if bridge.listed:
                if size <= SMALL_BYTES and monotonic() < pace.quiet_until:
                    return None
            elif not lanes:
                return send_alone(bridge, size)
            return see_to(bridge, size)
        except BaseException:
            see_to(bridge, 0)
            raise

    return send_packed


def _way_of_the_newest(
    bridge: Bridge, outbound: Publisher
) -> Callable[[object], Backpressure | None]:
    """Return the `send` of a bridge of which only the newest message counts."""
    encoder, see_to, offers = bridge.encoder, outbound.see_to, outbound.offers

    def send(msg: object) -> Backpressure | None:
        """Encode a message on the caller's thread and queue it in the place of the one before.

        Returns:
            None, unless a peer that does not know offers has to get every message.

        Raises:
            EncodeError: naming the exchange and the path inside the message.
        """
        try:
            body = newest_body(encoder, msg)
            if not bridge.wanted:
                return None
            bodies = bridge.bodies
            bodies.append(body)
            if len(bodies) > QUEUED_MOST and bridge.kept is None and offers(bridge.name):
                # Another thread is sending, and takes its time. What is no longer the newest gets
                # its number, and no more. A thread that empties the queue takes a copy of it in one
                # step, whose last item is always a message.
                with suppress(IndexError):
                    bodies[-2] = REPLACED
            room = see_to(bridge, len(body))
            return None if room is None or offers(bridge.name) else room
        except Exception as error:
            see_to(bridge, 0)
            named = named_error(bridge.name, msg, error)
            if named is None:
                raise
            raise named from error
        except BaseException:
            see_to(bridge, 0)
            raise

    return send


def newest_body(encoder: Encoder, msg: object) -> Bulk:
    """Return a message as the body of a conflated exchange: a `Bulk`, however small."""
    body: Body = encoder.encode(msg)
    if len(body) >= LARGE:
        body = large_body(encoder, msg, body)
    return body if isinstance(body, Bulk) else Bulk(body, ())


def whole_body(encoder: Encoder, msg: object) -> Body:
    """Encode a message, which may be a `Noted`, to the form in which it travels.

    Raises:
        EncodeError: it cannot be encoded, or is too large.
    """
    if type(msg) is not Noted:
        body = encoder.encode(msg)
        return body if len(body) < LARGE else large_body(encoder, msg, body)
    bare, headers, number, to = msg.msg, msg.headers, msg.number, msg.to
    body = encoder.encode(bare)
    if type(body) is Bulk or len(body) >= LARGE:
        body = large_body(encoder, bare, body)
    if headers is not NO_HEADERS:
        notes = write_notes(Notes(0, headers, number, to or b""))
    elif to is not None:
        notes = question(number, to)
    elif number:
        notes = write_notes(Notes(0, {}, number))
    else:
        return body
    return Bulk(body.packed, body.buffers, notes) if type(body) is Bulk else Bulk(body, (), notes)  # type: ignore[arg-type]


def large_body(encoder: Encoder, msg: object, body: Body) -> Body:
    """Return the form in which a message travels that is `LARGE` or larger once encoded.

    Raises:
        EncodeError: it is larger than a message may be.
    """
    body = encoder.large(msg, body)
    if len(body) > MAX_BODY_BYTES:
        raise EncodeError(_too_large(len(body)))
    return body


def check_size(name: str, size: int) -> None:
    """Raise `EncodeError` if a message on the exchange ``name`` is larger than one may be."""
    if size > MAX_BODY_BYTES:
        raise EncodeError(f"exchange {name!r}: {_too_large(size)}")


def _too_large(size: int) -> str:
    return f"msg: {size} bytes encoded, over {MAX_BODY_BYTES >> 20} MiB"


def named_error(name: str, msg: object, error: Exception) -> EncodeError | None:
    """Return an error that names the exchange, and the part of the message that cannot be encoded.

    None if nothing is wrong with the message: then a signal handler has raised.
    """
    found = explained_error(msg, error)
    if found is None and not isinstance(error, EncodeError):
        return None
    return EncodeError(f"exchange {name!r}: {found or error}")
