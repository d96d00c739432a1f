"""Names, patterns, what they match, and the prefixes that ZeroMQ filters by (`names`)."""

from collections.abc import Iterator

from zexchange.errors import InvalidName
from zexchange.names import check_name, check_pattern, is_pattern, matches, prefixes

from ..bounds import require

MAX_LEN = 120


def seeds() -> Iterator[bytes]:
    """Yield a pattern, a NUL and a name."""
    for pattern in ("prices", "a.*", "a.**", "**", "*", "*.b.*", "a.*.*.*.**", "a.b*", "..", ".*"):
        for name in ("prices", "a", "a.b", "a.b.c", "a..c", "a.b.c.d.e.f", "\n", "."):
            yield f"{pattern}\0{name}".encode()


def execute(data: bytes) -> None:
    """Match; every name that a pattern covers starts with one of its prefixes."""
    left, _, right = data.partition(b"\0")
    pattern, name = left.decode(errors="replace"), right.decode(errors="surrogateescape")
    try:
        check_pattern(pattern)
        check_name(name)
    except InvalidName:
        return
    covered = matches(pattern, name)
    if covered:
        require(any(f"{name}\0".startswith(prefix) for prefix in prefixes(pattern)), data)
    if not is_pattern(pattern):
        require(covered is (pattern == name), data)
