"""Batches decoded by msgpack, and by msgspec if it is installed: they have to agree."""

from collections.abc import Callable

from fuzz.sameness import same
from zexchange.errors import DecodeError
from zexchange.protocol.codec import values
from zexchange.protocol.codec.batches import batch_decoder

HEAD = b"head"


def decode_batch(body: bytes | memoryview, count: int) -> list[object]:
    """As `values.decode_batch`; msgspec makes the same, or fails with the same words."""
    found = outcome(lambda: values.decode_batch(body, count))
    decoder = batch_decoder()
    if decoder is not None:
        frame = HEAD + bytes(body)
        other = outcome(lambda: decoder.decode(frame, len(HEAD), count, 1))
        assert type(other) is type(found), (found, other)
        assert str(other) == str(found) if isinstance(other, DecodeError) else same(other, found)
    if isinstance(found, DecodeError):
        raise found
    return found


def outcome(decode: Callable[[], list[object]]) -> list[object] | DecodeError:
    try:
        return decode()
    except DecodeError as error:
        return error
