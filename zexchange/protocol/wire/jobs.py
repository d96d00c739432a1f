"""Job frames and progress reports: how a sender shares work among the members of a group.

Both are published under the token of their receiver, as replies are, and laid out like them. A job
frame brings some messages of one exchange to one member. A progress report says how far that member
is with the messages of the sender. For any bytes that arrive, the only error raised here is
`DecodeError`.
"""

import struct
from dataclasses import dataclass

from ...errors import DecodeError
from ...groups.intake import Progress
from ...names import is_name
from .data import MAX_BODY_BYTES, MAX_DATA_BYTES, READY, VERSION, read_token, ready_topic
from .fields import ID_BYTES

FRAME_COUNT = 10_000
"""The most messages of one job frame."""
MAX_JOBS_BYTES = MAX_BODY_BYTES
"""The most bytes of the messages of one job frame."""
REDELIVERED = 0x01
"""The flag of a job frame whose messages another member may have worked on already."""
NOTED = 0x02
"""The flag of a job frame whose last message has headers: see `notes`."""
MUST_UNDERSTAND = 0xF0
"""Flag bits that a receiver must not ignore, even if it does not know them."""
ENDED = 0x01
"""The flag of a progress report by which a member does no more."""
MISSED = 0x02
"""The flag of a report of a member to which jobs have not come, but later ones have."""

TOKEN_BYTES = 1 + ID_BYTES + 8
"""The size of the token that a frame begins with."""
REPLY, JOBS, PROGRESS = 1, 2, 3
"""Kinds of frames under a token; 0 is a ready."""
_PLAIN_READY = 18
_JOB_HEADER = struct.Struct(">BB16sBBQQQHQBB")
_PROGRESS_HEADER = struct.Struct(">BB16sBBQQQI")
_WORK_MOST = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Jobs:
    """Messages of one exchange for one member of a group.

    Attributes:
        receiver: the node of the member.
        epoch: of that node's interest, under whose token it travels.
        origin: the node that sends.
        member: the number of the member at its node.
        stint: the number of the stint at the sender.
        first: the number of the first message in the stint.
        count: how many messages there are.
        sent_at: when the first was sent, in seconds since the epoch.
        name: of the exchange.
        redelivered: whether another member may have worked on them already.
        notes: what travels beside the last message.
        body: where the messages begin in the frame.
    """

    receiver: bytes
    epoch: int
    origin: bytes
    member: int
    stint: int
    first: int
    count: int
    sent_at: float
    name: str
    redelivered: bool = False
    notes: bytes = b""
    body: int = 0


def jobs_head(jobs: Jobs) -> bytes:
    """Return the bytes that precede the encoded messages of a job frame."""
    name = jobs.name.encode()
    flags = REDELIVERED * jobs.redelivered | NOTED * bool(jobs.notes)
    head = _JOB_HEADER.pack(
        _JOB_HEADER.size,
        VERSION,
        jobs.origin,
        JOBS,
        flags,
        jobs.member,
        jobs.stint,
        jobs.first,
        jobs.count,
        int(jobs.sent_at * 1e6 + 0.5),
        len(name),
        len(jobs.notes),
    )
    return b"".join((ready_topic(jobs.receiver, jobs.epoch), head, name, jobs.notes))


def progress_frame(receiver: bytes, epoch: int, origin: bytes, progress: Progress) -> bytes:
    """Return the frame of a progress report to a sender."""
    work = min(int(progress.work * 1e6), _WORK_MOST)
    flags = ENDED * progress.ended | MISSED * progress.missed
    head = _PROGRESS_HEADER.pack(
        _PROGRESS_HEADER.size,
        VERSION,
        origin,
        PROGRESS,
        flags,
        progress.stint,
        progress.got,
        progress.done,
        work,
    )
    return ready_topic(receiver, epoch) + head


def kind_of(frame: bytes) -> int:
    """Return which kind of frame under a token this is.

    It is 0 for a ready, 1 for a reply, 2 for jobs, and 3 for a progress report. A kind that is not
    known here is returned as it is.
    """
    at = TOKEN_BYTES + _PLAIN_READY
    if len(frame) <= at or frame[:1] != READY or frame[TOKEN_BYTES] <= _PLAIN_READY:
        return 0
    return frame[at]


def read_jobs(frame: bytes) -> Jobs:
    """Return the head of a job frame; its messages begin at ``body``.

    Raises:
        DecodeError: it is malformed, or of an unknown version.
    """
    token = read_token(frame[:TOKEN_BYTES])
    if token is None or len(frame) < TOKEN_BYTES + _JOB_HEADER.size or len(frame) > MAX_DATA_BYTES:
        raise DecodeError(f"a job frame of {len(frame)} bytes")
    size, version, origin, _, flags, member, stint, first, count, sent_at, named, noted = (
        _JOB_HEADER.unpack_from(frame, TOKEN_BYTES)
    )
    name_at = TOKEN_BYTES + size
    body = name_at + named + noted
    if version != VERSION or size < _JOB_HEADER.size or flags & MUST_UNDERSTAND:
        raise DecodeError(f"job frame of version {version}, header of {size} bytes, flags {flags}")
    if body > len(frame) or not 1 <= count <= FRAME_COUNT or not first or not stint:
        raise DecodeError(f"job frame of {count} messages from {first} on in stint {stint}")
    try:
        name = frame[name_at : name_at + named].decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"malformed job frame: {error}") from None
    if not is_name(name):
        raise DecodeError(f"job frame of an exchange {name!r:.100}")
    notes = frame[name_at + named : body] if flags & NOTED else b""
    redelivered = bool(flags & REDELIVERED)
    moment = sent_at / 1e6
    return Jobs(*token, origin, member, stint, first, count, moment, name, redelivered, notes, body)


def read_progress(frame: bytes) -> tuple[bytes, bytes, Progress]:
    """Return the node that a progress report is for, the node it comes from, and what it says.

    Raises:
        DecodeError: it is malformed, or of an unknown version.
    """
    token = read_token(frame[:TOKEN_BYTES])
    if token is None or len(frame) < TOKEN_BYTES + _PROGRESS_HEADER.size:
        raise DecodeError(f"a progress report of {len(frame)} bytes")
    size, version, origin, _, flags, stint, got, done, work = _PROGRESS_HEADER.unpack_from(
        frame, TOKEN_BYTES
    )
    if version != VERSION or size < _PROGRESS_HEADER.size or TOKEN_BYTES + size > len(frame):
        raise DecodeError(f"progress of version {version}, header of {size} bytes")
    if flags & MUST_UNDERSTAND or done > got:
        raise DecodeError(f"progress of {done} jobs done, of {got}, flags {flags}")
    ended, missed = bool(flags & ENDED), bool(flags & MISSED)
    return token[0], origin, Progress(stint, got, done, work / 1e6, ended, missed)
