"""The fenced blocks of a Markdown page, and what each of them asks for.

Pure: text in, blocks out. `tests/test_guide.py` carries them out. A block may have a
comments before it, which readers do not see: ``<!-- not run: REASON -->``,
``<!-- needs: redis, redis-server -->`` for modules and commands that not everybody has, and
``<!-- wait: until it is up -->`` for a terminal that has to have printed what it shows before
the page goes on.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)(?P<options>[^`]*)$")
COMMENT = re.compile(r"<!-- (not run|needs|wait): (.+?) -->")
TITLE = re.compile(r'title="([^"]*)"')
PRINTS = "Prints"
"""The title of a block that shows what the block of Python before it prints."""


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: the file it is in.
        line: the number of its first line of text.
        section: the heading above it, of the second level.
        language: the first word behind the fence.
        title: what is shown above it: a file's name, a terminal's, or nothing.
        text: what is between the fences, without common indentation.
        not_run: why it is not run, or nothing.
        needs: modules and commands without which it cannot be run.
        wait: why the page does not go on until what it shows is printed, or nothing.
    """

    page: Path
    line: int
    section: str
    language: str
    title: str
    text: str
    not_run: str = ""
    needs: tuple[str, ...] = ()
    wait: str = ""

    @property
    def place(self) -> str:
        """Where it is, as an editor wants it."""
        return f"{self.page.name}:{self.line}"

    @property
    def file(self) -> str:
        """The name of the file that it shows, or nothing."""
        return self.title if re.fullmatch(r"[\w/.-]+\.[a-z]+", self.title) else ""

    @property
    def terminal(self) -> str:
        """The name of the terminal that its commands are typed in, or nothing."""
        return self.title if self.language == "console" else ""

    @property
    def output(self) -> bool:
        """Whether it shows what the block before it prints."""
        return self.language == "text" and self.title == PRINTS

    @property
    def cell(self) -> bool:
        """Whether it is Python that is run where it stands, behind that above it."""
        return self.language == "python" and not self.title

    @property
    def figure(self) -> bool:
        """Whether there is nothing to run in it."""
        return self.language == "text" and not self.title

    @property
    def script(self) -> str:
        """The commands of a console block, as a shell reads them."""
        return "\n".join(line[2:] for line in self._lines() if line.startswith("$ "))

    @property
    def shown(self) -> list[str]:
        """What a console block shows to be printed."""
        return [line for line in self._lines() if not line.startswith("$ ")]

    def _lines(self) -> list[str]:
        return self.text.replace("\\\n", "").splitlines()


def blocks(page: Path) -> list[Block]:
    """Return every block of a page, in order."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    remarks: dict[str, str] = {}
    start, section = 0, ""
    opened: re.Match[str] | None = None
    for number, line in enumerate(lines, 1):
        if opened is not None:
            if line.strip() == "```":
                text = lines[start - 1 : number - 1]
                found.append(_block(page, start, section, opened, text, remarks))
                opened, remarks = None, {}
        elif match := FENCE.match(line):
            opened, start = match, number + 1
        elif remark := COMMENT.search(line):
            remarks[remark[1]] = remark[2]
        elif line.strip():
            remarks = {}
            section = line if line.startswith("## ") else section
    assert opened is None, f"{page.name}:{start}: a fence that is not closed"
    return found


def _block(
    page: Path,
    line: int,
    section: str,
    fence: re.Match[str],
    text: list[str],
    remarks: dict[str, str],
) -> Block:
    title = TITLE.search(fence["options"])
    return Block(
        page,
        line,
        section,
        fence["language"],
        title[1] if title else "",
        dedent("\n".join(text) + "\n"),
        remarks.get("not run", ""),
        tuple(remarks.get("needs", "").split(", ")) if "needs" in remarks else (),
        remarks.get("wait", ""),
    )


def same(shown: list[str], printed: str) -> bool:
    """Tell whether what was printed is what is shown.

    ``...`` stands for anything in a line; alone on a line, for any number of lines.
    """
    return re.fullmatch(_pattern(shown), printed.strip("\n") + "\n", re.DOTALL) is not None


def begins(shown: list[str], printed: str) -> bool:
    """Tell whether what was printed begins with the lines that are shown."""
    return re.match(_pattern(shown), printed, re.DOTALL) is not None


def _pattern(shown: list[str]) -> str:
    return "".join(r"(?:.*\n)?" if line == "..." else _line(line) for line in shown) or r"\n?"


def _line(line: str) -> str:
    return r"[^\n]*".join(re.escape(piece) for piece in line.split("...")) + r"\n"
