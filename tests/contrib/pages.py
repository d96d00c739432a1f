"""The programs of the page about frameworks, by the name of their file."""

import re

from tests.support import ROOT

PAGE = (ROOT / "docs" / "guide" / "frameworks.md").read_text(encoding="utf-8")
PROGRAMS: dict[str, str] = dict(
    re.findall(r'^```python title="(\w+\.py)"\n(.*?)^```$', PAGE, re.M | re.S)
)
COMMANDS: list[str] = re.findall(r"^\$ (.*)$", PAGE, re.M)
MOST_LINES = 15


def lines(program: str) -> int:
    """How many lines of a program say something."""
    return sum(bool(line.strip()) for line in program.splitlines())
