"""The parts of a message that travel beside it: headers, and whether it is a question.

A message that has any of these is handed on as a `Noted`, by a way of its own, so that all other
messages pay nothing for it. Tasks get the bare message; only a `Delivery` shows the headers.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from .snapshots import settled, snapshot

Header = str | bytes | int | float
"""The value of a header."""
HEADERS_MOST = 8
"""How many headers a message may have."""
HEADERS_BYTES = 128
"""How many bytes the names and values of a message's headers may have together, a number counting
as 8. On the wire they share the 255 bytes of the header of a frame."""
_INTEGERS = range(-(1 << 63), 1 << 64)


class _NoHeaders(Mapping[str, Header]):
    """The headers of a message without any; an immutable object that all of them share."""

    __slots__ = ()

    def __getitem__(self, name: str) -> Header:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "{}"

    def __reduce__(self) -> str:
        return "NO_HEADERS"


NO_HEADERS: Mapping[str, Header] = _NoHeaders()


def checked(headers: Mapping[str, Header]) -> Mapping[str, Header]:
    """Return a copy of headers that a message may have.

    Raises:
        TypeError: they are no mapping of str to str, bytes, int or float.
        ValueError: there are too many, or they are too large.
    """
    given: Any = headers  # a caller without a type checker may pass anything
    if not isinstance(given, Mapping):
        raise TypeError(f"headers are a mapping of str to values, not {type(headers).__name__}")
    found: dict[Any, Any] = dict(headers)
    size = 0
    for name, value in found.items():
        if type(name) is not str:
            raise TypeError(f"the name of a header is a str, not {name!r:.100}")
        if type(value) not in (str, bytes, int, float):
            kind = type(value).__name__
            raise TypeError(f"header {name!r:.100} is a {kind}, not a str, bytes, int or float")
        if type(value) is int and value not in _INTEGERS:
            raise ValueError(f"header {name!r:.100} is an integer of more than 64 bits")
        shown: Any = value.encode() if type(value) is str else value
        size += len(name.encode()) + (len(shown) if type(shown) is bytes else 8)
    if len(found) > HEADERS_MOST or size > HEADERS_BYTES:
        raise ValueError(
            f"{len(found)} headers of {size} bytes: a message may have {HEADERS_MOST}, and"
            f" {HEADERS_BYTES} bytes of names and values together, a number counting as 8, since"
            " they travel in the header of a frame, which has 255 bytes in all"
        )
    return found or NO_HEADERS


class Noted:
    """A message with headers, or a question.

    Args:
        msg: the message.
        headers: its headers.
        number: that of the question at its asker, if it is one that is asked elsewhere; else 0.
        to: the id of the node that is asked; None for all that answer on the exchange.
    """

    __slots__ = ("headers", "msg", "number", "to")

    def __init__(
        self,
        msg: object,
        headers: Mapping[str, Header] = NO_HEADERS,
        number: int = 0,
        to: bytes | None = None,
    ) -> None:
        self.msg = msg
        self.headers = headers
        self.number = number
        self.to = to

    def with_msg(self, msg: object) -> "Noted":
        """Return the same about another form of the message."""
        return Noted(msg, self.headers, self.number, self.to)

    def kept(self) -> object:
        """Return the form in which it is kept: a question is kept as a message."""
        msg = settled(self.msg)
        return Noted(msg, self.headers) if self.headers else msg

    def snapshot(self) -> "Noted":
        """Return a copy that its sender cannot change."""
        return self.with_msg(snapshot(self.msg))


class WithHeaders:
    """Marks a responder's function that is called with a question and with its headers."""

    __slots__ = ()


def split(msg: Any) -> tuple[Any, Mapping[str, Header]]:
    """Return a message that was kept, and its headers."""
    return (msg.msg, msg.headers) if type(msg) is Noted else (msg, NO_HEADERS)
