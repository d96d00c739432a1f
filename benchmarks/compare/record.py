"""A run as a file: what was measured, where, with which versions, and what was missing."""

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from .values import Missing, Result, Size

PACKAGES = (
    "zexchange",
    "pyzmq",
    "msgpack",
    "msgspec",
    "numpy",
    "eclipse-zenoh",
    "iceoryx2",
    "nats-py",
    "redis",
    "hiredis",
    "pynng",
    "blinker",
    "pyee",
    "psygnal",
)
RENAMED = {
    "pyzmq one frame": "pyzmq general, one frame",
    "pyzmq two frames": "pyzmq general, two frames",
    "pyzmq 64 batched": "pyzmq general, 64 batched",
}
"""Contestants of earlier runs that have other names now."""
QUIET = 0.3
"""The load average of the last minute from which on a machine is called busy."""


@dataclass(frozen=True, slots=True)
class Record:
    """All there is to know of a run."""

    size: Size
    results: Sequence[Result]
    missing: Sequence[Missing] = ()
    circumstances: dict[str, Any] = field(default_factory=dict[str, Any])

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        content = {
            "circumstances": self.circumstances,
            "size": asdict(self.size),
            "missing": [asdict(one) for one in self.missing],
            "results": [asdict(one) for one in self.results],
        }
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Record":
        """Read what `write` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            Size(**content["size"]),
            [_result(one) for one in content["results"]],
            [Missing(**one) for one in content["missing"]],
            content["circumstances"],
        )


def quiet(load: float) -> bool:
    """Return whether a machine with this load average does nothing else."""
    return load < QUIET


def circumstances(askings: int = 1) -> dict[str, Any]:
    """Return when and where this is, how often is asked, and the versions of all that takes part.

    The load is that before anything is measured.
    """
    load = os.getloadavg()[0]
    return {
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(load, 2),
        "quiet": quiet(load),
        "askings": askings,
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _result(written: dict[str, Any]) -> Result:
    found = Result(**written)
    return replace(found, contestant=RENAMED.get(found.contestant, found.contestant))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
