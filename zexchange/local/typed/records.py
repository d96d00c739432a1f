"""Converters of dataclasses: a dict of the fields travels.

The fields are read once. The converter exists before they are read, since a field may be of the
class itself.
"""

import dataclasses
import typing
from collections.abc import Callable
from dataclasses import MISSING
from operator import attrgetter
from typing import Any

from .schema import Converter, TypeMismatch, refuse

TOO_DEEP = "nested more deeply than Python's recursion goes"


class Record:
    """The conversion between a dataclass and the dict of its fields."""

    __slots__ = ("_encoders", "_fields", "_get", "_kind")

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def fill(self, read: Callable[[Any, str], Converter]) -> None:
        """Read the fields.

        Raises:
            TypeError: a field cannot travel; the text says which.
        """
        kind = self._kind
        fields = [f for f in dataclasses.fields(kind) if f.init]
        hints = self._hints()
        shapes = [(f, read(hints[f.name], f"{kind.__name__}.{f.name}")) for f in fields]
        names = [f.name for f in fields]
        self._get: Callable[[Any], tuple[Any, ...]] = lambda msg: tuple(
            [getattr(msg, name) for name in names]
        )
        if len(names) > 1:  # with a single name, an attrgetter returns no tuple
            self._get = attrgetter(*names)
        self._encoders = [(f.name, shape.untouched, shape.encode) for f, shape in shapes]
        self._fields = [
            (f.name, shape.untouched, shape.decode, _is_required(f)) for f, shape in shapes
        ]

    def _hints(self) -> dict[str, Any]:
        kind = self._kind
        for name, field in kind.__dataclass_fields__.items():
            if isinstance(field.type, dataclasses.InitVar):
                raise TypeError(f"{kind.__name__}.{name}: an InitVar is not kept: give a codec=")
        try:
            return typing.get_type_hints(kind, localns={kind.__name__: kind}, include_extras=True)
        except NameError as error:
            raise TypeError(
                f"{kind.__name__}: {error}: its annotations can be read only at run time if"
                " what they name stands at the top of its module"
            ) from error

    def encode(self, msg: Any) -> dict[str, Any]:
        """Return the fields of an instance of exactly this class: a subclass would lose its own."""
        if type(msg) is not self._kind:
            refuse(self._kind.__name__, msg)
        plain: dict[str, Any] = {}
        name = ""
        try:
            for (name, untouched, encode), value in zip(  # noqa: B905 - strict costs a sixth
                self._encoders, self._get(msg)
            ):
                plain[name] = value if type(value) in untouched else encode(value)
        except TypeMismatch as misfit:
            raise misfit.within(f".{name}")
        except RecursionError:
            raise TypeMismatch(TOO_DEEP) from None
        except AttributeError as error:
            raise TypeMismatch(f"no value for a field: {error}") from None
        return plain

    def decode(self, plain: Any) -> Any:
        """Return an instance; unknown fields are ignored, since a newer sender may add some."""
        kind, fields = self._kind, plain
        if type(plain) is not dict:
            if type(plain) is kind:  # from a sender that has registered the class
                return plain
            refuse(kind.__name__, plain)
        values: dict[str, Any] = {}
        name = ""
        try:
            for name, untouched, decode, required in self._fields:
                if name in fields:
                    value = fields[name]
                    values[name] = value if type(value) in untouched else decode(value)
                elif required:
                    raise TypeMismatch("missing, and it has no default")
        except TypeMismatch as misfit:
            raise misfit.within(f".{name}")
        except RecursionError:
            raise TypeMismatch(TOO_DEEP) from None
        try:
            return kind(**values)
        except Exception as error:  # raised by its __post_init__
            raise TypeMismatch(f"not a {kind.__name__}: {error}"[:200]) from error


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is MISSING and field.default_factory is MISSING
