"""Questions and replies on the wire."""

import dataclasses
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zexchange.errors import DecodeError
from zexchange.protocol.wire import data as wire
from zexchange.protocol.wire.notes import NOTES_BYTES, Notes, question, read_notes, write_notes
from zexchange.protocol.wire.replies import (
    FAILED,
    GONE,
    VALUE,
    Reply,
    is_reply,
    read_reply,
    reply_frame,
)

ME, THEM = b"m" * 16, b"t" * 16
ids = st.binary(min_size=16, max_size=16)
numbers = st.integers(1, (1 << 64) - 1)
values = (
    st.text(max_size=8)
    | st.binary(max_size=8)
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
)
headers = st.dictionaries(st.text(max_size=4), values, max_size=4)
notes = st.builds(Notes, st.just(0), headers, numbers, st.just(b"") | ids)


@given(notes, st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_notes_come_back(note: Notes, start: int, base: int) -> None:
    """What was written beside a message is read, whatever else is in the header."""
    topic, base = wire.topic("x"), min(base, start)
    head = wire.data_head(topic, ME, start + 1, 1, 0.0, 3, start, base, notes=write_notes(note))
    batch = wire.read_data(head + b"\xc0")
    assert batch.notes == (note,)
    assert (batch.start, batch.base, batch.body) == (start, base, len(head))


@given(st.binary(max_size=NOTES_BYTES), st.integers(0, 3))
def test_any_notes_are_read_or_refused(field: bytes, messages: int) -> None:
    """Of any bytes only a `DecodeError` is raised; what is read is of the types that it should."""
    with suppress(DecodeError):
        for note in read_notes(field, messages):
            assert 0 <= note.at < messages
            assert len(note.to) in (0, 16)
            assert all(type(name) is str for name in note.headers)


@pytest.mark.parametrize(
    "field",
    [
        *(b"", b"\xc0", b"\x91\xc0", b"\x91\x92\x01\x80", b"\x91\x92\x00\x81\x01\x01"),
        *(b"\x91\x92\x00\x81\xa1x\xc0", b"\x91\x94\x00\x80\x01\xc4\x01x"),
        b"\x91\x92\xff\x80",
    ],
)
def test_malformed_notes_are_refused(field: bytes) -> None:
    """A place that is not in the frame, another type or a wrong id are errors."""
    with pytest.raises(DecodeError):
        read_notes(field, 1)


def test_notes_that_end_beyond_the_header_are_refused() -> None:
    """The size of the notes is checked before they are read."""
    head = bytearray(wire.data_head(wire.topic("x"), ME, 1, 1, 0.0, notes=b"\x90"))
    head[-2] = 9
    with pytest.raises(DecodeError, match="beyond its header"):
        wire.read_data(bytes(head) + b"\xc0")


@given(numbers, ids)
def test_a_question_by_hand_is_read_alike(number: int, to: bytes) -> None:
    """The field that is put together by hand means what any other of its contents would."""
    note = Notes(0, {}, number, to)
    assert read_notes(question(number, to), 1) == read_notes(write_notes(note), 1) == (note,)
    with pytest.raises(DecodeError):
        read_notes(question(number, to), 0)


def test_too_much_beside_a_message_is_refused() -> None:
    """The sender is told, before anything is queued."""
    with pytest.raises(ValueError, match="beside a message"):
        write_notes(Notes(0, {"x": "y" * NOTES_BYTES}))


replies = st.one_of(
    st.tuples(ids, numbers, ids, numbers, st.just(VALUE), st.binary(max_size=20)),
    st.tuples(
        *(ids, numbers, ids, numbers, st.sampled_from((FAILED, GONE)), st.just(b"")),
        *(st.text(max_size=20), st.text(max_size=20)),
    ),
).map(lambda fields: Reply(*fields))


@given(replies)
def test_replies_come_back(reply: Reply) -> None:
    """What was written is read, and told apart from a ready."""
    frame = reply_frame(reply)
    assert is_reply(frame)
    assert read_reply(frame) == reply


@given(st.binary(max_size=80))
def test_any_reply_is_read_or_refused(tail: bytes) -> None:
    """Of any bytes only a `DecodeError` is raised."""
    for frame in (tail, wire.ready_topic(ME, 1) + tail):
        with suppress(DecodeError):
            read_reply(frame)


def test_a_ready_is_no_reply() -> None:
    """The two are told apart by the length of their header."""
    assert not is_reply(wire.ready_frame(wire.Ready(ME, 1, THEM, {"x": 1})))


def test_a_frame_of_a_later_version_is_read() -> None:
    """More after what is known of an entry, and after the notes, is skipped."""
    field = b"\x91\x95\x00\x80\x07\xc4\x00\xc3"
    head = wire.data_head(wire.topic("x"), ME, 1, 1, 0.0, notes=field)
    longer = bytearray(head + b"later")
    longer[3] += 5
    batch = wire.read_data(bytes(longer) + b"\xc0")
    assert batch.notes == (Notes(0, {}, 7, b""),)
    assert dataclasses.replace(batch, notes=()).body == len(longer)
