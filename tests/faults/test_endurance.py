"""Memory over a long time: ``python -m tests.faults --only endurance --seeds 1 --minutes 30``."""

import pytest

from . import conftest
from .laboratory import Lab
from .soak.endurance import Endurance

pytestmark = [pytest.mark.sockets, pytest.mark.leaves_files]


def endure(lab: Lab, together: bool) -> None:
    if not lab.full or conftest.MINUTES < 3:
        pytest.skip("takes --minutes 30")
    try:
        Endurance(lab, 60 * conftest.MINUTES, together).run()
    except AssertionError as error:
        pytest.fail(str(error), pytrace=False)


def test_endurance(lab: Lab) -> None:
    """Half an hour of kills, stops, resets, names and streams that come and go; memory is flat."""
    endure(lab, together=False)


def test_endurance_of_one_registry(lab: Lab) -> None:
    """The same, with two federations that carry the same exchanges; memory is flat."""
    endure(lab, together=True)
