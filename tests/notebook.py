"""Runs the Python of a page, a block after the other, in one process and one namespace.

Started by `tests/test_guide.py`, which sends a block a line, as JSON, and gets a line
back: what was printed, and what went wrong. Tracebacks show the page's own lines.
"""

import contextlib
import io
import json
import linecache
import sys
import traceback
from pathlib import Path


def main() -> None:
    """Answer until there is nothing more to run."""
    answers, namespace = sys.stdout, {"__name__": "__main__"}
    for line in sys.stdin:
        block = json.loads(line)
        printed, error = io.StringIO(), ""
        with contextlib.redirect_stdout(printed):
            try:
                run(block["page"], block["line"], block["text"], namespace)
            except BaseException:
                error = traceback.format_exc()
        print(json.dumps({"printed": printed.getvalue(), "error": error}), file=answers, flush=True)


def run(page: str, line: int, text: str, namespace: dict[str, object]) -> None:
    """Run one block, with the numbers that its lines have in the page."""
    source = "\n" * (line - 1) + text
    linecache.cache[page] = (len(source), None, source.splitlines(keepends=True), page)
    exec(compile(source, page, "exec"), namespace)


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    main()
