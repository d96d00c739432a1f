"""Values as MessagePack, alone and in batches (`codec`)."""

from collections.abc import Callable, Iterator

from zexchange.errors import DecodeError, EncodeError
from zexchange.protocol.codec.batches import batch_decoder
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
    """Decode one value; encoded again, it decodes to the same, and by msgspec likewise."""
    check(data)
    for count in (1, 2, 3, len(data) + 1):
        read, error = batch(lambda count=count: decode_batch(data, count))
        require(error or len(read) == count, count)
        fast = batch_decoder()
        if fast is not None:
            again = batch(lambda fast=fast, count=count: fast.decode(b"." + data, 1, count, 1))
            require(again[1] == error and same(again[0], read), (read, again))


def batch(decode: Callable[[], list[object]]) -> tuple[list[object], str]:
    """Return the values of a batch, and no error; or no values and the text of the error."""
    try:
        return decode(), ""
    except DecodeError as error:
        return [], str(error)


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
