"""Whether two decoded values are the same: in type and value, all the way down.

By a stack of its own: a nest that arrives may be as deep as Python's recursion goes.
"""

import math
from datetime import datetime, time
from typing import Any

import numpy as np


def same(one: Any, other: Any) -> bool:
    """Return whether two values are the same; NaN is NaN, and -0.0 is not 0.0."""
    pairs = [(one, other)]
    while pairs:
        a, b = pairs.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, list | tuple | dict):
            if len(a) != len(b):
                return False
            pairs.extend(zip(a, b, strict=True))
            if isinstance(a, dict):
                pairs.extend(zip(a.values(), b.values(), strict=True))
        elif not _same_leaf(a, b):
            return False
    return True


def _same_leaf(a: Any, b: Any) -> bool:
    if isinstance(a, set | frozenset):
        return len(a) == len(b) and sorted(map(_shown, a)) == sorted(map(_shown, b))
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and a.shape == b.shape and _same_items(a, b)
    if isinstance(a, float):
        return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (a != a and b != b)
    if isinstance(a, datetime | time):
        return repr(a) == repr(b) and a.fold == b.fold
    return a == b if isinstance(a, int) else repr(a) == repr(b)


def _same_items(a: Any, b: Any) -> bool:
    # Field by field: the padding between them is nothing that anybody sent.
    names = a.dtype.names
    if names is None:
        return bool(a.tobytes() == b.tobytes())
    return all(_same_items(a[name], b[name]) for name in names)


def _shown(value: Any) -> str:
    """Return a text by which members of a set can be told apart and sorted.

    Texts of members are joined as they are: the `repr` of each would double it at every level.
    """
    if isinstance(value, tuple):
        return f"tuple ({', '.join(map(_shown, value))})"
    if isinstance(value, frozenset):
        return f"frozenset ({', '.join(sorted(map(_shown, value)))})"
    if isinstance(value, np.generic):
        return f"{value.dtype.str} {value.tobytes().hex()}"
    shown = hex(value) if isinstance(value, int) else repr(value)
    return f"{type(value).__name__} {shown}"
