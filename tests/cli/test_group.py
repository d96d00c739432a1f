"""How every command begins and ends."""

import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tests.support import free_ports, tcp
from zexchange import __version__
from zexchange.cli import main
from zexchange.cli.flags import as_flags
from zexchange.cli.group import commands
from zexchange.protocol.codec.batches import decoder_name

from .conftest import Shell


@pytest.mark.parametrize("name", ["demo", "keygen", "peers", "send", "tail"])
def test_every_command_explains_itself(name: str) -> None:
    """--help ends with status 0 and says how to use the command."""
    result = CliRunner().invoke(commands, [name, "--help"])
    assert result.exit_code == 0
    assert f"{name} [OPTIONS]" in result.output


def test_the_list_of_commands_fits_a_terminal() -> None:
    """No line of it is cut off at 80 columns."""
    result = CliRunner().invoke(commands, ["--help"], terminal_width=80)
    assert "..." not in result.output.partition("Commands:")[2]


@pytest.mark.sockets
def test_help_needs_no_docstrings() -> None:
    """Under -OO each command says what it says without; ``python -m zexchange`` is one, too."""
    ask = [sys.executable, "-OO", "-m", "zexchange"]
    for arguments in ([], ["doctor"], ["peers"]):
        shown = CliRunner().invoke(commands, [*arguments, "--help"], prog_name="zexchange")
        ended = subprocess.run([*ask, *arguments, "--help"], capture_output=True, check=True)
        assert ended.stdout.decode().split() == shown.output.split()


def test_an_unknown_command_is_status_2() -> None:
    """A command that does not exist is wrong use."""
    assert CliRunner().invoke(commands, ["frobnicate"]).exit_code == 2


@pytest.mark.parametrize("missing", ["click", "rich", "psutil"])
def test_a_missing_extra_is_one_line(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without what the extra brings, one line names it and how to get it."""
    real = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("zexchange.cli.find_spec", lambda n: None if n == missing else real(n))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert missing in err
    assert "pip install 'zexchange[cli]'" in err


@pytest.mark.sockets
def test_importing_needs_nothing_of_the_extra() -> None:
    """`zexchange.cli` itself imports nothing that may be missing."""
    code = "import sys, zexchange.cli; print([m for m in zexchange.cli.NEEDED if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert ended.stdout.strip() == b"[]"


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--listen", "tcp://0.0.0.0:0"], b"insecure"),
        (["--listen", "nonsense"], b"nonsense"),
        (["--peer", "tcp://127.0.0.1"], b"tcp://127.0.0.1"),
        (["--federation", ""], b""),
    ],
)
def test_what_cannot_join_says_why(shell: Shell, options: list[str], says: bytes) -> None:
    """An option that cannot work ends with status 1 and one sentence."""
    ended = shell.run("peers", *options)
    assert ended.returncode == 1
    assert ended.stderr.startswith(b"Error: ")
    assert says in ended.stderr
    assert b"Traceback" not in ended.stderr


@pytest.mark.sockets
def test_tcp_joins_two_commands(shell: Shell) -> None:
    """--listen and --peer, or their variables, join commands without a directory in common."""
    endpoint = tcp(free_ports()[0])
    tail = shell.start("tail", "lines", "--count", "1", "--listen", endpoint)
    shell.environment["ZEXCHANGE_PEER"] = endpoint
    shell.environment["ZEXCHANGE_DIR"] = str(shell.directory / "other")
    sent = shell.run("send", "lines", "--wait", "1", text=b"x\n")
    assert sent.returncode == 0, sent.stderr
    assert shell.finish(tail)[:2] == (0, b"x\n")


@pytest.mark.sockets
@pytest.mark.parametrize("arguments", [["--help"], ["send", "--help"], ["--version"]])
def test_what_cannot_be_written_is_one_line(arguments: list[str]) -> None:
    """On a full disk, for instance."""
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "zexchange", *arguments], stdout=full, stderr=subprocess.PIPE
        )
    assert ended.returncode == 1
    assert ended.stderr.count(b"\n") == 1
    assert b"No space left" in ended.stderr


@pytest.mark.sockets
def test_a_hub_says_which_ports_it_takes(shell: Shell) -> None:
    """The one that is taken, and all three."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = shell.run("hub", "--listen", f"tcp://127.0.0.1:{port}")
    assert ended.returncode == 1
    assert f"{port} and the next two".encode() in ended.stderr


def test_the_version_names_the_decoder() -> None:
    """In one line, as scripts read it; what decodes is msgspec only where that is installed."""
    result = CliRunner().invoke(commands, ["--version"])
    assert result.exit_code == 0
    assert result.output == f"zexchange, version {__version__}, decodes by {decoder_name()}\n"


def test_seconds_are_over_zero() -> None:
    """A wrong number is wrong use, without a traceback."""
    result = CliRunner().invoke(commands, ["hub", "--listen", "tcp://127.0.0.1:0", "--every", "-1"])
    assert result.exit_code == 2
    assert "--every" in result.output


def test_errors_speak_of_flags() -> None:
    """Whoever types a command knows no arguments of Python's."""
    said = as_flags("give it keys (keys=, zexchange keygen), write insecure=True, or peers=[…]")
    assert said == "give it keys (--keys DIR, zexchange keygen), write --insecure, or --peer[…]"
