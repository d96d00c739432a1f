"""Large parts of messages: attached uncopied, or copied once, and put back where they were."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sameness import same

from tests.support import examples
from zexchange.errors import DecodeError, EncodeError
from zexchange.history import Body, Bulk
from zexchange.protocol.codec import attachments as buffers
from zexchange.protocol.codec import extensions
from zexchange.protocol.codec.attachments import LARGE, Encoder, decode_frame, encode_attaching
from zexchange.protocol.codec.placeholders import Attached
from zexchange.protocol.codec.values import Unknown, decode, encode, register
from zexchange.protocol.wire.data import MAX_ATTACHED

HEAD = b"head"
BIG = bytes(range(256)) * (LARGE // 256)


class Picture:
    def __init__(self, pixels: object) -> None:
        self.pixels = pixels


register(Picture, lambda picture: picture.pixels, Picture, name="test.Picture")


@pytest.fixture
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attach from four bytes on."""
    monkeypatch.setattr(buffers, "LARGE", 4)


def arrived(body: Body, *, writable: bool = True) -> Body:
    """The body as a receiver has it: behind a head, its buffers in memory of their own."""
    if isinstance(body, bytes):
        return HEAD + body
    parts = [bytearray(part) if writable else bytes(part) for part in body.buffers]
    return Bulk(HEAD + body.packed, tuple(map(memoryview, parts)))


def through(msg: object) -> Any:
    (value,) = decode_frame(arrived(encode_attaching(msg)), len(HEAD), 1)
    return value


def attached(msg: object) -> Bulk:
    body = encode_attaching(msg)
    assert isinstance(body, Bulk)
    return body


leaves = (
    st.none()
    | st.integers(-(2**70), 2**70)
    | st.text(max_size=6)
    | st.binary(max_size=12)
    | st.frozensets(st.binary(max_size=6), max_size=1)  # of two, each may come first
)
messages = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.binary(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.usefixtures("small_is_large")
@given(messages)
@settings(max_examples=examples(300))
def test_what_is_attached_is_put_back(msg: object) -> None:
    """Attached or not, a message arrives equal, with the types of all its parts."""
    assert same(through(msg), msg)


@pytest.mark.usefixtures("small_is_large")
@given(st.lists(messages, max_size=3), messages)
def test_a_frame_may_hold_messages_before(before: list[object], last: object) -> None:
    """The message with buffers is the last value of its frame; others are in front of it."""
    body = arrived(encode_attaching(last))
    head = HEAD + b"".join(map(encode, before))
    if isinstance(body, Bulk):
        body = Bulk(head + body.packed[len(HEAD) :], body.buffers)
    else:
        body = head + body[len(HEAD) :]
    assert same(decode_frame(body, len(HEAD), len(before) + 1), [*before, last])


def test_immutable_bytes_are_not_copied() -> None:
    """The very object is attached, wherever it lies; smaller ones are packed."""
    little = bytes(LARGE - 1)
    body = attached({"a": [(BIG, little)], "b": Picture(BIG)})
    assert [buffer is BIG for buffer in body.buffers] == [True, True]
    assert len(body) == len(body.packed) + 2 * len(BIG)
    assert LARGE < len(body.packed) < LARGE + 100
    longer = BIG + b"x"
    (buffer,) = attached([memoryview(longer)[1:], memoryview(longer)[2:]]).buffers
    assert isinstance(buffer, memoryview)
    assert buffer.obj is longer


def test_what_may_change_is_copied() -> None:
    """A bytearray, or a view of one, that changes after encoding is sent as it was."""
    source = bytearray(BIG)
    body = attached([source, memoryview(source)])
    source[:] = bytes(len(source))
    assert decode_frame(arrived(body), len(HEAD), 1) == [[BIG, BIG]]


def test_keys_and_members_stay_where_they_are() -> None:
    """Large bytes as a key or in a set are packed with the rest."""
    msg = {BIG: 1, "s": {BIG}}
    body = encode_attaching(msg)
    assert body == encode(msg)


def test_nothing_attached_is_the_same_bytes() -> None:
    """A message without large parts is encoded as ever, registered types included."""
    msg = [{"a": (1, {2})}, Picture([b"x", 2**70]), ["y"] * 100]
    assert encode_attaching(msg) == encode(msg)


def test_there_is_a_bound_to_what_is_attached(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too many stays inside, and arrives all the same."""
    monkeypatch.setattr(buffers, "LARGE", 4)
    msg = [b"12345"] * (MAX_ATTACHED + 5)
    assert len(attached(msg).buffers) == MAX_ATTACHED
    assert through(msg) == msg


@pytest.mark.parametrize(
    ("msg", "text"),
    [
        ([BIG, {"a": object()}], 'msg[1]["a"]: cannot encode object'),
        ((BIG, Picture([1, object])), "msg[1]<as test.Picture>[1]: cannot encode type"),
        ([memoryview(BIG)[::2]], "msg[0]: cannot encode memoryview"),
    ],
)
def test_errors_name_the_path(msg: object, text: str) -> None:
    """Beside a large part, too, an EncodeError says where the culprit is."""
    with pytest.raises(EncodeError) as caught:
        encode_attaching(msg)
    assert str(caught.value).startswith(text)


def test_a_nest_too_deep_to_look_into_is_still_encoded() -> None:
    """Where the search for large parts gives up, the message is packed as any other."""
    nest: object = BIG
    for _ in range(500):
        nest = [nest]
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(700)
    try:
        body = encode_attaching([BIG, nest])
    finally:
        sys.setrecursionlimit(limit)
    assert body == encode([BIG, nest])


def test_an_error_that_is_not_the_messages_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a signal handler raises meanwhile reaches the caller, and not as an EncodeError."""

    def interrupted(parts: object, value: object) -> object:
        raise TimeoutError("the caller's own")

    monkeypatch.setattr(buffers._Parts, "without", interrupted)
    with pytest.raises(TimeoutError):
        encode_attaching([BIG])


def test_one_type_not_known_there_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the receiver cannot read arrives as Unknown, with its large parts inside."""
    msg = [Picture({"p": (BIG, Picture([BIG, (1,)]))}), BIG]
    packed = encode(msg)
    body = arrived(attached(msg))
    monkeypatch.setattr(extensions, "registered_name", lambda name: None)
    (value,) = decode_frame(body, len(HEAD), 1)
    assert isinstance(value, list)
    assert isinstance(value[0], Unknown)
    assert value[0].code == "test.Picture"
    assert encode(value) == packed


def test_an_attached_value_without_a_frame_is_malformed() -> None:
    """Code 15 stands for nothing where no frame came with it, and is never sent on."""
    packed = attached([BIG]).packed
    for read in (lambda: decode(packed), lambda: decode_frame(HEAD + packed, 4, 1)):
        with pytest.raises(DecodeError, match="not there"):
            read()
    with pytest.raises(EncodeError, match="cannot encode Unknown"):
        encode(Unknown(15, bytes(8)))


def damaged(body: Bulk) -> Iterator[tuple[bytes, tuple[memoryview, ...]]]:
    packed, parts = body.packed, body.buffers
    views = tuple(map(memoryview, parts))
    yield packed, views[:-1]
    yield packed, (*views, views[0])
    yield packed, views[::-1]
    yield packed, (views[0], views[0][:-1], *views[2:])
    yield packed, ()
    yield packed.replace(b"\0\0\0\1", b"\0\0\0\0"), views
    yield packed.replace(b"\0\0\0\1", b"\xff\0\0\1"), views
    for cut in range(len(packed)):
        yield packed[:cut], views


def test_damaged_messages_are_refused() -> None:
    """Frames too few, too many, exchanged, cut or used twice raise DecodeError."""
    body = attached([BIG, BIG + b"x", (BIG + b"yz",)])
    for packed, parts in damaged(body):
        with pytest.raises(DecodeError):
            decode_frame(Bulk(HEAD + packed, parts), len(HEAD), 1)


@pytest.mark.usefixtures("small_is_large")
@given(messages.map(encode_attaching), st.data())
@settings(max_examples=examples(400))
def test_any_bytes_are_decoded_or_refused(body: Body, data: st.DataObject) -> None:
    """Whatever is changed in the packed part or the buffers: a value, or DecodeError."""
    packed = bytearray(body if isinstance(body, bytes) else body.packed)
    parts = [] if isinstance(body, bytes) else [memoryview(bytes(b)) for b in body.buffers]
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    if parts and data.draw(st.booleans()):
        parts[0] = parts[0][: data.draw(st.integers(0, 4))]
    try:
        decode_frame(Bulk(HEAD + bytes(packed), tuple(parts)), len(HEAD), 1)
    except DecodeError:
        pass


def test_extensions_nest_no_deeper_than_without_frames() -> None:
    """The bound on nested extension values holds for messages with frames, too."""

    def nested(depth: int) -> bytes:
        inner = msgpack.packb(1)
        for _ in range(depth):
            inner = msgpack.packb(msgpack.ExtType(2, b"\x91" + inner))
        return inner

    tail = msgpack.packb(msgpack.ExtType(15, (0).to_bytes(4, "big") + (4).to_bytes(4, "big")))
    for depth, fits in ((32, True), (33, False)):
        packed = HEAD + b"\x92" + nested(depth) + tail
        frame = Bulk(packed, (memoryview(b"1234"),))
        if fits:
            assert decode_frame(frame, len(HEAD), 1)[0][1] == b"1234"  # type: ignore[index]
        else:
            with pytest.raises(DecodeError, match="nested"):
                decode_frame(frame, len(HEAD), 1)


def test_a_stream_of_large_messages_is_not_packed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is packed, found large, and attached; the next are attached at once."""
    packed: list[Any] = []
    monkeypatch.setattr(buffers, "encode", lambda msg: packed.append(msg) or encode(msg))
    encoder = Encoder()
    body = encoder.encode([BIG])
    assert body == encode([BIG])
    assert isinstance(encoder.large([BIG], body), Bulk)
    packed.clear()
    body = encoder.encode([BIG])
    assert isinstance(body, Bulk)
    assert encoder.large([BIG], body) is body
    assert [type(msg) for (msg,) in packed] == [Attached]
    for _ in range(50):
        assert encoder.encode("small") == encode("small")
    assert not encoder.attaching


def test_large_messages_of_small_parts_are_searched_seldom() -> None:
    """A search in vain is not made again for the next message."""
    encoder, msg = Encoder(), list(range(100_000))
    body = encoder.encode(msg)
    assert encoder.large(msg, body) == body
    assert encoder.large(msg, body) is body


def test_numpy_is_not_imported_to_encode() -> None:
    """Neither for arrays nor for bytes: who sends an array has it."""
    code = (
        "import sys; from zexchange.protocol.codec.attachments import encode_attaching; "
        "encode_attaching([bytes(70000), (bytearray(70000),), memoryview(bytes(70000))]); "
        "print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
