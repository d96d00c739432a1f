"""Control messages to frames and back: what each kind's body holds, field by field.

Keys that are not known here are skipped, so that later versions may add some; what is
missing or of a wrong type is a `DecodeError`, and nothing else comes out of here.
"""

from collections.abc import Callable
from typing import Any

import msgpack

from ...errors import DecodeError, InvalidName
from ...kinds import is_dict, is_list
from ...names import check_key, is_pattern
from .data import CONTROL
from .fields import (
    boolean,
    count,
    federation,
    field,
    items,
    node_id,
    numbers,
    public_key,
    seconds,
    text,
    texts,
    unpack,
)
from .limits import MAX_KEYS, MAX_PATTERNS
from .messages import (
    MAX_ENDPOINT,
    MAX_LABEL,
    Ack,
    Address,
    Bye,
    Control,
    Forgot,
    Hello,
    Interest,
    Label,
    Named,
    Ping,
    Pong,
    Recall,
    Recalled,
    Refuse,
    Replay,
    Replayed,
    Resync,
    Slow,
    Stranger,
    Welcome,
)

MAX_ADDRESSES = 16
"""Addresses of one node that are read; the best come first."""


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
    parts = unpack(frame[1:])
    if not (is_list(parts) and len(parts) >= 3 and is_dict(parts[2])):
        raise DecodeError("a control frame is a list of kind, sender and body")
    kind, sender, body = parts[:3]
    if not isinstance(kind, str) or kind not in _READERS:
        shown = kind[:40] if isinstance(kind, str) else type(kind).__name__
        raise DecodeError(f"control message of unknown kind {shown!r}")
    return _READERS[kind](node_id(sender), body)


def _label(value: Any) -> Label:
    if len(items(value)) < 3:
        raise DecodeError("a label is host, pid and name")
    return Label(text(value[0])[:MAX_LABEL], count(value[1]), text(value[2])[:MAX_LABEL])


def _addresses(value: Any) -> tuple[Address, ...]:
    pairs = [texts(pair)[:2] for pair in items(value)[:MAX_ADDRESSES]]
    if any(len(pair) < 2 or max(map(len, pair)) > MAX_ENDPOINT for pair in pairs):
        raise DecodeError(f"an address is two endpoints of up to {MAX_ENDPOINT} characters")
    return tuple(Address(*pair) for pair in pairs)


def _known(value: Any) -> tuple[tuple[bytes, tuple[Address, ...]], ...]:
    pairs = items(value)
    if any(len(items(pair)) < 2 for pair in pairs):
        raise DecodeError("a known peer is a node id and its addresses")
    return tuple((node_id(pair[0]), _addresses(pair[1])) for pair in pairs)


def _keys(value: Any) -> tuple[str, ...]:
    keys = texts(value)
    for key in keys:
        # A short one without a star is a name; that is what nearly all are.
        if not 0 < len(key) < 64 or "*" in key or "\0" in key:
            _check_key(key)
    if len(keys) > MAX_KEYS or sum(map(is_pattern, keys)) > MAX_PATTERNS:
        raise DecodeError(f"an interest in more than {MAX_KEYS} keys or {MAX_PATTERNS} patterns")
    return keys


def _check_key(key: str) -> None:
    try:
        check_key(key)
    except InvalidName as error:
        raise DecodeError(str(error)[:MAX_ENDPOINT]) from None


def _public_keys(value: Any) -> tuple[tuple[bytes, bytes], ...]:
    if not is_dict(value):
        raise DecodeError("keys of nodes must be a map")
    return tuple((node_id(node), public_key(key)) for node, key in value.items())


def _versions(value: Any) -> tuple[int, int]:
    if len(items(value)) != 2:
        raise DecodeError("versions are the lowest and the highest")
    return count(value[0]), count(value[1])


def _write_addresses(addresses: tuple[Address, ...]) -> list[list[str]]:
    return [[address.control, address.data] for address in addresses]


def _write_to(m: Interest | Ping | Ack | Slow | Named | Forgot) -> dict[str, bytes]:
    return {"to": m.to} if m.to else {}


def _read_to(body: dict[Any, Any]) -> bytes:
    return node_id(body["to"]) if "to" in body else b""


def _write_hello(m: Hello) -> dict[str, Any]:
    return {
        "versions": m.versions,
        "features": m.features,
        "federation": m.federation,
        "label": [m.label.host, m.label.pid, m.label.name],
        "addresses": _write_addresses(m.addresses),
        "epoch": m.epoch,
        "interest": m.interest,
        **({"started": m.started} if m.started else {}),
        **({"acknowledge": m.acknowledge} if any(m.acknowledge) else {}),
        **({"key": m.key} if m.key else {}),
        **({"registry": m.registry} if m.registry else {}),
        **({"exchanges": m.exchanges} if m.exchanges else {}),
    }


def _read_hello(sender: bytes, body: dict[Any, Any]) -> Hello:
    return Hello(
        sender=sender,
        versions=_versions(field(body, "versions")),
        features=texts(body.get("features", [])),
        federation=federation(field(body, "federation")),
        label=_label(field(body, "label")),
        addresses=_addresses(field(body, "addresses")),
        epoch=count(field(body, "epoch")),
        interest=_keys(field(body, "interest")),
        started=seconds(body.get("started", 0.0)),
        acknowledge=_pair(body.get("acknowledge", [0, 0])),
        key=public_key(body["key"]) if "key" in body else b"",
        registry=node_id(body["registry"]) if "registry" in body else b"",
        exchanges=_keys(body.get("exchanges", [])),
    )


def _read_welcome(sender: bytes, body: dict[Any, Any]) -> Welcome:
    known, keys = _known(body.get("known", [])), _public_keys(body.get("keys", {}))
    return Welcome(sender, _read_hello(sender, body), known, keys)


def _write_welcome(m: Welcome) -> dict[str, Any]:
    return {
        **_write_hello(m.hello),
        "known": [[peer, _write_addresses(addresses)] for peer, addresses in m.known],
        **({"keys": dict(m.keys)} if m.keys else {}),
    }


def _read_interest(sender: bytes, body: dict[Any, Any]) -> Interest:
    epoch, base, confirmed = (count(field(body, k)) for k in ("epoch", "base", "confirmed"))
    added, removed = _keys(body.get("added", [])), _keys(body.get("removed", []))
    return Interest(sender, epoch, base, confirmed, added, removed, _read_to(body))


def _write_interest(m: Interest) -> dict[str, Any]:
    return {
        "epoch": m.epoch,
        "base": m.base,
        "confirmed": m.confirmed,
        "added": m.added,
        "removed": m.removed,
        **_write_to(m),
    }


def _write_range(m: Replay | Replayed) -> dict[str, Any]:
    request = {"request": m.request} if m.request else {}
    return {"name": m.name, "first": m.first, "last": m.last, **request}


def _range(body: dict[Any, Any]) -> tuple[str, int, int, int]:
    first, last = count(field(body, "first")), count(field(body, "last"))
    return text(field(body, "name")), first, last, count(body.get("request", 0))


def _read_recall(sender: bytes, body: dict[Any, Any]) -> Recall:
    return Recall(sender, count(field(body, "request")), text(field(body, "key")))


def _read_recalled(sender: bytes, body: dict[Any, Any]) -> Recalled:
    ranges = field(body, "ranges")
    if not is_dict(ranges):
        raise DecodeError("ranges are a map")
    return Recalled(
        sender,
        count(field(body, "request")),
        {text(name): _pair(pair) for name, pair in ranges.items()},
    )


def _pair(value: Any) -> tuple[int, int]:
    if len(items(value)) < 2:
        raise DecodeError("two numbers expected")
    return count(value[0]), count(value[1])


def _write_ping(m: Ping) -> dict[str, Any]:
    confirmed = {"confirmed": m.confirmed} if m.confirmed else {}
    named = {"named": m.named} if m.named else {}
    return {"epoch": m.epoch, "announced": m.announced, **confirmed, **named, **_write_to(m)}


def _read_ping(sender: bytes, body: dict[Any, Any]) -> Ping:
    epoch, announced = count(field(body, "epoch")), count(field(body, "announced"))
    confirmed, named = count(body.get("confirmed", 0)), count(body.get("named", 0))
    return Ping(sender, epoch, announced, confirmed, _read_to(body), named)


def _write_pong(m: Pong) -> dict[str, Any]:
    room = {} if m.room is None else {"room": m.room}
    return {
        **({"time": m.time} if m.time else {}),
        **({"held": m.held} if m.held else {}),
        **room,
    }


def _read_pong(sender: bytes, body: dict[Any, Any]) -> Pong:
    room = count(body["room"]) if "room" in body else None
    return Pong(sender, seconds(body.get("time", 0.0)), seconds(body.get("held", 0.0)), room)


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
    Slow: "slow",
    Replay: "replay",
    Replayed: "replayed",
    Recall: "recall",
    Recalled: "recalled",
    Named: "named",
    Forgot: "forgot",
    Bye: "bye",
}

_WRITERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "hello": _write_hello,
    "welcome": _write_welcome,
    "refuse": lambda m: {"reason": m.reason, "text": m.text},
    "interest": _write_interest,
    "ping": _write_ping,
    "pong": _write_pong,
    "resync": lambda m: {},
    "stranger": lambda m: {},
    "ack": lambda m: {"positions": m.positions, **_write_to(m)},
    "slow": lambda m: {"slow": m.slow, **_write_to(m)},
    "replay": _write_range,
    "replayed": _write_range,
    "recall": lambda m: {"request": m.request, "key": m.key},
    "recalled": lambda m: {"request": m.request, "ranges": m.ranges},
    "named": lambda m: {"base": m.base, "names": m.names, **_write_to(m)},
    "forgot": lambda m: {"number": m.number, **_write_to(m)},
    "bye": lambda m: {"heads": m.heads},
}

_READERS: dict[str, Callable[[bytes, dict[Any, Any]], Control]] = {
    "hello": _read_hello,
    "welcome": _read_welcome,
    "refuse": lambda s, b: Refuse(s, text(field(b, "reason")), text(b.get("text", ""))),
    "interest": _read_interest,
    "ping": _read_ping,
    "pong": _read_pong,
    "resync": lambda s, b: Resync(s),
    "stranger": lambda s, b: Stranger(s),
    "ack": lambda s, b: Ack(s, numbers(field(b, "positions")), _read_to(b)),
    "slow": lambda s, b: Slow(s, boolean(field(b, "slow")), _read_to(b)),
    "replay": lambda s, b: Replay(s, *_range(b)),
    "replayed": lambda s, b: Replayed(s, *_range(b)),
    "recall": _read_recall,
    "recalled": _read_recalled,
    "named": lambda s, b: Named(s, count(field(b, "base")), texts(field(b, "names")), _read_to(b)),
    "forgot": lambda s, b: Forgot(s, count(field(b, "number")), _read_to(b)),
    "bye": lambda s, b: Bye(s, numbers(b.get("heads", {}))),
}
