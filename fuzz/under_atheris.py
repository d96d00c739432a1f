"""One target under atheris, in a process of its own: ``python -m fuzz.under_atheris NAME …``.

What follows the name goes to libFuzzer as it is. An input that breaks a promise ends the
process with a traceback, and libFuzzer writes the input to a file and says where.
"""

import sys

import atheris

from .bounds import watched

INSTRUMENTED = ["zexchange.protocol", "zexchange.names", "zexchange.net"]


def main() -> None:
    """Fuzz until libFuzzer has had enough."""
    name, arguments = sys.argv[1], sys.argv[2:]
    with atheris.instrument_imports(include=INSTRUMENTED):
        from .corpus import target

        execute = target(name).execute
    atheris.Setup([sys.argv[0], *arguments], watched(execute))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
