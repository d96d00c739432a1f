"""The declared type of an exchange: the values it accepts, and their conversion.

Nothing here knows exchanges.
"""

from contextlib import suppress
from typing import Any, get_args, get_origin

from ...errors import WrongType
from ...sendable import full_name
from ..tasks.dispatch import Failures, Target, answered, failed, serve
from .codecs import CHOSEN, Codec, codec_for, direct_of


class DeclaredType:
    """The type of the exchange ``name``, and its codec."""

    __slots__ = ("_name", "codec", "kind", "takes")

    def __init__(self, name: str, kind: Any, codec: Codec[Any]) -> None:
        self._name = name
        self.kind = kind
        self.codec = codec
        self.takes = f"exchange {name!r} takes {_called(kind)}"

    @property
    def declared(self) -> dict[str, Any]:
        """The arguments for `get_exchange` in another process; no codec if the type implies it."""
        chosen = isinstance(self.codec, CHOSEN)
        return {"type": self.kind, "codec": None if chosen else self.codec}

    def encode(self, msg: object) -> object:
        """Return a message as a plain value.

        Raises:
            WrongType: it is not of this type.
        """
        try:
            return self.codec.encode(msg)
        except (TypeError, ValueError) as error:
            raise self._misfit(error)

    def stand_in(
        self, ways: tuple[Target, ...], tasks: tuple[Target, ...], packed: tuple[Target, ...]
    ) -> Target:
        """Return a target that stands in for all bridges and tasks of the exchange.

        It calls the bridges (``ways``) with the plain value and the ``tasks`` with the message
        itself. A message that does not fit reaches nobody. The target is a closure, and a separate
        one for a lone task, so that a type costs no more than its codec does. Where the type allows
        it, bridges get the message as bytes, by ``packed``, if that has all of them.
        """
        encode = self.codec.encode
        direct = direct_of(self.codec) if len(packed) == len(ways) else None
        pack = None if direct is None else direct.pack

        def convert(msg: Any) -> Failures | None:
            trouble, left, to = None, iter(tasks), packed
            plain: object = None
            try:
                if pack is not None:
                    plain = pack(msg)
                if plain is None:
                    to, plain = ways, encode(msg)
            except (TypeError, ValueError) as error:
                return failed(None, self.encode, self._misfit(error))
            except BaseException as error:
                return failed(None, self.encode, error)
            try:
                trouble = serve(to, plain) if to else None
                for target in left:  # repeated from `serve`, which would be one more call
                    try:
                        result = target(msg)
                        if result is not None:
                            trouble = answered(trouble, target, result)
                    except BaseException as error:
                        trouble = failed(trouble, target, error)
            except BaseException as error:  # of a signal handler, between two calls
                return serve(left, msg, failed(trouble, self.encode, error))
            return trouble

        def check(msg: Any) -> Failures | None:
            try:
                if pack is None or pack(msg) is None:
                    encode(msg)
            except (TypeError, ValueError) as error:
                return failed(None, self.encode, self._misfit(error))
            except BaseException as error:
                return failed(None, self.encode, error)
            try:
                result = only(msg)
                return None if result is None else answered(None, only, result)
            except BaseException as error:
                return failed(None, only, error)

        if ways or len(tasks) != 1:
            return convert
        (only,) = tasks
        return check

    def _misfit(self, error: Exception) -> WrongType:
        misfit = WrongType(f"{self.takes}: {error}")
        misfit.__cause__ = error
        return misfit

    def kept_as(self, msg: object) -> object:
        """Return a retained message as a plain value, or as it is if that is impossible.

        It may have been sent before the type was declared, or before its class was defined again.
        """
        with suppress(TypeError, ValueError):
            return self.codec.encode(msg)
        with suppress(TypeError, ValueError):
            if _is_again(type(msg), self.kind):
                return codec_for(type(msg)).encode(msg)
        return msg

    def again(self, kind: Any, codec: Codec[Any] | None) -> "DeclaredType":
        """Return the replacement for this when a type is declared again, as by a cell run again.

        Raises:
            ValueError: it is another type, or another codec.
        """
        known, used = self.kind, self.codec
        if known == kind and (codec is None or _same_codec(used, codec)):
            return self
        if not _is_again(known, kind) or not (codec is None or _is_again(type(used), type(codec))):
            raise ValueError(
                f"exchange {self._name!r} has the type {_told(known, kind)} in this process,"
                f" and cannot have {_told(kind, known)}, or another codec, too"
            )
        if codec is None:
            codec = codec_for(kind) if isinstance(used, CHOSEN) else used
        return DeclaredType(self._name, kind, codec)


def _is_again(known: Any, kind: Any) -> bool:
    """Return whether ``kind`` is ``known``, or was made by running the same definition again."""
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


def _called(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _told(kind: Any, other: Any) -> str:
    """Return a name of the type that differs from that of ``other``."""
    same = _called(kind) == _called(other) and isinstance(kind, type)
    return full_name(kind) if same else _called(kind)
