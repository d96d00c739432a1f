"""Placeholders in a message for its large parts, which travel in frames of their own.

The rule of this module: placeholders are put into a copy of the message on its way to the packer,
and users never see one. It must not know of frames, nor where the parts are kept.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

_HEAD = struct.Struct(">II")


@dataclass(frozen=True, slots=True)
class Attached:
    """Stands for bytes, or for an array if ``layout`` says its dtype, shape and flags."""

    index: int
    size: int
    layout: list[object] | None = None


@dataclass(frozen=True, slots=True)
class Converted:
    """Stands for a value of a registered type whose encode function has already been called."""

    name: str
    plain: object


def write_attached(value: Attached, pack: Callable[[object], bytes]) -> bytes:
    """Return the payload of the extension value."""
    head = _HEAD.pack(value.index, value.size)
    return head if value.layout is None else head + pack(value.layout)


def read_attached(data: bytes) -> tuple[int, int, bytes]:
    """Return index, size, and the packed layout, which is empty for bytes."""
    index, size = _HEAD.unpack_from(data)
    return index, size, data[_HEAD.size :]
