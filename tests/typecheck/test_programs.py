"""Users' programs are checked as they check them: what is right passes, what is wrong is found."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, patience, unmeasured

pytestmark = pytest.mark.sockets  # it starts processes
PROGRAM = Path(__file__).with_name("programs.py")
CACHE = ROOT / ".mypy_cache" / "programs"


def expected() -> dict[int, str]:
    """The lines that must be errors, with the code that mypy has for each."""
    lines = PROGRAM.read_text().splitlines()
    found = ((n, re.search(r"# error: (\S+)$", line)) for n, line in enumerate(lines, 1))
    return {n: match[1] for n, match in found if match}


def test_mypy_sees_what_an_exchange_takes(tmp_path: Path) -> None:
    """In strict mode: errors where they belong, of their kind, and nowhere else."""
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--no-pretty"]
    command += ["--config-file", "", "--cache-dir", str(CACHE), "--hide-error-context"]
    command += ["--disable-error-code", "unused-coroutine"]
    done = subprocess.run(
        [*command, str(PROGRAM)],
        capture_output=True,
        text=True,
        timeout=patience(110),
        cwd=tmp_path,
        env=unmeasured(),
    )
    errors = re.findall(r"programs\.py:(\d+): error: .*\[(\S+)\]$", done.stdout, re.MULTILINE)
    assert {int(line): code for line, code in errors} == expected(), done.stdout + done.stderr


def test_pyright_sees_the_same(tmp_path: Path) -> None:
    """Where it is installed, with what it needs to run."""
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    try:
        done = subprocess.run(
            [*command, str(PROGRAM)],
            capture_output=True,
            text=True,
            timeout=patience(110),
            cwd=tmp_path,
        )
        report = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        pytest.skip("pyright has not what it needs to run")
    wrong = [d for d in report["generalDiagnostics"] if d["severity"] == "error"]
    assert {d["range"]["start"]["line"] + 1 for d in wrong} == set(expected()), wrong
