"""The interface of a converter, and the error for a value that does not fit.

Nothing here knows any particular type.
"""

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

Convert = Callable[[Any], Any]
_SHOWN = 60
_LARGE = 1 << 64


class TypeMismatch(ValueError):
    """A value that is not of the type it should be; `path` leads to it from the message."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
        self.path = ""

    def within(self, step: str) -> "TypeMismatch":
        """Prepend one step to the path."""
        self.path = step + self.path
        return self

    def __str__(self) -> str:
        return f"msg{self.path}: {self.text}"


@dataclass(frozen=True, slots=True)
class Converter:
    """How the values of one type travel.

    Attributes:
        name: the name of the type in errors.
        types: the exact classes of its values.
        plain: the exact classes of the plain values that travel.
        same: whether a value whose class is in ``types`` travels and arrives unchanged.
        encode: makes a value plain.
        decode: makes a plain value a value of the type again.
    """

    name: str
    types: frozenset[type]
    plain: frozenset[type]
    same: bool
    encode: Convert
    decode: Convert

    @property
    def untouched(self) -> frozenset[type]:
        """The classes whose values need no conversion: checking that is cheaper than a call."""
        return self.types if self.same else frozenset()


def compound(name: str, kinds: Iterable[type], encode: Convert, decode: Convert) -> Converter:
    """Return the converter of a type made of others, whose values travel as the same ``kinds``."""
    return Converter(name, frozenset(kinds), frozenset(kinds), False, encode, decode)


def refuse(expected: str, value: object) -> NoReturn:
    """Raise the `TypeMismatch` for a value."""
    if value is None or isinstance(value, enum.Enum):
        raise TypeMismatch(f"expected {expected}, not {value}")
    raise TypeMismatch(expected_but(expected, type(value)))


def expected_but(expected: str, found: type) -> str:
    """Return the text for a value of another class, which may even have the expected name."""
    name = found.__name__
    if name in expected.replace(",", " ").split():
        name = f"an object of another class {name}, which was defined before or elsewhere"
    return f"expected {expected}, not {name}"


def brief(value: object) -> str:
    """Return a value as errors show it, cut off: a peer may have sent a very long one."""
    plain = isinstance(value, str | bytes | float) or (
        type(value) is int and -_LARGE < value < _LARGE
    )
    shown = repr(value) if plain else type(value).__name__
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
