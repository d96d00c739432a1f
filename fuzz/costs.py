"""Looks for what costs most: ``python -m fuzz.costs --minutes N`` fuzzes every decoder for time.

Inputs are built by `filling`, from a few bytes that are mutated; those that cost most are kept
and mutated further. At the end the worst of each decoder is measured at several sizes, beside
what the costliest valid small values cost in the same run. Time is the thread's own, and the
least of several runs, so that other programs are not in it.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from time import monotonic, thread_time

from zexchange.display.text import to_json
from zexchange.errors import DecodeError
from zexchange.history import Bulk
from zexchange.local.typed import shape_of
from zexchange.protocol.codec import attachments as buffers
from zexchange.protocol.codec import values as codec
from zexchange.protocol.codec.batches import batch_decoder
from zexchange.protocol.hub.messages import read_word
from zexchange.protocol.wire.control import read_control
from zexchange.protocol.wire.data import read_data, read_ready
from zexchange.protocol.wire.jobs import Jobs, jobs_head, read_jobs
from zexchange.protocol.wire.notes import read_notes

from . import filling
from .bounds import AHEAD_BYTES, TIMES_INPUT, Execute, allocated
from .seeds import vectors
from .targets.built_values import Choices
from .targets.typed_values import KINDS

TIMES_VALID = 4
"""The most that a byte may cost, as a multiple of a byte of the costliest valid small values."""
LINEAR = 2.0
"""The same for a byte of an input four times as large, to a byte of it: caches are small."""
KEPT = 24
SIZES = (1 << 13, 1 << 13, 1 << 13, 1 << 16)
"""Of inputs that are tried: a small one takes little time, a large one shows what grows."""
MIB = 1 << 20
_RECIPE = 48
_SETS = tuple(
    shape_of(kind) for kind in (set[int], frozenset[tuple[int, ...]], dict[str, set[str]])
)
_SHAPES = (*(shape_of(kind) for kind in KINDS), *_SETS)
Build = Callable[[Choices, int], bytes]


def _typed(data: bytes) -> None:
    _SHAPES[len(data) % len(_SHAPES)].decode(codec.decode(data))


def _ready(choices: Choices, size: int) -> bytes:
    head = next(vectors("ready"))[0][:43]
    parts = [filling._field(choices, size) if choices.take() % 2 else b"\x80" for _ in range(3)]
    return head + b"".join(parts)


@dataclass
class Decoder:
    """A decoder that is measured, how its inputs are built, and the worst that was found."""

    name: str
    execute: Execute
    build: Build
    worst: list[tuple[float, bytes]] = field(default_factory=list)
    tried: int = 0

    def cost(self, data: bytes, runs: int = 2) -> float:
        """Return the seconds that an input takes, the least of some runs."""
        least = float("inf")
        for _ in range(runs):
            began = thread_time()
            try:
                self.execute(data)
            except (DecodeError, ValueError, TypeError):  # as each is documented to raise
                pass
            least = min(least, thread_time() - began)
            if least > 1:
                break
        return least

    def of(self, recipe: bytes, size: int) -> bytes:
        """Return the input of a recipe."""
        return self.build(Choices(recipe), size)

    def step(self, random: Random) -> None:
        """Try one recipe, new or like one of the worst; keep it if it is among those."""
        recipe = random.randbytes(_RECIPE)
        if self.worst and random.random() < 0.7:
            mutant = bytearray(random.choice(self.worst)[1])
            for _ in range(random.randint(1, 3)):
                mutant[min(int(random.expovariate(0.15)), _RECIPE - 1)] = random.randrange(256)
            recipe = bytes(mutant)
        self.tried += 1
        try:
            size = SIZES[recipe[-1] % len(SIZES)]
            data = self.of(recipe, size)
        except ValueError:  # too deep to be packed
            return
        if not size // 4 <= len(data) <= size * 4 or any(r == recipe for _, r in self.worst):
            return
        each = self.cost(data, 1) / len(data)
        if len(self.worst) == KEPT and each <= self.worst[-1][0]:
            return
        self.worst.append((self.cost(data) / len(data), recipe))
        self.worst.sort(reverse=True)
        del self.worst[KEPT:]


def decoders() -> list[Decoder]:
    """Return all that reads what comes from others."""
    parts = (memoryview(bytearray(8)), memoryview(bytearray(16)))
    attached = b"\x92" + codec.encode([buffers.Attached(0, 8), buffers.Attached(1, 16)])
    return [
        Decoder("values", codec.decode, filling.filled),
        Decoder("batch", lambda data: codec.decode_batch(data + b"\x00", 2), filling.filled),
        Decoder("frame", _frame, filling.filled),
        Decoder(
            "attached",
            lambda data: buffers.decode_frame(Bulk(attached + data, parts), 0, 1),
            filling.filled,
        ),
        Decoder("typed", _typed, filling.filled),
        Decoder("json", lambda data: to_json(codec.decode(data)), filling.filled),
        Decoder("control", read_control, filling.control),
        Decoder("ready", read_ready, _ready),
        Decoder("word", read_word, _word),
        Decoder("jobs", _job_messages, _jobs),
        Decoder("data", read_data, lambda choices, size: b"\x01" + filling._long(choices, size)),
    ]


def _frame(data: bytes) -> object:
    """Decode a frame that msgspec is tried on, where it is installed."""
    fast = batch_decoder()
    if fast is None:
        return codec.decode_batch(data + b"\x00", 2)
    return fast.decode(data + b"\x00", 0, 2, 1)


def _jobs(choices: Choices, size: int) -> bytes:
    jobs = Jobs(bytes(16), 1, bytes(16), 1, 1, 1, 2, 0.0, "n", notes=filling._field(choices, 64))
    return jobs_head(dataclasses.replace(jobs, notes=jobs.notes[:255])) + filling.filled(
        choices, size
    )


def _job_messages(data: bytes) -> object:
    """Read a job frame, its notes and its messages, as the node of a member does."""
    jobs = read_jobs(data)
    values = buffers.decode_frame(data + b"\x00", jobs.body, jobs.count)
    return values, read_notes(jobs.notes, jobs.count)


def _word(choices: Choices, size: int) -> bytes:
    return b"\x06" + filling.control(choices, size)[1:]


def reference(decoder: Decoder, size: int) -> float:
    """Return the seconds that a MiB of the costliest valid small values takes to decode.

    Showing them as JSON is measured by showing them, and all else by decoding them.
    """
    if decoder.name != "json":
        decoder = Decoder("valid", codec.decode, filling.filled)
    return max(decoder.cost(data, 3) / len(data) for data in filling.valid(size)) * MIB


def told(decoder: Decoder, valid: float, full: int = MIB) -> bool:
    """Print what the worst inputs cost at full size; return whether that is bounded."""
    good, rows = True, []
    for _, recipe in decoder.worst[:3]:
        data = decoder.of(recipe, full)
        each = decoder.cost(data) / len(data)
        rows.append((each * MIB / valid, recipe, len(data), each))
    if not rows:
        print(f"{decoder.name:12} {decoder.tried:>8,} tried, none of a size", flush=True)
        return True
    times, recipe, size, each = max(rows)
    longer = decoder.of(recipe, 4 * full)
    growth = decoder.cost(longer, 1) / len(longer) / each
    memory = allocated(lambda data: _once(decoder, data), decoder.of(recipe, full))
    good = times <= TIMES_VALID and (growth <= LINEAR or times * growth <= TIMES_VALID)
    good = good and memory <= AHEAD_BYTES + TIMES_INPUT * size
    print(
        f"{decoder.name:12} {decoder.tried:>8,} tried {each * MIB * 1000:>6.0f} ms/MiB,"
        f" valid {valid * 1000:.0f}: {times:.2f}, four times as long {growth:>5.2f} a byte,"
        f" memory {memory / size:>6.1f} times  {'ok' if good else 'FOUND'}  {recipe.hex()}",
        flush=True,
    )
    return good


def _once(decoder: Decoder, data: bytes) -> None:
    try:
        decoder.execute(data)
    except (DecodeError, ValueError, TypeError):
        pass


def main() -> int:
    """Fuzz all decoders in turn, and print a line for each."""
    parser = argparse.ArgumentParser(prog="fuzz.costs", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="for all of them together")
    parser.add_argument("--seed", type=int, default=1, help="another one tries other inputs")
    parser.add_argument("--only", nargs="*", help="the names of some decoders")
    asked = parser.parse_args()
    random, chosen = Random(asked.seed), decoders()
    chosen = [each for each in chosen if not asked.only or each.name in asked.only]
    ends = monotonic() + asked.minutes * 60
    while monotonic() < ends:
        for decoder in chosen:
            decoder.step(random)
    found = [each.name for each in chosen if not told(each, reference(each, MIB // 4))]
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
