"""The keys of a terminal, one by one, without waiting for the end of a line."""

import os
import select
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from zexchange.imports import importing

AT_ONCE = 64
"""Bytes that are read at a time. An escape sequence comes in one piece."""
SEQUENCES = {
    b"\x1b[A": "up", b"\x1bOA": "up", b"\x1b[B": "down", b"\x1bOB": "down",
    b"\x1b[C": "right", b"\x1bOC": "right", b"\x1b[D": "left", b"\x1bOD": "left",
    b"\x1b[5~": "page up", b"\x1b[6~": "page down", b"\x1b[H": "home", b"\x1b[1~": "home",
    b"\r": "enter", b"\n": "enter", b"\t": "tab", b"\x7f": "backspace", b"\x08": "backspace",
    b"\x04": "end of file",
}  # fmt: skip


def keys_in(read: bytes) -> list[str]:
    """Return the keys that some bytes stand for; sequences that are not known are left out."""
    found: list[str] = []
    while read:
        known = next((s for s in SEQUENCES if read.startswith(s)), None)
        if known is not None:
            found.append(SEQUENCES[known])
            read = read[len(known) :]
        elif read[:1] == b"\x1b":
            if len(read) == 1 or read[1:2] == b"\x1b":
                found.append("escape")
                read = read[1:]
            else:  # some other key, up to its last character
                end = next((n for n, b in enumerate(read[2:], 3) if 0x40 <= b < 0x7F), len(read))
                read = read[end:]
        else:
            found.append(read[:1].decode("ascii", "replace"))
            read = read[1:]
    return found


class Keys:
    """The keys of standard input, or none if that is no terminal."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def wait(self, seconds: float) -> list[str]:
        """Return the keys that are pressed; none if that takes longer than some seconds."""
        fds = [] if self._fd is None else [self._fd]
        if not select.select(fds, [], [], max(0.0, seconds))[0] or self._fd is None:
            return []
        read = os.read(self._fd, AT_ONCE)
        if not read:  # the terminal is gone
            self._fd = None
            return ["end of file"]
        return keys_in(read)


@contextmanager
def reading() -> Generator[Keys, None, None]:
    """Read keys inside the ``with`` block, and leave the terminal as it was after it."""
    if not sys.stdin or not sys.stdin.isatty():
        yield Keys(None)
        return
    try:
        with importing():
            import termios
            import tty
    except ImportError:  # Windows: Ctrl-C ends the command
        yield Keys(None)
        return
    fd = sys.stdin.fileno()
    before: list[Any] = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield Keys(fd)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
