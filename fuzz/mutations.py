"""Mutations without atheris, the same with every run: what the test suite can afford.

They know no format: bytes are flipped, cut out, repeated, replaced by others that decoders
take for headers, and spliced from two seeds.
"""

from collections.abc import Iterator, Sequence
from random import Random

_TELLING = bytes.fromhex("00017f8081909f a0c0c1c4c5c6c7c8c9cacf d4d8d9dbdcdddedf ff0210")


def mutated(seeds: Sequence[bytes], number: int, most: int, seed: int = 1) -> Iterator[bytes]:
    """Yield ``number`` inputs of at most ``most`` bytes that are made from some seeds."""
    random = Random(seed)
    for _ in range(number):
        data = bytearray(random.choice(seeds))
        for _ in range(random.randint(1, 4)):
            _mutate(data, seeds, random)
        yield bytes(data[:most])


def _mutate(data: bytearray, seeds: Sequence[bytes], random: Random) -> None:
    start = random.randrange(len(data) + 1)
    end = start + random.randint(1, 12)
    match random.randrange(6):
        case 0 if start < len(data):
            data[start] ^= 1 << random.randrange(8)
        case 1:
            data[start:end] = b""
        case 2:
            data[start:start] = data[start:end]
        case 3:
            data[start : start + 1] = bytes([random.choice(_TELLING)])
        case 4:
            data[start:] = random.choice(seeds)[start:]
        case _:
            data[start:start] = random.randbytes(random.randint(1, 6))
