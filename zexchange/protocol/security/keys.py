"""Keys as text and as names: what stands in a key file, and which node ids go with a key.

Nothing here opens a file or computes with keys: CURVE is libzmq's. Whatever the bytes of a
file are, the only error out of here is `InvalidKeys`.
"""

import hashlib

from ...errors import InvalidKeys
from ..wire.fields import ID_BYTES, KEY_BYTES

MAX_KEY_FILE_BYTES = 16 << 10
"""The largest key file that is read: some hundred keys of one peer."""
PUBLIC, SECRET = "zexchange-public-key", "zexchange-secret-key"
_MARK_BYTES = 10
"""So many bytes of a node id are its key's; the rest is fresh for every node. To have an id
taken for one's own, one would have to find a key with the same 80 bits."""


def public_line(key: bytes) -> str:
    """Return the line in which a public key is handed out, without its newline."""
    return f"{PUBLIC} {key.hex()}"


def secret_line(key: bytes) -> str:
    """Return the line in which a secret key is kept, without its newline."""
    return f"{SECRET} {key.hex()}"


def read_public(data: bytes) -> tuple[bytes, ...]:
    """Return the public keys in a file: one a line, with a comment behind it or none.

    Empty lines and those that start with ``#`` are skipped. A peer that changes its key has
    two lines for a while.

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
    """Return the key in a line. What is in it is never shown: it may be a secret one."""
    found, _, rest = line.strip().partition(" ")
    if kind == PUBLIC and found == SECRET:
        raise InvalidKeys("this is a secret key: hand out the .pub file, and make a new key")
    digits = rest.split(maxsplit=1)[:1]
    try:
        # Digits alone: `fromhex` would skip what is between them.
        key = bytes.fromhex(digits[0]) if digits and len(digits[0]) == 2 * KEY_BYTES else b""
    except ValueError:
        key = b""
    if found != kind or len(key) != KEY_BYTES:
        raise InvalidKeys(f"a line that is not {kind!r} and {2 * KEY_BYTES} hexadecimal digits")
    return key


def id_for(key: bytes, fresh: bytes) -> bytes:
    """Return the id of a new node that has a key; ``fresh`` are random bytes."""
    return mark(key) + fresh[_MARK_BYTES:ID_BYTES]


def belongs(node: bytes, key: bytes) -> bool:
    """Tell whether a node id is one that the owner of a key may have."""
    return mark_of(node) == mark(key)


def mark_of(node: bytes) -> bytes:
    """Return what a node id has of its key."""
    return node[:_MARK_BYTES]


def mark(key: bytes) -> bytes:
    """Return what every node id of a key starts with."""
    return hashlib.sha256(b"zexchange node id" + key).digest()[:_MARK_BYTES]
