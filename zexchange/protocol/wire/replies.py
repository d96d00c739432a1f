"""Replies: the frames that answer questions, published under the token of the asker.

A reply is laid out as a ready frame with a longer header. It has its own way beside the messages:
it is neither numbered nor sent again, and needs no subscription, because the asker is subscribed to
its own token at each peer. For any bytes that arrive, the only error raised here is `DecodeError`.
"""

import struct
from typing import NamedTuple

import msgpack

from ...errors import DecodeError
from .data import MAX_CONTROL_BYTES, READY, VERSION, ready_topic
from .fields import ID_BYTES, items, text, unpack

MAX_REPLY_BYTES = MAX_CONTROL_BYTES
"""The largest reply, with its header."""
VALUE, FAILED, GONE = 0, 1, 2
_TOKEN = 1 + ID_BYTES + 8
_HEADER = struct.Struct(">BB16sBBQ")
REST_BYTES = MAX_REPLY_BYTES - _TOKEN
"""The largest reply, without its token."""
_WHOLE = struct.Struct(">c16sQBB16sBBQ")
"""The token, and the header after it."""
unpack_reply, WHOLE_HEAD = _WHOLE.unpack_from, _WHOLE.size
"""For the place that cannot afford a function call, of a frame of which `is_reply` holds: mark,
receiver, epoch, size, version, origin, kind, status, number."""
PLAIN = _HEADER.size, VERSION, VALUE
"""Size, version and status of a reply with a value, after whose header nothing else comes."""
_REPLY = 1
_PLAIN_READY = 18
TEXT_READ = 1000
"""Characters of each text of a reply that are read."""


class Reply(NamedTuple):
    """The answer of a node to one question.

    Attributes:
        receiver: the asker.
        epoch: of the asker's interest, under whose token it travels.
        origin: the node that answers.
        number: of the question, at the asker.
        status: `VALUE`, `FAILED` or `GONE`.
        value: the encoded answer, with `VALUE`.
        error: the name of the type of what the responder raised, with `FAILED`.
        text: the text of that, or why there is no responder.
    """

    receiver: bytes
    epoch: int
    origin: bytes
    number: int
    status: int = VALUE
    value: bytes = b""
    error: str = ""
    text: str = ""


def value_head(origin: bytes, number: int) -> bytes:
    """Return what is between the token and the value of a reply; arguments as in `Reply`."""
    return _HEADER.pack(_HEADER.size, VERSION, origin, _REPLY, VALUE, number)


def failed_reply(origin: bytes, number: int, error: str, text: str, status: int = FAILED) -> bytes:
    """Return what comes after the token of a reply without a value; arguments as in `Reply`."""
    head = _HEADER.pack(_HEADER.size, VERSION, origin, _REPLY, status, number)
    told: bytes = msgpack.packb([error, text])
    return head + told


def reply_frame(reply: Reply) -> bytes:
    """Return the frame of a reply."""
    told = reply.origin, reply.number
    if reply.status == VALUE:
        rest = value_head(*told) + reply.value
    else:
        rest = failed_reply(*told, reply.error, reply.text, reply.status)
    return ready_topic(reply.receiver, reply.epoch) + rest


def is_reply(frame: bytes) -> bool:
    """Return whether a frame under a token is a reply, and no ready."""
    return (
        len(frame) >= _TOKEN + _HEADER.size
        and frame[:1] == READY
        and frame[_TOKEN] > _PLAIN_READY
        and frame[_TOKEN + _PLAIN_READY] == _REPLY
    )


def read_reply(frame: bytes) -> Reply:
    """Return the contents of a reply.

    Raises:
        DecodeError: it is malformed, or of an unknown version.
    """
    if len(frame) < _WHOLE.size or len(frame) > MAX_REPLY_BYTES:
        raise DecodeError("not a reply")
    mark, receiver, epoch, size, version, origin, kind, status, number = _WHOLE.unpack_from(frame)
    if mark != READY or size <= _PLAIN_READY or kind != _REPLY:
        raise DecodeError("not a reply")
    if version != VERSION or size < _HEADER.size or _TOKEN + size > len(frame):
        raise DecodeError(f"reply of version {version}, header of {size} bytes")
    body = frame[_TOKEN + size :]
    if status == VALUE:
        return Reply(receiver, epoch, origin, number, status, body)
    if status not in (FAILED, GONE):
        raise DecodeError(f"reply of unknown status {status}")
    said = items(unpack(body))
    if len(said) < 2:
        raise DecodeError("a reply without a value says which error, and why")
    error, why = text(said[0])[:TEXT_READ], text(said[1])[:TEXT_READ]
    return Reply(receiver, epoch, origin, number, status, b"", error, why)
