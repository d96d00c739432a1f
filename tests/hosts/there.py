"""A Python program that runs on a host, and is talked to by lines."""

import os
import subprocess
import sys

from tests.support import ROOT, Program

from .network import Host


class There(Program):
    """A program on a host."""

    def __init__(self, host: Host, source: str, *args: str) -> None:
        self.process = subprocess.Popen(
            [*host.inside, sys.executable, "-u", "-c", "import sys\n" + source, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self._buffer = b""
