"""Reading of annotations: each type is read once, and gives a converter."""

import dataclasses
import enum
import types
import typing
from typing import Any

from .compounds import COLLECTIONS, MAPPINGS, collection, mapping, places, union
from .leaves import LEAVES, instance, itself, leaf, literal, members
from .records import Record
from .schema import Converter


def shape_of(kind: Any) -> Converter:
    """Return the converter of a type: of a class, or of any other annotation.

    Raises:
        TypeError: a part of the type cannot travel, or its values could not be told from those of
            another part; the text says which, and what to do.
    """
    return _Reader().read(kind, getattr(kind, "__name__", str(kind)))


class _Reader:
    """Reads one type and its parts. A class that contains itself is read once."""

    def __init__(self) -> None:
        self._records: dict[type, Converter] = {}

    def read(self, kind: Any, where: str) -> Converter:
        """Return the converter of an annotation; ``where`` is its place, for errors."""
        if kind is None:
            kind = type(None)
        while not isinstance(kind, type) and hasattr(kind, "__supertype__"):  # a NewType
            kind = kind.__supertype__
        origin, args = typing.get_origin(kind), typing.get_args(kind)
        if kind in (Any, object):
            return Converter("anything", frozenset(), frozenset(), False, itself, itself)
        if origin is typing.Annotated:
            return self.read(args[0], where)
        if origin in (typing.Union, types.UnionType):
            return union([self.read(arg, where) for arg in args], where)
        if origin is typing.Literal:
            return literal(args, where)
        if origin is not None:
            return self._made_of(origin, args, where)
        if isinstance(kind, type):
            return self._of_class(kind, where)
        raise TypeError(f"{where}: {kind!r} cannot be checked at run time: give a codec=")

    def _of_class(self, kind: type[Any], where: str) -> Converter:
        known = self._records.get(kind)
        if known is not None:
            return known
        if dataclasses.is_dataclass(kind):
            return self._record(kind)
        if issubclass(kind, enum.Enum):
            return members(kind)
        if kind in LEAVES:
            return leaf(kind)
        if getattr(kind, "_is_protocol", False):
            raise TypeError(f"{where}: the protocol {kind.__name__} says nothing of what travels")
        return instance(kind, where)

    def _made_of(self, origin: Any, args: tuple[Any, ...], where: str) -> Converter:
        if origin is tuple and not (len(args) == 2 and args[1] is Ellipsis):
            return places([self.read(a, f"{where}[{i}]") for i, a in enumerate(args)])
        kinds = COLLECTIONS.get(origin)
        if kinds is not None:
            return collection(kinds, self.read(args[0], f"{where}[]"), where)
        if origin in MAPPINGS:
            key, value = (self.read(arg, f"{where}[]") for arg in args)
            return mapping(key, value, where)
        raise TypeError(f"{where}: {origin!r} with arguments is not known here: give a codec=")

    def _record(self, kind: type) -> Converter:
        record = Record(kind)
        shape = Converter(
            kind.__name__,
            frozenset({kind}),
            frozenset({dict}),
            False,
            record.encode,
            record.decode,
        )
        self._records[kind] = shape  # before its fields are read: they may be of this class
        record.fill(self.read)
        return shape
