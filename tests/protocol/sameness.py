"""Whether what was decoded is what was encoded: in value, and in type."""

import math
import struct
from datetime import datetime, time
from typing import Any


def same(a: Any, b: Any) -> bool:
    """Equal in type and value all the way down; NaN equals NaN, -0.0 differs from 0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, set | frozenset):
        return sorted(map(fingerprint, a)) == sorted(map(fingerprint, b))
    return fingerprint(a) == fingerprint(b)


def fingerprint(value: Any) -> str:
    if isinstance(value, float):
        return "float nan" if math.isnan(value) else struct.pack(">d", value).hex()
    if isinstance(value, complex):
        return f"complex {fingerprint(value.real)} {fingerprint(value.imag)}"
    if isinstance(value, tuple):
        return f"tuple {[fingerprint(item) for item in value]}"
    if isinstance(value, frozenset):
        return f"frozenset {sorted(map(fingerprint, value))}"
    if isinstance(value, datetime | time):
        return f"{value!r} {value.fold} {value.tzinfo!r}"
    return f"{type(value).__name__} {value!r}"
