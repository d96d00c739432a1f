"""The text of key files, and the node ids that go with a key.

Nothing here opens a file or does cryptography, which is left to libzmq. For any bytes of a
file, the only error raised is `InvalidKeys`.
"""

import hashlib

from ...errors import InvalidKeys
from ..wire.fields import ID_BYTES, KEY_BYTES

MAX_KEY_FILE_BYTES = 16 << 10
"""The largest key file that is read: some hundred keys of one peer."""
PUBLIC, SECRET = "zexchange-public-key", "zexchange-secret-key"
_MARK_BYTES = 10
"""How many bytes of a node id come from its key; the rest is random for every node. To use the id
of another node, an attacker would have to find a key with the same 80 bits."""


def public_line(key: bytes) -> str:
    """Return the line of a file with a public key, without its newline."""
    return f"{PUBLIC} {key.hex()}"


def secret_line(key: bytes) -> str:
    """Return the line of a file with a secret key, without its newline."""
    return f"{SECRET} {key.hex()}"


def read_public(data: bytes) -> tuple[bytes, ...]:
    """Return the public keys in a file: one on each line, which may end with a comment.

    Empty lines and those that start with ``#`` are skipped. While a peer changes its key, its file
    has two lines.

    Raises:
        InvalidKeys: if a line is something else, or there is no key.
    """
    keys = tuple(dict.fromkeys(_keys(data, PUBLIC)))
    if not keys:
        raise InvalidKeys(f"no line with a public key ({PUBLIC} and 64 hexadecimal digits)")
    return keys


def read_secret(data: bytes) -> bytes:
    """Return the secret key in a file.

    Raises:
        InvalidKeys: if there is not exactly one.
    """
    keys = _keys(data, SECRET)
    if len(keys) != 1:
        raise InvalidKeys(f"{len(keys)} lines with a secret key; there is one in a key file")
    return keys[0]


def _keys(data: bytes, kind: str) -> list[bytes]:
    if len(data) > MAX_KEY_FILE_BYTES:
        raise InvalidKeys(f"over {MAX_KEY_FILE_BYTES} bytes, which no key file has")
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        raise InvalidKeys("not a text file") from None
    return [_key(line, kind) for line in lines if line.strip() and not line.startswith("#")]


def _key(line: str, kind: str) -> bytes:
    """Return the key in a line. Errors never quote the line: it may have a secret key."""
    found, _, rest = line.strip().partition(" ")
    if kind == PUBLIC and found == SECRET:
        raise InvalidKeys("this is a secret key: hand out the .pub file, and make a new key")
    digits = rest.split(maxsplit=1)[:1]
    try:
        # The length is checked first because `fromhex` skips spaces between digits.
        key = bytes.fromhex(digits[0]) if digits and len(digits[0]) == 2 * KEY_BYTES else b""
    except ValueError:
        key = b""
    if found != kind or len(key) != KEY_BYTES:
        raise InvalidKeys(f"a line that is not {kind!r} and {2 * KEY_BYTES} hexadecimal digits")
    return key


def id_for(key: bytes, fresh: bytes) -> bytes:
    """Return an id for a new node with a key; ``fresh`` are random bytes."""
    return mark(key) + fresh[_MARK_BYTES:ID_BYTES]


def belongs(node: bytes, key: bytes) -> bool:
    """Return whether the owner of a key may have a node id."""
    return mark_of(node) == mark(key)


def mark_of(node: bytes) -> bytes:
    """Return the bytes of a node id that come from its key."""
    return node[:_MARK_BYTES]


def mark(key: bytes) -> bytes:
    """Return the bytes with which every node id of a key starts."""
    return hashlib.sha256(b"zexchange node id" + key).digest()[:_MARK_BYTES]
