"""Codecs: they make messages of a type plain, and plain values messages of the type again.

There is one small interface, and a codec is chosen by the type: pydantic's own conversion for its
models, msgspec's for its structs, and ours for dataclasses and other annotations. pydantic and
msgspec are imported only for types of theirs.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from ...imports import importing
from ..tasks.stream import T
from . import Converter, TypeMismatch, refuse, shape_of
from .structs import Direct, direct


class Codec(Protocol[T]):
    """Makes messages of one type plain, and plain values messages again.

    A plain value is what receivers without a type get: a value that `Exchange.send` takes on any
    exchange, mostly a dict of fields. The methods are called on the threads of senders and on the
    data thread, which delivers; they must not wait.
    """

    def encode(self, msg: T, /) -> object:
        """Return ``msg`` as a plain value, which may share parts with it.

        Raises:
            TypeError: it is not of this type; the text says which part.
            ValueError: likewise.
        """
        ...

    def decode(self, plain: Any, /) -> T:
        """Return the message that a plain value stands for.

        Raises:
            TypeError: it stands for no message; the text says which part is wrong.
            ValueError: likewise.
        """
        ...


def codec_for(kind: Any) -> Codec[Any]:
    """Return the codec of a type.

    Raises:
        TypeError: there is none; the text says what to do.
    """
    if "pydantic" in sys.modules and hasattr(kind, "__pydantic_validator__"):
        return _Pydantic(kind)
    if "msgspec" in sys.modules and hasattr(kind, "__struct_fields__"):
        return _Msgspec(kind)
    return shape_of(kind)


class _Msgspec:
    """The codec of a `msgspec.Struct`.

    msgspec does not check a struct when it is made, so it is checked here when it is sent.
    """

    def __init__(self, kind: Any) -> None:
        with importing():
            import datetime
            import decimal
            import uuid

            import msgspec

        self._kind = kind
        self.direct = direct(kind, msgspec)
        self._convert = msgspec.convert
        self._to_builtins = msgspec.to_builtins
        self._error = msgspec.MsgspecError
        # Classes whose values travel unchanged.
        self._native = (
            bytes,
            datetime.datetime,
            datetime.date,
            datetime.time,
            datetime.timedelta,
            decimal.Decimal,
            uuid.UUID,
        )

    def encode(self, msg: Any) -> object:
        """Return the fields."""
        if type(msg) is not self._kind:
            refuse(self._kind.__name__, msg)
        try:
            plain = self._to_builtins(msg, builtin_types=self._native)
        except (self._error, TypeError) as error:
            raise TypeMismatch(str(error)) from None
        self.decode(plain)
        return plain

    def decode(self, plain: Any) -> Any:
        """Return an instance."""
        if type(plain) is self._kind:  # from a sender that has registered the class
            return plain
        try:
            return self._convert(plain, self._kind, builtin_types=self._native)
        except (self._error, TypeError, ValueError) as error:
            raise TypeMismatch(str(error)) from None


class _Pydantic:
    """The codec of pydantic's models and dataclasses: the model decides what fits."""

    def __init__(self, kind: Any) -> None:
        with importing():
            import pydantic
            import pydantic_core

        self._kind = kind
        self._to_jsonable = pydantic_core.to_jsonable_python
        adapter = pydantic.TypeAdapter(kind)
        # Under the names of the fields, without computed ones: aliases of a model may differ for
        # validation and for serialization.
        self._dump = partial(adapter.dump_python, warnings="error", by_alias=False, round_trip=True)
        self._validate = partial(adapter.validate_python, by_alias=True, by_name=True)

    def encode(self, msg: Any) -> object:
        """Return the fields, provided that the model makes an equal message of them again."""
        if type(msg) is not self._kind:
            refuse(self._kind.__name__, msg)
        try:
            plain = self._plain(self._dump(msg))
        except ValueError as error:
            raise TypeMismatch(str(error)) from None
        made = self.decode(plain)
        if not _same(made, msg):
            raise TypeMismatch(f"it would arrive as {made!r}"[:_SHOWN])
        return plain

    def decode(self, plain: Any) -> Any:
        """Return an instance."""
        try:
            return self._validate(plain)
        except ValueError as error:
            raise TypeMismatch("; ".join(str(error).splitlines()[1:4])) from None

    def _plain(self, value: Any) -> Any:
        """Return a value without classes of pydantic's, and without enums."""
        known: object = value
        kind: Any = type(known)
        if kind is dict:
            return {self._plain(k): self._plain(v) for k, v in value.items()}
        if kind in (list, tuple, set, frozenset):
            return _MAKERS[kind]([self._plain(part) for part in value])
        if kind.__module__ in _PLAIN_MODULES:
            return value
        try:
            return self._to_jsonable(value)
        except ValueError:  # its class may be one that the program has registered
            return value


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are equal, part by part; two NaN are, and arrays of equal repr."""
    known: object = one
    kind: Any = type(known)
    if kind is not type(other):
        return False
    try:
        if one == other or one != one:  # NaN
            return bool(one == other or other != other)
    except Exception:  # an array's comparison has no truth value
        return repr(one) == repr(other)
    if hasattr(kind, "__pydantic_validator__"):
        return _same(vars(one), vars(other))
    if kind is dict:
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if kind in (list, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return False


_SHOWN = 300
"""How many characters of a message an error shows."""
_MAKERS: dict[type, Callable[[list[Any]], Any]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
}
_PLAIN_MODULES = ("builtins", "datetime", "decimal", "uuid", "numpy")


def direct_of(codec: Codec[Any]) -> Direct | None:
    """Return how the messages of a codec travel without being made plain; None if they do not."""
    return codec.direct if isinstance(codec, _Msgspec) else None


CHOSEN = (Converter, _Msgspec, _Pydantic)
"""The codecs that `codec_for` chooses by the type."""
