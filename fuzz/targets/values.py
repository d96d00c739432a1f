"""Values as MessagePack, alone and in batches (`codec`)."""

from collections.abc import Iterator

from zexchange.errors import DecodeError, EncodeError
from zexchange.protocol.codec.values import decode, decode_batch, encode

from ..bounds import require
from ..sameness import same
from ..seeds import bombs, vectors

MAX_LEN = 400


def seeds() -> Iterator[bytes]:
    """Yield encoded values of every type, and bombs."""
    yield from (frame for frame, _ in vectors("value"))
    yield b"".join(frame for frame, _ in vectors("value"))
    yield from bombs()


def execute(data: bytes) -> None:
    """Decode one value; encoded again, it decodes to the same."""
    check(data)
    for count in (0, 2, 3, len(data) + 1):
        try:
            require(len(decode_batch(data, count)) == count, count)
        except DecodeError:
            continue


def check(data: bytes) -> None:
    """Decode one value, as above."""
    try:
        value = decode(data)
    except DecodeError:
        return
    sent_on(value)


def sent_on(value: object) -> None:
    """Send on what has arrived, and see it come back.

    A nest may be too deep for that, and what is unknown here malformed inside.
    """
    try:
        body = encode(value)
    except EncodeError as error:
        expected = ("within each other", "nested", "cannot encode Unknown(")
        require(any(words in str(error) for words in expected), error)
        return
    require(same(decode(body), value), value)
    require(same(decode_batch(b"".join((body, body)), 2), [value, value]), value)
