r"""Data and ready frames, topics and tokens: how the bytes on the data path are laid out.

The first byte tells three kinds of frame apart: ``\x01`` data, ``\x02`` control (see `control`),
``\xff`` ready. docs/PROTOCOL.md describes them byte by byte. For any bytes that arrive, the only
error raised here is `DecodeError`.

The code that writes a layout and the code that reads it are in one file, so that each layout is
described once.
"""

import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgpack

from ...errors import DecodeError
from ...history import Body
from ...kinds import is_dict
from ...names import MAX_NAME_BYTES, prefixes
from .fields import ID_BYTES, count, each, numbers, row, unpack_all
from .messages import Batch, Promise, Ready
from .notes import Notes, read_notes

VERSION = 1
MAX_CONTROL_BYTES = 4 << 20
"""The largest control or ready frame accepted: the interest of 200,000 names fits."""
MAX_BODY_BYTES = 256 << 20
"""The largest body of a data frame, and so the largest message, in bytes."""
MAX_DATA_BYTES = MAX_BODY_BYTES + 1024
MAX_ATTACHED = 1000
"""How many further ZeroMQ frames may follow the first one of a data frame."""

DATA, CONTROL, READY = b"\x01", b"\x02", b"\xff"
MUST_UNDERSTAND = 0xF0
"""Flag bits that a receiver must not ignore, even if it does not know them."""
ATTACHED = 0x10
"""The flag of a data frame that is followed by the large parts of its last value."""
STARTED = 0x01
"""The flag of a data frame that tells where its exchange starts: see `sequence`."""
BASED = 0x02 | STARTED
"""The flags of a data frame that also tells up to where nothing will come by any federation."""

NOTED = 0x04
"""The flag of a data frame that has more about some of its messages: see `notes`."""
CONFLATED = 0x08
"""The flag of a data frame of an exchange of which only the newest message counts: without values
it is an offer, with one it answers a claim. See `conflation`."""

_BATCH = struct.Struct(">BB16sQIBQ")
_UNKNOWN = MUST_UNDERSTAND & ~ATTACHED
_READY = struct.Struct(">BB16s")
READY_PARTS = 256
"""How many frames one ready may be made of."""
_ENTRY = 12
"""How many bytes a name and its head take in a map at most, in addition to the name's own."""
READY_PART = 512 << 10
"""Bytes of heads in one frame of a ready; starts and promises come on top."""
_EPOCH = struct.Struct(">Q")
pack_head, unpack_head = _BATCH.pack, _BATCH.unpack_from
"""The head of a data frame, after its topic: `HEAD`, version, origin, number of the first value,
count of values, flags, moment. Public for the two places that cannot afford a function call."""
HEAD = _BATCH.size
_ATTACHED_BYTES = 4
"""The size of the number of further frames, which comes after the head."""
START = struct.Struct(">Q")
pack_start, unpack_start = START.pack, START.unpack_from
"""Where the exchange starts, which comes after that; the first value has the place ``start +
first``."""
STARTED_HEAD = HEAD + START.size
BASED_HEAD = STARTED_HEAD + START.size
_promises = each(row(count, numbers, into=Promise))
LONGEST_TOPIC = MAX_NAME_BYTES + 2
LAST_NUMBER = (1 << 64) - 1
"""The last number that there is: positions return in acknowledgements, and have to fit in 64
bits."""


# ----------------------------------------------------------------------------- data


def topic(name: str) -> bytes:
    """Return the topic of an exchange. No other exchange's topic starts with it."""
    return DATA + name.encode() + b"\0"


def topics(key: str) -> tuple[bytes, ...]:
    """Return the ZeroMQ subscriptions that cover a name or a pattern."""
    return tuple(DATA + prefix.encode() for prefix in prefixes(key))


def data_head(
    topic: bytes,
    origin: bytes,
    first: int,
    count: int,
    sent_at: float,
    attached: int = 0,
    start: int = 0,
    base: int | None = None,
    flags: int = 0,
    notes: bytes = b"",
) -> bytes:
    """Return the bytes that precede the values of a data frame.

    Args:
        topic: as `topic` makes it.
        origin: the node id of the origin, 16 bytes.
        first: the place of the first value; for a beacon (``count`` 0) the head plus one.
        count: how many values follow.
        sent_at: seconds since the Unix epoch; travels in microseconds.
        attached: how many ZeroMQ frames belong to it in addition to the first.
        start: where the exchange starts; the number that travels counts from there.
        base: up to this place nothing more will come by any federation; None for ``start``.
        flags: `CONFLATED`, or 0.
        notes: what travels beside the messages, as `write_notes` makes it.
    """
    moment, more = int(sent_at * 1e6 + 0.5), b""
    if attached:
        flags, more = flags | ATTACHED, attached.to_bytes(_ATTACHED_BYTES, "big")
    if start:
        flags, more = flags | STARTED, more + START.pack(start)
    if base is not None and base < start:
        flags, more = flags | BASED, more + START.pack(base)
    if notes:
        flags, more = flags | NOTED, b"%b%c%b" % (more, len(notes), notes)
    size = HEAD + len(more)
    return topic + pack_head(size, VERSION, origin, first - start, count, flags, moment) + more


def read_data(frame: bytes) -> Batch:
    """Return a data frame's head; its values start at ``frame[batch.body:]``.

    Raises:
        DecodeError: if the frame is not a data frame of a version spoken here.
    """
    end = frame.find(b"\0", 1, LONGEST_TOPIC)
    if end < 2 or frame[:1] != DATA:
        raise DecodeError("not a data frame: no topic")
    try:
        name = frame[1:end].decode()
        size, version, origin, first, count, flags, sent_at = unpack_head(frame, end + 1)
    except (UnicodeDecodeError, struct.error) as error:
        raise DecodeError(f"malformed data frame: {error}") from None
    if version != VERSION:
        raise DecodeError(f"data frame of version {version}; version {VERSION} is spoken here")
    if size < HEAD or end + 1 + size > len(frame):
        raise DecodeError(f"data frame with a header of {size} bytes")
    if flags & _UNKNOWN:
        raise DecodeError(f"data frame with unknown flags {flags:#04x}")
    if first < 1:
        raise DecodeError("data frame that starts at number 0")
    start = read_start(frame, end + 1, size, flags) if flags & STARTED else 0
    base = start
    if flags & BASED == BASED:
        base = min(start, read_start(frame, end + 1 + START.size, size - START.size, flags))
    if start + first + count - 1 > LAST_NUMBER:
        raise DecodeError(f"data frame whose numbers, from {start + first}, run past 64 bits")
    body = end + 1 + size
    notes = _notes(frame[end + 1 : body], flags, count) if flags & NOTED else ()
    return Batch(name, origin, start + first, count, flags, sent_at / 1e6, body, start, base, notes)


def _notes(header: bytes, flags: int, count: int) -> tuple[Notes, ...]:
    """Return what travels beside the messages of a frame whose flags have `NOTED`."""
    at = HEAD + _ATTACHED_BYTES * bool(flags & ATTACHED) + START.size * bool(flags & STARTED)
    at += START.size * (flags & BASED == BASED)
    size = header[at] if at < len(header) else 0  # 0 if they are cut off, as in `read_start`
    if size and at + 1 + size > len(header):
        raise DecodeError(f"data frame with {size} bytes of notes, beyond its header")
    return read_notes(header[at + 1 : at + 1 + size], count) if size else ()


def read_start(frame: bytes, head: int, size: int, flags: int) -> int:
    """Return where the exchange of a frame starts whose flags have `STARTED`; 0 if that is cut off.

    Args:
        frame: the data frame.
        head: where its header begins.
        size: the size of its header, all of which has arrived.
        flags: of the frame.
    """
    at = HEAD + _ATTACHED_BYTES if flags & ATTACHED else HEAD
    if size < at + START.size:
        return 0
    return int(START.unpack_from(frame, head + at)[0])


def arrived_whole(batch: Batch, frame: Body) -> bool:
    """Return whether a data frame is complete; if it is not, its sender was interrupted.

    Raises:
        DecodeError: more or fewer frames follow it than its head says, or it is too large in all.
    """
    buffers = () if isinstance(frame, bytes) else frame.buffers
    head = frame if isinstance(frame, bytes) else frame.packed
    if buffers and not len(buffers[-1]):
        return False
    announced = 0
    if batch.flags & ATTACHED:
        start = head.index(b"\0", 1) + 1
        if head[start] < HEAD + _ATTACHED_BYTES:
            raise DecodeError("data frame that does not say how many frames more it has")
        at = start + HEAD
        announced = int.from_bytes(head[at : at + _ATTACHED_BYTES], "big")
    if len(buffers) != announced or announced > MAX_ATTACHED:
        raise DecodeError(f"data frame of {announced} frames more, behind it {len(buffers)}")
    if len(frame) > MAX_DATA_BYTES:
        raise DecodeError(f"data frame of {len(frame)} bytes in all")
    return True


# ---------------------------------------------------------------------------- ready


def ready_topic(receiver: bytes, epoch: int) -> bytes:
    """Return the token that proves a node's subscriptions of one epoch."""
    return READY + receiver + _EPOCH.pack(epoch)


def read_token(token: bytes) -> tuple[bytes, int] | None:
    """Return the node and epoch of a token seen as a subscription, or None."""
    if len(token) != 1 + ID_BYTES + _EPOCH.size or token[:1] != READY:
        return None
    return token[1 : 1 + ID_BYTES], int(_EPOCH.unpack_from(token, 1 + ID_BYTES)[0])


def ready_frame(ready: Ready) -> bytes:
    """Return the frame that answers a token."""
    head = _READY.pack(_READY.size, VERSION, ready.origin)
    more: dict[str, object] = {"starts": ready.starts} if ready.starts else {}
    if ready.bases:
        more["bases"] = ready.bases
    if ready.account:
        more["account"] = ready.account
    if ready.parts > 1:
        more |= {"part": ready.part, "parts": ready.parts}
    if ready.number:
        more |= {"forget": ready.forget, "number": ready.number}
    body: bytes = msgpack.packb(ready.heads)
    if ready.promised or more:
        body += msgpack.packb([[promise.epoch, promise.heads] for promise in ready.promised])
    if more:
        body += msgpack.packb(more)
    return ready_topic(ready.receiver, ready.epoch) + head + body


def ready_frames(ready: Ready) -> list[bytes]:
    """Return the frames that answer a token: several, if there are many heads."""
    parts = _parts(ready.heads, READY_PART)
    return [
        ready_frame(
            replace(
                ready,
                heads=part,
                promised=tuple(promise.of(part) for promise in ready.promised),
                starts={name: ready.starts[name] for name in part if name in ready.starts},
                bases={name: ready.bases[name] for name in part if name in ready.bases},
                part=number,
                parts=len(parts),
            )
        )
        for number, part in enumerate(parts, 1)
    ]


def ready_that_fits(ready: Ready) -> tuple[bytes, int]:
    """Return one frame with as many of the newest heads as fit, and how many heads it lacks."""
    frame = ready_frame(ready)
    if len(frame) <= MAX_CONTROL_BYTES:
        return frame, 0
    newest = dict(reversed(ready.heads.items()))
    # A name may occur once in the heads, and once more in each promise.
    fitting = _parts(newest, (MAX_CONTROL_BYTES - 1024) // (1 + len(ready.promised)))[0]
    promised = tuple(promise.of(fitting) for promise in ready.promised)
    whole = Ready(ready.receiver, ready.epoch, ready.origin, fitting, promised)
    return ready_frame(whole), len(newest) - len(fitting)


def _parts(heads: Mapping[str, int], most: int) -> list[dict[str, int]]:
    """Return heads in parts of about ``most`` bytes; there is at least one part."""
    parts, size = [dict[str, int]()], 0
    for name, head in heads.items():
        entry = len(name.encode()) + _ENTRY
        if size + entry > most:
            parts.append({})
            size = 0
        parts[-1][name] = head
        size += entry
    return parts


def read_ready(frame: bytes) -> Ready:
    """Return the contents of a ready frame.

    Raises:
        DecodeError: if it is not a ready frame of a version spoken here.
    """
    start = 1 + ID_BYTES + _EPOCH.size
    token = read_token(frame[:start])
    if token is None or len(frame) > MAX_CONTROL_BYTES:
        raise DecodeError("not a ready frame")
    try:
        size, version, origin = _READY.unpack_from(frame, start)
    except struct.error as error:
        raise DecodeError(f"malformed ready frame: {error}") from None
    if version != VERSION or size < _READY.size or start + size > len(frame):
        raise DecodeError(f"ready frame of version {version}, header of {size} bytes")
    heads, *later = unpack_all(frame[start + size :])
    promised = _promises(later[0]) if later else ()
    more: dict[Any, Any] = later[1] if len(later) > 1 and is_dict(later[1]) else {}
    starts, part, parts = numbers(more.get("starts", {})), more.get("part", 1), more.get("parts", 1)
    if not 1 <= count(part) <= count(parts) <= READY_PARTS:
        raise DecodeError(f"ready frame that is part {part} of {parts}")
    number = count(more.get("number", 0))
    forget = numbers(more.get("forget", {})) if number else {}
    bases = numbers(more.get("bases", {}))
    account = count(more.get("account", 0))
    told = numbers(heads), promised, starts, part, parts, forget, number, bases, account
    return Ready(token[0], token[1], origin, *told)


def whole_ready(parts: list[Ready], part: Ready) -> Ready | None:
    """Return a ready once all its parts are there; ``parts`` keeps those that came before."""
    if part.parts == 1:
        parts.clear()
        return part
    if part.part != len(parts) + 1 or any(
        (before.epoch, before.parts) != (part.epoch, part.parts) for before in parts[-1:]
    ):
        parts.clear()  # one was dropped on its way, or a new ready begins
    if part.part == len(parts) + 1:
        parts.append(part)
    if len(parts) < part.parts:
        return None
    heads, promised = dict[str, int](), dict[int, dict[str, int]]()
    starts, bases = dict[str, int](), dict[str, int]()
    for one in parts:
        heads.update(one.heads)
        starts.update(one.starts)
        bases.update(one.bases)
        for promise in one.promised:
            promised.setdefault(promise.epoch, {}).update(promise.heads)
    parts.clear()
    said = tuple(Promise(epoch, before) for epoch, before in sorted(promised.items()))
    whose = part.receiver, part.epoch, part.origin
    return Ready(*whose, heads, said, starts, bases=bases, account=part.account)
