"""`zexchange demo`, as a process."""

import os
import signal
import subprocess

import pytest

from tests.support import eventually, patience

from .conftest import DEADLINE, Shell

pytestmark = pytest.mark.sockets


def parts(pid: int) -> list[int]:
    """Return the processes of a demo that live."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if b"zexchange.cli.demo.parts" in words and b"demo-%d" % pid in words:
            found.append(int(entry))
    return found


def until_gone(pid: int) -> None:
    """Wait until none of a demo's processes is left."""
    eventually(lambda: not parts(pid), DEADLINE)


def test_the_whole_play(shell: Shell) -> None:
    """Without a terminal it prints plain lines and the count, and ends with status 0."""
    demo = shell.start("demo")
    code, out, err = shell.finish(demo)
    text = out.decode()
    assert (code, err) == (0, b""), text
    assert "\x1b" not in text
    assert "sensor-1 is killed without warning" in text
    assert "sensor-1 is reported to have left: gone" in text
    lines = [line.split() for line in text.splitlines()]
    table = [line for line in lines if line[-1:] in (["ok"], ["killed"])]
    assert {tuple(line[1:3]) for line in table if line[-1] == "killed"} == {("sensor-1", "?")}
    living = [line for line in table if line[-1] == "ok"]
    assert {line[1] for line in living} == {"sensor-2", "sensor-3", "analyst"}
    assert all(line[2] == line[4] and line[5] == "0" for line in living)
    assert "Everything that the living sent was received" in text
    assert not parts(demo.pid)


@pytest.mark.leaves_files
@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
        (signal.SIGKILL, -9),
    ],
)
def test_however_it_ends_nobody_is_left(shell: Shell, number: int, status: int) -> None:
    """Interrupted, terminated or killed, it leaves no process behind."""
    demo = shell.start("demo", stderr=subprocess.DEVNULL)
    assert demo.stdout is not None
    while b"/s  from analyst" not in demo.stdout.readline():
        assert demo.poll() is None
    demo.send_signal(number)
    assert demo.wait(patience(DEADLINE)) == status
    until_gone(demo.pid)


@pytest.mark.leaves_files
def test_a_part_that_fails_fails_the_demo(shell: Shell) -> None:
    """A process that dies by itself is named, and the status is 1."""
    demo = shell.start("demo")
    assert demo.stdout is not None
    while b"/s  from analyst" not in demo.stdout.readline():
        assert demo.poll() is None
    for pid in parts(demo.pid):
        os.kill(pid, signal.SIGKILL)
    code, _, err = shell.finish(demo)
    assert code == 1
    assert b"the demo failed: " in err
    assert b"Traceback" not in err


@pytest.mark.leaves_files
@pytest.mark.slow
def test_a_part_that_hangs_is_not_left(shell: Shell) -> None:
    """A process that can no longer notice anything is killed at the end."""
    demo = shell.start("demo", stderr=subprocess.DEVNULL)
    assert demo.stdout is not None
    while b"/s  from analyst" not in demo.stdout.readline():
        assert demo.poll() is None
    for pid in parts(demo.pid):
        os.kill(pid, signal.SIGSTOP)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(patience(DEADLINE)) == 130
    assert not parts(demo.pid)
