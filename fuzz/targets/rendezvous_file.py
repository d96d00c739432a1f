"""Files that other processes leave in the rendezvous directory (`net.peering.node_files`)."""

import os
from collections.abc import Iterator

from zexchange.net.peering.node_files import read_file
from zexchange.net.transport.endpoints import IPC_PATH_MAX

from ..bounds import require

MAX_LEN = 400


def seeds() -> Iterator[bytes]:
    """Yield files as nodes write them, and files that break JSON readers."""
    yield b'{"control": "ipc:///run/user/1000/zexchange/fed/0123456789abcdef.c", "pid": 4711}'
    yield b'{"control": "ipc://\\ud800", "pid": 1}'
    yield b'{"control": 1e999, "pid": NaN}'
    yield b'["control"]'
    yield b"[" * 3000
    yield b'{"control":' * 300
    yield b"1" * 4000
    yield b"\xff\xfe{\x00}\x00"
    yield b"\xef\xbb\xbf{}"


def execute(data: bytes) -> None:
    """Read one; an endpoint that comes out can be dialled."""
    endpoint = read_file(data)
    if endpoint is not None:
        require(endpoint.startswith("ipc://") and "\0" not in endpoint, endpoint)
        require(0 < len(os.fsencode(endpoint[6:])) <= IPC_PATH_MAX, endpoint)
