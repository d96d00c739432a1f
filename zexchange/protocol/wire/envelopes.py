r"""Frames through hubs: envelopes around control frames, and the heads of data frames.

A node behind a hub sends everything on one link, so each frame says for whom it is and from whom.
``\x03`` is one message of any number of ZeroMQ frames, ``\x04`` many small ones in one frame. Their
content is for the receiver, and hubs do not open it. Between hubs, data travels as ``\x05``. For
any bytes that arrive, the only error raised here is `DecodeError`.
"""

import struct
from collections.abc import Iterable
from typing import NamedTuple

from ...errors import DecodeError
from ...names import MAX_NAME_BYTES
from .data import DATA, READY, STARTED, read_start
from .fields import ID_BYTES
from .messages import Address

RELAY, BUNDLE, TRUNK, MARK = b"\x03", b"\x04", b"\x05", b"\xfe"
HOPS_MOST = 16
"""Hubs that a message passes at most: a second protection against messages that go in circles."""
BUNDLE_BYTES = 256 << 10
"""A bundle is closed once it has so many bytes. A larger message travels alone."""
HEAD_BYTES = 1 + MAX_NAME_BYTES + 1 + 64
"""How much of the start of a data or ready frame has to be looked at."""
SCHEME = "hub://"

_ITEM = struct.Struct(">16s16sBI")
_RELAY = struct.Struct(">c16s16sB")
_TRUNK = struct.Struct(">c16sB")
_NUMBERS = struct.Struct(">QIB")
_MARK = struct.Struct(">c16sQ")
_READY_ORIGIN = 1 + ID_BYTES + 8 + 2


def endpoint_of(node: bytes) -> str:
    """Return the endpoint by which a node that hubs lead to is dialled."""
    return SCHEME + node.hex()


def node_at(endpoint: str) -> bytes | None:
    """Return the node to which hubs lead by an endpoint; None for other kinds of endpoint."""
    if not endpoint.startswith(SCHEME):
        return None
    try:
        node = bytes.fromhex(endpoint[len(SCHEME) :])
    except ValueError:
        return None
    return node if len(node) == ID_BYTES else None


def by_hub(addresses: Iterable[Address]) -> bool:
    """Return whether addresses lead through hubs; if one does, it is the only one."""
    return any(address.control.startswith(SCHEME) for address in addresses)


# ------------------------------------------------------------------------- envelopes


class Envelope(NamedTuple):
    """A control message on its way: sender, receiver, and how many hubs it may still pass."""

    sender: bytes
    to: bytes
    hops: int
    content: bytes


def bundle(parcels: Iterable[Envelope]) -> bytes:
    """Return the frame that holds some envelopes."""
    pack = _ITEM.pack
    parts = [BUNDLE]
    for sender, to, hops, content in parcels:
        parts.append(pack(sender, to, hops, len(content)))
        parts.append(content)
    return b"".join(parts)


def bundles(parcels: Iterable[Envelope]) -> list[bytes]:
    """Return the frames that hold some envelopes, none much larger than `BUNDLE_BYTES`."""
    portions, room = list[list[Envelope]](), 0
    for parcel in parcels:
        if room <= 0:
            portions.append([])
            room = BUNDLE_BYTES
        portions[-1].append(parcel)
        room -= len(parcel.content)
    return [bundle(portion) for portion in portions]


def unbundle(frame: bytes) -> list[Envelope]:
    """Return the envelopes in a frame.

    Raises:
        DecodeError: if it is cut short.
    """
    parcels: list[Envelope] = []
    at, end, size = 1, len(frame), _ITEM.size
    while at < end:
        if at + size > end:
            raise DecodeError("a bundle that ends inside a parcel's head")
        sender, to, hops, length = _ITEM.unpack_from(frame, at)
        at += size + length
        if at > end:
            raise DecodeError("a bundle that ends inside a parcel")
        parcels.append(Envelope(sender, to, hops, frame[at - length : at]))
    return parcels


def relay_head(sender: bytes, to: bytes, hops: int = HOPS_MOST) -> bytes:
    """Return the frame that precedes the ZeroMQ frames of one message for a node."""
    return _RELAY.pack(RELAY, sender, to, hops)


def read_relay(frame: bytes) -> tuple[bytes, bytes, int]:
    """Return sender, receiver, and how many hubs the message may still pass.

    Raises:
        DecodeError: if it is malformed.
    """
    if len(frame) != _RELAY.size:
        raise DecodeError(f"the head of a relayed message has {_RELAY.size} bytes")
    _, sender, to, hops = _RELAY.unpack(frame)
    return sender, to, hops


def hub_source_head(root: bytes, hops: int) -> bytes:
    """Return the frame that precedes a data frame between hubs; it entered at the hub ``root``."""
    return _TRUNK.pack(TRUNK, root, hops)


def read_hub_source(frame: bytes) -> tuple[bytes, int]:
    """Return the hub at which a data frame entered, and how many hubs it may still pass.

    Raises:
        DecodeError: if it is malformed.
    """
    if len(frame) != _TRUNK.size:
        raise DecodeError(f"the head of a frame between hubs has {_TRUNK.size} bytes")
    _, root, hops = _TRUNK.unpack(frame)
    return root, hops


# ----------------------------------------------------------------------- data frames


class FrameInfo(NamedTuple):
    """The fields of a data or ready frame that a hub has to know.

    ``first`` is a place (see `sequence`), 0 where the frame has none.
    """

    topic: bytes
    origin: bytes
    first: int
    messages: int


def look(head: bytes) -> FrameInfo:
    """Return the fields that a hub has to know of a frame with this head.

    Raises:
        DecodeError: if it is neither a data nor a ready frame.
    """
    if head[:1] == DATA:
        end = head.find(b"\0", 1, MAX_NAME_BYTES + 2)
        start = end + 3
        if end > 1 and len(head) >= start + ID_BYTES + _NUMBERS.size:
            first, count, flags = _NUMBERS.unpack_from(head, start + ID_BYTES)
            size = head[start - 2]
            if flags & STARTED and len(head) >= end + 1 + size:
                first += read_start(head, end + 1, size, flags)
            return FrameInfo(head[: end + 1], head[start : start + ID_BYTES], first, count)
    elif head[:1] == READY and len(head) >= _READY_ORIGIN + ID_BYTES:
        origin = head[_READY_ORIGIN : _READY_ORIGIN + ID_BYTES]
        return FrameInfo(head[: _READY_ORIGIN - 2], origin, 0, 0)
    raise DecodeError("neither a data nor a ready frame")


def origin_of(frame: bytes) -> bytes:
    """Return the origin of a data or ready frame; something else if it is neither."""
    if frame[:1] == DATA:
        start = frame.find(b"\0", 1, MAX_NAME_BYTES + 2) + 3
        return frame[start : start + ID_BYTES]
    return frame[_READY_ORIGIN : _READY_ORIGIN + ID_BYTES]


# --------------------------------------------------------------- introductions, marks


def introduction_topic(hub: bytes) -> bytes:
    """Return the topic to which a hub subscribes, so that it is told whose a connection is."""
    return MARK + hub


def mark_topic(node: bytes) -> bytes:
    """Return the topic to which a node subscribes, so that it is asked how far it has read."""
    return MARK + node


def mark_frame(node: bytes, mark: int) -> bytes:
    """Return the frame that asks a node how far it has read."""
    return _MARK.pack(MARK, node, mark)


def read_mark(frame: bytes) -> int:
    """Return the number in a frame that asks how far we have read.

    Raises:
        DecodeError: if it is not such a frame.
    """
    if len(frame) != _MARK.size or frame[:1] != MARK:
        raise DecodeError("not a mark")
    return int(_MARK.unpack(frame)[2])
