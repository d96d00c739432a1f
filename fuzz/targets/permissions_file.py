"""The file that says what peers may do (`permissions`), and what follows for a topic."""

from collections.abc import Iterator

from zexchange.protocol.security.permissions import read_permissions
from zexchange.protocol.wire.data import DATA

from ..bounds import require

MAX_LEN = 300
NAMES = ("a", "a.b", "a.b.c", "b", "*")


def seeds() -> Iterator[bytes]:
    """Yield files as users write them, and as they get them wrong."""
    yield b'[default]\npublish = []\nsubscribe = ["a.**"]\n'
    yield b'[host-a]\npublish = ["a.*", "b"]\n\n["host b"]\nsubscribe = ["a.*.c", "**"]\n'
    yield b'[default]\npublish = "a"\n'
    yield b'[x]\nnonsense = 1\npublish = [1]\nsubscribe = ["a.**.b"]\n'
    yield b"[" * 200
    yield b"a = " + b"[" * 200
    yield b"\xff\xfe"


def execute(data: bytes) -> None:
    """Read one; a key that may hear a topic may subscribe to the name that it stands for."""
    try:
        everybody = read_permissions(data.decode(errors="surrogateescape"))
    except ValueError:
        return
    for rights in everybody.values():
        for name in NAMES:
            if rights.honours(DATA + name.encode() + b"\0"):
                require(rights.may_subscribe(name), (rights, name))
