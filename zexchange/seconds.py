"""Timeouts as the standard library takes them: seconds, or None for no end."""

import math

from .kinds import is_number


def seconds(timeout: float | None, argument: str = "timeout") -> float:
    """Return ``timeout`` as a number, infinite for None.

    Raises:
        TypeError: it is no number; the text names the ``argument``.
        ValueError: it is not a number that can be compared.
    """
    if timeout is None:
        return math.inf
    if not is_number(timeout):
        kind = type(timeout).__name__
        raise TypeError(f"{argument} is a number of seconds or None, not {kind}: {timeout!r}")
    if math.isnan(timeout):
        raise ValueError(f"{argument} is a number of seconds or None, not nan")
    return timeout
