"""The comparison of two commits: what its intervals say, and one run of it, tiny."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.compare.analysis import bootstrap
from tests.support import ROOT, patience, unmeasured

sys.path.insert(0, str(ROOT / "benchmarks"))
import speed  # type: ignore[import-not-found]
import speed_verdict  # type: ignore[import-not-found]


def generations(number: int, mine: float, noise: float = 0.05) -> list[dict]:  # type: ignore[type-arg]
    """Rates of one load; a process is some percent faster or slower for its whole life."""
    taken = []
    for _ in range(number):
        rates = {}
        for tree, rate in ((speed_verdict.HERE, mine), (speed_verdict.THERE, 1.0)):
            own = rate * random.uniform(1 - noise, 1 + noise)
            rates[tree] = [own * random.uniform(0.98, 1.02) for _ in range(2)]
        taken.append({"flood": rates})
    return taken


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.90, 0.9499, "slower"),
        (0.90, 0.95, ""),
        (0.9499, 1.2, ""),
        (0.95, 1.2, "as fast"),
        (1.1, 1.2, "as fast"),
    ],
)
def test_verdicts(low: float, high: float, said: str) -> None:
    """An interval decides if it is on one side of the bar."""
    assert speed_verdict.verdict(low, high) == said


def test_looks_agree() -> None:
    """One look, or several that differ or say nothing, are not enough."""
    assert speed_verdict.agreed(["", "slower", "slower", "slower"])
    assert not speed_verdict.agreed(["slower"] * 2)
    assert not speed_verdict.agreed(["slower", "as fast", "slower"])
    assert not speed_verdict.agreed(["", "", ""])


def test_an_interval_has_its_figure() -> None:
    """Of equal units it is a point, of others it lies around the figure and within the units."""
    assert bootstrap([3.0] * 5, max) == (3.0, 3.0)
    low, high = bootstrap([1.0, 2.0, 3.0, 4.0, 5.0] * 8, lambda some: sum(some) / len(some))
    assert 2 < low < 3 < high < 4


@pytest.mark.parametrize(("mine", "said"), [(0.85, "slower"), (1.0, "as fast"), (1.1, "as fast")])
def test_enough_generations_decide(mine: float, said: str) -> None:
    """What is 15 % slower is found, what is not is let go, though processes differ by 10 %."""
    random.seed(1)
    comparison = speed_verdict.Comparison(["flood"])
    for generation in generations(300, mine):
        comparison.add(generation)
        if not comparison.open:
            break
    assert comparison.said("flood") == said
    assert len(comparison.taken["flood"]) >= speed_verdict.LEAST + speed_verdict.STEADY - 1
    assert said in comparison.row("flood")
    assert comparison.progress() == "all is decided"


def test_undecided_stays_open() -> None:
    """What lies at the bar is told as undecided, with its interval."""
    random.seed(2)
    comparison = speed_verdict.Comparison(["flood", "idle"])
    for generation in generations(speed_verdict.LEAST + speed_verdict.STEADY, speed_verdict.BAR):
        comparison.add(generation)
    assert comparison.open == ["flood", "idle"]
    assert comparison.row("flood").endswith("undecided")
    assert comparison.row("idle").endswith("nothing measured")


@pytest.mark.sockets
@pytest.mark.slow
def test_a_run_against_the_commit_itself() -> None:
    """All loads give rates of both trees; what they say of the machine is not judged here."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a clone")
    script = [sys.executable, str(ROOT / "benchmarks" / "speed.py"), "HEAD"]
    size = ["--minutes", "0.0001", "--seconds", "0.001"]
    # Not measured: of the other tree nothing is left when coverage asks for its source.
    run = subprocess.run(
        [*script, *size], capture_output=True, text=True, timeout=patience(100), env=unmeasured()
    )
    assert (run.returncode, run.stderr) == (0, ""), run.stdout
    rows = [line for line in run.stdout.splitlines() if line.endswith("undecided")]
    assert [row[:24].strip() for row in rows] == speed.measurable()


def test_a_commit_that_is_not_there(tmp_path: Path) -> None:
    """It is said, and nothing is measured."""
    with pytest.raises(speed.LostError, match="no commit 'nothing'"):
        speed.unpack("nothing", tmp_path)
