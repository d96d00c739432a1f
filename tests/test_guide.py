"""The guide, run: every block of code in `docs/` does what the page says.

Blocks of a page are carried out in order, in a folder and a rendezvous directory of its
own. Python without a title runs in one process a page; ```text title="Prints"``` behind it
is what it printed. A title that is a file's name makes that file. Console blocks are typed
into a shell, and print what they show, ``...`` being anything; one with a title is a
terminal that stays open until the section's end, and what it prints later may be shown in
another block of that title. The ports that a page names are free ones.
"""

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

import zexchange
from tests.desk import Desk
from tests.links import complaints
from tests.pages import begins, blocks, same
from tests.support import ROOT, there

DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(DOCS)): blocks(path) for path in sorted(DOCS.rglob("*.md"))}
ELSEWHERE = {"guide/frameworks.md"}
"""Served by several workers, and used by clients, in `tests/contrib/test_frameworks.py`."""
RUN = {
    name: found
    for name, found in PAGES.items()
    if any(not b.not_run for b in found) and name not in ELSEWHERE
}
NEEDS = {name: sorted({need for b in found for need in b.needs}) for name, found in RUN.items()}
sockets = pytest.mark.sockets


@pytest.fixture
def desk(rendezvous: Path, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def go_through(page: str, desk: Desk, needy: bool) -> None:
    """Carry out a page, with or without what not everybody can run."""
    for block in PAGES[page]:
        if not block.not_run and (needy or not block.needs):
            desk.carry_out(block)
    desk.finish()


# ------------------------------------------------------------------------- without sockets


def test_every_block_is_run_or_says_why_not() -> None:
    """A block is Python, a console, a file or what was printed; else it has a reason."""
    for block in (block for found in PAGES.values() for block in found if not block.not_run):
        known = block.cell or block.output or block.figure or block.language == "console"
        assert known or block.file, f"{block.place}: {block.language!r} is not run: say why"


def test_few_blocks_are_not_run() -> None:
    """The guide's own pages have at most one block in ten that is not run."""
    found = [b for name, page in PAGES.items() if not name.isupper() for b in page if not b.figure]
    assert sum(bool(block.not_run) for block in found) * 10 <= len(found)


def test_every_program_is_run() -> None:
    """A file of Python is named by a command or imported by another block of its page."""
    for found in PAGES.values():
        for block in (b for b in found if b.file.endswith(".py") and not b.not_run):
            rest = "\n".join(b.text for b in found if b is not block and not b.not_run)
            stem = Path(block.file).stem
            assert re.search(rf"\b{stem}\b|\bpytest\b", rest), f"{block.place}: never run"


def test_figures_are_what_their_program_draws() -> None:
    """Nobody has changed a figure by hand, or forgotten to draw it anew."""
    draw = runpy.run_path(str(DOCS / "figures" / "draw.py"))
    drawn = {f"{figure.name}.svg": figure.svg() for figure in (make() for make in draw["FIGURES"])}
    there = {path.name: path.read_text(encoding="utf-8") for path in DOCS.rglob("*.svg")}
    assert there == drawn


@pytest.mark.parametrize(
    "figure", [*DOCS.rglob("*.svg"), *(ROOT / "benchmarks").rglob("*.svg")], ids=lambda f: f.name
)
def test_figures_suit_light_and_dark_pages(figure: Path) -> None:
    """Their grounds are none, or others in the dark; and they can be made larger and smaller."""
    text = figure.read_text(encoding="utf-8")
    assert re.search(r"<svg [^>]*viewBox=", text)
    assert "prefers-color-scheme: dark" in text or not re.search(r"fill: ?#fff|fill=.#fff", text)


def test_every_promised_name_is_in_the_reference() -> None:
    """`zexchange.__all__` and the names below `:::` are the same."""
    pages = [path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md")]
    named = [name for text in pages for name in re.findall(r"^::: zexchange\.(\w+)$", text, re.M)]
    assert sorted(named) == sorted(zexchange.__all__)


def test_what_is_shown_may_leave_things_out() -> None:
    """Three dots stand for anything, and nothing else does."""
    assert same(["a ... z", "b"], "a b c z\nb\n")
    assert same(["a", "...", "z"], "a\nb\nc\nz\n")
    assert same(["a", "...", "z"], "a\nz\n")
    assert same([], "")
    assert not same([], "a\n")
    assert not same(["a ... z"], "a\nz\n")
    assert not same(["a.c"], "abc\n")
    assert not same(["a"], "a\nb\n")
    assert begins(["a"], "a\nb\n")
    assert not begins(["a"], "ab\n")


def test_the_site_is_followed_link_by_link(tmp_path: Path) -> None:
    """A link to nowhere, a place that is not there and what is loaded from elsewhere are found."""
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here">x</a><a href="b.html#there">x</a><a href="c.html">x</a>'
        '<a href="https://example.org">x</a><script src="https://example.org/s.js"></script>'
    )
    (tmp_path / "b.html").write_text('<h2 id="here">x</h2><div class="mermaid"></div>')
    assert sorted(complaints(tmp_path)) == [
        "a.html leads to b.html#there, which is not there",
        "a.html leads to c.html, which is not there",
        "a.html loads https://example.org/s.js",
        "b.html has a diagram that needs a script from elsewhere: draw it as SVG",
    ]


# ---------------------------------------------------------------------------- with sockets


@sockets
@pytest.mark.leaves_files
@pytest.mark.parametrize("page", [name for name in RUN if any(not b.needs for b in RUN[name])])
def test_a_page_does_what_it_says(page: str, desk: Desk) -> None:
    """Every block of a page runs, in order, and prints what the page shows."""
    go_through(page, desk, needy=False)


@sockets
@pytest.mark.leaves_files
@pytest.mark.parametrize("page", [name for name, needs in NEEDS.items() if needs])
def test_what_is_shown_of_others(page: str, desk: Desk) -> None:
    """Programs of other libraries run as well, where these are installed."""
    if missing := [need for need in NEEDS[page] if not there(need)]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    go_through(page, desk, needy=True)
