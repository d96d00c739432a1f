"""Timeouts as the standard library takes them: a number of seconds, or None to wait for ever."""

import math

from .kinds import is_number


def seconds(timeout: float | None, argument: str = "timeout") -> float:
    """Return ``timeout`` in seconds, as infinity if it is None.

    Args:
        timeout: the value that the caller passed.
        argument: the name of the caller's argument, for the error text.

    Raises:
        TypeError: it is no number.
        ValueError: it is NaN.
    """
    if timeout is None:
        return math.inf
    if not is_number(timeout):
        kind = type(timeout).__name__
        raise TypeError(f"{argument} is a number of seconds or None, not {kind}: {timeout!r}")
    if math.isnan(timeout):
        raise ValueError(f"{argument} is a number of seconds or None, not nan")
    return timeout
