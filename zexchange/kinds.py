"""Type checks of values that static type checkers understand, for the items of containers too.

Each check costs a function call. Code that runs for every message should use ``type(value)``
directly.
"""

from collections.abc import Generator, Mapping
from typing import Any, TypeGuard


def is_dict(value: object) -> TypeGuard[dict[Any, Any]]:
    """Return whether a value is a dict, and not of a subclass."""
    return type(value) is dict


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Return whether a value is a list, and not of a subclass."""
    return type(value) is list


def is_tuple(value: object) -> TypeGuard[tuple[Any, ...]]:
    """Return whether a value is a tuple, subclasses included."""
    return isinstance(value, tuple)


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Return whether a value is a mapping of any class."""
    return isinstance(value, Mapping)


def is_bytes(value: object) -> TypeGuard[bytes]:
    """Return whether a value is bytes."""
    return isinstance(value, bytes)


def is_buffer(value: object) -> "TypeGuard[bytes | bytearray | memoryview[int]]":
    """Return whether a value is bytes, a bytearray or a memoryview."""
    return isinstance(value, bytes | bytearray | memoryview)


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value is an int or a float, but not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_generator(value: object) -> TypeGuard[Generator[Any, Any, Any]]:
    """Return whether a value is a generator."""
    return isinstance(value, Generator)
