"""Every fuzz target without atheris: over its seeds, and some thousand fixed mutations."""

import sys
from importlib import import_module
from types import ModuleType

import pytest

pytest.importorskip("numpy")

from fuzz import bounds, corpus
from fuzz.mutations import mutated
from fuzz.seeds import bombs

MUTATIONS = 2000


@pytest.mark.parametrize("name", corpus.names())
def test_the_seeds_are_those_of_the_target(name: str) -> None:
    """The committed file is what ``python -m fuzz.corpus`` writes."""
    assert list(corpus.made(name)) == [seed.hex() for seed in corpus.read(name)]


@pytest.mark.parametrize("name", corpus.names())
def test_seeds_and_mutations_break_no_promise(name: str) -> None:
    """Whatever the bytes, nothing but what is documented comes out, in bounded time and memory."""
    execute, seeds = bounds.watched(corpus.target(name).execute), corpus.read(name)
    for data in [*seeds, *mutated(seeds, MUTATIONS, corpus.target(name).MAX_LEN)]:
        try:
            execute(data)
        except Exception as error:
            error.add_note(f"fuzz target {name}: bytes.fromhex({data.hex()!r})")
            raise


@pytest.mark.parametrize("name", corpus.names())
def test_memory_is_a_multiple_of_the_input(name: str) -> None:
    """What is allocated for an input is bounded by its bytes, and bombs are no exception."""
    execute = corpus.target(name).execute
    dense = b"\xdd\x00\x00\x40\x00" + b"\x80" * (1 << 14)
    for data in [*corpus.read(name), *bombs(), b"\x02" + dense, dense]:
        most = bounds.AHEAD_BYTES + bounds.TIMES_INPUT * len(data)
        assert bounds.allocated(execute, data) <= most


def test_a_broken_promise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracles see what they are there to see: too much memory, and too much time."""
    kept: list[bytes] = []
    with pytest.raises(bounds.Broken, match="bytes of memory"):
        bounds.watched(lambda data: kept.append(b"x" * (bounds.peak() + 2 * bounds.AHEAD_BYTES)))(
            b""
        )
    kept.clear()

    def slow(data: bytes) -> None:
        while bounds.thread_time() < ends:
            pass

    monkeypatch.setattr(bounds, "SECONDS", 0.1)
    ends = bounds.thread_time() + 1.5 * bounds.SECONDS
    with pytest.raises(bounds.Broken, match="s for 1 bytes"):
        bounds.watched(slow)(b"x")


def test_instrumented_modules_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each target that has modules of its own instrumented names modules of today."""
    monkeypatch.setitem(sys.modules, "atheris", ModuleType("atheris"))
    runner = import_module("fuzz.under_atheris")
    named = {*runner.EVERYTHING, *(name for names in runner.ONLY.values() for name in names)}
    assert named <= set(runner.modules())
    assert runner.ONLY.keys() <= set(corpus.names())
