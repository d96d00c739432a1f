"""Exchanges that have a type: what is sent is checked, what arrives is made into it.

The conversion is at the edges alone. Local tasks get the very object; a bridge gets the
plain value; what arrives is made an instance, or is refused. An exchange without a type
knows nothing of all this, and pays nothing.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, get_args, get_origin

from ..errors import WrongType
from ..sendable import full_name
from .cycles import chains, relink
from .exchange import Exchange
from .retained import Kept
from .routing import Bridge
from .tasks.dispatch import Backpressure, Target, logger
from .tasks.stream import Delivery, T
from .typed.codecs import CHOSEN, Codec, codec_for

DETAIL_MOST = 300
"""Characters that are said of what does not fit."""


def declare(exchange: Exchange[Any], kind: Any, codec: Codec[Any] | None) -> None:
    """Give an exchange its type, if it has none, or one that was defined again since.

    Raises:
        TypeError: there is no codec for the type.
        ValueError: the exchange has another one, or another codec.
    """
    if kind is None:
        raise TypeError("a codec needs to know of which type= it is")
    if exchange.type is not None or not _declare_first(exchange, kind, codec or codec_for(kind)):
        _declare_again(exchange, kind, codec)


def _declare_first(exchange: Exchange[Any], kind: Any, codec: Codec[Any]) -> bool:
    """Give an exchange its type; tell whether it had none."""
    with chains.lock:
        if exchange.type is not None:
            return False
        with exchange._lock:
            exchange._type, exchange._codec = kind, codec
            # The same name stays the same object, whoever asked for it before; and an
            # exchange without a type need not ask in each send whether it has one.
            exchange.__class__ = TypedExchange
            exchange._changed()
        relink(exchange)
        exchange.registry._keep(exchange.name)
        return True


def _declare_again(exchange: Exchange[Any], kind: Any, codec: Codec[Any] | None) -> None:
    """Have a type, or a codec, take the place of one of the same name: its cell was run again."""
    known, used = exchange.type, exchange._codec
    if known == kind and (codec is None or _same_codec(used, codec)):
        return
    if not _is_again(known, kind) or not (codec is None or _is_again(type(used), type(codec))):
        raise ValueError(
            f"exchange {exchange.name!r} has the type {_told(known, kind)} in this process,"
            f" and cannot have {_told(kind, known)}, or another codec, too"
        )
    if codec is None:
        codec = codec_for(kind) if isinstance(used, CHOSEN) else used
    with exchange._lock:
        exchange._type, exchange._codec = kind, codec


def _is_again(known: Any, kind: Any) -> bool:
    """Return whether ``kind`` is ``known``, or the same definition, carried out once more."""
    if isinstance(known, type) and isinstance(kind, type):
        return known is kind or full_name(known) == full_name(kind)
    parts, others = get_args(known), get_args(kind)
    if not parts or get_origin(known) != get_origin(kind) or len(parts) != len(others):
        return bool(known == kind)
    return all(map(_is_again, parts, others))


def _same_codec(used: Codec[Any], codec: Codec[Any]) -> bool:
    if used == codec:
        return True
    return type(used) is type(codec) and getattr(used, "__dict__", 0) == getattr(
        codec, "__dict__", 1
    )


class _Sending(threading.local):
    """Where this thread is sending what, and as what that travels: converted once."""

    now: tuple[object, object, object] = (None, None, None)


_sending = _Sending()


class TypedExchange(Exchange[T]):
    """An exchange with a type; made by ``get_exchange(name, type=…)``."""

    __slots__ = ()

    @property
    def _declared(self) -> dict[str, Any]:
        """The type, and the codec if that was not chosen by the type; see `Exchange._declared`."""
        chosen = isinstance(self._codec, CHOSEN)
        return {"type": self.type, "codec": None if chosen else self._codec}

    def send(self, msg: T) -> None:
        """Hand ``msg`` to every attached task; see `Exchange.send`.

        Raises:
            WrongType: it is not of this exchange's type; nobody gets it.
        """
        try:
            plain = self._codec.encode(msg)
        except (TypeError, ValueError) as error:
            raise self._misfit(error) from error
        if not self._bridges:  # one that comes at this moment converts it again
            Exchange.send(self, msg)
            return
        before = _sending.now
        _sending.now = self, msg, plain
        try:
            Exchange.send(self, msg)
        finally:
            _sending.now = before

    def _travels_as(self, msg: object) -> object:
        """Return a message as a plain value.

        Raises:
            WrongType: it is not of this exchange's type.
        """
        try:
            return self._codec.encode(msg)
        except (TypeError, ValueError) as error:
            raise self._misfit(error) from error

    def _misfit(self, error: Exception) -> WrongType:
        return WrongType(f"{self._takes}: {error}")

    @property
    def _takes(self) -> str:
        return f"exchange {self.name!r} takes {_called(self.type)}"

    # The way out.

    def _ways(self) -> tuple[Target, ...]:
        return tuple(_Way(bridge, self) for bridge in self._bridges)

    def _prepare(self, bridge: Bridge, kept: Sequence[Kept]) -> list[Any]:
        return bridge.prepare([(self._kept_as(msg), sent_at) for msg, sent_at in kept])

    def _kept_as(self, msg: object) -> object:
        try:
            return self._codec.encode(msg)
        except (TypeError, ValueError):
            return self._kept_before(msg)

    def _kept_before(self, msg: object) -> object:
        """Return what was sent before the exchange had its type, or that was defined again."""
        with suppress(TypeError, ValueError):
            if _is_again(type(msg), self.type):
                return codec_for(type(msg)).encode(msg)
        return msg

    # The way in.

    def _deliver(
        self,
        values: Sequence[Any],
        origin: str,
        first: int,
        sent_at: float,
        made: bool = False,
    ) -> None:
        """Hand on a batch that arrived, as instances; see `Exchange._deliver`."""
        decode = self._codec.decode
        try:
            all_of_them = [decode(value) for value in values]
        except BaseException:
            all_of_them = None  # one by one, then: most often all fit
        if all_of_them is not None:
            Exchange._deliver(self, all_of_them, origin, first, sent_at, made=True)
            return
        for seq, value in enumerate(values, first):
            try:
                one = [decode(value)]
            except BaseException as error:  # of a codec: it is not to end the node's data thread
                self._refuse(origin, seq, error)
            else:
                Exchange._deliver(self, one, origin, seq, sent_at, made=True)

    def _rebuilt(self, history: list[Delivery]) -> list[Delivery]:
        """Return what a peer had kept as instances, without what does not fit."""
        decode = self._codec.decode
        made: list[Delivery] = []
        for item in history:
            try:
                msg = decode(item.msg)
            except BaseException as error:
                self._refuse(item.origin or "", None, error)
            else:
                made.append(Delivery(item.name, msg, item.origin, item.seq, item.sent_at))
        return made

    def _refuse(self, origin: str, seq: int | None, error: BaseException) -> None:
        """Report a message that arrived and does not fit; of history, streams need not hear."""
        # Cut off: what is said may have come in the message, which may be large.
        reason, detail = self._takes, str(error)[:DETAIL_MOST]
        if not self.registry._refused(self, origin, seq, reason, detail):
            logger.warning("message %s of %s not taken: %s: %s", seq, origin, reason, detail)


class _Way:
    """A bridge of a typed exchange, which gets plain values."""

    __slots__ = ("_bridge", "_exchange", "_send")

    def __init__(self, bridge: Bridge, exchange: TypedExchange[Any]) -> None:
        self._bridge = bridge
        self._exchange = exchange
        self._send = bridge.send

    def __repr__(self) -> str:
        return repr(self._bridge)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Way) and other._bridge is self._bridge

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, msg: object) -> Backpressure | None:
        """Hand on what the message travels as."""
        exchange, sent, plain = _sending.now
        if sent is not msg or exchange is not self._exchange:
            # By a `send` that was looked up before the exchange had its type.
            plain = self._exchange._travels_as(msg)
        return self._send(plain)


def _called(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _told(kind: Any, other: Any) -> str:
    """Return what a type is called, so that it can be told from another one."""
    same = _called(kind) == _called(other) and isinstance(kind, type)
    return full_name(kind) if same else _called(kind)
