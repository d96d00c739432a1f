"""The payloads, and the one way in which every peer encodes them: MessagePack.

Ours goes through its own codec, as users' messages do. An array is a list of its type,
shape and bytes.
"""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgpack

Make = Callable[[int], Any]


def _dict(n: int) -> dict[str, Any]:
    return {"sym": "AAPL", "px": 191.25, "qty": 100, "side": "B", "seq": n}


def _stamp(n: int) -> list[Any]:
    return [time.monotonic(), n]


@lru_cache
def tick() -> Any:
    """Return the class of the dict's fields as a struct of msgspec: the same one each time."""
    import msgspec

    fields = [("sym", str), ("px", float), ("qty", int), ("side", str), ("seq", int)]
    return msgspec.defstruct("Tick", fields)


def _struct() -> Make:
    made = tick()
    return lambda n: made("AAPL", 191.25, 100, "B", n)


def maker(payload: str) -> Make:
    """Return what makes the n-th message of a kind."""
    if payload == "dict":
        return _dict
    if payload == "stamp":
        return _stamp
    if payload == "struct":
        return _struct()
    value = _VALUES[payload]()
    return lambda n: value


def _array() -> Any:
    import numpy as np

    return np.linspace(0.0, 1.0, 1 << 20)


_VALUES: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "text": lambda: "x" * 1024,
    "bytes64k": lambda: bytes(64 << 10),
    "bytes1m": lambda: bytes(1 << 20),
    "array8m": _array,
}


SIZES = {"text": 1 << 10, "bytes64k": 64 << 10, "bytes1m": 1 << 20, "array8m": 8 << 20}
"""Bytes, of those that are not small."""


def plain(topic: str) -> tuple[Callable[[Any], bytes], Callable[[Any], Any]]:
    """Return what packs and unpacks the messages of a topic.

    Arrays have a topic of their own, so that nobody else pays for a hook.
    """
    if topic == "array":
        return _pack_array, _unpack_array
    return msgpack.packb, msgpack.unpackb


def _pack_array(value: Any) -> bytes:
    array = not isinstance(value, list)  # what the benchmark says to itself is a list
    content: Any = (value.dtype.str, value.shape, value.tobytes()) if array else (value,)
    packed: bytes = msgpack.packb(content)
    return packed


def _unpack_array(data: Any) -> Any:
    import numpy as np

    kind, *rest = msgpack.unpackb(data)
    return np.frombuffer(rest[1], kind).reshape(rest[0]) if rest else kind
