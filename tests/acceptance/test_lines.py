"""Lines from one command to three others, at full size: every byte arrives."""

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.acceptance, pytest.mark.sockets, pytest.mark.timeout(300)]
COUNT = 300_000
DEADLINE = 240.0


def numbers() -> Iterator[bytes]:
    """What ``seq 1 300000`` prints."""
    for number in range(1, COUNT + 1):
        yield b"%d\n" % number


def text() -> Iterator[bytes]:
    """The source of this interpreter's library, some lines made not ASCII or not UTF-8."""
    endings = (b"", " — Grüße, 東京 🎉".encode(), b"\xff\xfe\x80", b"\r")
    library = sorted(Path(os.__file__).parent.glob("*.py"))
    lines = [line for path in library for line in path.read_bytes().split(b"\n")]
    for number in range(COUNT):
        yield lines[number % len(lines)] + endings[number % len(endings)] + b"\n"


def megabytes() -> Iterator[bytes]:
    """200 lines of 1 MiB: text and noise in turn."""
    noise = random.Random(1)
    for number in range(200):
        block = noise.randbytes(1 << 20)
        yield (
            block.hex().encode()[: 1 << 20] if number % 2 else block.replace(b"\n", b" ")
        ) + b"\n"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "zexchange.cli", *arguments]


@pytest.mark.parametrize("lines", [numbers, text, megabytes])
def test_three_tails_get_every_byte(lines, rendezvous: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Three tails print exactly what is sent, and all four commands end with status 0."""
    given = tmp_path / "given"
    with given.open("wb") as file:
        file.writelines(lines())
    with given.open("rb") as file:
        count = sum(1 for _ in file)
    outputs = [tmp_path / f"out{n}" for n in range(3)]
    tails = []
    for output in outputs:
        with output.open("wb") as file:
            tails.append(
                subprocess.Popen(command("tail", "lines", "--count", str(count)), stdout=file)
            )
    try:
        with given.open("rb") as file:
            send = command("send", "lines", "-", "--wait", "3")
            assert subprocess.run(send, stdin=file, timeout=DEADLINE).returncode == 0
        assert [tail.wait(DEADLINE) for tail in tails] == [0, 0, 0]
    finally:
        for tail in tails:
            tail.kill()
            tail.wait()
    assert [digest(output) for output in outputs] == [digest(given)] * 3


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
