"""The seed corpus: one text file a target, one input a line as hexadecimal digits.

Written by ``python -m fuzz.corpus`` from the `seeds` of every target, and committed, so that
a run starts from the same inputs everywhere. The inputs that a run finds are not kept.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from . import targets

FOLDER = Path(__file__).parent / "inputs"


def names() -> list[str]:
    """Return the names of all targets."""
    return sorted(module.name for module in pkgutil.iter_modules(targets.__path__))


def target(name: str) -> ModuleType:
    """Return the module of a target."""
    return importlib.import_module(f"{targets.__name__}.{name}")


def path(name: str) -> Path:
    """Return the file that has a target's seeds."""
    return FOLDER / f"{name}.hex"


def made(name: str) -> Iterator[str]:
    """Yield the lines of a target's file, as its `seeds` are now."""
    seen = set()
    for seed in target(name).seeds():
        if seed not in seen:
            seen.add(seed)
            yield seed.hex()


def read(name: str) -> list[bytes]:
    """Return the seeds of a target."""
    return [bytes.fromhex(line) for line in path(name).read_text().splitlines()]


def main() -> None:
    """Write every file."""
    FOLDER.mkdir(exist_ok=True)
    for name in names():
        path(name).write_text("".join(f"{line}\n" for line in made(name)))


if __name__ == "__main__":
    main()
