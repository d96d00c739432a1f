"""Converters of single values: of classes that travel unchanged, of enums, and of literals.

Values that travel unchanged are checked only by their class, in the same way in both directions.
"""

import enum
from collections.abc import Iterable
from typing import Any

from ...sendable import is_sendable
from .schema import Converter, TypeMismatch, brief, refuse

LEAVES: dict[Any, frozenset[type]] = {
    bool: frozenset({bool}),
    int: frozenset({int, bool}),
    float: frozenset({float, int, bool}),
    complex: frozenset({complex, float, int, bool}),
    str: frozenset({str}),
    bytes: frozenset({bytes}),
    type(None): frozenset({type(None)}),
}
"""The classes of values that each type accepts: an int is accepted for a float, as by type
checkers. Subclasses are not accepted, since they would arrive as another class."""


def itself(value: Any) -> Any:
    """Return the value: the converter of ``Any``."""
    return value


def leaf(kind: type) -> Converter:
    """Return the converter of a built-in type."""
    taken = LEAVES[kind]
    name = "None" if kind is type(None) else kind.__name__

    def check(value: Any) -> Any:
        # Some of NumPy's scalars are subclasses of these types, and travel unchanged.
        if type(value) in taken or (
            isinstance(value, kind) and type(value).__module__.partition(".")[0] == "numpy"
        ):
            return value
        return refuse(name, value)

    return Converter(name, taken, taken, True, check, check)


def instance(kind: type, where: str) -> Converter:
    """Return the converter of a class that travels unchanged, such as dates and registered classes.

    Raises:
        TypeError: its values cannot be sent; the text says what to do.
    """
    if not is_sendable(kind):
        raise TypeError(
            f"{where}: values of {kind.__name__} cannot be sent: register the class before with"
            " zexchange.register, or give a codec="
        )

    def check(value: Any) -> Any:
        return value if isinstance(value, kind) else refuse(kind.__name__, value)

    return Converter(kind.__name__, frozenset({kind}), frozenset({kind}), True, check, check)


def members(kind: type[enum.Enum]) -> Converter:
    """Return the converter of an enum: the values of its members travel."""

    def encode(value: Any) -> Any:
        return value.value if isinstance(value, kind) else refuse(kind.__name__, value)

    def decode(value: Any) -> Any:
        try:
            return kind(value)
        except Exception:
            raise TypeMismatch(f"{brief(value)} is none of {kind.__name__}") from None

    plain = _types(member.value for member in kind)
    return Converter(kind.__name__, frozenset({kind}), plain, False, encode, decode)


def literal(values: tuple[Any, ...], where: str) -> Converter:
    """Return the converter of a `Literal`."""
    if any(isinstance(value, enum.Enum) for value in values):
        raise TypeError(f"{where}: a Literal of an enum: annotate it with the enum, or give codec=")
    taken: set[tuple[type[Any], Any]] = {(type(value), value) for value in values}
    name = " | ".join(map(repr, values))

    def check(value: Any) -> Any:
        try:
            if (type(value), value) in taken:
                return value
        except TypeError:  # unhashable
            pass
        raise TypeMismatch(f"expected {name}, not {brief(value)}")

    return Converter(name, frozenset(), _types(values), False, check, check)


def _types(values: Iterable[object]) -> frozenset[type[Any]]:
    return frozenset(type(value) for value in values)
