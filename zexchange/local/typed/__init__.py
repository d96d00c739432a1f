"""Converters of types: a type is read once, and messages are then converted without it.

Plain values travel: those that need no class of the program's, and for a dataclass a dict of its
fields. Values are checked in both directions, and one that does not fit raises a `TypeMismatch`
with the path to it. Nothing here knows exchanges, or how plain values are encoded.
"""

from .reader import shape_of
from .schema import Convert, Converter, TypeMismatch, refuse

__all__ = ["Convert", "Converter", "TypeMismatch", "refuse", "shape_of"]
