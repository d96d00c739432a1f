"""The fuzzer for cost: that it finds what costs too much, and what it has found."""

from random import Random
from typing import Any

import pytest

pytest.importorskip("numpy")

from fuzz import costs, filling
from fuzz.targets.built_values import Choices

GENEROUS = 4 * costs.TIMES_VALID
"""What is held here, beside whatever else runs; ``python -m fuzz.costs`` holds a quarter of it."""
WORST = {
    "values": ("01020232100000", "01090932100000", "02000c0c32", "0200101032", "0601020232100007"),
    "attached": ("01020232100000",),
    "json": ("000f59100000", "000f58100000"),
    "control": ("000501010505", "00050505010202321000"),
}
"""Recipes of inputs whose members collide, and of nests of keys that look alike."""


def decoder(name: str) -> costs.Decoder:
    return next(each for each in costs.decoders() if each.name == name)


@pytest.mark.parametrize(
    ("name", "recipe"),
    [(name, recipe) for name, all_of_it in WORST.items() for recipe in all_of_it],
)
def test_what_was_found_costs_no_more_than_valid_values(name: str, recipe: str) -> None:
    """By far: most of these took a hundred times as long for each byte, at this size."""
    data = decoder(name).of(bytes.fromhex(recipe), 1 << 15)
    each = decoder(name).cost(data, 3) / len(data) * costs.MIB
    assert each <= GENEROUS * costs.reference(decoder(name), 1 << 12)


@pytest.mark.parametrize("name", [each.name for each in costs.decoders()])
def test_every_decoder_has_inputs_of_a_size(name: str) -> None:
    """Else nothing of it would be measured, and nothing but what is documented comes out."""
    tried, random = decoder(name), Random(3)
    for _ in range(20):
        tried.step(random)
    assert tried.worst
    assert tried.worst == sorted(tried.worst, reverse=True)


def test_a_recipe_is_always_the_same_input() -> None:
    """What was found can be looked at again."""
    random = Random(4)
    for _ in range(50):
        recipe = random.randbytes(40)
        try:
            one = filling.filled(Choices(recipe), 4096)
        except ValueError:  # a nest that is too deep to be packed
            continue
        assert one == filling.filled(Choices(recipe), 4096)


def found_in(execute: Any) -> str:
    """What is printed of a decoder whose inputs are zeros."""
    tried = costs.Decoder("x", execute, lambda choices, size: bytes(size))
    tried.step(Random(1))
    return "good" if costs.told(tried, 0.05, 1 << 14) else "found"


def test_a_decoder_that_costs_too_much_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    """By its time, by how that grows, and by its memory."""
    assert found_in(len) == "good"
    assert found_in(lambda data: sorted(range(99 * len(data)))) == "found"
    assert found_in(lambda data: bytearray(len(data) * 300 + costs.AHEAD_BYTES)) == "found"
    assert capsys.readouterr().out.count("FOUND") == 2
