"""A run as a file and as Markdown."""

from pathlib import Path

import pytest

from benchmarks.compare.analysis import Table
from benchmarks.compare.record import Record, circumstances, quiet
from benchmarks.compare.report import number, report, unmet
from benchmarks.compare.values import TINY, Missing, Result
from benchmarks.compare.workloads import WORKLOADS

RESULTS = [
    Result("dict", "pyzmq plain", 0, {"rate": 250_000.0, "sent": 100, "lost": 3}),
    Result("dict", "zexchange", 0, {"rate": 400_000.0, "sent": 100, "lost": 0}),
    Result("round-trip", "zexchange", 0, {"p50": 180.0, "p99": 900.0}),
    Result("round-trip", "pynng", 0, problem="GroupError: nobody answers"),
]
RECORD = Record(TINY, RESULTS, [Missing("nats-py", "pip install nats-py")], circumstances())


def test_a_record_reads_what_it_wrote(tmp_path: Path) -> None:
    """A run is the same after its file."""
    RECORD.write(tmp_path / "run.json")
    assert Record.read(tmp_path / "run.json") == RECORD


def test_the_report_says_all() -> None:
    """Bars with verdicts, each workload with its contestants, losses, troubles, who is missing."""
    lines = report(RECORD, WORKLOADS).split("\n")
    assert "| received, to pyzmq with one frame | ≥ 2× | 1.6× | **no** | ≥ 2.5×: **no** |" in lines
    assert "| pyzmq plain | 250k | 250k–250k | 1.60× | **3.0%** |" in lines
    assert "| zexchange | 400k | 400k–400k | 1.00× | 0 |" in lines
    assert "| pynng | GroupError: nobody answers | – | – | – | – |" in lines
    assert "- nats-py: `pip install nats-py`" in lines
    assert not [line for line in lines if "local-1" in line]


def test_the_report_says_what_is_in_two_groups() -> None:
    """With both medians, below the table of its workload; and how often was asked, and where."""
    results = [
        Result("dict", "zexchange", n, {"rate": rate}) for n, rate in enumerate([9e5, 4e5] * 5)
    ]
    where = {**circumstances(), "load": 2.0, "quiet": False, "askings": 3}
    text = report(Record(TINY, results, (), where), WORKLOADS)
    assert "**In two groups**, whose medians are: zexchange 400k and 900k." in text
    assert "load 2.0 before (not quiet), asked 3 times" in " ".join(text.split())
    assert "two groups" not in report(RECORD, WORKLOADS)


def test_the_summary_is_first() -> None:
    """A row for each contestant, a column for each of the main workloads that was measured."""
    lines = report(RECORD, WORKLOADS).split("\n")
    assert "| | dict | round-trip |" in lines
    assert "| pyzmq plain | 250k, 3.0% lost | – |" in lines
    assert "| zexchange | 400k | 180 |" in lines


@pytest.mark.parametrize(("load", "found"), [(0.0, True), (0.29, True), (0.3, False), (4, False)])
def test_quiet(load: float, found: bool) -> None:
    """A machine that does something else is not quiet."""
    assert quiet(load) is found


def test_unmet_bars_are_those_below() -> None:
    """What there is nothing on is not unmet."""
    (verdict,) = unmet(Table(RESULTS, WORKLOADS))
    assert verdict.bar.name == "received, to pyzmq with one frame"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (0.456, "0.46"),
        (2.0, "2"),
        (12.34, "12.3"),
        (999.4, "999"),
        (999.7, "1k"),
        (123_456, "123k"),
        (1_234_567, "1.23M"),
    ],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    """Three digits that matter, and a letter for thousands and millions."""
    assert number(value) == text
