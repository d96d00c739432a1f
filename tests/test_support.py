"""What tests wait by: seconds that pass more slowly the busier the machine is."""

import pytest

from tests import support
from tests.support import (
    MOST_SLOWNESS,
    Deadline,
    Program,
    eventually,
    examples,
    patience,
    slowness,
)


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(support, "time", clock)
    return clock


def looks(clock: Clock, deadline: Deadline, apart: float) -> float:
    """Look at every so many seconds until it is over; return how many seconds that took."""
    began = clock.now
    while not deadline.over:
        clock.now += apart
    return clock.now - began


@pytest.mark.parametrize("load", [1.0, 4.0])
def test_seconds_are_those_of_a_quiet_machine(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, load: float
) -> None:
    """Where four times as many threads want to run as can, a deadline is four times as far."""
    monkeypatch.setattr(support, "slowness", lambda: load)
    assert looks(clock, Deadline(10), 0.25) == pytest.approx(10 * load, abs=0.3)
    assert patience(10) == 10 * load
    began = clock.now
    with pytest.raises(AssertionError, match="not within 10 s"):
        eventually(lambda: False, 10)
    assert clock.now - began == pytest.approx(10 * load, abs=0.2)


def test_time_without_a_look_does_not_count(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a minute in which nothing ran, a second counts."""
    monkeypatch.setattr(support, "slowness", lambda: 1.0)
    assert looks(clock, Deadline(3), 60) == 180


def test_slowness_is_bounded() -> None:
    """A quiet machine is as fast as it is, and no machine is waited for without end."""
    assert 1 <= slowness() <= MOST_SLOWNESS


@pytest.mark.parametrize(
    ("profile", "number"), [("suite", 45), ("slow", 3000), ("nightly", 15_000), ("my own", 45)]
)
def test_properties_have_examples_by_profile(
    monkeypatch: pytest.MonkeyPatch, profile: str, number: int
) -> None:
    """The suite tries fewer than a property asks for, the long runs many more."""
    monkeypatch.setattr(support, "PROFILE", profile)
    assert examples(300) == number


@pytest.mark.sockets
def test_programs_are_asked_for_everything_too(
    rendezvous: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is logged there with a lock held is printed in the place of what is expected."""
    source = """
import logging, zexchange
with zexchange.federate("fed") as node:
    logging.getLogger("zexchange").warning("good")
    with node._engine.changed:
        logging.getLogger("zexchange").warning("bad")
print("end", flush=True)
"""
    monkeypatch.setenv("ZEXCHANGE_ASKING", "1")
    with Program(source) as program:
        program.expect("wrong: 'bad' was logged with ['Engine.changed'] held")
        program.expect("end")
