"""Notes in the heads of data frames, and replies (`protocol.wire.notes`, `.replies`)."""

from collections.abc import Iterator

from zexchange.errors import DecodeError
from zexchange.protocol.wire.notes import Notes, question, read_notes, write_notes
from zexchange.protocol.wire.replies import Reply, is_reply, read_reply, reply_frame

from ..bounds import require
from ..seeds import bombs, vectors

MAX_LEN = 400
REPLY, FIELD = b"r", b"n"


def seeds() -> Iterator[bytes]:
    """Yield replies and notes, each after a byte that says which it is, and bombs."""
    for frame, _ in vectors("reply"):
        yield REPLY + frame
        yield from (REPLY + frame[:53] + bomb for bomb in bombs())
    yield FIELD + question(9, bytes(16))
    yield FIELD + write_notes(Notes(0, {"s": "a", "b": b"x", "n": 1, "f": 0.5}, 9))
    yield from (FIELD + b"\x91" + bomb for bomb in bombs())


def execute(data: bytes) -> None:
    """Read either; the result is written and read again as the same."""
    if data[:1] == REPLY:
        _reply(data[1:])
    elif data[:1] == FIELD:
        _notes(data[1:256])


def _reply(frame: bytes) -> None:
    try:
        reply: Reply = read_reply(frame)
    except DecodeError:
        return
    again = reply_frame(reply)
    require(is_reply(again), reply)
    require(read_reply(again) == reply, reply)


def _notes(field: bytes) -> None:
    try:
        found = read_notes(field, 1000)
    except DecodeError:
        return
    for note in found:
        require(0 <= note.at < 1000, note)
        require(len(note.to) in (0, 16), note)
        try:
            again = read_notes(write_notes(note), 1000)
        except ValueError:  # its numbers were written shorter than we do
            continue
        require(repr(again[0][:3]) == repr(note[:3]), note)  # as text: NaN differs from itself
