"""Types into converters: a type is read once, and a message is converted without it.

What travels is plain: values that need no class of anybody's, a dict of fields for a
dataclass. Both ways are checked, and what does not fit is a `TypeMismatch` with the path to it.
Nothing here knows exchanges, or how plain values are encoded.
"""

from .reader import shape_of
from .schema import Convert, Converter, TypeMismatch, refuse

__all__ = ["Convert", "Converter", "TypeMismatch", "refuse", "shape_of"]
