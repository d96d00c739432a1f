"""Notes on messages, in the later fields of a data frame's own header.

An entry for each message of the frame that has any: its headers, and whether it is a question. A
node that does not know these fields skips them, and gets the message all the same. For any bytes
that arrive, the only error raised here is `DecodeError`.
"""

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgpack

from ...errors import DecodeError
from ...kinds import is_dict, is_list
from .fields import ID_BYTES, count, unpack

NOTES_BYTES = 195
"""The most bytes of notes in a frame: a header has 255, of which other fields may take the rest."""
HEADERS_READ = 16
"""Headers of one message that are read; a frame with more is refused."""


_QUESTION, _TO = b"\x91\x94\x00\x80\xcf", b"\xc4\x10"
_PLAIN = struct.Struct(f">5sQ2s{ID_BYTES}s")
QUESTION_BYTES = _PLAIN.size
"""The size of the field of a frame whose last message is a question, without headers, to one."""
unpack_question, QUESTION_FORM = _PLAIN.unpack_from, (_QUESTION, _TO)
"""For the place that cannot afford a function call: the parts of such a field are some fixed bytes,
the number, some more fixed bytes, and the node. The form is the two fixed parts."""


class Notes(NamedTuple):
    """The notes on one message.

    Attributes:
        at: which message of the frame it is, counted back from the last one, which is 0.
        headers: its headers; empty without any.
        number: if it is a question, the number of that at its asker; else 0.
        to: the node that is asked; empty if all are that answer on the exchange.
    """

    at: int
    headers: Mapping[str, str | bytes | int | float]
    number: int = 0
    to: bytes = b""


def write_notes(notes: Notes) -> bytes:
    """Return the field for a frame of which one message has notes.

    Raises:
        ValueError: it has more than fit.
    """
    entry: list[object] = [notes.at, dict(notes.headers)]
    if notes.number:
        entry += [notes.number, notes.to]
    field: bytes = msgpack.packb([entry])
    if len(field) > NOTES_BYTES:
        raise ValueError(f"{len(field)} bytes beside a message, of {NOTES_BYTES}")
    return field


def question(number: int, to: bytes) -> bytes:
    """Return the field for a frame whose last message is a question to one node.

    It is what `write_notes` could write, put together by hand: the caller of a request waits for
    each call on the way.
    """
    return _PLAIN.pack(_QUESTION, number, _TO, to)


def read_question(frame: bytes, at: int) -> tuple[int, bytes]:
    """Return number and node of a field that `question` made, at a place of a frame; else zeros."""
    first, number, second, to = _PLAIN.unpack_from(frame, at)
    return (number, to) if first == _QUESTION and second == _TO else (0, b"")


def read_notes(field: bytes, messages: int) -> tuple[Notes, ...]:
    """Return the notes in a frame of some messages.

    Raises:
        DecodeError: they are malformed.
    """
    if len(field) == QUESTION_BYTES and messages:
        number, to = read_question(field, 0)
        if number:
            return (Notes(0, {}, number, to),)
    entries = unpack(field)
    if not is_list(entries):
        raise DecodeError("the notes of a frame are a list")
    return tuple([_entry(entry, messages) for entry in entries])


def _entry(entry: Any, messages: int) -> Notes:
    if not is_list(entry) or len(entry) < 2:
        raise DecodeError("the notes of a message are a list of its place, its headers, ...")
    at, headers = count(entry[0]), entry[1]
    if at >= messages:
        raise DecodeError(f"notes of message {at} in a frame of {messages}")
    if not is_dict(headers) or len(headers) > HEADERS_READ:
        raise DecodeError(f"headers are a map of up to {HEADERS_READ}")
    for name, value in headers.items():
        if type(name) is not str or type(value) not in (str, bytes, int, float):
            raise DecodeError("a header is a str, and a str, bytes, integer or float")
    if len(entry) < 4:
        return Notes(at, headers)
    number, to = count(entry[2]), entry[3]
    if type(to) is not bytes or len(to) not in (0, ID_BYTES):
        raise DecodeError(f"a question is to a node id of {ID_BYTES} bytes, or to all")
    return Notes(at, headers, number, to)
