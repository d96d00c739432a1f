r"""Frames to values and back: the only place that knows how bytes are laid out.

Three kinds of frame, told apart by their first byte: ``\x01`` data, ``\x02``
control, ``\xff`` ready. docs/PROTOCOL.md describes them byte by byte and holds test
vectors. Whatever arrives, the only error out of here is `DecodeError`.
"""

import struct
from collections.abc import Callable
from typing import Any

import msgpack

from ..errors import DecodeError
from ..names import MAX_NAME_BYTES, prefixes
from .values import (
    Ack,
    Address,
    Batch,
    Bye,
    Control,
    Hello,
    Interest,
    Label,
    Ping,
    Pong,
    Ready,
    Refuse,
    Resync,
    Stranger,
    Welcome,
)

VERSION = 1
ID_BYTES = 16
MAX_CONTROL_BYTES = 64 << 20
"""The largest control frame taken: the interest of two million names fits."""
MAX_BODY_BYTES = 256 << 20
"""The largest body of a data frame, and so the largest message, in bytes."""
MAX_DATA_BYTES = MAX_BODY_BYTES + 1024

DATA, CONTROL, READY = b"\x01", b"\x02", b"\xff"
MUST_UNDERSTAND = 0xF0
"""Flag bits that a receiver which does not know them must not ignore."""

_BATCH = struct.Struct(">BB16sQIBQ")
_READY = struct.Struct(">BB16s")
_EPOCH = struct.Struct(">Q")
_pack_batch, _unpack_batch = _BATCH.pack, _BATCH.unpack_from


# ----------------------------------------------------------------------------- data


def topic(name: str) -> bytes:
    """Return the topic of an exchange: no other exchange's topic starts with it."""
    return DATA + name.encode() + b"\0"


def topics(key: str) -> tuple[bytes, ...]:
    """Return the ZeroMQ subscriptions that cover a name or a pattern."""
    return tuple(DATA + prefix.encode() for prefix in prefixes(key))


def data_head(topic: bytes, origin: bytes, first: int, count: int, sent_at: float) -> bytes:
    """Return what precedes the values of a data frame.

    Args:
        topic: as `topic` makes it.
        origin: the node id of the origin, 16 bytes.
        first: the number of the first value; for a beacon (``count`` 0) the head plus one.
        count: how many values follow.
        sent_at: seconds since the Unix epoch; travels in microseconds.
    """
    return topic + _pack_batch(_BATCH.size, VERSION, origin, first, count, 0, int(sent_at * 1e6))


def read_data(frame: bytes) -> Batch:
    """Return a data frame's head; its values start at ``frame[batch.body:]``.

    Raises:
        DecodeError: if the frame is not a data frame of a version spoken here.
    """
    end = frame.find(b"\0", 1, MAX_NAME_BYTES + 2)
    if end < 2 or frame[:1] != DATA:
        raise DecodeError("not a data frame: no topic")
    try:
        name = frame[1:end].decode()
        size, version, origin, first, count, flags, sent_at = _unpack_batch(frame, end + 1)
    except (UnicodeDecodeError, struct.error) as error:
        raise DecodeError(f"malformed data frame: {error}") from None
    if version != VERSION:
        raise DecodeError(f"data frame of version {version}; version {VERSION} is spoken here")
    if size < _BATCH.size or end + 1 + size > len(frame):
        raise DecodeError(f"data frame with a header of {size} bytes")
    if flags & MUST_UNDERSTAND:
        raise DecodeError(f"data frame with unknown flags {flags:#04x}")
    if first < 1:
        raise DecodeError("data frame that starts at number 0")
    if first + count > 1 << 64:
        # Positions go back in acknowledgements: one past 64 bits could not be written.
        raise DecodeError(f"data frame whose numbers, from {first}, run past 64 bits")
    return Batch(name, origin, first, count, flags, sent_at / 1e6, end + 1 + size)


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
    body: bytes = msgpack.packb(ready.heads)
    return ready_topic(ready.receiver, ready.epoch) + head + body


def read_ready(frame: bytes) -> Ready:
    """Return what a ready frame says.

    Raises:
        DecodeError: if it is not a ready frame of a version spoken here.
    """
    start = 1 + ID_BYTES + _EPOCH.size
    token = read_token(frame[:start])
    if token is None:
        raise DecodeError("not a ready frame")
    try:
        size, version, origin = _READY.unpack_from(frame, start)
    except struct.error as error:
        raise DecodeError(f"malformed ready frame: {error}") from None
    if version != VERSION or size < _READY.size:
        raise DecodeError(f"ready frame of version {version}, header of {size} bytes")
    heads = _numbers(_unpack(frame[start + size :]))
    return Ready(token[0], token[1], origin, heads)


# -------------------------------------------------------------------------- control


def control_frame(message: Control) -> bytes:
    """Return the frame of a control message."""
    kind = _KINDS[type(message)]
    frame: bytes = msgpack.packb([kind, message.sender, _WRITERS[kind](message)])
    return CONTROL + frame


def read_control(frame: bytes) -> Control:
    """Return the control message in a frame; keys it does not know are skipped.

    Raises:
        DecodeError: if it is malformed, or of a kind that is not known here.
    """
    if frame[:1] != CONTROL:
        raise DecodeError("not a control frame")
    parts = _unpack(frame[1:])
    if not (isinstance(parts, list) and len(parts) >= 3 and isinstance(parts[2], dict)):
        raise DecodeError("a control frame is a list of kind, sender and body")
    kind, sender, body = parts[:3]
    if not isinstance(kind, str) or kind not in _READERS:
        raise DecodeError(f"control message of unknown kind {str(kind)[:40]!r}")
    return _READERS[kind](_node_id(sender), body)


def _unpack(data: bytes) -> Any:
    try:
        return msgpack.unpackb(data, strict_map_key=False)
    except Exception as error:
        # msgpack raises ValueError, its own kinds, and TypeError for unhashable keys.
        raise DecodeError(f"malformed MessagePack: {type(error).__name__}: {error}") from None


def _is(kind: type, what: str) -> Callable[[Any], Any]:
    """Return a check that a field is of a type; bool does not pass for int."""

    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise DecodeError(f"{what} must be {kind.__name__}, not {type(value).__name__}")
        return value

    return check


_text = _is(str, "a text")
_list = _is(list, "a list")


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise DecodeError(f"a count must be an unsigned 64-bit integer, not {str(value)[:40]}")
    return value


def _node_id(value: Any) -> bytes:
    if type(value) is not bytes or len(value) != ID_BYTES:
        raise DecodeError(f"a node id has {ID_BYTES} bytes")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(item) for item in _list(value))


def _numbers(value: Any) -> dict[str, int]:
    if type(value) is not dict:
        raise DecodeError("numbers by name must be a map")
    return {_text(name): _count(number) for name, number in value.items()}


def _label(value: Any) -> Label:
    if len(_list(value)) < 3:
        raise DecodeError("a label is host, pid and name")
    return Label(_text(value[0])[:255], _count(value[1]), _text(value[2])[:255])


def _addresses(value: Any) -> tuple[Address, ...]:
    pairs = [_texts(pair) for pair in _list(value)]
    if any(len(pair) < 2 for pair in pairs):
        raise DecodeError("an address is a control and a data endpoint")
    return tuple(Address(*pair[:2]) for pair in pairs)


def _known(value: Any) -> tuple[tuple[bytes, tuple[Address, ...]], ...]:
    pairs = _list(value)
    if any(len(_list(pair)) < 2 for pair in pairs):
        raise DecodeError("a known peer is a node id and its addresses")
    return tuple((_node_id(pair[0]), _addresses(pair[1])) for pair in pairs)


def _field(body: dict[Any, Any], key: str) -> Any:
    if key not in body:
        raise DecodeError(f"control message without {key!r}")
    return body[key]


def _versions(value: Any) -> tuple[int, int]:
    if len(_list(value)) != 2:
        raise DecodeError("versions are the lowest and the highest")
    return _count(value[0]), _count(value[1])


def _write_addresses(addresses: tuple[Address, ...]) -> list[list[str]]:
    return [[address.control, address.data] for address in addresses]


def _write_hello(m: Hello) -> dict[str, Any]:
    return {
        "versions": m.versions,
        "features": m.features,
        "federation": m.federation,
        "label": [m.label.host, m.label.pid, m.label.name],
        "addresses": _write_addresses(m.addresses),
        "epoch": m.epoch,
        "interest": m.interest,
    }


def _read_hello(sender: bytes, body: dict[Any, Any]) -> Hello:
    return Hello(
        sender=sender,
        versions=_versions(_field(body, "versions")),
        features=_texts(body.get("features", [])),
        federation=_text(_field(body, "federation")),
        label=_label(_field(body, "label")),
        addresses=_addresses(_field(body, "addresses")),
        epoch=_count(_field(body, "epoch")),
        interest=_texts(_field(body, "interest")),
    )


def _read_welcome(sender: bytes, body: dict[Any, Any]) -> Welcome:
    return Welcome(sender, _read_hello(sender, body), _known(body.get("known", [])))


def _read_interest(sender: bytes, body: dict[Any, Any]) -> Interest:
    epoch, base, confirmed = (_count(_field(body, k)) for k in ("epoch", "base", "confirmed"))
    added, removed = _texts(body.get("added", [])), _texts(body.get("removed", []))
    return Interest(sender, epoch, base, confirmed, added, removed)


def _write_interest(m: Interest) -> dict[str, Any]:
    return {
        "epoch": m.epoch,
        "base": m.base,
        "confirmed": m.confirmed,
        "added": m.added,
        "removed": m.removed,
    }


_KINDS: dict[type, str] = {
    Hello: "hello",
    Welcome: "welcome",
    Refuse: "refuse",
    Interest: "interest",
    Ping: "ping",
    Pong: "pong",
    Resync: "resync",
    Stranger: "stranger",
    Ack: "ack",
    Bye: "bye",
}

_WRITERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "hello": _write_hello,
    "welcome": lambda m: {
        **_write_hello(m.hello),
        "known": [[peer, _write_addresses(addresses)] for peer, addresses in m.known],
    },
    "refuse": lambda m: {"reason": m.reason, "text": m.text},
    "interest": _write_interest,
    "ping": lambda m: {"epoch": m.epoch, "announced": m.announced},
    "pong": lambda m: {},
    "resync": lambda m: {},
    "stranger": lambda m: {},
    "ack": lambda m: {"positions": m.positions},
    "bye": lambda m: {"heads": m.heads},
}

_READERS: dict[str, Callable[[bytes, dict[Any, Any]], Control]] = {
    "hello": _read_hello,
    "welcome": _read_welcome,
    "refuse": lambda s, b: Refuse(s, _text(_field(b, "reason")), _text(b.get("text", ""))),
    "interest": _read_interest,
    "ping": lambda s, b: Ping(s, _count(_field(b, "epoch")), _count(_field(b, "announced"))),
    "pong": lambda s, b: Pong(s),
    "resync": lambda s, b: Resync(s),
    "stranger": lambda s, b: Stranger(s),
    "ack": lambda s, b: Ack(s, _numbers(_field(b, "positions"))),
    "bye": lambda s, b: Bye(s, _numbers(b.get("heads", {}))),
}
