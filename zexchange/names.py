"""Names of exchanges, and patterns over them.

A name is any non-empty string of up to 255 UTF-8 bytes without NUL; dots make
levels. In a pattern a whole segment ``*`` stands for exactly one level and a last
segment ``**`` for zero or more. Nothing here knows what a name is used for.
"""

import re
from typing import Generic, TypeVar

from .errors import InvalidName

V = TypeVar("V")

MAX_NAME_BYTES = 255
"""The longest name, in UTF-8 bytes, so that a length fits in one byte on the wire."""


def check_text(text: object, of: str = "an exchange") -> str:
    """Return ``text`` if it has the form that names and patterns share.

    Args:
        text: what is to be one.
        of: what it names, for the error.

    Raises:
        InvalidName: if it is not a string, empty, too long, has a NUL, or cannot be UTF-8.
    """
    if not isinstance(text, str):
        raise InvalidName(f"the name of {of} is a str, not {type(text).__name__}: {text!r}")
    if not text:
        raise InvalidName(f"the name of {of} must not be empty")
    if "\0" in text:
        raise InvalidName(f"the name of {of} must not contain NUL: {text!r}")
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidName(f"the name of {of} must be valid Unicode: {text!r}") from None
    if length > MAX_NAME_BYTES:
        raise InvalidName(f"a name has at most {MAX_NAME_BYTES} UTF-8 bytes, this one {length}")
    return text


def is_pattern(text: str) -> bool:
    """Tell whether ``text`` has a wildcard segment, and so stands for many names."""
    return "*" in text and any(segment in ("*", "**") for segment in text.split("."))


def check_name(name: object) -> str:
    """Return ``name`` if it names one exchange.

    Raises:
        InvalidName: if it is malformed, or a pattern; then the text points to `match`.
    """
    text = check_text(name)
    if is_pattern(text):
        raise InvalidName(
            f"{text!r} is a pattern, not a name: use match({text!r}) to receive what it covers"
        )
    return text


def check_federation(name: object) -> str:
    """Return ``name`` if it names a federation.

    Raises:
        InvalidName: if it is malformed, or a pattern.
    """
    text = check_text(name, "a federation")
    if is_pattern(text):
        raise InvalidName(f"{text!r} is a pattern: a federation has one name, alike everywhere")
    return text


def is_name(text: str) -> bool:
    """Tell whether ``text`` names one exchange: what `check_name` raises for does not."""
    try:
        check_name(text)
    except InvalidName:
        return False
    return True


def check_key(key: object) -> str:
    """Return ``key`` if a peer may ask for it: a pattern or a plain name.

    Raises:
        InvalidName: it is malformed, or has ``**`` anywhere but at the end.
    """
    text = check_text(key)
    if "**" in text.split(".")[:-1]:
        raise InvalidName(f"'**' may only be the last segment of a pattern: {text!r}")
    return text


def check_pattern(pattern: object) -> str:
    """Return ``pattern`` if a program may ask for it.

    Stricter than `check_key`: what matches nothing, or nothing that was meant, is a slip.

    Raises:
        InvalidName: it is malformed; has ``**`` anywhere but at the end, a ``*`` beside
            other characters in a level, or an empty level. The text says what to write.
    """
    text = check_key(pattern)
    segments = text.split(".")
    partial = next((s for s in segments if "*" in s and s not in ("*", "**")), None)
    if partial is not None:
        foreign = re.search("[:/]", partial)  # as levels end elsewhere
        instead = _whole_levels(re.split("[.:/]", text) if foreign else segments)
        dots = f", and names with dots for {foreign[0]!r}" if foreign else ""
        raise InvalidName(
            f"'*' stands for a whole level between dots, so {text!r} matches nothing: write"
            f" {instead!r}{dots}"
        )
    if "" in segments:
        instead = ".".join(segment for segment in segments if segment)
        meant = f": write {instead!r}" if instead else ""
        raise InvalidName(f"a pattern has no empty level, as {text!r} has{meant}")
    return text


def check_scope(scope: object) -> str:
    """Return ``scope`` if it is any name, or a pattern that `check_pattern` takes.

    Raises:
        InvalidName: it is neither.
    """
    return check_pattern(scope) if isinstance(scope, str) and "*" in scope else check_name(scope)


def _whole_levels(segments: list[str]) -> str:
    """Return a pattern in which each ``*`` is a whole level, as near to the given as there is."""
    *first, last = [segment for segment in segments if segment]
    head = [segment if segment in ("*", "**") or "*" not in segment else "*" for segment in first]
    if last.endswith("**"):
        return ".".join([*head, *filter(None, [last.strip("*")]), "**"])
    return ".".join([*head, "*" if "*" in last else last])


def matches(pattern: str, name: str) -> bool:
    """Tell whether ``pattern`` covers ``name``; a plain name covers itself.

    Segment by segment: a regular expression for each pattern takes 2 ms to compile for one of
    255 bytes, and more patterns than are kept compiled took that for every name.
    """
    if "*" not in pattern:
        return pattern == name
    wanted, levels = pattern.split("."), name.split(".")
    if wanted[-1] == "**":
        del wanted[-1]
        if len(levels) < len(wanted):
            return False
    elif len(levels) != len(wanted):
        return False
    for segment, level in zip(wanted, levels, strict=False):
        if segment != level and segment != "*":
            return False
    return True


class _Level(Generic[V]):
    """What patterns have in common up to one of their segments, and how they go on."""

    __slots__ = ("deeper", "value")

    def __init__(self) -> None:
        self.deeper: dict[str, _Level[V]] = {}
        """By the next segment, which may be ``*`` or ``**``."""
        self.value: V | None = None
        """Of the pattern that ends here."""

    @property
    def empty(self) -> bool:
        """Whether no pattern comes by here."""
        return not self.deeper and self.value is None


class Patterns(Generic[V]):
    """Values by pattern, found by the names that the patterns cover.

    A name is looked up along its levels, so that patterns which begin otherwise cost nothing.
    One thread at a time may change it, while others look names up.
    """

    __slots__ = ("_top",)

    def __init__(self) -> None:
        self._top: _Level[V] = _Level()

    @property
    def empty(self) -> bool:
        """Whether there is none, and nothing is kept of those there were."""
        return self._top.empty

    def set(self, pattern: str, value: V) -> None:
        """Have ``pattern`` stand for a value, which is not None."""
        self._way(pattern)[-1].value = value

    def discard(self, pattern: str) -> None:
        """Undo `set`; without effect if there is no such pattern."""
        levels = self._way(pattern)
        levels[-1].value = None
        for segment in reversed(pattern.split(".")):
            if levels.pop().empty:
                del levels[-1].deeper[segment]

    def _way(self, pattern: str) -> list[_Level[V]]:
        """Return the levels that a pattern goes by."""
        levels = [self._top]
        for segment in pattern.split("."):
            levels.append(levels[-1].deeper.setdefault(segment, _Level()))
        return levels

    def covering(self, name: str) -> list[V]:
        """Return the value of every pattern that covers ``name``, in no order."""
        ends: list[_Level[V]] = []
        levels = [self._top]
        for segment in name.split("."):
            deeper: list[_Level[V]] = []
            for level in levels:
                for key, there in (("**", ends), (segment, deeper), ("*", deeper)):
                    below = level.deeper.get(key)
                    if below is not None:
                        there.append(below)
            levels = deeper
        for level in levels:
            ends += filter(None, (level, level.deeper.get("**")))
        return [value for end in ends if (value := end.value) is not None]


def prefixes(pattern: str) -> tuple[str, ...]:
    r"""Return what every name covered by ``pattern`` starts with, a NUL marking its end.

    ZeroMQ filters by prefix only: a name followed by NUL starts with one of these if
    it is covered. The reverse need not hold (``a.*.c`` gives ``a.``), so that the
    receiver judges each name again with `matches`.
    """
    if not is_pattern(pattern):
        return (pattern + "\0",)
    segments = pattern.split(".")
    wild = next(i for i, segment in enumerate(segments) if segment in ("*", "**"))
    if wild == 0:
        return ("",)
    fixed = ".".join(segments[:wild])
    return (fixed + ".", fixed + "\0") if segments[wild] == "**" else (fixed + ".",)
