"""Decodes the messages of data frames, most of them by msgspec where that is installed.

msgspec takes less time than msgpack. But it is not told how `values` decodes, and left to
itself it decodes otherwise: an array that is a key becomes a tuple, the moment of a timestamp is
rounded, lists may be nested as deeply as Python's recursion limit says, which a program may have
raised, and keys that were made to collide are not looked at before they are in their dict.

A type says all of this in advance, and costs no time: `None`, bools, numbers, texts, lists, and
dicts whose keys are texts, at most `DEPTH` levels of them. Both decoders make the same of a frame
of such values, and msgspec refuses all other frames: these go to `values`, as everything does where
msgspec is missing. So what is accepted, what arrives, and what errors say is up to `values` alone.

The rule of this module: msgspec never sees what could call Python code, such as an extension type.
"""

from collections.abc import Callable
from types import GenericAlias
from typing import Any

import msgpack

from zexchange.history import Body
from zexchange.imports import importing
from zexchange.protocol.codec.attachments import decode_frame
from zexchange.protocol.codec.values import SMALL_BODY
from zexchange.protocol.wire.limits import check_announced
from zexchange.protocol.wire.messages import Batch

DEPTH = 8
"""How many lists and dicts may be within each other in a message that msgspec decodes."""
IN_VAIN = 16
"""Frames of an exchange that msgspec is not tried on, after one that it has refused; twice as many
after each further one in a row."""
IN_VAIN_MOST = 1024

Decode = Callable[[bytes], Any]


def _decoders() -> tuple[str, Decode, Decode] | None:
    """Return the version of msgspec, and what decodes one value and a list; None without it."""
    with importing():
        try:
            import msgspec
        except ImportError:
            return None
    leaf: Any = bool | int | float | str | None
    kind = leaf
    for _ in range(DEPTH):
        kind = leaf | GenericAlias(list, (kind,)) | GenericAlias(dict, (str, kind))
    decoder = msgspec.msgpack.Decoder
    return msgspec.__version__, decoder(kind).decode, decoder(GenericAlias(list, (kind,))).decode


_msgspec = _decoders()


def decoder_name() -> str:
    """Return the name and version of what decodes messages."""
    if _msgspec is not None:
        return f"msgspec {_msgspec[0]}"
    return "msgpack {}.{}.{}".format(*msgpack.version)


class BatchDecoder:
    """Decodes the frames of one exchange of one peer by msgspec, and seldom tries it in vain.

    Args:
        one: decodes a single value; without it, ``several`` does that too.
        several: decodes an array of values.
    """

    __slots__ = ("_one", "_rest", "_several", "again")

    def __init__(self, one: Decode | None, several: Decode) -> None:
        self._one, self._several = one, several
        self._rest = IN_VAIN
        self.again = 0
        """The number of the first message that is to be decoded here; those before it are left to
        `attachments.decode_frame`, since msgspec has refused others."""

    def decode(self, frame: bytes, start: int, count: int, first: int) -> list[object]:
        """Decode the values of a data frame, as `attachments.decode_frame`.

        Args:
            frame: the data frame.
            start: where its values begin.
            count: how many there are.
            first: the number of the first one.

        Raises:
            DecodeError: as there.
        """
        try:
            values: list[object]
            one = self._one
            if count == 1 and one is not None:
                packed = frame[start:]
                if len(packed) > SMALL_BODY:
                    check_announced(packed)
                values = [one(packed)]
            elif count > len(frame) - start:
                return decode_frame(frame, start, count)
            else:
                header = (0xDD00000000 | count).to_bytes(5, "big")
                packed = b"".join((header, memoryview(frame)[start:]))
                if len(packed) > SMALL_BODY:
                    check_announced(packed)
                values = self._several(packed)
        except Exception:  # of whatever kind: what is wrong, if anything, is found out by others
            self.again = first + self._rest * count
            self._rest = min(2 * self._rest, IN_VAIN_MOST)
            return decode_frame(frame, start, count)
        self._rest = IN_VAIN
        return values


def decode_batch_of(frame: Body, batch: Batch, decoder: BatchDecoder | None) -> list[object]:
    """Decode the values of any data frame, given its head and the decoder of its exchange.

    Raises:
        DecodeError: as `attachments.decode_frame`.
    """
    if decoder is not None and type(frame) is bytes and batch.first >= decoder.again:
        return decoder.decode(frame, batch.body, batch.count, batch.first)
    return decode_frame(frame, batch.body, batch.count)


def batch_decoder() -> BatchDecoder | None:
    """Return a decoder for one exchange of one peer; None without msgspec."""
    return None if _msgspec is None else BatchDecoder(*_msgspec[1:])
