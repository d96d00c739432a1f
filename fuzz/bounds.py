"""The most that any input may cost: memory as a multiple of its bytes, and time.

docs/LIMITS.md promises these numbers; here they are held. A target says nothing of them.
"""

import resource
import sys
import tracemalloc
from collections.abc import Callable
from time import thread_time

AHEAD_BYTES = 40 << 20
"""Bytes that may be allocated whatever the input: 32 MiB of lists announced and not there."""
TIMES_INPUT = 256
"""Bytes of memory for each byte of input: the densest nest of small dicts takes half of it,
and a target holds what it has read twice."""
SECONDS = 1.0
"""Processor time for one input; the inputs of a run are small."""
_KIB = 1 if sys.platform == "darwin" else 1024

Execute = Callable[[bytes], None]


class Broken(AssertionError):
    """An input has broken a promise."""


def require(promise: bool, what: object) -> None:
    """Raise if a promise does not hold; not an `assert`, which an option turns off."""
    if not promise:
        raise Broken(what)


def peak() -> int:
    """Return the most memory that this process has ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB


def watched(execute: Execute) -> Execute:
    """Return a target that fails when an input takes too long, or more memory than it may."""

    def run(data: bytes) -> None:
        before, began = peak(), thread_time()
        execute(data)
        took, grown = thread_time() - began, peak() - before
        # Memory first: where a lot of it is taken, it is what took the time.
        most = AHEAD_BYTES + TIMES_INPUT * len(data)
        require(grown <= most, f"{grown} bytes of memory for {len(data)}")
        require(took <= SECONDS, f"{took:.1f} s for {len(data)} bytes")

    return run


def allocated(execute: Execute, data: bytes) -> int:
    """Run a target once and return the most memory that Python had allocated for it."""
    tracemalloc.start()
    try:
        execute(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
