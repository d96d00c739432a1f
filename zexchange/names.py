"""Names of exchanges, and patterns over them.

A name is any non-empty string of up to 255 UTF-8 bytes without NUL. Dots separate its levels.
A pattern is a name with wildcards: the level ``*`` stands for exactly one level, and ``**`` as
the last level for any number of levels, including none. This module does not know what names are
used for.
"""

import re
from typing import Generic, TypeVar

from .errors import InvalidName

V = TypeVar("V")

MAX_NAME_BYTES = 255
"""The length limit of names, in UTF-8 bytes: a length fits in one byte on the wire."""


def check_text(text: object, of: str = "an exchange") -> str:
    """Return ``text`` unchanged if it satisfies the rules common to names and patterns.

    Args:
        text: the value to check.
        of: the kind of thing that it names, for the error text.

    Raises:
        InvalidName: it is no string, is empty or too long, has a NUL, or cannot be UTF-8.
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
    """Return whether ``text`` has a level ``*`` or ``**``."""
    return "*" in text and any(segment in ("*", "**") for segment in text.split("."))


def check_name(name: object) -> str:
    """Return ``name`` unchanged if it is the name of one exchange.

    Raises:
        InvalidName: it is malformed, or a pattern; for a pattern the text suggests `match`.
    """
    text = check_text(name)
    if is_pattern(text):
        raise InvalidName(
            f"{text!r} is a pattern, not a name: use match({text!r}) to receive what it covers"
        )
    return text


def check_federation(name: object) -> str:
    """Return ``name`` unchanged if it is the name of a federation.

    Raises:
        InvalidName: it is malformed, or a pattern.
    """
    text = check_text(name, "a federation")
    if is_pattern(text):
        raise InvalidName(f"{text!r} is a pattern: a federation has one name, alike everywhere")
    return text


def is_name(text: str) -> bool:
    """Return whether ``text`` is the name of one exchange, which `check_name` accepts."""
    try:
        check_name(text)
    except InvalidName:
        return False
    return True


def check_key(key: object) -> str:
    """Return ``key`` unchanged if a peer may subscribe to it: a name or a pattern.

    Raises:
        InvalidName: it is malformed, or has a ``**`` that is not the last level.
    """
    text = check_text(key)
    if "**" in text.split(".")[:-1]:
        raise InvalidName(f"'**' may only be the last segment of a pattern: {text!r}")
    return text


def check_pattern(pattern: object) -> str:
    """Return ``pattern`` unchanged if a program may subscribe to it.

    This is stricter than `check_key`: it also refuses patterns that match nothing, or not the
    names that their author must have meant.

    Raises:
        InvalidName: it is malformed; has a ``**`` that is not the last level, a ``*`` beside
            other characters in a level, or an empty level. The text says what to write.
    """
    text = check_key(pattern)
    segments = text.split(".")
    partial = next((s for s in segments if "*" in s and s not in ("*", "**")), None)
    if partial is not None:
        foreign = re.search("[:/]", partial)  # separators of levels in other systems
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
    """Return ``scope`` unchanged if it is a name, or a pattern that `check_pattern` accepts.

    Raises:
        InvalidName: it is neither.
    """
    return check_pattern(scope) if isinstance(scope, str) and "*" in scope else check_name(scope)


def _whole_levels(segments: list[str]) -> str:
    """Return the nearest pattern in which each ``*`` is a whole level, to suggest in an error."""
    *first, last = [segment for segment in segments if segment]
    head = [segment if segment in ("*", "**") or "*" not in segment else "*" for segment in first]
    if last.endswith("**"):
        return ".".join([*head, *filter(None, [last.strip("*")]), "**"])
    return ".".join([*head, "*" if "*" in last else last])


def matches(pattern: str, name: str) -> bool:
    """Return whether ``pattern`` covers ``name``; a plain name covers only itself."""
    # Not by regular expressions: one for a pattern of 255 bytes takes 2 ms to compile, and with
    # more patterns than `re` caches it would be compiled for every name.
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
    """A node of a prefix tree: the patterns that share their first levels up to here."""

    __slots__ = ("deeper", "value")

    def __init__(self) -> None:
        self.deeper: dict[str, _Level[V]] = {}
        """The tree below, by the next level, which may be ``*`` or ``**``."""
        self.value: V | None = None
        """The value of the pattern that ends here, if there is one."""

    @property
    def empty(self) -> bool:
        """Whether no pattern ends here or below."""
        return not self.deeper and self.value is None


class Patterns(Generic[V]):
    """A mapping from patterns to values, looked up by a name that the patterns cover.

    A lookup follows the levels of the name through a tree, so patterns with other first levels
    cost nothing. One thread at a time may change it, while others look up names.
    """

    __slots__ = ("_top",)

    def __init__(self) -> None:
        self._top: _Level[V] = _Level()

    @property
    def empty(self) -> bool:
        """Whether it has no patterns, and its tree no leftovers of discarded ones."""
        return self._top.empty

    def set(self, pattern: str, value: V) -> None:
        """Set the value of a pattern, which must not be None."""
        self._way(pattern)[-1].value = value

    def discard(self, pattern: str) -> None:
        """Remove a pattern; does nothing if it is not there."""
        levels = self._way(pattern)
        levels[-1].value = None
        for segment in reversed(pattern.split(".")):
            if levels.pop().empty:
                del levels[-1].deeper[segment]

    def _way(self, pattern: str) -> list[_Level[V]]:
        """Return the path of a pattern from the root of the tree, creating missing nodes."""
        levels = [self._top]
        for segment in pattern.split("."):
            levels.append(levels[-1].deeper.setdefault(segment, _Level()))
        return levels

    def covering(self, name: str) -> list[V]:
        """Return the value of every pattern that covers ``name``, in no particular order."""
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
    r"""Return the prefixes by which to subscribe to a name or pattern in ZeroMQ.

    ZeroMQ filters by prefix only. Each name that the pattern covers, followed by a NUL, starts
    with one of the prefixes. The reverse need not hold: ``a.*.c`` gives ``a.``, which other names
    start with too. Receivers therefore check each name with `matches`.
    """
    if not is_pattern(pattern):
        return (pattern + "\0",)
    segments = pattern.split(".")
    wild = next(i for i, segment in enumerate(segments) if segment in ("*", "**"))
    if wild == 0:
        return ("",)
    fixed = ".".join(segments[:wild])
    return (fixed + ".", fixed + "\0") if segments[wild] == "**" else (fixed + ".",)
