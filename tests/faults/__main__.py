"""``python -m tests.faults``: every fault with 20 seeds at full size, and the table of it.

Shows live what runs and what it came to, and writes the table into docs/RELIABILITY.md,
between its two markers, when everything was run. The exit status is pytest's.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live
from rich.table import Table

from tests.faults.laboratory import Figures, onlookers
from tests.support import ROOT

DOCUMENT = ROOT / "docs" / "RELIABILITY.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
FOLDER = ROOT / "tests" / "faults"
COLUMNS = {
    "runs": "runs",
    "sent": "sent",
    "received": "received",
    "recovered": "of them recovered",
    "lost": "lost, reported",
    "silent": "silently lost",
    "duplicates": "twice",
    "disorder": "out of order",
    "slowest": "longest recovery",
}


@dataclass(slots=True)
class Row(Figures):
    """The figures of one fault, over all its runs."""

    fault: str = ""
    runs: int = 0
    failed: int = 0
    skipped: int = 0

    def take(self, figures: dict[str, Any]) -> None:
        for each in fields(Figures):
            merge = max if each.name == "slowest" else int.__add__
            before = getattr(self, each.name)
            setattr(self, each.name, merge(before, figures[each.name]))

    def cell(self, column: str) -> str:
        if column == "slowest":
            return f"{self.slowest:.1f} s"
        value: int = getattr(self, column)
        skipped = f" ({self.skipped} skipped)" if column == "runs" and self.skipped else ""
        return f"{value:,}{skipped}"


class Results:
    """A plugin that adds up what the laboratories report, and shows it while it runs."""

    def __init__(self, console: Console) -> None:
        self.rows: dict[str, Row] = {}
        self.running, self.since, self.done, self.total = "", time.monotonic(), 0, 0
        self.failures: list[str] = []
        self.stands = ""
        self._console = console

    def look_on(self, text: str) -> None:
        """Show how a long run stands."""
        self.stands = text
        if not self._console.is_terminal:
            self._console.print(f"    {text}", highlight=False, soft_wrap=True)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.total = len(session.items)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.running, self.since = nodeid.split("::")[1], time.monotonic()
        self.stands = ""
        if not self._console.is_terminal:
            self._console.print(f"{self.done + 1}/{self.total} {self.running}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.done += report.when == "teardown"
        if report.failed:
            said = "\n".join(text for _, text in report.sections)
            self.failures.append(f"{report.nodeid} ({report.when})\n{report.longreprtext}\n{said}")
        properties = dict(report.user_properties)
        # The figures are there after the teardown of the laboratory.
        if report.when == "teardown" and "fault" in properties:
            name = report.nodeid.split("::")[1].split("[")[0]
            row = self.rows.setdefault(name, Row(fault=str(properties["fault"])))
            row.runs += properties["outcome"] != "skipped"
            row.skipped += properties["outcome"] == "skipped"
            row.failed += properties["outcome"] == "failed"
            row.take(properties["figures"])  # type: ignore[arg-type]

    def __rich__(self) -> Table:
        """Return what to show now."""
        spent = time.monotonic() - self.since
        caption = f"{self.done} of {self.total} done; {spent:.0f} s: {self.running}"
        caption += f"\n{self.stands}" if self.stands else ""
        table = Table(caption=caption, box=None)
        table.add_column("fault")
        for heading in [*COLUMNS.values(), "failed"]:
            table.add_column(heading, justify="right")
        for row in self.rows.values():
            cells = [row.cell(column) for column in COLUMNS]
            style = "red" if row.failed else None
            table.add_row(row.fault, *cells, str(row.failed), style=style)
        return table


def markdown(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"| what is done | {' | '.join(COLUMNS.values())} |"
    yield f"|---|{'--:|' * len(COLUMNS)}"
    for row in rows:
        what = row.fault.rstrip(".")
        failed = f" (**{row.failed} runs failed**)" if row.failed else ""
        yield f"| {what}{failed} | {' | '.join(row.cell(column) for column in COLUMNS)} |"


def write(rows: list[Row]) -> None:
    """Put the table between the document's markers."""
    text = DOCUMENT.read_text()
    table = "\n".join(markdown(rows))
    between = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    text, count = between.subn(lambda _: f"{BEGIN}\n\n{table}\n\n{END}", text)
    assert count == 1, f"{DOCUMENT} has no place for the table"
    DOCUMENT.write_text(text)


@contextmanager
def live(console: Console, results: Results) -> Iterator[None]:
    """Show the results while they come, where there is a terminal."""
    if not console.is_terminal:
        yield
        return
    with Live(results, console=console, refresh_per_second=4):
        yield


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="runs of each fault")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--minutes", type=float, default=1.0, help="of load in a soak")
    parser.add_argument("--only", default="", help="as pytest's -k; then nothing is written")
    options = parser.parse_args()
    os.environ["ZEXCHANGE_FAULTS"] = str(options.seeds)
    os.environ["ZEXCHANGE_FAULTS_SEED"] = str(options.first)
    os.environ["ZEXCHANGE_FAULTS_MINUTES"] = str(options.minutes)
    # A descriptor of its own: while a test runs, the other one is captured.
    console = Console(file=os.fdopen(os.dup(2), "w"))
    results = Results(console)
    onlookers.append(results.look_on)
    quiet = ["-p", "no:terminalreporter", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    with live(console, results):
        status = pytest.main(
            [str(FOLDER), "-k", options.only or "not ledger and not books", *quiet], [results]
        )
    for failure in results.failures:
        console.print(failure, markup=False, highlight=False, soft_wrap=True)
    rows = list(results.rows.values())
    print("\n".join(markdown(rows)))
    if not options.only:
        write(rows)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
