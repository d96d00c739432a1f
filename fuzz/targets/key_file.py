"""Files of a key directory: a secret key, and public ones that peers hand out (`keys`)."""

from collections.abc import Iterator

from zexchange.protocol.security.keys import public_line, read_public, read_secret, secret_line

from ..bounds import require

MAX_LEN = 400


def seeds() -> Iterator[bytes]:
    """Yield files of both kinds, with comments, several keys, and wrong ones."""
    public, secret = public_line(bytes(range(32))).encode(), secret_line(bytes(range(32))).encode()
    yield public
    yield secret
    yield b"# who\n\n" + public + b"\n" + public_line(bytes(range(1, 33))).encode() + b"\r\n"
    yield public[:-1]
    yield b"\xff" + secret
    yield b"\n" * 300


def execute(data: bytes) -> None:
    """Read one; the key is written and read again as the same."""
    try:
        for key in read_public(data):
            require(read_public(public_line(key).encode()) == (key,), key)
    except ValueError:
        pass
    try:
        key = read_secret(data)
    except ValueError:
        return
    require(len(key) == 32 and read_secret(secret_line(key).encode()) == key, key)
