"""The bars against pyzmq by hand: what intervals say of them, and one run of them, tiny."""

import subprocess
import sys

import pytest

from benchmarks import by_hand, by_hand_verdict
from benchmarks.by_hand_verdict import Side
from benchmarks.compare.bars import BY_HAND, WITH_MSGSPEC
from benchmarks.compare.values import Bar
from tests.support import ROOT, patience, unmeasured

RATIO = Bar("twice as many", "dict", ("pyzmq plain",), 2.0)
TIME = Bar("no longer", "round-trip", ("pyzmq plain",), 1.5, least=False)
ALONE = Bar("at most", "burner-1k", (), 300, least=False, figure="one way")
OURS, THEIRS = by_hand_verdict.sides(RATIO)


@pytest.mark.parametrize(
    ("low", "high", "least", "said"),
    [
        (2.0, 2.4, True, "reached"),
        (1.99, 2.4, True, "undecided"),
        (1.5, 2.0, True, "undecided"),
        (1.5, 1.99, True, "not reached"),
        (1.5, 2.0, False, "reached"),
        (1.5, 2.01, False, "undecided"),
        (2.0, 2.4, False, "undecided"),
        (2.01, 2.4, False, "not reached"),
    ],
)
def test_a_verdict_is_of_a_whole_interval(low: float, high: float, least: bool, said: str) -> None:
    """A bar of 2 is decided if the interval is on one side of it; the bar itself is good enough."""
    assert by_hand_verdict.verdict(low, high, 2.0, least) == said


def test_sides() -> None:
    """Ours, and theirs of another workload if the bar says so, or nobody's."""
    assert by_hand_verdict.sides(ALONE) == (Side("burner-1k", "zexchange", "one way"),)
    structs = Bar("", "structs", ("pyzmq plain",), 5.0, other="dict", ours="zexchange typed")
    assert by_hand_verdict.sides(structs) == (
        Side("structs", "zexchange typed", "rate"),
        Side("dict", "pyzmq plain", "rate"),
    )
    assert by_hand_verdict.clusters([RATIO, structs, ALONE]) == [
        [OURS, THEIRS, Side("structs", "zexchange typed", "rate")],
        [Side("burner-1k", "zexchange", "one way")],
    ]


def test_a_figure_is_of_medians() -> None:
    """One slice that went wrong does not decide, nor does a generation of it."""
    taken = [{OURS: [300, 310, 1], THEIRS: [100, 100, 100]}, {OURS: [300, 290], THEIRS: [100, 1]}]
    assert by_hand_verdict.figure(RATIO, taken) == 3
    assert by_hand_verdict.figure(RATIO, [{OURS: [300]}]) is None


@pytest.mark.parametrize(
    ("ours", "said"), [(2.4, "reached"), (2.0, "undecided"), (1.6, "**not reached**")]
)
def test_enough_generations_decide(ours: float, said: str) -> None:
    """Few do not; the row has the bar, the ratio, its interval and both medians."""
    noise = (0.9, 0.95, 1.0, 1.0, 1.05, 1.1, 0.98, 1.02)
    taken = [{OURS: [ours * 1000 * some], THEIRS: [1000]} for some in noise]
    row = by_hand_verdict.row(RATIO, taken)
    assert row.startswith(f"| twice as many | ≥ 2× | {ours:g}× | ")
    assert row.endswith(f" {ours:g}k / 1k | {said} |")
    few = by_hand_verdict.row(RATIO, taken[: by_hand_verdict.LEAST - 1])
    assert few.endswith("| undecided |")
    assert by_hand_verdict.row(RATIO, []) == "| twice as many | ≥ 2× | – | – | – | not measured |"


def test_a_bar_may_depend_on_what_is_installed() -> None:
    """With msgspec some bars are higher."""
    (name,) = WITH_MSGSPEC
    (bar,) = (bar for bar in BY_HAND if bar.name == name)
    assert by_hand_verdict.limit(bar, msgspec=False) == 2.0
    assert by_hand_verdict.limit(bar, msgspec=True) == 2.5
    assert by_hand_verdict.limit(TIME, msgspec=True) == 1.5


def test_slices_in_two_groups_are_told_below_the_table() -> None:
    """With both medians."""
    taken = [{OURS: [rate], THEIRS: [100]} for rate in [100, 200] * 5]
    assert by_hand_verdict.table([RATIO], taken).endswith(
        "\n\nIn two groups: dict of zexchange, 100 and 200."
    )
    assert "two groups" not in by_hand_verdict.table([RATIO], taken[::2])


def test_bars_are_chosen_by_words() -> None:
    """Parts of names or of workloads' names."""
    assert [bar.workload for bar in by_hand.chosen(["first-400", "64 KiB"])] == ["64k", "first-400"]
    assert by_hand.chosen(["nothing"]) == []


@pytest.mark.sockets
@pytest.mark.slow
def test_a_run() -> None:
    """A ratio, a local one and one of fresh processes; what they say of the machine is not judged.

    Of one generation nothing is decided.
    """
    words = ["--only", "round trip", "first 400", "local send to 1,"]
    script = [sys.executable, "-m", "benchmarks.by_hand", *words]
    run = subprocess.run(
        [*script, "--minutes", "0.0001", "--seconds", "0.02"],
        capture_output=True,
        text=True,
        timeout=patience(100),
        cwd=ROOT,
        env=unmeasured(),
    )
    assert run.returncode == 0, run.stdout + run.stderr
    rows = [line for line in run.stdout.splitlines() if line.endswith("| undecided |")]
    assert [row.split(" | ")[0] for row in rows] == [
        "| round trip, to pyzmq with one frame",
        "| send() beside a burner, first 400, 1k/s, p99 us",
        "| local send to 1, to the naive recipe",
    ]
    assert run.stderr.startswith("generation 1: ")
