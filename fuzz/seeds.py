"""Where the seeds come from: the vectors of the protocol, and bombs that decoders meet.

docs/vectors.json has a frame of every kind. Nothing here knows what a target does.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[1] / "docs" / "vectors.json"


def vectors(*kinds: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield the bytes and the whole entry of every vector of some kinds."""
    for vector in json.loads(VECTORS.read_text()):
        if vector["kind"] in kinds:
            yield bytes.fromhex(vector["hex"]), vector


def bombs() -> Iterator[bytes]:
    """Yield small MessagePack that asks for much: deep nests, huge headers, dense containers."""
    yield b"\x91" * 1100 + b"\xc0"
    yield b"\x81\xc0" * 600 + b"\xc0"
    yield b"\xdd\xff\xff\xff\xff"
    yield b"\xdf\xff\xff\xff\xff"
    yield b"\xc6\xff\xff\xff\xff"
    yield b"\xc9\xff\xff\xff\xff\x02"
    yield b"\xdb\xff\xff\xff\xff"
    yield (b"\xdd\x00\x00\x08\x00" * 900)[:4096]
    yield b"\xdc\x07\xd0" + b"\x80" * 2000
    yield b"\xdc\x03\xe8" + b"\x81\x00\x00" * 1000
    yield b"\xdc\x01\xf4" + b"\xc7\x01\x03\x90" * 500
