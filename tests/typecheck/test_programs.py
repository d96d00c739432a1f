"""Users' programs are checked as they check them: what is right passes, what is wrong is found."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import pages
from tests.support import ROOT, patience, there, unmeasured

pytestmark = pytest.mark.sockets  # it starts processes
HERE = Path(__file__).parent
PROGRAMS = [HERE / "programs.py", HERE / "adapters.py"]
CACHE = ROOT / ".mypy_cache" / "programs"
GUIDE = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
Wrong = set[tuple[str, int]]


def expected(*unless: str) -> dict[tuple[str, int], str]:
    """The lines that must be errors, with the code that mypy has for each."""
    lines = [
        (p.name, n, line) for p in PROGRAMS for n, line in enumerate(p.read_text().splitlines(), 1)
    ]
    found = ((name, n, re.search(r"# error: (\S+)$", line)) for name, n, line in lines)
    codes = {(name, n): match[1] for name, n, match in found if match}
    return {place: code for place, code in codes.items() if code not in unless}


def test_mypy_sees_what_an_exchange_takes(tmp_path: Path) -> None:
    """In strict mode: errors where they belong, of their kind, and nowhere else."""
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--no-pretty"]
    command += ["--config-file", "", "--cache-dir", str(CACHE), "--hide-error-context"]
    command += ["--disable-error-code", "unused-coroutine", "--enable-error-code", "deprecated"]
    done = subprocess.run(
        [*command, *map(str, PROGRAMS)],
        capture_output=True,
        text=True,
        timeout=patience(110),
        cwd=tmp_path,
        env=unmeasured(),
    )
    found = re.findall(r"(\w+\.py):(\d+): error: .*\[(\S+)\]$", done.stdout, re.MULTILINE)
    errors = {(name, int(line)): code for name, line, code in found}
    assert errors == expected(), done.stdout + done.stderr


def pyright(folder: Path, mode: str) -> list[dict[str, Any]]:
    """Return what pyright finds wrong with the files in a folder."""
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed")
    (folder / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": mode}))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(
        [*command, "-p", str(folder)],
        capture_output=True,
        text=True,
        timeout=patience(110),
        cwd=folder,
    )
    found = json.loads(done.stdout)["generalDiagnostics"]
    return [d for d in found if d["severity"] == "error"]


def places(found: list[dict[str, Any]]) -> Wrong:
    return {(Path(d["file"]).name, d["range"]["start"]["line"] + 1) for d in found}


@pytest.mark.parametrize("mode", ["standard", "strict"])
def test_pyright_sees_the_same(tmp_path: Path, mode: str) -> None:
    """Wherever it is installed; it brings what it needs to run, and downloads nothing."""
    for program in PROGRAMS:
        (tmp_path / program.name).write_text(program.read_text())
    found = pyright(tmp_path, mode)
    # Of what has no type by intent, strict mode says so.
    unknown = ("reportUnknown", "reportUnused")
    wrong = [d for d in found if not d.get("rule", "").startswith(unknown)]
    assert places(wrong) == set(expected(*(["deprecated"] if mode == "standard" else []))), wrong


def test_pyright_takes_every_block_of_the_guide(tmp_path: Path) -> None:
    """In its standard mode: cells of a page below each other, and programs by themselves.

    A program that needs a module that is not installed is left out.
    """
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed")
    for page in GUIDE:
        # No name of a module's, or pyright would take it for that.
        folder = tmp_path / ("page_" + "_".join(page.relative_to(ROOT).with_suffix("").parts))
        folder.mkdir()
        above = ""
        for block in pages.blocks(page):
            modules = [need for need in block.needs if need.isidentifier()]
            if block.language == "python" and all(map(there, modules)):
                cell = block.cell and page.name != "README.md"
                name = f"line{block.line}" if cell else block.file.rpartition("/")[2]
                name = name.removesuffix(".py") or f"line{block.line}"
                (folder / f"{name}.py").write_text(above * cell + block.text + "\n")
                above = f"from {name} import *\n" if cell else above
    found = pyright(tmp_path, "standard")
    assert not found, "\n".join(
        f"{d['file']}:{d['range']['start']['line']}: {d['message']}" for d in found
    )
