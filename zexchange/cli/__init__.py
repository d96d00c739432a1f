"""The command line: the entry point of `zexchange` and ``python -m zexchange.cli``.

This module only checks that the extra ``cli`` is installed, and calls the rest. Importing it must
be cheap and need no other package, since the processes of the demo import it as well.
"""

import sys
from importlib.util import find_spec

NEEDED = ("click", "rich", "psutil")
"""The packages that the extra ``cli`` installs."""


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
