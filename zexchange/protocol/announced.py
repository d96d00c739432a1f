"""What MessagePack announces and does not hold: a header of a few bytes asks for gigabytes.

The rule of this room: nothing is built, so that looking costs no memory. Nothing here
knows what the bytes mean.
"""

from msgpack import Unpacker

_ALLOCATED_AHEAD = 32 << 20
_POINTER = 8


def check_announced(body: bytes | memoryview) -> None:
    """Raise if unpacking `body` would allocate far more than it holds."""
    # msgpack allocates a list when it reads its header, and every level of a nest may announce
    # as many items as the body has bytes. Count what could be a header; only when that many
    # could ask for too much, prove by a scan that builds nothing that all items are there.
    whole = bytes(body)
    # Mostly there is none, and a search takes a tenth of what counting does. The header in
    # front of a batch, its first five bytes, asks for no more than the batch has bytes.
    if whole.find(b"\xdd", 5) < 0 and whole.find(b"\xdc", 5) < 0:
        return
    ahead = whole.count(b"\xdd") * len(whole) + whole.count(b"\xdc") * min(len(whole), 0xFFFF)
    if ahead * _POINTER > _ALLOCATED_AHEAD:
        scan = Unpacker(max_buffer_size=len(whole), read_size=len(whole))
        scan.feed(whole)
        while scan.tell() < len(whole):
            scan.skip()
