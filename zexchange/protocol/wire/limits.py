"""Limits of what a peer may send: of an interest, and of what a MessagePack header announces.

A header of a few bytes may ask for gigabytes. `check_announced` finds that out without building
anything, so the check costs no memory.
"""

from msgpack import Unpacker

MAX_KEYS = 200_000
"""Names and patterns that one node may be interested in."""
MAX_RESPONDERS = 1000
"""Exchanges on which one node may answer questions."""
MAX_MEMBERS = 1000
"""Members of groups that one node may have."""
MAX_COUNTED = 1000
"""Exchanges whose counts one node tells in one message; and slow peers."""
MAX_FIGURES = 100
"""Figures of a node in such a message."""
MAX_PATTERNS = 1000
"""Patterns among them: each has to be matched with every name."""
MAX_INTEREST_BYTES = (4 << 20) - (4 << 10)
"""Bytes of all names and patterns together, with `KEY_OVERHEAD` more for each name and for both
topics of a pattern. One connection may subscribe to so much at a data socket, in addition to our
tokens."""
KEY_OVERHEAD = 19
_ALLOCATED_AHEAD = 32 << 20
_POINTER = 8


def check_announced(body: bytes | memoryview) -> None:
    """Raise if unpacking `body` would allocate far more than it holds."""
    # msgpack allocates a list when it reads its header, and every nested list may announce as many
    # items as the body has bytes. So count the bytes that could be a header. Only if so many could
    # ask for too much, scan the body, without building anything, to prove that all items are there.
    whole = bytes(body)
    # Mostly there is none, and a search takes a tenth of the time of counting. The header in
    # front of a batch, its first five bytes, asks for no more than the batch has bytes.
    if whole.find(b"\xdd", 5) < 0 and whole.find(b"\xdc", 5) < 0:
        return
    ahead = whole.count(b"\xdd") * len(whole) + whole.count(b"\xdc") * min(len(whole), 0xFFFF)
    if ahead * _POINTER > _ALLOCATED_AHEAD:
        scan = Unpacker(max_buffer_size=len(whole), read_size=len(whole))
        scan.feed(whole)
        while scan.tell() < len(whole):
            scan.skip()
