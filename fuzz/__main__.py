"""Runs targets under atheris, one after the other, and prints a line for each.

``python -m fuzz [TARGET…] --runs N``. The inputs that reach new code are kept in
``.fuzz/TARGET``, and the next run goes on from there: a long run can be taken in pieces.
"""

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

from . import corpus
from .corpus import names, target

KEPT = Path(".fuzz")
OUTCOMES = {0: "ok", 72: "stopped"}
"""The meaning of libFuzzer's exit status; every other one is a find."""
_STATISTIC = re.compile(r"stat::(\w+):\s+(\d+)")


def command(name: str, runs: int, seconds: int) -> list[str]:
    """Return the command that fuzzes one target."""
    folder = KEPT / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(corpus.read(name)):
        (folder / f"seed-{number:03}").write_bytes(seed)
    return [
        *(sys.executable, "-m", "fuzz.under_atheris", name),
        f"-runs={runs}",
        f"-max_total_time={seconds}",
        f"-max_len={target(name).MAX_LEN}",
        f"-artifact_prefix={folder}-",
        *("-timeout=10", "-rss_limit_mb=1024", "-len_control=0", "-print_final_stats=1"),
        str(folder),
    ]


def fuzz(name: str, runs: int, seconds: int) -> bool:
    """Fuzz one target and print how that went; return whether nothing was found."""
    began = time.monotonic()
    done = subprocess.run(command(name, runs, seconds), capture_output=True, text=True)
    took = time.monotonic() - began
    said = {key: int(value) for key, value in _STATISTIC.findall(done.stderr)}
    executions = said.get("number_of_executed_units", 0)
    print(
        f"{name:16} {executions:>11,} executions {executions / took:>9,.0f}/s"
        f" {said.get('peak_rss_mb', 0):>5} MB  {OUTCOMES.get(done.returncode, 'FOUND')}",
        flush=True,
    )
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-3000:], sep="\n", file=sys.stderr)
    return done.returncode == 0


def main() -> int:
    """Fuzz what the arguments name, everything if they name nothing."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(names()))
    parser.add_argument("--runs", type=int, default=100_000, help="executions for each target")
    parser.add_argument("--seconds", type=int, default=0, help="most for each target; 0: no limit")
    asked = parser.parse_args()
    for name in asked.targets:
        if name not in names():
            parser.error(f"no target {name!r}; there are {', '.join(names())}")
    passed = [fuzz(name, asked.runs, asked.seconds) for name in asked.targets or names()]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
