"""Every example of `examples/classic` runs, and is the classic recipe's program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CLASSIC = sorted((ROOT / "examples" / "classic").glob("*.py"))
IMPORT = "from zexchange import get_exchange\n"


def output(path):
    path_entries = [str(ROOT), str(ROOT / "tests" / "local")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path_entries)}
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=60, env=env
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("path", CLASSIC, ids=lambda path: path.stem)
def test_a_classic_program_runs_with_only_its_import_replaced(path, tmp_path):
    """With the import of the plain recipe instead, each program prints the very same."""
    source = path.read_text()
    assert source.count(IMPORT) == 1
    assert source.count("zexchange") == 1
    assert f"python examples/classic/{path.name}" in source
    plain = tmp_path / path.name
    plain.write_text(source.replace(IMPORT, "from naive import get_exchange\n"))
    printed = output(path)
    assert printed
    assert printed == output(plain)


def test_all_six_classic_programs_are_there():
    """Attach, subscribe, display, actor, generator and connection are all examples."""
    names = {path.stem for path in CLASSIC}
    assert names == {"actor", "attach", "connection", "display", "generator", "subscribe"}
