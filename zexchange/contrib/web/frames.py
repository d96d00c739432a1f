"""The frames between a browser and the gateway: MessagePack arrays, in binary WebSocket messages.

A value in a frame has the encoding of the wire (docs/PROTOCOL.md, *Values*). A message is encoded
once for all browsers, and the head of each frame is put before it. Their meaning is in
docs/internals/browsers.md.

The hello is a text message with JSON: values may run functions that the program has registered, and
so no value is read before the token was compared.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...local.tasks.noted import NO_HEADERS
from ...protocol.codec.values import decode, encode

VERSION = 1


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of a connection; ``session`` is empty, or of the connection before.

    Up to position ``received`` everything has come, and up to ``handled`` it was handled.
    """

    token: str
    session: str
    received: int
    handled: int


@dataclass(frozen=True, slots=True)
class Ack:
    """The browser has handled everything up to a position."""

    position: int


@dataclass(frozen=True, slots=True)
class Ping:
    """The browser asks for a sign of life."""


@dataclass(frozen=True, slots=True)
class Attach:
    """A subscription, under an id that the browser has chosen; ``group`` is empty for none."""

    number: int
    id: int
    key: str
    history: int
    group: str


@dataclass(frozen=True, slots=True)
class Detach:
    """The end of a subscription."""

    number: int
    id: int


@dataclass(frozen=True, slots=True)
class Send:
    """A message on an exchange, with headers that are not checked yet."""

    number: int
    name: str
    value: object
    headers: Any = NO_HEADERS


@dataclass(frozen=True, slots=True)
class Ask:
    """A request on an exchange, with the seconds to wait for an answer."""

    number: int
    name: str
    timeout: float
    value: object
    headers: Any = NO_HEADERS


Numbered = Attach | Detach | Send | Ask


def read_hello(text: str) -> Hello | None:
    """Return what a browser said first; None if it is no hello of this protocol."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    match said:
        case {
            "zexchange": 1,
            "token": str(token),
            "session": str(session),
            "received": int(received),
            "handled": int(handled),
        }:
            return Hello(token, session, received, handled)
        case _:
            return None


def read(frame: bytes) -> Ack | Ping | Numbered | None:
    """Return what a browser sent; None if it is no frame of this protocol.

    Raises:
        DecodeError: it is not one value.
    """
    found: Any = decode(frame)
    match found:
        case ["ack", int(position)]:
            return Ack(position)
        case ["ping"]:
            return Ping()
        case ["attach", int(number), int(id), str(key), int(history), str(group)]:
            return Attach(number, id, key, history, group)
        case ["detach", int(number), int(id)]:
            return Detach(number, id)
        case ["send", int(number), str(name), value]:
            return Send(number, name, value)
        case ["send", int(number), str(name), value, headers]:
            return Send(number, name, value, headers)
        case ["request", int(number), str(name), int(timeout) | float(timeout), value]:
            return Ask(number, name, timeout, value)
        case [
            "request",
            int(number),
            str(name),
            int(timeout) | float(timeout),
            value,
            headers,
        ]:
            return Ask(number, name, timeout, value, headers)
        case _:
            return None


def welcome(session: str, resumed: bool, taken: int, limits: Mapping[str, int]) -> bytes:
    """Return the answer to a hello."""
    return encode(["welcome", VERSION, session, resumed, taken, limits])


def missed(position: int, counts: Mapping[str, int | None], others: int | None) -> bytes:
    """Return the notice of missed messages; None where it is unknown how many."""
    return encode(["missed", position, counts, others])


def refused(position: int, number: int, reason: str, text: str) -> bytes:
    """Return the refusal of what the browser numbered so."""
    return encode(["refused", position, number, reason, text])


def message_tail(name: str, sent_at: float, value: object, headers: Mapping[str, object]) -> bytes:
    """Return the end of a message's frame, which is the same for all browsers.

    Raises:
        EncodeError: the value cannot be encoded.
    """
    more = encode(dict(headers)) if headers else _NONE
    return encode(name) + encode(sent_at) + encode(value) + more


PONG = encode(["pong"])
"""The answer to a ping; it has no position, and is not acknowledged."""
_NONE = encode({})
_MESSAGE = b"\x97" + encode("message")
_DONE = b"\x94" + encode("done")


def message(position: int, id: int, tail: bytes) -> bytes:
    """Return the frame of a message for one subscription."""
    return b"".join((_MESSAGE, encode(position), encode(id), tail))


def done(position: int, number: int, value: bytes) -> bytes:
    """Return the reply to what the browser numbered so, with an encoded value."""
    return b"".join((_DONE, encode(position), encode(number), value))
