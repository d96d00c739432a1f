"""A run as a file and as Markdown."""

from pathlib import Path

import pytest

from benchmarks.compare.analysis import Table
from benchmarks.compare.record import Record, circumstances, quiet
from benchmarks.compare.report import number, put_into, report, unmet
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


def test_a_page_gets_the_figures_of_a_run() -> None:
    """Between its two comments, in the place of earlier ones; the rest stays."""
    page = "# Fast\n\n<!-- figures: begin -->\nold\n<!-- figures: end -->\n\nMore.\n"
    found = put_into(page, RECORD, WORKLOADS)
    assert found.startswith("# Fast\n\n<!-- figures: begin -->\n\n20")
    assert "\n| zexchange | 400k | 180 |\n" in found
    assert found.endswith("|\n\n<!-- figures: end -->\n\nMore.\n")
    assert "old" not in found
    assert put_into(found, RECORD, WORKLOADS) == found
    for without in ("# Fast\n", page.replace("begin", "start"), page + page):
        with pytest.raises(ValueError, match="no place for figures"):
            put_into(without, RECORD, WORKLOADS)


def test_earlier_runs_are_read_by_the_names_of_today(tmp_path: Path) -> None:
    """What was one frame is the general form of it now."""
    earlier = [Result("dict", "pyzmq one frame", 0, {"rate": 1.0})]
    Record(TINY, earlier).write(tmp_path / "run.json")
    (result,) = Record.read(tmp_path / "run.json").results
    assert result.contestant == "pyzmq general, one frame"


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
