"""`python -m benchmarks.compare`: this project and its peers, measured side by side.

The package `benchmarks.compare` measures; this module reads the user's arguments and prints. It
must not treat one workload differently from another.
"""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from benchmarks.compare.record import Record

RESULTS = Path("benchmarks") / "results"
CAREFUL = 4
"""Askings at most, with --careful."""

_HELP = """
Measure this project beside every peer that is installed.

All take turns in each round. A whole run takes about a quarter of an hour, on a
machine that should do nothing else; --careful takes two to four times as long. --quick and
--only write nothing unless --results says where.
"""


@click.command(help=_HELP)
@click.option("--quick", is_flag=True, help="Short rounds, fewer of them: a first look.")
@click.option(
    "--only",
    "words",
    multiple=True,
    metavar="WORD",
    help="Workloads with WORD in their names; may be repeated.",
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="WORD",
    help="Beside this project, only peers with WORD in their names; may be repeated.",
)
@click.option("--rounds", type=click.IntRange(1), help="Measured rounds of each.")
@click.option(
    "--careful",
    is_flag=True,
    help="Ask for everything twice, each time with new processes, and again for what falls into"
    " two groups; refuse a machine that is not quiet.",
)
@click.option(
    "--askings",
    type=click.IntRange(1),
    help="How often to ask at most: 1, with --careful 4.",
)
@click.option("--anyway", is_flag=True, help="With --careful, measure on a busy machine, too.")
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Folder for the figures (JSON), the table and the plots; {RESULTS} of a whole run.",
)
@click.option("--list", "listing", is_flag=True, help="Say what there is to measure, and stop.")
@click.option("--show", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Print the table of an earlier run's JSON, and stop.")  # fmt: skip
@click.option("--page", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="With --show, put the summary into a Markdown page instead, such as"
              " docs/PERFORMANCE.md.")  # fmt: skip
def bench(
    quick: bool,
    words: tuple[str, ...],
    peers: tuple[str, ...],
    rounds: int | None,
    careful: bool,
    askings: int | None,
    anyway: bool,
    results: Path | None,
    listing: bool,
    show: Path | None,
    page: Path | None,
) -> None:
    """Run the command."""
    from benchmarks.compare.record import Record, circumstances
    from benchmarks.compare.run import ask, missing
    from benchmarks.compare.values import FULL, QUICK
    from benchmarks.compare.workloads import chosen

    workloads = chosen(words, peers)
    if listing:
        for workload in workloads:
            click.echo(f"{workload.name:<20}{workload.title}")
        _say_missing()
        return
    if show:
        _show(_read(show), page)
        return
    if page:
        raise click.UsageError("--page needs --show, and the JSON of a run")
    if not workloads:
        raise click.UsageError(f"no workload has {' or '.join(words)} in its name; see --list")
    size = QUICK if quick else FULL
    if rounds:
        size = replace(size, rounds=rounds)
    askings = askings or (CAREFUL if careful else 1)
    before = circumstances(askings)
    if careful and not (before["quiet"] or anyway):
        raise click.ClickException(
            f"the load average is {before['load']}, so this is no quiet machine: end what else"
            " runs and wait a minute, or measure with --anyway, and the results will say so"
        )
    _say_missing()
    with _progress() as progress:
        found = list(ask(workloads, size, progress, askings))
    before["askings"] = max((result.asking + 1 for result in found), default=1)
    record = Record(size, found, missing(), before)
    _show(record)
    if results or not (quick or words or peers):
        _write(record, results or RESULTS)


def _say_missing() -> None:
    from benchmarks.compare.run import missing

    for one in missing():
        click.echo(f"{one.contestant} is not installed: {one.remedy}", err=True)


def _read(path: Path) -> "Record":
    from benchmarks.compare.record import Record

    try:
        return Record.read(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise click.ClickException(
            f"{path} is no record of a run, as --results writes it: {error}"
        ) from error


def _show(record: "Record", page: Path | None = None) -> None:
    from benchmarks.compare.report import put_into, report
    from benchmarks.compare.workloads import WORKLOADS

    if page is None:
        click.echo(report(record, WORKLOADS), nl=False)
        return
    try:
        text = put_into(page.read_text(encoding="utf-8"), record, WORKLOADS)
    except ValueError as error:
        raise click.ClickException(f"{page}: {error}") from error
    page.write_text(text, encoding="utf-8")


def _write(record: "Record", folder: Path) -> None:
    from benchmarks.compare.analysis import Table
    from benchmarks.compare.report import report
    from benchmarks.compare.workloads import WORKLOADS

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(report(record, WORKLOADS), encoding="utf-8")
    path = folder / f"{record.circumstances['time'].replace(' ', 'T').replace(':', '')}.json"
    record.write(path)
    files = [folder / "README.md", path]
    try:
        from benchmarks.compare.plots import plot

        files += plot(Table(record.results, WORKLOADS), folder)
    except ImportError:
        click.echo("no plots without matplotlib: pip install 'zexchange[bench]'", err=True)
    click.echo(f"written: {', '.join(map(str, files))}", err=True)


@contextmanager
def _progress() -> Generator[Callable[[str], None], None, None]:
    """Show what is going on: one line that changes on a terminal, few lines elsewhere."""
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status("starting") as status:
            yield status.update
    else:
        yield _Plain().say


class _Plain:
    """A line every few seconds, for logs."""

    EVERY = 5.0

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._said = 0.0

    def say(self, text: str) -> None:
        """Tell what is going on, unless something was told a moment ago."""
        now = time.monotonic()
        if now - self._said >= self.EVERY:
            self._said = now
            click.echo(f"{now - self._began:5.0f} s  {text}", err=True)


if __name__ == "__main__":
    bench(prog_name="python -m benchmarks.compare")
