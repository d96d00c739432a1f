"""Everything at once: kills, stops, resets, refusals, and streams that come and go.

Three senders, a receiver whose streams stay, and two that change them; each behind relays of
its own, or all behind hubs: for a few seconds in the normal run.
``python -m tests.faults --only soak --minutes 3`` is the real thing.
"""

import pytest

from tests.faults import conftest
from tests.faults.laboratory import Lab

from .bench import Soak

pytestmark = [pytest.mark.sockets, pytest.mark.leaves_files]


def soak(lab: Lab, hub: bool) -> None:
    seconds = 60 * conftest.MINUTES if lab.full else 6.0
    try:
        Soak(lab, hub, seconds).run()
    except AssertionError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.mark.slow
def test_a_soak_in_a_mesh(lab: Lab) -> None:
    """All faults at random for minutes, streams come and go: a mesh over TCP, some of it local."""
    soak(lab, hub=False)


def test_a_soak_behind_hubs(lab: Lab) -> None:
    """All faults at random for minutes, streams come and go: behind one hub or two."""
    soak(lab, hub=True)
