"""Decodes the frames of an exchange that has a type straight into messages of it, if that can be.

`local/typed/structs.py` decides for which types it can. A frame that does not fit is decoded as one
of any exchange, and `Exchange._deliver` makes messages of its values, or refuses them.
"""

from collections.abc import Callable
from sys import getrecursionlimit
from typing import Any

from ...local.registry import Exchange
from ...local.typed.codecs import direct_of
from ...local.typed.declared_type import DeclaredType
from ...local.typed.structs import Direct, Made
from ...protocol.codec.batches import BatchDecoder, batch_decoder

DEEPEST = 10_000
"""Up to this recursion limit a field that the type does not know may be nested as it says: msgspec
passes over it by recursion in C, and before Python 3.12 has no other bound."""


def decoder_for(exchange: Exchange[Any]) -> BatchDecoder | None:
    """Return what decodes the frames of an exchange; None if that is up to msgpack."""
    declared = exchange._declared
    if declared is None or direct_of(declared.codec) is None:
        return batch_decoder()
    return BatchDecoder(None, _straight(exchange))


def _straight(exchange: Exchange[Any]) -> Callable[[bytes], list[Any]]:
    """Return a function that makes messages of a MessagePack array of them, or raises."""
    declared: DeclaredType | None = None
    direct: Direct | None = None

    def several(packed: bytes) -> list[Any]:
        nonlocal declared, direct
        known = exchange._declared  # another one, once the class has been defined again
        if known is not declared:
            declared, direct = known, None if known is None else direct_of(known.codec)
        if declared is None or direct is None or getrecursionlimit() > DEEPEST:
            raise TypeError("messages of this type are not made directly")
        return Made(declared, direct.several(packed))

    return several
