"""What the Socket.IO benchmark counts as lost, told without a server."""

import sys
from array import array

import pytest

from tests.support import ROOT

pytest.importorskip("websockets", reason="needs websockets")
sys.path.insert(0, str(ROOT / "benchmarks"))
from socketio_parts import Session  # type: ignore[import-not-found]
from socketio_verdict import Outcome, judge  # type: ignore[import-not-found]

BEGUN = array("d", [n / 10 for n in range(100)])
ENDED = array("d", [n / 10 + 0.01 for n in range(100)])


def lost(got: list[int], since: float, until: float | None = None, killed: float = 0.0) -> Outcome:
    """Judge one session of worker 1, which was killed at a moment, if at one."""
    outcome = Outcome()
    session = Session(1, since, until, got=array("I", got))
    judge(outcome, session, BEGUN, ENDED, {1: killed} if killed else {})
    return outcome


def test_a_whole_session() -> None:
    """What was begun after the client was connected is expected, to the end."""
    assert lost(list(range(50, 100)), since=4.95).lost == 0
    assert lost(list(range(51, 100)), since=4.95).lost == 1
    assert lost(list(range(50, 99)), since=4.95).lost == 1
    assert lost([49, *range(50, 100)], since=4.95).expected == 50


def test_a_killed_worker() -> None:
    """What was sent in the second before the kill counts up to the last that came."""
    assert lost(list(range(50, 60)), since=4.95, until=7.0, killed=6.95).lost == 0
    assert lost(list(range(50, 59)), since=4.95, until=7.0, killed=6.95).lost == 1
    assert lost([*range(50, 62), 63], since=4.95, until=7.0, killed=6.95).lost == 1
    assert lost([], since=6.5, until=7.0, killed=6.95).expected == 0


def test_disconnected_otherwise() -> None:
    """A session that ends without a kill is counted as one."""
    assert lost(list(range(50, 60)), since=4.95, until=6.95).broken == 1
    assert lost(list(range(50, 60)), since=4.95, until=6.95, killed=6.9).broken == 0


def test_twice_and_out_of_order() -> None:
    """Repeated and disordered events are counted, and do not make up for lost ones."""
    outcome = lost([*range(50, 90), 89, *range(91, 100)], since=4.95)
    assert (outcome.lost, outcome.repeated, outcome.disordered) == (1, 1, 0)
    assert lost([51, 50, *range(52, 100)], since=4.95).disordered == 1
