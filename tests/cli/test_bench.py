"""`zexchange bench`, as a process."""

from pathlib import Path

import pytest

from zexchange.bench.record import Record

from .conftest import Shell

pytestmark = pytest.mark.sockets


def test_it_lists_what_there_is(shell: Shell) -> None:
    """Names and titles, without measuring."""
    done = shell.run("bench", "--list")
    assert done.returncode == 0
    assert b"round-trip-loaded" in done.stdout
    assert b"8-to-1" in done.stdout


def test_what_does_not_exist_is_refused(shell: Shell) -> None:
    """A word that no workload has is used wrongly."""
    done = shell.run("bench", "--only", "nothing")
    assert done.returncode == 2
    assert b"no workload has nothing" in done.stderr


def test_it_measures_prints_and_writes(shell: Shell, tmp_path: Path) -> None:
    """One run prints the table and leaves it in a folder, with the figures, to be shown again."""
    results = tmp_path / "results"
    arguments = ("--only", "local-1", "--quick", "--rounds", "1", "--results", str(results))
    done = shell.run("bench", *arguments)
    assert done.returncode == 0, done.stderr
    assert b"| local send to 1, to the naive recipe |" in done.stdout
    assert (results / "README.md").read_bytes() == done.stdout
    (figures,) = results.glob("*.json")
    assert {r.contestant for r in Record.read(figures).results} >= {"zexchange", "naive recipe"}
    assert shell.run("bench", "--show", str(figures)).stdout == done.stdout
