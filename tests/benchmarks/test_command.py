"""`python -m benchmarks.compare`, as a process."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.compare import run as running
from benchmarks.compare.__main__ import bench
from benchmarks.compare.record import Record
from benchmarks.compare.values import Result
from tests.support import ROOT

pytestmark = pytest.mark.sockets


def run(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """Run the command, in the clone."""
    command = [sys.executable, "-m", "benchmarks.compare", *arguments]
    return subprocess.run(command, capture_output=True, timeout=300, cwd=ROOT)


def test_it_lists_what_there_is() -> None:
    """Names and titles, without measuring."""
    done = run("--list")
    assert done.returncode == 0, done.stderr
    assert b"round-trip-loaded" in done.stdout
    assert b"8-to-1" in done.stdout


def test_what_does_not_exist_is_refused() -> None:
    """A word that no workload has is used wrongly."""
    done = run("--only", "nothing")
    assert done.returncode == 2
    assert b"no workload has nothing" in done.stderr


def test_it_measures_prints_and_writes(tmp_path: Path) -> None:
    """One run prints the table and leaves it in a folder, with the figures, to be shown again."""
    results = tmp_path / "results"
    arguments = ("--only", "local-1", "--quick", "--rounds", "1", "--results", str(results))
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert b"| local send to 1, to the naive recipe |" in done.stdout
    assert (results / "README.md").read_bytes() == done.stdout
    (figures,) = results.glob("*.json")
    assert {r.contestant for r in Record.read(figures).results} >= {"zexchange", "naive recipe"}
    assert run("--show", str(figures)).stdout == done.stdout


def test_a_record_that_is_none_is_one_line(tmp_path: Path) -> None:
    """With the name of the file."""
    for content in ("x", "{}", "[1]"):
        (tmp_path / "record").write_text(content)
        result = CliRunner().invoke(bench, ["--show", str(tmp_path / "record")])
        assert result.exit_code == 1
        assert "is no record of a run" in result.output


def test_a_page_without_a_place_is_left_alone(tmp_path: Path) -> None:
    """It is said, as is a page for no run."""
    (tmp_path / "page.md").write_text("# Fast\n")
    record = next((ROOT / "benchmarks" / "results").glob("*.json"))
    for arguments, said in (([], "--page needs --show"), (["--show", str(record)], "no place")):
        result = CliRunner().invoke(bench, [*arguments, "--page", str(tmp_path / "page.md")])
        assert result.exit_code
        assert said in result.output
    assert (tmp_path / "page.md").read_text() == "# Fast\n"


@pytest.mark.parametrize("anyway", [False, True])
def test_a_busy_machine_is_refused(
    anyway: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With --careful, unless --anyway is said; the record then says how it was."""
    monkeypatch.setattr("os.getloadavg", lambda: (0.3, 0.3, 0.3))
    monkeypatch.setattr(running, "ask", asked := Asked())
    arguments = ["--careful", "--results", str(tmp_path), *(["--anyway"] if anyway else [])]
    result = CliRunner().invoke(bench, arguments)
    if not anyway:
        assert (result.exit_code, asked.times) == (1, [])
        assert "the load average is 0.3" in result.output
        return
    assert result.exit_code == 0, result.output
    (figures,) = tmp_path.glob("*.json")
    known = Record.read(figures).circumstances
    assert (known["load"], known["quiet"], known["askings"]) == (0.3, False, 3)
    assert asked.times == [4]


class Asked:
    """Stands in for a run: notes how often it was to ask at most, and asks three times."""

    def __init__(self) -> None:
        self.times: list[int] = []

    def __call__(self, workloads, size, progress, askings):  # type: ignore[no-untyped-def]
        """Return the results of one workload."""
        self.times.append(askings)
        return [Result("dict", "zexchange", 0, {"rate": 1.0}, asking=n) for n in range(3)]
