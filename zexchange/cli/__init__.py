"""The command line: where `zexchange` and ``python -m zexchange.cli`` begin.

This module only checks that the extra is installed and hands over: importing it must
cost nothing and need nothing, because the demo's processes come through here as well.
It uses the promised names of `zexchange` alone.
"""

import sys
from importlib.util import find_spec

NEEDED = ("click", "rich", "psutil")
"""What the extra ``cli`` brings."""


def main() -> None:
    """Run the command line and end the process with its exit status."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"zexchange: the command line needs {', '.join(missing)}:"
            " pip install 'zexchange[cli]'\n"
        )
        raise SystemExit(1)
    from .group import run

    run()
