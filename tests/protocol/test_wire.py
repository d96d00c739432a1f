"""The layout of frames: what is written is read, and whatever else arrives is refused."""

import dataclasses
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import (
    batches,
    controls,
    frames,
    hellos,
    mangled,
    names,
    node_ids,
    numbers,
    readies,
)

from zexchange.errors import DecodeError
from zexchange.history import Bulk
from zexchange.names import matches
from zexchange.protocol.hub.messages import HUB_MESSAGES
from zexchange.protocol.wire import data as wire
from zexchange.protocol.wire import messages as v
from zexchange.protocol.wire.control import (
    CONTROL_MESSAGES,
    MAX_ADDRESSES,
    control_frame,
    read_control,
)
from zexchange.protocol.wire.fields import MAX_CONTAINERS
from zexchange.protocol.wire.limits import MAX_PATTERNS
from zexchange.protocol.wire.messages import Batch, Control, Hello, Label, Ready
from zexchange.protocol.wire.table import REQUIRED, WRITTEN, MessageTable

ORIGIN = bytes(range(16))
HEAD = wire.data_head(wire.topic("prices"), ORIGIN, 7, 2, 1.5)
START = len(wire.topic("prices"))
READERS = (wire.read_data, wire.read_ready, read_control, wire.read_token)


def patched(frame: bytes, at: int, byte: int) -> bytes:
    return frame[:at] + bytes([byte]) + frame[at + 1 :]


def body_of(frame: bytes) -> list[object]:
    parts: list[object] = msgpack.unpackb(frame[1:], strict_map_key=False)
    return parts


TABLES = [CONTROL_MESSAGES, HUB_MESSAGES]
PROTOCOL = Path(__file__).parents[2] / "docs" / "PROTOCOL.md"


def documented() -> dict[str, tuple[set[str], set[str]]]:
    """By kind of message, the fields in the tables of PROTOCOL.md, and those marked there."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    text = PROTOCOL.read_text()
    for head, column in (("| kind | body |", 1), ("| word | who | body |", 2)):
        kinds: list[str] = []
        for line in text[text.index(head) :].split("\n\n")[0].splitlines()[2:]:
            cells = re.split(r" *\| *", line)[1:]
            kinds = re.findall(r"`(\w+)`", cells[0]) or kinds
            body = cells[column].replace("as `hello`", "")
            for kind in kinds:
                names, marked = found.setdefault(kind, (set(), set()))
                names.update(re.findall(r"`(\w+)`", body))
                marked.update(re.findall(r"`(\w+)` •", body))
    return found


def test_the_protocol_lists_all_fields() -> None:
    """Kinds and fields of the tables are those of PROTOCOL.md, and what is marked is required."""
    kinds = {name: kind for table in TABLES for name, kind in table.kinds.items()}
    said = documented()
    assert {name: set(kind.fields) for name, kind in kinds.items()} == {
        name: names for name, (names, _) in said.items()
    }
    for name, (_, marked) in said.items():
        assert all(kinds[name].fields[field].default is REQUIRED for field in marked), name


@pytest.mark.parametrize("table", TABLES)
def test_tables_agree_with_classes(table: MessageTable[Any]) -> None:
    """Each kind has the fields of its class, and what is left out is what the class has for it."""
    for kind in table.kinds.values():
        defaults = {f.name: f for f in dataclasses.fields(kind.of)}
        assert defaults.keys() == {"sender", *kind.fields, *filter(None, [kind.around])}
        for name, field in kind.fields.items():
            there = defaults[name]
            if field.default is WRITTEN:
                assert (
                    there.default is not dataclasses.MISSING
                    or there.default_factory is not dataclasses.MISSING
                )
            elif field.default is not REQUIRED:
                assert there.default == field.default


# ---------------------------------------------------------------------- round trips


@given(controls)
def test_control_messages_come_back(message: Control) -> None:
    """Every control message is read as it was written."""
    assert read_control(control_frame(message)) == message


@given(readies)
def test_readies_come_back(ready: Ready) -> None:
    """A ready frame is read as it was written, and starts with the token it answers."""
    frame = wire.ready_frame(ready)
    assert wire.read_ready(frame) == ready
    assert frame.startswith(wire.ready_topic(ready.receiver, ready.epoch))


@given(batches())
def test_data_heads_come_back(pair: tuple[Batch, bytes]) -> None:
    """A data frame's head is read as it was written, whatever follows it."""
    batch, frame = pair
    assert wire.read_data(frame) == batch


@given(node_ids, numbers)
def test_tokens_come_back(receiver: bytes, epoch: int) -> None:
    """A token seen as a subscription names its node and epoch."""
    assert wire.read_token(wire.ready_topic(receiver, epoch)) == (receiver, epoch)


@given(node_ids, numbers, names)
def test_tokens_sort_behind_all_names(receiver: bytes, epoch: int, name: str) -> None:
    """Subscriptions repeated in lexicographic order end with the token."""
    assert wire.ready_topic(receiver, epoch) > max(wire.topics(name))


# --------------------------------------------------------------------------- topics


@given(names, names)
def test_topics_are_prefix_free(one: str, other: str) -> None:
    """No exchange's topic starts with the topic of another."""
    assert wire.topic(one).startswith(wire.topic(other)) == (one == other)


@given(st.lists(st.sampled_from(["a", "b", "*", ""]), min_size=1, max_size=4), st.booleans(), names)
@example(["a"], True, "a")
def test_subscriptions_let_covered_names_pass(segments: list[str], deep: bool, other: str) -> None:
    """Whatever a name or pattern covers passes the prefix filter of its subscriptions."""
    key = ".".join([*segments, "**"] if deep else segments)
    covered = ".".join("x" if s == "*" else s for s in segments)
    for name in {covered, covered + ".y", other} - {""}:
        if matches(key, name):
            assert any(wire.topic(name).startswith(prefix) for prefix in wire.topics(key))


# ------------------------------------------------------------------------ bad input


@given(st.one_of(st.binary(max_size=80), mangled(), frames))
@example(b"")
@example(b"\x01")
@example(b"\x01a\x00")
@example(b"\x02\x93\xc1")
@example(b"\x02\x93\x91\x90\xc4\x00\x80")
@example(b"\x02" + b"\x91" * 5000)
@example(b"\x02\xdd\xff\xff\xff\xff")
@example(b"\x02\xc7\x0c\xff" + b"\xff" * 12)
def test_nothing_but_decode_error(frame: bytes) -> None:
    """Arbitrary bytes, and valid frames damaged in any way, raise `DecodeError` or are read."""
    for read in READERS:
        with suppress(DecodeError):
            read(frame)


@given(frames)
def test_kinds_are_told_apart(frame: bytes) -> None:
    """A frame of one kind is never taken for a frame of another."""
    taken = 0
    for read in READERS[:3]:
        with suppress(DecodeError):
            read(frame)
            taken += 1
    assert taken == 1


@given(controls, st.data())
def test_a_cut_control_frame_is_refused(message: Control, data: st.DataObject) -> None:
    """No true prefix of a control frame is a control frame."""
    frame = control_frame(message)
    with pytest.raises(DecodeError):
        read_control(frame[: data.draw(st.integers(0, len(frame) - 1))])


@given(hellos, st.sampled_from(["versions", "federation", "label", "addresses", "epoch"]))
def test_a_missing_field_is_named(hello: Hello, key: str) -> None:
    """A control message without a field that it needs is refused by that field's name."""
    kind, sender, body = body_of(control_frame(hello))
    assert isinstance(body, dict)
    del body[key]
    with pytest.raises(DecodeError, match=key):
        read_control(b"\x02" + msgpack.packb([kind, sender, body]))


WRONG = [None, True, -1, 1.5, "x", b"x", [[1]], {"x": None}, 2**63]
FIELDS = {
    "hello": ["versions", "features", "federation", "label", "addresses", "epoch", "interest"],
    "welcome": ["known"],
    "refuse": ["reason", "text"],
    "interest": ["epoch", "base", "confirmed", "added", "removed"],
    "ping": ["epoch", "announced"],
    "ack": ["positions"],
    "bye": ["heads"],
}


@given(controls, st.data(), st.sampled_from(WRONG))
def test_wrong_types_are_refused_or_equal(
    message: Control, data: st.DataObject, wrong: object
) -> None:
    """A field of another type is a `DecodeError`; never does it come out as something else."""
    kind, sender, body = body_of(control_frame(message))
    assert isinstance(kind, str)
    assert isinstance(body, dict)
    fields = FIELDS.get(kind, [])
    if not fields:
        return
    body[data.draw(st.sampled_from(fields))] = wrong
    frame = b"\x02" + msgpack.packb([kind, sender, body])
    with suppress(DecodeError):
        assert body_of(control_frame(read_control(frame)))[2] == body


@pytest.mark.parametrize("wrong", [b"", b"x" * 15, b"x" * 17, "x" * 16, None, 7])
def test_a_sender_is_a_node_id(wrong: object) -> None:
    """A control message from anything but 16 bytes is refused."""
    with pytest.raises(DecodeError, match="node id"):
        read_control(b"\x02" + msgpack.packb(["pong", wrong, {}]))


def test_an_unknown_kind_is_refused() -> None:
    """A control message of a kind not known here is refused by name."""
    with pytest.raises(DecodeError, match="'sing'"):
        read_control(b"\x02" + msgpack.packb(["sing", ORIGIN, {}]))


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (HEAD[:-1], "malformed|header"),
        (patched(HEAD, START + 1, 2), "version 2"),
        (patched(HEAD, START, 38), "header of 38 bytes"),
        (patched(HEAD, START, 40), "header of 40 bytes"),
        (patched(HEAD, 1, 0xFF), "malformed"),
        (wire.data_head(wire.topic("prices"), ORIGIN, 0, 1, 0.0), "number 0"),
        (wire.data_head(wire.topic("prices"), ORIGIN, 2**64 - 1, 2, 0.0), "past 64 bits"),
        (b"\x01\x00" + HEAD, "no topic"),
        (b"\x03" + HEAD[1:], "no topic"),
        (b"\x01" + b"n" * 256 + HEAD[START - 1 :], "no topic"),
    ],
)
def test_bad_data_heads(frame: bytes, why: str) -> None:
    """A data frame with a head that is not of this version is refused, saying why."""
    with pytest.raises(DecodeError, match=why):
        wire.read_data(frame)


@pytest.mark.parametrize(("at", "byte"), [(25, 17), (26, 0), (26, 2)])
def test_bad_ready_heads(at: int, byte: int) -> None:
    """A ready frame of another version, or with too short a header, is refused."""
    frame = wire.ready_frame(Ready(ORIGIN, 1, ORIGIN, {"a": 1}))
    with pytest.raises(DecodeError, match="version"):
        wire.read_ready(patched(frame, at, byte))


# --------------------------------------------------------------------- other versions


@given(controls, st.dictionaries(st.integers() | st.just("later"), st.integers(0, 9), max_size=3))
def test_unknown_keys_are_skipped(message: Control, more: dict[object, int]) -> None:
    """A later version may add keys to a message, and elements behind its body."""
    kind, sender, body = body_of(control_frame(message))
    assert isinstance(body, dict)
    more = {key: value for key, value in more.items() if type(key) is str or abs(key) < 2**63}
    frame = b"\x02" + msgpack.packb([kind, sender, {**more, **body}, "more"])
    assert read_control(frame) == message


@given(batches(), st.binary(min_size=1, max_size=200))
def test_unknown_header_bytes_are_skipped(pair: tuple[Batch, bytes], more: bytes) -> None:
    """A later version may lengthen the header of data: the values start behind it."""
    batch, frame = pair
    start = len(wire.topic(batch.name))
    longer = patched(frame, start, frame[start] + len(more))
    read = wire.read_data(longer[: batch.body] + more + longer[batch.body :])
    assert read.body == batch.body + len(more)
    assert (read.name, read.first, read.count) == (batch.name, batch.first, batch.count)


@given(readies, st.binary(min_size=1, max_size=200))
def test_unknown_ready_header_bytes_are_skipped(ready: Ready, more: bytes) -> None:
    """A later version may lengthen the header of a ready frame."""
    frame = wire.ready_frame(ready)
    longer = patched(frame, 25, frame[25] + len(more))
    assert wire.read_ready(longer[:43] + more + longer[43:]) == ready


@pytest.mark.parametrize("flags", range(0, 256, 5))
def test_flags(flags: int) -> None:
    """Unknown low flags are passed on; an unknown high one means: do not take this frame."""
    frame = patched(HEAD, START + 30, flags)
    if flags & wire.MUST_UNDERSTAND & ~wire.ATTACHED:
        with pytest.raises(DecodeError, match="unknown flags"):
            wire.read_data(frame)
    else:
        assert wire.read_data(frame).flags == flags


@given(st.integers(1, wire.MAX_ATTACHED), st.binary(max_size=9))
def test_the_number_of_further_frames(attached: int, more: bytes) -> None:
    """It lies behind the header of version 1, and fields behind it are skipped."""
    head = wire.data_head(wire.topic("x"), ORIGIN, 1, 1, 0.0, attached)
    head = patched(head, 3, head[3] + len(more)) + more
    batch = wire.read_data(head)
    assert (batch.flags, batch.body) == (wire.ATTACHED, len(head))
    frame = Bulk(head, (b"1",) * attached)
    assert wire.arrived_whole(batch, frame)
    assert not wire.arrived_whole(batch, Bulk(head, (b"1",) * (attached - 1) + (b"",)))
    assert not wire.arrived_whole(batch, Bulk(head, (b"",)))
    for wrong in (head, Bulk(head, (b"1",) * (attached + 1)), Bulk(head, frame.buffers[1:])):
        with pytest.raises(DecodeError):
            wire.arrived_whole(batch, wrong)


class Endless(bytes):
    """As long as no message may be."""

    def __len__(self) -> int:
        return wire.MAX_DATA_BYTES


def test_further_frames_that_nobody_announced() -> None:
    """Frames without the flag, the flag without a number, too many, too much: refused."""
    flagged = patched(HEAD, START + 30, wire.ATTACHED)
    many = wire.data_head(wire.topic("x"), ORIGIN, 1, 1, 0.0, wire.MAX_ATTACHED + 1)
    one = wire.data_head(wire.topic("x"), ORIGIN, 1, 1, 0.0, 1)
    for head, buffers in (
        (HEAD, (b"1",)),
        (flagged, ()),
        (flagged, (b"1",)),
        (many, (b"1",) * (wire.MAX_ATTACHED + 1)),
        (one, (Endless(),)),
    ):
        with pytest.raises(DecodeError):
            wire.arrived_whole(wire.read_data(head), Bulk(head, buffers))


def test_the_longest_name() -> None:
    """A name of 255 bytes fits."""
    head = wire.data_head(wire.topic("n" * 255), ORIGIN, 1, 1, 0.0)
    assert wire.read_data(head).name == "n" * 255


def test_long_labels_are_cut() -> None:
    """A label's texts are cut to 255 characters: they end up in every log line."""
    hello = Hello(ORIGIN, "f", Label("h" * 999, 1, "n" * 999), (), 1, ())
    read = read_control(control_frame(hello))
    assert isinstance(read, Hello)
    assert (len(read.label.host), len(read.label.name)) == (255, 255)


@pytest.mark.parametrize("depth", [900, 990, 1000, 1015, 1023])
@pytest.mark.parametrize("nest", [b"\x91", b"\x81\xc0"])
def test_a_nest_in_the_place_of_a_number(nest: bytes, depth: int) -> None:
    """However deep, it is malformed, and no text is made of it."""
    frame = control_frame(v.Ping(bytes(16), 1, 1))
    bomb = frame.replace(b"\xa5epoch\x01", b"\xa5epoch" + nest * depth + b"\xc0")
    with pytest.raises(DecodeError):
        read_control(bomb)


@pytest.mark.parametrize("dense", [b"\x80", b"\x90", b"\x81\xc0\xc0"])
def test_dense_control_frames_are_bounded(dense: bytes) -> None:
    """Lists and maps that take a byte there and a hundred here are so many at most."""
    many = MAX_CONTAINERS + 1
    body = b"\x81\xa1x\xdd" + many.to_bytes(4, "big") + dense * many
    with pytest.raises(DecodeError, match="lists and maps"):
        read_control(b"\x02\x93\xa4pong\xc4\x10" + bytes(16) + body)
    with pytest.raises(DecodeError, match="lists and maps"):
        wire.read_ready(b"\xff" + bytes(24) + b"\x12\x01" + bytes(16) + b"\x80" + body)


def test_an_interest_is_made_of_keys() -> None:
    """What neither names nor matches exchanges is malformed, and so are too many patterns."""
    for bad in ("", "a\0b", "x" * 256, "a.**.b", "é" * 130):
        with pytest.raises(DecodeError):
            read_control(control_frame(v.Interest(bytes(16), 2, 1, 1, (bad,))))
    patterns = tuple(f"{n}.*" for n in range(MAX_PATTERNS + 1))
    with pytest.raises(DecodeError, match="patterns"):
        read_control(control_frame(v.Interest(bytes(16), 2, 1, 1, patterns)))


def test_addresses_are_few_and_short() -> None:
    """Of a thousand addresses the first are read; an endpoint of a thousand characters is none."""
    peer = v.Address("tcp://h:1", "tcp://h:2")
    told = v.Hello(bytes(16), "fed", v.Label("h", 1), (peer,) * 1000, 1, ())
    read = read_control(control_frame(told))
    assert isinstance(read, v.Hello)
    assert len(read.addresses) == MAX_ADDRESSES
    long = v.Address("tcp://" + "h" * 1000 + ":1", "tcp://h:2")
    with pytest.raises(DecodeError):
        read_control(control_frame(v.Hello(bytes(16), "f", v.Label("h", 1), (long,), 1, ())))
