"""What msgspec decodes, and what is left to msgpack: in both cases the values are the same."""

import struct
import sys
from typing import Any

import msgpack
import pytest
from both import HEAD, decode_batch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuzz.sameness import same
from tests.support import examples
from zexchange.errors import DecodeError
from zexchange.history import Bulk
from zexchange.protocol.codec import batches, values
from zexchange.protocol.codec.attachments import Attached
from zexchange.protocol.codec.values import encode
from zexchange.protocol.wire.messages import Batch

pytest.importorskip("msgspec")

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.floats(width=32)
    | st.text()
)
plain = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
odd = st.binary() | st.integers(2**64, 2**70) | st.tuples(leaves) | st.dates()
keys = leaves | st.binary() | st.tuples(st.integers())
mixed = st.recursive(
    leaves | odd,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)


def decoder() -> batches.BatchDecoder:
    made = batches.batch_decoder()
    assert made is not None
    return made


def through(body: bytes, count: int) -> tuple[Any, bool]:
    """What a new decoder makes of a frame, and whether msgspec took it."""
    fast = decoder()
    return fast.decode(HEAD + body, len(HEAD), count, 1), not fast.again


@given(st.lists(plain, min_size=1, max_size=5))
@settings(max_examples=examples(300))
@example([{"nan": float("nan"), "-0": -0.0, "1.0": 1.0, "1": 1, "true": True}])
@example([2**64 - 1, -(2**63), 127, 128, -32, -33])
@example([[1.0, 2.0], {"": []}, "\0", "\U0010ffff" * 40, "é" * 300])
@example([{"k": i} for i in range(400)])
def test_msgspec_decodes_what_json_could_say(batch: list[object]) -> None:
    """Numbers, texts, lists and dicts by texts arrive in value and type as msgpack has them."""
    body = b"".join(map(encode, batch))
    got, fast = through(body, len(batch))
    assert fast or nest(batch) > batches.DEPTH
    assert same(got, batch)
    assert same(decode_batch(body, len(batch)), batch)


def nest(value: object) -> int:
    """How many lists and dicts are within each other, beside the outermost list."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max((isinstance(i, list | dict) + nest(i) for i in inner), default=0)


@given(st.lists(mixed, min_size=1, max_size=5))
@settings(max_examples=examples(300))
def test_all_else_arrives_as_ever(batch: list[object]) -> None:
    """Whatever is among the values, both decoders make the same of them."""
    assert same(decode_batch(b"".join(map(encode, batch)), len(batch)), batch)


@given(st.lists(plain, min_size=1, max_size=3), st.data())
@settings(max_examples=examples(500))
def test_a_damaged_frame_ends_as_ever(batch: list[object], data: st.DataObject) -> None:
    """The values, or the words of the error, are those of msgpack (`both` compares them)."""
    body = bytearray(b"".join(map(encode, batch)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    for count in {1, len(batch)}:
        try:
            decode_batch(bytes(body), count)
        except DecodeError:
            pass


LEFT = {
    "an array as key": b"\x81\x91\x01\x02",
    "an empty array as key": b"\x81\x90\x02",
    "a map as key": b"\x81\x80\x02",
    "a number as key": b"\x81\x01\x02",
    "nil as key": b"\x81\xc0\x02",
    "bytes as key": b"\x81\xc4\x01a\x02",
    "a tuple as key": encode({(1, 2): 3}),
    "bytes": b"\xc4\x01a",
    "a tuple": encode((1, 2)),
    "an integer of 65 bits": encode(2**64),
    "a moment of 999 ns": b"\xd7\xff" + struct.pack(">Q", 999 << 34 | 1),
    "the last nanosecond of 9999": b"\xc7\x0c\xff" + struct.pack(">Iq", 10**9 - 1, 253402300799),
    "a timestamp of no length": b"\xc7\x00\xff",
    "a moment": b"\xd6\xff\0\0\0\1",
    "an unknown extension": b"\xd4\x63\x01",
    "an attached frame": encode([Attached(0, 1)]),
    "no text": b"\xa2\xff\xfe",
    "a lone surrogate": b"\xa3\xed\xa0\x80",
    "no header": b"\xc1",
    "cut off": b"\x92\x01",
    "one too many": b"\x01\x02",
    "a list in lists": b"\x91" * (batches.DEPTH + 1) + b"\x01",
    "a list in 1000 lists": b"\x91" * 1000 + b"\x01",
    "a list in 1100 lists": b"\x91" * 1100 + b"\x01",
    "a list in 100,000 lists": b"\x91" * 100_000 + b"\x01",
    "more announced than there is": b"\xdd\xff\xff\xff\xff",
    "much announced in many": b"\xdd\x00\x0f\xff\xff" * 1000,
}


@pytest.mark.parametrize("body", LEFT.values(), ids=LEFT.keys())
def test_what_msgspec_does_otherwise_is_left_to_msgpack(body: bytes) -> None:
    """Alone, and as the last of many, it is what it is without msgspec: a value or an error."""
    fast = decoder()
    for frame, count in ((body, 1), (b"\x01" * 5 + body, 6), (encode("x" * 2000) + body, 2)):
        fast.again = 0
        try:
            got: object = fast.decode(HEAD + frame, len(HEAD), count, 1)
        except DecodeError:
            got = DecodeError
        assert fast.again
        try:
            assert same(decode_batch(frame, count), got)
        except DecodeError:
            assert got is DecodeError


def test_a_raised_recursion_limit_lets_nothing_deeper_in() -> None:
    """However deep Python may recurse, lists are refused by the depth that msgpack knows."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    try:
        with pytest.raises(DecodeError):
            through(b"\x91" * 2_000_000 + b"\x01", 1)
    finally:
        sys.setrecursionlimit(before)


def test_colliding_keys_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that are numbers never come to msgspec's dicts, which nothing checks."""
    body = encode({n << 61: 0 for n in range(200)} | dict.fromkeys(range(200), 0))
    _, fast = through(body, 1)
    assert not fast


def test_what_was_refused_is_tried_seldom() -> None:
    """After a frame that msgspec refuses it rests for some frames, each time for more of them."""
    fast, odd, even = decoder(), HEAD + encode((1,)) * 3, HEAD + encode([1]) * 3
    fast.decode(odd, len(HEAD), 3, 1)
    assert fast.again == 1 + 3 * batches.IN_VAIN
    fast.decode(odd, len(HEAD), 3, fast.again)
    assert fast.again == 1 + 9 * batches.IN_VAIN
    fast.decode(even, len(HEAD), 3, fast.again)
    fast.decode(odd, len(HEAD), 3, fast.again)
    assert fast.again == 1 + 12 * batches.IN_VAIN
    for _ in range(20):
        fast.decode(odd, len(HEAD), 3, 1)
    assert fast.again == 1 + 3 * batches.IN_VAIN_MOST


def test_any_frame_has_a_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attached parts, a decoder that rests, and no decoder at all: msgpack decodes."""
    fast, frame = decoder(), HEAD + encode([1])
    batch = Batch("x", b"", 5, 1, 0, 0.0, len(HEAD))
    monkeypatch.setattr(batches.BatchDecoder, "decode", lambda *frame: [["msgspec"]])
    assert batches.decode_batch_of(frame, batch, fast) == [["msgspec"]]
    assert batches.decode_batch_of(frame, batch, None) == [[1]]
    attached = Bulk(HEAD + encode(Attached(0, 3)), (b"abc",))
    assert batches.decode_batch_of(attached, batch, fast) == [b"abc"]
    fast.again = 6
    assert batches.decode_batch_of(frame, batch, fast) == [[1]]


def test_without_msgspec(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no decoder then, and the name of the other says so."""
    assert batches.decoder_name().startswith("msgspec 0.")
    monkeypatch.setitem(sys.modules, "msgspec", None)
    monkeypatch.setattr(batches, "_msgspec", batches._decoders())
    assert batches.batch_decoder() is None
    assert batches.decoder_name() == "msgpack " + ".".join(map(str, msgpack.version))


def test_a_large_message_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large body, too, what it announces is looked at first."""
    looked: list[int] = []
    monkeypatch.setattr(batches, "check_announced", lambda body: looked.append(len(body)))
    body = encode({"texts": ["x" * 100] * 100})
    assert through(body, 1) == (values.decode_batch(body, 1), True)
    assert through(body * 3, 3) == (values.decode_batch(body * 3, 3), True)
    assert looked == [len(body), 3 * len(body) + 5]
