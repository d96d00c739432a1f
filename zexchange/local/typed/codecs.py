"""Codecs: how messages of a type are made plain, and plain values messages again.

One small interface, and what is chosen for a type: pydantic's own way for its models,
msgspec's for its structs, ours for dataclasses and what annotations can say. Neither of
the two is imported but for a type of theirs.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from ...imports import importing
from ..tasks.stream import T
from . import Converter, TypeMismatch, refuse, shape_of


class Codec(Protocol[T]):
    """Makes messages of one type plain, and plain values messages again.

    Plain is what arrives where nobody has said a type: values that `Exchange.send` takes
    on any exchange, mostly a dict of fields. Called by whatever thread sends, and by the
    one that delivers; it must not wait.
    """

    def encode(self, msg: T, /) -> object:
        """Return ``msg`` as a plain value, which may share its parts.

        Raises:
            TypeError: it is not of this type; the text says which part.
            ValueError: likewise.
        """
        ...

    def decode(self, plain: Any, /) -> T:
        """Return the message that a plain value stands for.

        Raises:
            TypeError: it stands for none; the text says which part is wrong.
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
    """Of `msgspec.Struct`. A struct is not checked when it is made: here it is, when it is sent."""

    def __init__(self, kind: Any) -> None:
        with importing():
            import datetime
            import decimal
            import uuid

            import msgspec

        self._kind = kind
        self._convert = msgspec.convert
        self._to_builtins = msgspec.to_builtins
        self._error = msgspec.MsgspecError
        # What travels as it is.
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
        if type(plain) is self._kind:  # of a sender that has registered it
            return plain
        try:
            return self._convert(plain, self._kind, builtin_types=self._native)
        except (self._error, TypeError, ValueError) as error:
            raise TypeMismatch(str(error)) from None


class _Pydantic:
    """Of pydantic's models and dataclasses. What fits is what the model says, lax or strict."""

    def __init__(self, kind: Any) -> None:
        with importing():
            import pydantic
            import pydantic_core

        self._kind = kind
        self._to_jsonable = pydantic_core.to_jsonable_python
        adapter = pydantic.TypeAdapter(kind)
        # By name, and without what is computed: a model says under other names what it takes.
        self._dump = partial(adapter.dump_python, warnings="error", by_alias=False, round_trip=True)
        self._validate = partial(adapter.validate_python, by_alias=True, by_name=True)

    def encode(self, msg: Any) -> object:
        """Return the fields, if the model makes an equal message of them again."""
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
        """Return a value without pydantic's own types, and without enums."""
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
        except ValueError:  # it may be one that the program has registered
            return value


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are equal, part by part; NaN is, and so are arrays that show so."""
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
"""Characters of a message that are shown of it."""
_MAKERS: dict[type, Callable[[list[Any]], Any]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
}
_PLAIN_MODULES = ("builtins", "datetime", "decimal", "uuid", "numpy")
CHOSEN = (Converter, _Msgspec, _Pydantic)
"""The codecs that `codec_for` chooses by a type alone."""
