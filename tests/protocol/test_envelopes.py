"""Envelopes and words of hubs: what is written is read, and nothing but `DecodeError` comes out."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zexchange import DecodeError
from zexchange.protocol.hub.messages import (
    WORD,
    Accepted,
    Attach,
    Detach,
    HubState,
    Refused,
    Word,
    read_word,
    word_frame,
)
from zexchange.protocol.wire import envelopes as r
from zexchange.protocol.wire.data import data_head, ready_frame, ready_topic, topic
from zexchange.protocol.wire.messages import Label, Ready

IDS = st.binary(min_size=16, max_size=16)
COUNTS = st.integers(0, 2**64 - 1)
FEDERATIONS = st.text(
    st.characters(codec="ascii", exclude_characters="\0*"), min_size=1, max_size=20
)
SHORT = st.text(max_size=20)
PARCELS = st.builds(r.Envelope, IDS, IDS, st.integers(0, 255), st.binary(max_size=60))
PRESENT = st.lists(st.tuples(IDS, st.booleans()), max_size=4).map(tuple)
LEFT = st.lists(st.tuples(IDS, SHORT), max_size=4).map(tuple)
LABELS = st.builds(Label, SHORT, COUNTS, SHORT)
WORDS = st.one_of(
    st.builds(
        Attach, IDS, FEDERATIONS, LABELS, st.tuples(COUNTS, COUNTS), st.booleans(), SHORT,
        COUNTS, COUNTS, COUNTS, COUNTS, st.binary(max_size=16),
    ),
    st.builds(Accepted, IDS, SHORT, SHORT, IDS, COUNTS, COUNTS, PRESENT, LEFT, COUNTS, COUNTS),
    st.builds(Refused, IDS, SHORT, SHORT),
    st.builds(Detach, IDS),
    st.builds(
        HubState, IDS, COUNTS, st.lists(IDS, max_size=4).map(tuple), PRESENT,
        st.dictionaries(st.binary(max_size=30), COUNTS, max_size=4), LEFT,
    ),
)  # fmt: skip


@given(st.lists(PARCELS, max_size=10))
def test_bundles(parcels: list[r.Envelope]) -> None:
    """A bundle holds its parcels, in order."""
    assert r.unbundle(r.bundle(parcels)) == parcels


@given(st.lists(PARCELS, min_size=1, max_size=4), st.data())
def test_a_bundle_that_is_cut_is_refused(parcels: list[r.Envelope], data: st.DataObject) -> None:
    """A bundle that ends inside a parcel is malformed, whatever is before."""
    frame = r.bundle(parcels)
    last = r.bundle([parcels[-1]])
    cut = data.draw(st.integers(1, len(last) - 2))
    with pytest.raises(DecodeError):
        r.unbundle(frame[:-cut])


@given(IDS, IDS, st.integers(0, 255))
def test_heads(sender: bytes, to: bytes, hops: int) -> None:
    """The heads of relayed messages and of frames between hubs are read as written."""
    assert r.read_relay(r.relay_head(sender, to, hops)) == (sender, to, hops)
    assert r.read_hub_source(r.hub_source_head(sender, hops)) == (sender, hops)
    assert r.node_at(r.endpoint_of(sender)) == sender


@given(WORDS)
def test_words(word: Word) -> None:
    """A word is read as it was written."""
    assert read_word(word_frame(word)) == word


@given(WORDS, st.data())
def test_damaged_words(word: Word, data: st.DataObject) -> None:
    """A word with bytes changed or missing is another word or a `DecodeError`."""
    frame = bytearray(word_frame(word))
    for _ in range(data.draw(st.integers(1, 3))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    with suppress(DecodeError):
        read_word(bytes(frame[: data.draw(st.integers(0, len(frame)))]))


@given(st.binary(max_size=80))
def test_noise(noise: bytes) -> None:
    """Whatever arrives, every reader takes it or raises `DecodeError`."""
    for read in (
        r.unbundle,
        r.read_relay,
        r.read_hub_source,
        r.look,
        r.read_mark,
        r.origin_of,
        lambda data: read_word(WORD + data),
    ):
        with suppress(DecodeError):
            read(noise)
    assert r.node_at(noise.decode(errors="replace")) is None


@given(st.text(min_size=1, max_size=40).filter(lambda t: "\0" not in t), IDS, COUNTS)
def test_looking_at_frames(name: str, origin: bytes, epoch: int) -> None:
    """A hub finds topic, origin and numbers of data frames, and whom a ready frame is for."""
    frame = data_head(topic(name), origin, 5, 3, 0.0) + b"abc"
    assert r.look(frame) == (topic(name), origin, 5, 3)
    assert r.origin_of(frame) == origin
    ready = ready_frame(Ready(b"r" * 16, epoch, origin, {name: 1}))
    assert r.look(ready) == (ready_topic(b"r" * 16, epoch), origin, 0, 0)
    assert r.origin_of(ready) == origin
    assert r.read_mark(r.mark_frame(origin, epoch)) == epoch
