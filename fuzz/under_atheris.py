"""One target under atheris, in a process of its own: ``python -m fuzz.under_atheris NAME …``.

The arguments after the name go to libFuzzer unchanged. An input that breaks a promise ends the
process with a traceback, and libFuzzer writes the input to a file and says where.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import atheris

from .bounds import watched

PACKAGE = "zexchange"
EVERYTHING = ("zexchange.protocol", "zexchange.names", "zexchange.net", "zexchange.local.typed")
ONLY = {
    "hub": ("zexchange.protocol.hub",),
    "inlet": (
        "zexchange.net.inbound.peer_stream",
        "zexchange.net.inbound.history_fetcher",
        "zexchange.protocol.delivery.recovery",
        "zexchange.protocol.delivery.history_requests",
        "zexchange.protocol.delivery.sequence",
    ),
}
"""The only parts instrumented for targets whose rest others cover: each costs as much again."""


def modules() -> Iterator[str]:
    """Yield the name of every module of the package, without importing any."""
    folder = Path(__file__).parents[1] / PACKAGE
    for file in folder.rglob("*.py"):
        parts = file.relative_to(folder.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def spared(name: str) -> list[str]:
    """Return the modules that are not instrumented for a target."""
    kept = ONLY.get(name, EVERYTHING)
    return [m for m in modules() if not any(m == k or m.startswith(f"{k}.") for k in kept)]


def main() -> None:
    """Fuzz until libFuzzer has had enough."""
    name, arguments = sys.argv[1], sys.argv[2:]
    # Of what is to be included, atheris looks at the first part of the names alone.
    with atheris.instrument_imports(include=[PACKAGE], exclude=spared(name)):
        from .corpus import target

        execute = target(name).execute
    atheris.Setup([sys.argv[0], *arguments], watched(execute))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
