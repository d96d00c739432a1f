"""Inputs of a given size that are all of one kind, built from a few bytes: what may cost much.

The bytes choose a decoder and what fills its input: many of one small value, one that is long,
deep or wide, or a dict or set of keys from one family. Half of what is built is well formed.
"""

from collections.abc import Callable
from typing import Any

import msgpack
from msgpack import ExtType

from .seeds import vectors
from .targets.built_values import Choices

Key = Callable[[int], Any]
_P = (1 << 61) - 1


def ext(code: int, payload: bytes) -> ExtType:
    """Return an extension value with any payload."""
    return ExtType(code, payload)


def pack(value: object) -> bytes:
    """Return plain MessagePack."""
    packed: bytes = msgpack.packb(value)
    return packed


def _integer(number: int) -> ExtType:
    return ext(5, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


_FAMILIES: tuple[Key, ...] = (
    lambda n: n,
    lambda n: n * _P % (1 << 64),
    lambda n: _integer((n + 9) * _P),
    lambda n: -1 - n % 2,
    lambda n: float(n),
    lambda n: n / 1024,
    lambda n: 2.0 ** (n % 1900 - 950) * (n // 1900 + 1),
    lambda n: str(n),
    lambda n: str(n).encode(),
    lambda n: ext(2, bytes([0x9C]) + bytes(0xFF - (n >> bit & 1) for bit in range(12))),
    lambda n: ext(2, pack([n, n])),
    lambda n: ext(2, pack([_integer((n + 9) * _P)])),
    lambda n: ext(4, pack([_integer((n + 9) * _P)])),
    lambda n: ext(4, pack([n])),
    lambda n: ext(7, b"%dE%d" % (_P, n)),
    lambda n: ext(7, b"1E+99%06d" % n),
    lambda n: ext(8, (n * _P).to_bytes(16, "big")),
    lambda n: ext(11, pack([1 + n % 9999, 1, 1, 0, 0, 0, n // 9999, 0])),
    lambda n: ext(11, pack([2024, 10, 27, 2, 30, 0, n, 1, None, None, "Europe/Berlin"])),
    lambda n: ext(12, pack([n % 1000, 0, n])),
    lambda n: ext(14, pack(["<i8", n.to_bytes(8, "little")])),
    lambda n: msgpack.Timestamp(n, 0),
    lambda n: ext(20, n.to_bytes(4, "big")),
)
_TEXTS = (b"1", b"9" * 40, b"1E+999999999", b"-0", b"sNaN12", b"Infinity", b"1_0", b"0" * 50 + b"1")
_ZONES = ("UTC", "Europe/Berlin", "posix/UTC", "right/UTC", "x/y", "x" * 200, "../x", "a\0b", 7)
_PLAIN_DTYPES = (
    *("|b1", "|i1", "<f8", ">i4", "<f15", "<f16/63", ">f16/63", "<f16/9", "<i4/5", "<M8[ns]"),
    *("<M8[25s]", "<M8[xx]", "<m8[Y/12]", "|V0", "|V1", "|S0", "<U0", "<U99999999", "<c32/63", "O"),
)


def dtype(choices: Choices, depth: int = 0) -> Any:
    """Return what a dtype may be written as."""
    kind = choices.take() % 8 if depth < 4 else 0
    if kind < 4:
        return _PLAIN_DTYPES[choices.take() % len(_PLAIN_DTYPES)]
    if kind < 6:
        return [dtype(choices, depth + 1), [choices.take() % 3] * (choices.take() % 40)]
    count = choices.take() % 20
    names = [f"{n:x}" for n in range(count)]
    spec: dict[str, Any] = {
        "names": names,
        "formats": [dtype(choices, depth + 1)] * count,
        "offsets": [n * (choices.take() % 2) for n in range(count)],
        "itemsize": choices.take() % 40,
        "aligned": bool(choices.take() % 2),
    }
    return {**spec, "titles": [f"t{n}" for n in names]} if kind == 7 else spec


def small(choices: Choices, depth: int = 0) -> Any:
    """Return a small value for msgpack to pack, of any type that travels."""
    kind, number = choices.take() % 20, choices.take()
    below = depth < 6
    if kind < 2:
        return _FAMILIES[number % len(_FAMILIES)](choices.take())
    if kind < 6 and below:
        items = [small(choices, depth + 1) for _ in range(number % 4)]
        return items if kind == 2 else ext(kind - 1, pack(items))
    if kind == 6 and below:
        key = _FAMILIES[number % len(_FAMILIES)]
        return {key(n): small(choices, depth + 1) for n in range(choices.take() % 4)}
    if kind == 7:
        return ext(7, _TEXTS[number % len(_TEXTS)])
    if kind == 8:
        zone = [3_600_000_000, "x", _ZONES[number % len(_ZONES)]][: choices.take() % 4]
        fields = [2024, 10, 27, 2, 30, 0, choices.take(), 1]
        return ext(10 + number % 2, pack((fields if number % 2 else fields[3:]) + zone))
    if kind < 12:
        items = bytes(choices.take() % 20)
        shape = [number % 5] * (choices.take() % 70)
        return ext(13, pack([dtype(choices), shape, number % 4, items]))
    if kind == 12:
        return ext(14, pack([dtype(choices), bytes(number % 20)]))
    if kind == 13 and below:
        return ext(1, b"\xd9\x01x" + pack(small(choices, depth + 1)))
    if kind == 14 and below:
        value = small(choices, depth + 1)
        for _ in range(number % 33):
            value = ext(2 + number % 3, pack([value]))
        return value
    if kind == 15 and below:
        value = small(choices, depth + 1)
        for _ in range(number):
            value = [value] if number % 2 else {1: value, "1": 0}
        return value
    return (None, True, 0, -1, 1.5, "", "a", "ä\0", b"", b"x", [], {}, 2**64 - 1)[number % 13]


def filled(choices: Choices, size: int) -> bytes:
    """Return about ``size`` bytes of MessagePack."""
    kind = choices.take() % 8
    if kind == 0:
        return _many(pack(small(choices)), size)
    if kind == 1:
        return _keys(choices, size, False)
    if kind == 2:
        return pack(ext(3 + choices.take() % 2, _keys(choices, size, True)))
    if kind == 3:
        return _long(choices, size)
    if kind == 4:
        return _wide(choices, size)
    if kind == 5:  # many of what is of middling size
        return _many(filled(choices, 16 << choices.take() % 9)[:8192], size)
    if kind == 6:  # two halves: what is wasted if the second is refused
        return b"\x92" + filled(choices, size // 2) + filled(choices, size // 2)
    return pack(ext(2 + choices.take() % 3, b"\x91" + filled(choices, size)))


def _many(unit: bytes, size: int) -> bytes:
    count = max(size // len(unit), 1)
    return b"\xdd" + count.to_bytes(4, "big") + unit * count


def _keys(choices: Choices, size: int, bare: bool) -> bytes:
    first, second = (_FAMILIES[choices.take() % len(_FAMILIES)] for _ in range(2))
    shift, value = choices.take() % 64, b"" if bare else pack(small(choices))
    if shift > 48:  # one family after the other, or one alone, in steps of a power of two
        shift, second = 0, first
    each = len(pack(first(1000))) + len(value)
    count = max(size // each, 1)
    packed = []
    for number in range(count):
        family, at = (first, number) if number % 2 else (second, number << shift)
        try:
            packed.append(pack(family(at)) + value)
        except (OverflowError, ValueError):
            packed.append(pack(number) + value)
    head = b"\xdd" if bare else b"\xdf"
    return head + count.to_bytes(4, "big") + b"".join(packed)


def _long(choices: Choices, size: int) -> bytes:
    unit = (b"9", b"0", b"1_", b" ", b"\x7f", b"\x00", b"a", b"\xff", b"a.", b"*.")[
        choices.take() % 10
    ]
    text = unit * (size // len(unit))
    kind = choices.take() % 8
    if kind < 4:
        return pack(ext((7, 5, 20, 8)[kind], text + (b"E+9" if choices.take() % 2 else b"")))
    if kind == 4:
        return pack(ext(11, pack([2024, 1, 1, 0, 0, 0, 0, 0, 0, "x", text.decode("latin-1")])))
    if kind == 5:
        return pack(ext(1, b"\xd9\x01x" + pack(text)))
    if kind == 6:
        return pack(ext(13, pack(["<i1", [len(text)], 0, text])))
    return pack(text if choices.take() % 2 else text.decode("latin-1"))


def _wide(choices: Choices, size: int) -> bytes:
    """Return an array whose dtype has very many fields, or very much in its shape."""
    form = dtype(choices, 3)
    count = max(size // (12 + len(pack(form))), 1)
    step, length = choices.take() % 3, choices.take() % 4
    spec = {
        "names": [f"{n:x}" for n in range(count)],
        "formats": [form] * count,
        "offsets": [n * step for n in range(count)],
        "itemsize": (count + 40) * (step + 1),
        "aligned": bool(choices.take() % 2),
    }
    items = bytes(spec["itemsize"] * length) if length < 3 else b"x"
    return pack(ext(13, pack([spec, [length], 0, items])))


def _bodies() -> list[tuple[str, bytes, dict[str, Any]]]:
    """Return kind, sender and body of every control frame in the vectors."""
    found = []
    for frame, _ in vectors("control"):
        kind, sender, body = msgpack.unpackb(frame[1:], strict_map_key=False)[:3]
        found.append((kind, sender, body))
    return found


BODIES = _bodies()


def control(choices: Choices, size: int) -> bytes:
    """Return a control frame one of whose fields, or an unknown one, is as large."""
    kind, sender, body = BODIES[choices.take() % len(BODIES)]
    fields = [*body, "unknown"]
    large = fields[choices.take() % len(fields)]
    all_fields = dict.fromkeys([*body, large])
    packed = [bytes([0x80 + len(all_fields)])]
    for field in all_fields:
        packed += [pack(field), _field(choices, size) if field == large else pack(body[field])]
    return b"\x02\x93" + pack(kind) + pack(sender) + b"".join(packed)


def _field(choices: Choices, size: int) -> bytes:
    """Return what fits a field by its type, or anything."""
    text = ("n", "a.*.b", "tcp://h:1", "*", "a.**", "x" * 250, ".".join("abcdefgh" * 10))
    name, count = text[choices.take() % len(text)], max(size // 12, 1)
    kind = choices.take() % 7
    if kind == 0:
        return _many(pack(name), size)
    if kind == 5:
        return pack([[name, name[:200], n, n % 2000] for n in range(count // 4)])
    if kind == 1:
        return pack({f"{name[:8]}{n}": n for n in range(count)})
    if kind == 2:
        return pack([[n.to_bytes(16, "big"), [["tcp://h:1", name]]] for n in range(count // 4)])
    if kind == 3:
        return pack({n.to_bytes(16, "big"): bytes(32) for n in range(count // 4)})
    if kind == 4:
        return pack([f"{name[:200]}{n}" for n in range(size // (len(name) + 6))])
    return filled(choices, size)


VALID: tuple[object, ...] = (
    *(ext(7, text) for text in _TEXTS),
    *(ext(code, b"\x90") for code in (2, 3, 4)),
    *(ext(code, b"\x91\x01") for code in (2, 3, 4)),
    *([], {}, [[]], {"a": 1}, {1: 1}, 1, "a", b"", 1.5),
    *(ext(13, pack([form, [0], 0, b""])) for form in ("|i1", "<f8", ["|i1", [1]])),
    *(ext(14, pack([form, bytes(size)])) for form, size in (("|b1", 1), ("<f8", 8), ("|V1", 1))),
    *(ext(code, pack([2024, 1, 1, 0, 0, 0, 0, 0][: 3 if code == 9 else 8])) for code in (9, 11)),
    *(ext(12, pack([1, 0, 0])), ext(20, b"x"), ext(1, b"\xd9\x01x\xc0"), ext(8, bytes(16))),
)
"""Small values as programs send them: what the costliest of them costs is the measure."""


def valid(size: int) -> list[bytes]:
    """Return as many of each of them as fill so many bytes."""
    return [_many(pack(value), size) for value in VALID]
