"""A peer that means harm, at full speed: memory stays in bounds, and good peers are served.

Each kind of attack once in the normal run. ``python -m tests.faults --only hostile --seeds 1
--minutes 5`` attacks for so long, on one core, in turns with a process that only burns time there.
"""

import pytest

from tests.faults import conftest
from tests.faults.laboratory import Lab

from .siege import Siege

pytestmark = [pytest.mark.sockets, pytest.mark.leaves_files]


def siege(lab: Lab, *, keys: bool, authorized: bool) -> None:
    seconds = 60 * conftest.MINUTES if lab.full else 3.0 + 2.0 * authorized
    try:
        Siege(lab, keys, authorized, seconds, timed=lab.full).run()
    except AssertionError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.mark.slow
def test_hostile_strangers_without_a_key(lab: Lab) -> None:
    """Strangers without an authorized key do all they can at both ports, at full speed."""
    siege(lab, keys=True, authorized=False)


@pytest.mark.slow
def test_hostile_strangers_where_nobody_has_keys(lab: Lab) -> None:
    """Strangers of another federation do all they can where nobody has keys, at full speed."""
    siege(lab, keys=False, authorized=False)


def test_hostile_peer_with_few_rights(lab: Lab) -> None:
    """A peer with an authorized key, and few rights, does all it can, at full speed."""
    siege(lab, keys=True, authorized=True)
