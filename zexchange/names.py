"""Names of exchanges, and patterns over them.

A name is any non-empty string of up to 255 UTF-8 bytes without NUL; dots make
levels. In a pattern a whole segment ``*`` stands for exactly one level and a last
segment ``**`` for zero or more. Nothing here knows what a name is used for.
"""

import functools
import re

from .errors import InvalidName

MAX_NAME_BYTES = 255
"""The longest name, in UTF-8 bytes, so that a length fits in one byte on the wire."""


def check_text(text: object) -> str:
    """Return ``text`` if it has the form that names and patterns share.

    Raises:
        InvalidName: if it is not a string, empty, too long, has a NUL, or cannot be UTF-8.
    """
    if not isinstance(text, str):
        raise InvalidName(f"the name of an exchange is a str, not {type(text).__name__}: {text!r}")
    if not text:
        raise InvalidName("the name of an exchange must not be empty")
    if "\0" in text:
        raise InvalidName(f"the name of an exchange must not contain NUL: {text!r}")
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidName(f"the name of an exchange must be valid Unicode: {text!r}") from None
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


def is_name(text: str) -> bool:
    """Tell whether ``text`` names one exchange: what `check_name` raises for does not."""
    try:
        check_name(text)
    except InvalidName:
        return False
    return True


def check_pattern(pattern: object) -> str:
    """Return ``pattern`` if it is a pattern or a plain name.

    Raises:
        InvalidName: if it is malformed, or has ``**`` anywhere but at the end.
    """
    text = check_text(pattern)
    if "**" in text.split(".")[:-1]:
        raise InvalidName(f"'**' may only be the last segment of a pattern: {text!r}")
    return text


@functools.lru_cache(maxsize=4096)
def _compile(pattern: str) -> re.Pattern[str]:
    """Return the regular expression that says the same as ``pattern``."""
    *head, last = pattern.split(".")
    parts = [r"[^.]*" if segment == "*" else re.escape(segment) for segment in head]
    if last == "**":
        tail = r"(?:\..*)?" if parts else r".*"
    else:
        tail = (r"\." if parts else "") + (r"[^.]*" if last == "*" else re.escape(last))
    return re.compile(r"\.".join(parts) + tail, re.DOTALL)


def matches(pattern: str, name: str) -> bool:
    """Tell whether ``pattern`` covers ``name``; a plain name covers itself."""
    return _compile(pattern).fullmatch(name) is not None


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
