"""Round trips, refusals, hostile bytes, and several callers at once."""

import decimal
import enum
import math
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import tracemalloc
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import msgpack
import pytest
from both import decode_batch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sameness import same

from tests.support import examples
from zexchange.errors import DecodeError, EncodeError
from zexchange.protocol.codec import datetimes
from zexchange.protocol.codec.encode_errors import explain
from zexchange.protocol.codec.values import (
    MAX_NESTED_EXTENSIONS,
    Unknown,
    decode,
    encode,
    register,
)


class Color(enum.IntEnum):
    RED = 1


class Point:
    def __init__(self, x: object) -> None:
        self.x = x


class Fragile:
    pass


class Ending:
    pass


def fail(value: object) -> Any:
    raise LookupError("on purpose")


register(Point, lambda point: point.x, Point, name="test.Point")
register(Fragile, lambda fragile: None, fail, name="test.Fragile")
register(Ending, lambda ending: None, sys.exit, name="test.Ending")


fixed_zones = st.builds(
    timezone,
    st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)),
) | st.builds(timezone, st.just(timedelta(hours=1)), st.text(max_size=5))
zones = st.none() | st.just(UTC) | fixed_zones | st.timezones()
decimals = st.decimals() | st.sampled_from([Decimal("sNaN12"), Decimal("-0E+999"), Decimal("-NaN")])
hashable_leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 127, 128, -128, -129])
    | st.floats()
    | st.text()
    | st.binary()
    | st.dates()
    | st.datetimes(timezones=zones)
    | st.times(timezones=zones)
    | st.timedeltas()
    | decimals.filter(lambda number: not number.is_snan())
    | st.uuids()
    | st.complex_numbers()
)
hashables = st.recursive(
    hashable_leaves,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
values = st.recursive(
    hashables | st.just(Decimal("sNaN")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(hashables, inner, max_size=4)
        | st.sets(hashables, max_size=4)
    ),
    max_leaves=12,
)


@given(values)
@settings(max_examples=examples(300))
@example(datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")))
@example(time(2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")))
@example([datetime.max, datetime.min, date.max, timedelta.max, timedelta.min])
@example({(1, frozenset({(2,)})): [Decimal("1.10"), -0.0, math.nan, complex(-0.0, math.inf)]})
def test_what_arrives_equals_what_was_sent(value: object) -> None:
    """Every supported value arrives equal, with its types, however nested."""
    assert same(decode(encode(value)), value)
    assert same(decode(memoryview(encode(value))), value)


@given(st.lists(values, max_size=6))
def test_a_batch_is_its_values_back_to_back(batch: list[object]) -> None:
    """Values encoded one by one and joined are decoded as one list, and only with their count."""
    body = b"".join(map(encode, batch))
    assert same(decode_batch(body, len(batch)), batch)
    assert same(decode_batch(memoryview(body), len(batch)), batch)
    for wrong in (len(batch) - 1, len(batch) + 1, -1, 2**32, 2**70):
        with pytest.raises(DecodeError):
            decode_batch(body, wrong)


def test_zones_arrive_as_the_zone_they_were() -> None:
    """UTC stays the one UTC, a name given to an offset stays, a database zone keeps its key."""
    named = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1), "X"))
    assert decode(encode(datetime(2026, 1, 1, tzinfo=UTC))).tzinfo is UTC  # type: ignore[attr-defined]
    assert decode(encode(named)).tzname() == "X"  # type: ignore[attr-defined]
    zone = decode(encode(datetime(2026, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo")))).tzinfo  # type: ignore[attr-defined]
    assert zone is ZoneInfo("Asia/Tokyo")


def test_an_unknown_zone_falls_back_to_its_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who lacks a zone gets the moment with a fixed offset, and a bare time as Unknown."""
    moment = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    sent = encode([moment, time(12, tzinfo=ZoneInfo("Europe/Berlin"))])
    monkeypatch.setattr(datetimes, "_zone_by_key", lambda key: None)
    arrived, clock = decode(sent)  # type: ignore[misc]
    assert arrived == moment
    assert arrived.tzinfo == timezone(timedelta(hours=2))
    assert arrived.tzname() == "CEST"
    assert isinstance(clock, Unknown)


@pytest.mark.parametrize("key", ["../etc/passwd", "Nowhere/Land", "", "a\0b", "America", "x" * 999])
def test_a_zone_key_that_names_no_zone_is_unknown(key: str) -> None:
    """Keys that escape the database, name a directory, or are too long, fall back as well."""
    payload = msgpack.packb([2026, 1, 1, 0, 0, 0, 0, 0, 3_600_000_000, "X", key])
    arrived = decode(msgpack.packb(msgpack.ExtType(11, payload)))
    assert arrived == datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1)))


def test_buffers_arrive_as_bytes() -> None:
    """A bytearray and a contiguous memoryview may be sent, and arrive as bytes."""
    assert same(decode(encode([bytearray(b"ab"), memoryview(b"cd")])), [b"ab", b"cd"])


Pair = namedtuple("Pair", "a b")
looped: list[object] = []
looped.append(looped)


@dataclass
class Trade:
    """What a newcomer sends."""

    size: int


@pytest.mark.parametrize(
    ("msg", "told"),
    [
        (
            {"a": [0, 1, 2, socket]},
            'msg["a"][3]: cannot encode module; register it with zexchange.',
        ),
        (Color.RED, "Color"),
        ([Pair(1, 2)], "msg[0]: cannot encode test_codec.Pair"),
        (Trade(1), "give the exchange its type: get_exchange(name, type=Trade)"),
        ((OrderedDict(a=1),), "msg[0]: cannot encode collections.OrderedDict"),
        ({"k": "\ud800"}, 'msg["k"]: a str with a lone surrogate at index 0'),
        ({"k\udcff": 1}, "lone surrogate"),
        ({(1, Color.RED): 1}, "[1]: cannot encode"),
        ({1, (2, Color.RED)}, "[1]: cannot encode"),
        ([memoryview(b"abcd")[::2]], "msg[0]: cannot encode memoryview"),
        ([Point([1, fail])], "msg[0]<as test.Point>[1]: cannot encode function"),
        (looped, "nested too deeply"),
        ([Unknown(2, b"\xc1")], "msg[0]: cannot encode Unknown(2)"),
        ([Unknown("some.Type", b"\x92")], "msg[0]: cannot encode Unknown('some.Type')"),
        ([Unknown(-5, b"")], "msg[0]: cannot encode Unknown(-5)"),
    ],
)
def test_what_cannot_be_sent_is_named_with_its_place(msg: object, told: str) -> None:
    """An error names the path inside the message and the reason."""
    with pytest.raises(EncodeError) as caught:
        encode(msg)
    assert told in str(caught.value)
    assert str(caught.value).startswith("msg")
    assert len(str(caught.value)) < 700


def test_a_message_that_changes_while_it_is_searched_still_has_an_error() -> None:
    """When the search for the place fails, the error tells what went wrong, of the whole."""
    members = {1, 2}
    error = explain(members, OverflowError("too large"), lambda part: members.clear())
    assert str(error) == "msg: cannot encode set: OverflowError: too large"


@given(values)
def test_encoding_goes_on_after_an_error(value: object) -> None:
    """A failed call leaves nothing behind that the next one could send."""
    with pytest.raises(EncodeError):
        encode([1, value, "x" * 100, Color.RED])
    assert same(decode(encode(value)), value)


def test_a_list_that_changes_meanwhile_is_refused() -> None:
    """A list changed by what runs while it is encoded never becomes a malformed body."""
    rows: list[object] = []

    class Meddler: ...

    register(Meddler, lambda meddler: rows.append(1), lambda plain: plain, name="test.Meddler")
    rows.extend([Meddler(), 2])
    with pytest.raises(EncodeError, match="changed while"):
        encode(rows)


@given(st.binary(max_size=200), st.integers(0, 8))
@settings(max_examples=examples(500))
@example(b"\xdd\xff\xff\xff\xff", 1)
@example(b"\x81\x90\x01", 1)
@example(b"\xd9\x01\xff", 1)
@example(b"\xd4\x01\xd9", 1)
@example(b"\x91" * 100_000, 1)
def test_arbitrary_bytes_raise_only_decode_errors(body: bytes, count: int) -> None:
    """Junk is decoded or refused with DecodeError, never anything else."""
    for attempt in (lambda: decode(body), lambda: decode_batch(body, count)):
        try:
            attempt()
        except DecodeError:
            pass


@given(st.integers(0, 20), st.binary(max_size=40) | values.map(encode))
@settings(max_examples=examples(500))
def test_arbitrary_payloads_raise_only_decode_errors(code: int, payload: bytes) -> None:
    """Every extension code with any payload is decoded or refused with DecodeError."""
    try:
        decode(msgpack.packb(msgpack.ExtType(code, payload)))
    except DecodeError:
        pass


@given(values, st.data())
@settings(max_examples=examples(500))
def test_damaged_messages_raise_only_decode_errors(value: object, data: st.DataObject) -> None:
    """Flipped, cut, repeated and inserted bytes lead to a value or to DecodeError."""
    body = bytearray(encode([value, value]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        length = data.draw(st.integers(0, 8))
        damage = data.draw(st.sampled_from(["flip", "cut", "repeat", "insert"]))
        if damage == "flip" and at < len(body):
            body[at] ^= data.draw(st.integers(1, 255))
        elif damage == "cut":
            del body[at : at + length]
        elif damage == "repeat":
            body[at:at] = body[at : at + length]
        else:
            body[at:at] = data.draw(st.binary(max_size=8))
    for count in (1, 2):
        try:
            decode_batch(bytes(body), count)
        except DecodeError:
            pass


@pytest.mark.parametrize("code", [2, 3, 4, 9, 10, 11, 12, 13, 14])
def test_items_come_as_an_array(code: int) -> None:
    """A str or map where the items of a tuple or the fields of a date belong is refused."""
    for payload in ("abc", {1: 2}, b"abc", 3):
        with pytest.raises(DecodeError):
            decode(msgpack.packb(msgpack.ExtType(code, msgpack.packb(payload))))


def test_huge_announcements_cost_no_memory() -> None:
    """A nest of headers that each promise a million items is refused before they are made."""
    body = (b"\xdd" + (1_000_000).to_bytes(4, "big")) * 1000 + bytes(1_000_000)
    tracemalloc.start()
    try:
        for attempt in (body, encode((1,))[:2] + body, bytes(5000) + body):
            with pytest.raises(DecodeError):
                decode(attempt)
            with pytest.raises(DecodeError):
                decode_batch(attempt, 2)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


def nested(depth: int, kind: type) -> object:
    value: object = kind()
    for _ in range(depth):
        value = kind((value,))
    return value


@pytest.mark.parametrize("kind", [list, tuple, frozenset])
def test_whatever_depth_encodes_also_decodes(kind: type) -> None:
    """There is a depth that is refused, and every smaller one makes the whole trip."""
    refused: list[int] = []
    for depth in [*range(40), *range(505, 516), *range(1018, 1030)]:
        try:
            body = encode(nested(depth, kind))
        except EncodeError:
            refused.append(depth)
        else:
            assert encode(decode(body)) == body
            assert encode(decode_batch(body + body, 2)[1]) == body
    assert refused
    assert min(refused) >= MAX_NESTED_EXTENSIONS


def test_lists_deep_inside_extensions_are_refused_before_the_stack_ends() -> None:
    """Deep lists within many tuples are an error, not a crash."""
    value: object = 1
    for _ in range(MAX_NESTED_EXTENSIONS - 1):
        for _ in range(400):
            value = [value]
        value = (value,)
    with pytest.raises(EncodeError, match=r"nested|within"):
        encode(value)


def test_a_nesting_bomb_of_extensions_is_refused() -> None:
    """Extensions within extensions end at the limit that encoding has too."""
    body = b"\x90"
    for _ in range(300):
        body = msgpack.packb(msgpack.ExtType(2, b"\x91" + body))
    with pytest.raises(DecodeError, match="nested"):
        decode(body)


def test_registered_types_travel_by_name_and_are_unknown_elsewhere() -> None:
    """A registered value arrives as its type; a name not known here as Unknown, which can go on."""
    arrived = decode(encode({"p": Point((1, Point(2)))}))["p"]  # type: ignore[index]
    assert type(arrived) is Point
    assert arrived.x[1].x == 2
    body = encode(Point(3)).replace(b"test.Point", b"test.Joint")
    assert decode(body) == Unknown("test.Joint", b"\x03")
    assert encode(decode(body)) == body
    assert decode(msgpack.packb(msgpack.ExtType(99, b"?"))) == Unknown(99, b"?")
    assert decode(encode(Unknown(99, b"?"))) == Unknown(99, b"?")


def test_errors_of_registered_functions_name_the_type() -> None:
    """What a registered function raises becomes an EncodeError or DecodeError with its name."""

    class Shy: ...

    register(Shy, fail, fail, name="test.Shy")
    with pytest.raises(EncodeError, match=r"msg\[0\]: encoding test.Shy failed: LookupError"):
        encode([Shy()])
    with pytest.raises(DecodeError, match=r"decoding test.Fragile failed: LookupError: on purpose"):
        decode(encode([Fragile()]))
    with pytest.raises(DecodeError, match=r"decoding test.Ending failed: SystemExit"):
        decode(encode([Ending()]))


def test_registering_checks_the_name() -> None:
    """A name is 1 to 255 bytes and belongs to one class, which may be replaced by its reload."""
    reload = type("Point", (), {"__module__": Point.__module__})
    other = type("Other", (), {})
    with pytest.raises(ValueError, match="taken"):
        register(other, fail, fail, name="test.Point")
    for name in ("x" * 256, ""):
        with pytest.raises(ValueError, match="255"):
            register(other, fail, fail, name=name)
    for plain in (int, dict, tuple, datetime, type(None)):
        with pytest.raises(ValueError, match="already"):
            register(plain, fail, fail)
    register(reload, lambda point: 7, lambda plain: reload(), name="test.Reloaded")
    register(Point, lambda point: point.x, Point, name="test.Point")


def test_threads_encode_at_once() -> None:
    """Eight threads whose values need Python code to be encoded never mix them."""
    wrong: list[object] = []

    def work(number: int) -> None:
        message = {"n": number, "t": (number, {Decimal(number)}), "p": [UUID(int=number)] * 3}
        expected = encode(message)
        rounds = (encode(message) != expected or decode(expected) != message for _ in range(300))
        wrong.extend(number for failed in rounds if failed)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []


def test_a_registered_encode_may_encode() -> None:
    """A call from within a registered encode function does not disturb the outer one."""

    class Boxed: ...

    register(Boxed, lambda boxed: encode({"in": (1,)}), decode, name="test.Boxed")
    assert decode(encode([1, Boxed(), (2, Boxed())])) == [1, {"in": (1,)}, (2, {"in": (1,)})]


def test_a_signal_handler_may_encode() -> None:
    """A handler that runs in the middle of a call encodes its own message whole."""

    class Slow: ...

    bodies: list[bytes] = []

    def interrupted(slow: object) -> object:
        signal.raise_signal(signal.SIGUSR1)
        return [1, 2]

    register(Slow, interrupted, lambda plain: plain, name="test.Slow")
    before = signal.signal(signal.SIGUSR1, lambda *_: bodies.append(encode({"h": (3,)})))
    try:
        assert decode(encode(["a", Slow(), ("b", Slow())])) == ["a", [1, 2], ("b", [1, 2])]
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [decode(body) for body in bodies] == [{"h": (3,)}] * 2


def test_the_thread_s_decimal_context_does_not_matter() -> None:
    """Digits beyond the context's precision arrive, and junk is refused with its traps off."""
    with decimal.localcontext(prec=2, traps=[]):
        assert decode(encode(Decimal("1.23456"))) == Decimal("1.23456")
        with pytest.raises(DecodeError):
            decode(msgpack.packb(msgpack.ExtType(7, b"junk")))


def test_without_numpy_arrays_are_unknown() -> None:
    """Where NumPy cannot be imported all else works, and an array arrives as Unknown."""
    program = """
        import sys
        sys.modules["numpy"] = None
        from zexchange.protocol.codec.values import Unknown, decode, encode
        array = bytes.fromhex("c70a0d94a33c6638910000c400")
        assert decode(encode((1, {2}))) == (1, {2})
        got = decode(array)
        assert isinstance(got, Unknown) and got.code == 13, got
        assert encode(got) == array
        class Odd: pass
        try:
            encode(Odd())
        except TypeError as error:
            assert "register" in str(error)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)


def test_numpy_is_not_imported_to_encode() -> None:
    """Encoding never imports NumPy by itself."""
    program = """
        import sys
        from zexchange.protocol.codec.values import decode, encode
        decode(encode((1, {2}, 2**80)))
        assert "numpy" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)


def test_uuid_and_big_numbers_have_the_documented_bytes() -> None:
    """The payloads are those of the table, for other languages to read."""
    number = uuid4()
    assert encode(number) == b"\xd8\x08" + number.bytes
    assert encode(2**64) == b"\xc7\x09\x05\x01" + bytes(8)
    assert encode(-(2**64)) == b"\xc7\x09\x05\xff" + bytes(8)
    assert encode((1, "a")) == b"\xd6\x02\x92\x01\xa1a"
    assert encode(Point(1)) == b"\xc7\x0d\x01\xd9\x0atest.Point\x01"


def test_an_error_that_is_not_the_message_s_fault_is_not_explained() -> None:
    """Where nothing is wrong with the message, it was a signal handler that raised."""
    assert explain([1, {2}], TimeoutError("an alarm"), encode) is None


def test_codes_that_messagepack_keeps_are_refused() -> None:
    """An extension of a negative code, which nobody could send on, is malformed."""
    for code in range(0x81, 0xFF):
        with pytest.raises(DecodeError, match="keeps for itself"):
            decode(bytes((0xD4, code, 0)))


def test_a_timestamp_arrives_as_a_moment() -> None:
    """MessagePack's own extension, which other languages send, is a datetime that travels on."""
    moment = decode(b"\xd6\xff" + (1_700_000_000).to_bytes(4, "big"))
    assert moment == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert decode(encode(moment)) == moment


def test_zones_that_are_nowhere_are_not_searched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message can name thousands of them, and each search reads many directories."""
    monkeypatch.setattr("zexchange.protocol.codec.datetimes.ZoneInfo", pytest.fail)
    fields = [2020, 1, 1, 0, 0, 0, 0, 0, 3_600_000_000, "CET"]
    for n in range(3):
        body = msgpack.packb(msgpack.ExtType(11, msgpack.packb([*fields, f"Europe/Nowhere{n}"])))
        arrived: Any = decode(body)
        assert arrived.tzinfo == timezone(timedelta(hours=1), "CET")


def test_keys_of_unknown_zones_are_not_kept() -> None:
    """There are four thousand places for zones, and the key of one can have megabytes."""
    before = datetimes._zone.cache_info().currsize
    for key in ("x" * 100_000, "Europe/Nowhere", "x/../UTC"):
        fields = [2020, 1, 1, 0, 0, 0, 0, 0, 0, "x", key]
        decode(msgpack.packb(msgpack.ExtType(11, msgpack.packb(fields))))
    assert datetimes._zone.cache_info().currsize == before
