"""Structs of msgspec to MessagePack and back, without a dict in between.

This is done only for types whose messages are the same either way: `Direct` asks a type for that
once, and a message that does not come out equal takes the way by the dict. So does all of a type
that

- has parts that travel as extension types or may be anything: tuples, bytes-like values, moments;
- may contain itself: only a bound of its own would keep such a message from being too deep;
- has dicts by anything but texts: their keys could be made to collide;
- runs code of the program when an instance is made or compared.

Nothing here knows what carries the bytes.
"""

from collections.abc import Callable
from typing import Any

_FACTORIES = (list, dict, set, frozenset)
"""Functions for defaults that run no code of the program."""


class Direct:
    """How the messages of a struct become bytes, and the bytes messages.

    Attributes:
        one: makes an instance of the bytes of one message; raises if they do not fit.
        several: makes a list of instances of a MessagePack array of messages.
    """

    def __init__(self, kind: Any, msgspec: Any) -> None:
        self._kind = kind
        self._encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
        self.one: Callable[[bytes], Any] = msgspec.msgpack.Decoder(kind).decode
        self.several: Callable[[bytes], list[Any]] = msgspec.msgpack.Decoder(list[kind]).decode

    def pack(self, msg: Any) -> bytes | None:
        """Return a message as bytes; None if it has to be made plain first, or does not fit."""
        if type(msg) is not self._kind:
            return None
        try:
            body = self._encode(msg)
            # msgspec writes a moment as text, for instance, even where no moment belongs.
            return body if self.one(body) == msg else None
        except Exception:  # the way by the dict finds out what is wrong, if anything
            return None


class Made(list[Any]):
    """A batch that arrived and has been made messages of a type already; ``by`` is that type."""

    __slots__ = ("by",)

    def __init__(self, by: Any, messages: list[Any]) -> None:
        super().__init__(messages)
        self.by = by


def direct(kind: Any, msgspec: Any) -> Direct | None:
    """Return how the messages of a struct travel directly; None if they do not."""
    try:
        about = msgspec.inspect.type_info(kind)
        return Direct(kind, msgspec) if _Reader(msgspec).same(about) else None
    except Exception:  # a type that cannot be read is one for the way by the dict
        return None


class _Reader:
    """Reads a type, as `msgspec.inspect` describes it."""

    def __init__(self, msgspec: Any) -> None:
        self._equal = msgspec.Struct.__eq__
        self._none = msgspec.NODEFAULT
        self._within: list[type] = []

    def same(self, about: Any) -> bool:
        """Return whether values of a type are the same either way."""
        match type(about).__name__:
            case "NoneType" | "BoolType" | "IntType" | "FloatType" | "StrType" | "LiteralType":
                return True
            case "ListType" | "SetType" | "FrozenSetType":
                return self.same(about.item_type)
            case "DictType":
                is_text = type(about.key_type).__name__ == "StrType"
                return is_text and self.same(about.value_type)
            case "UnionType":
                return all(map(self.same, about.types))
            case "EnumType":
                return "_missing_" not in vars(about.cls)
            case "StructType":
                return self._struct(about)
            case _:
                return False

    def _struct(self, about: Any) -> bool:
        kind = about.cls
        if kind in self._within or hasattr(kind, "__post_init__"):
            return False
        if kind.__eq__ != self._equal or not kind.__struct_config__.eq:
            return False
        self._within.append(kind)
        try:
            return all(
                (field.default_factory is self._none or field.default_factory in _FACTORIES)
                and self.same(field.type)
                for field in about.fields
            )
        finally:
            self._within.pop()
