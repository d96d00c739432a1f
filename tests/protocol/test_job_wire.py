"""Job frames and progress reports on the wire (`protocol.wire.jobs`), and how members are told."""

import dataclasses
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import names

from zexchange.errors import DecodeError
from zexchange.groups.intake import Progress
from zexchange.groups.queue import MOST
from zexchange.names import is_name
from zexchange.protocol.wire import data as wire
from zexchange.protocol.wire.control import control_frame, read_control
from zexchange.protocol.wire.jobs import (
    FRAME_COUNT,
    JOBS,
    MAX_JOBS_BYTES,
    PROGRESS,
    Jobs,
    jobs_head,
    kind_of,
    progress_frame,
    read_jobs,
    read_progress,
)
from zexchange.protocol.wire.limits import MAX_MEMBERS
from zexchange.protocol.wire.messages import GroupMember, Members
from zexchange.protocol.wire.notes import Notes, write_notes
from zexchange.protocol.wire.replies import Reply, is_reply, reply_frame

ME, THEM = b"m" * 16, b"t" * 16
TOKEN = len(wire.ready_topic(ME, 1))
ids = st.binary(min_size=16, max_size=16)
places = st.integers(1, (1 << 64) - 1)
counted = st.integers(0, (1 << 64) - 1)
moments = st.integers(0, 2**51).map(lambda microseconds: microseconds / 1e6)
jobs = st.builds(
    Jobs,
    receiver=ids,
    epoch=counted,
    origin=ids,
    member=counted,
    stint=places,
    first=places,
    count=st.integers(1, FRAME_COUNT),
    sent_at=moments,
    name=names.filter(is_name),
    redelivered=st.booleans(),
    notes=st.binary(max_size=200),
)
work = st.integers(0, (1 << 32) - 1).map(lambda microseconds: microseconds / 1e6)
reports = st.builds(
    lambda stint, numbers, *rest: Progress(stint, max(numbers), min(numbers), *rest),
    *(counted, st.tuples(counted, counted), work, st.booleans(), st.booleans()),
)
SOME = Jobs(ME, 1, THEM, 7, 12, 1, 1, 0.25, "x")
DONE = Progress(12, 3, 1, 0.25)


@given(jobs, st.binary(max_size=20))
def test_jobs_come_back(given: Jobs, body: bytes) -> None:
    """What was written is read, told apart from all else under a token, and followed by values."""
    head = jobs_head(given)
    frame = head + body
    assert kind_of(frame) == JOBS
    assert not is_reply(frame)
    assert read_jobs(frame) == dataclasses.replace(given, body=len(head))


@given(ids, counted, ids, reports)
def test_reports_come_back(to: bytes, epoch: int, origin: bytes, progress: Progress) -> None:
    """What was written is read, and told apart from all else under a token."""
    frame = progress_frame(to, epoch, origin, progress)
    assert kind_of(frame) == PROGRESS
    assert not is_reply(frame)
    receiver, sender, read = read_progress(frame)
    assert (receiver, sender, read._replace(work=0)) == (to, origin, progress._replace(work=0))
    assert abs(read.work - progress.work) < 2e-6


def test_work_of_many_hours_is_written() -> None:
    """More than the field holds is written as the most that it holds."""
    progress = read_progress(progress_frame(ME, 1, THEM, Progress(1, 1, 1, 1e9)))[2]
    assert progress.work == pytest.approx(((1 << 32) - 1) / 1e6)


@given(st.binary(max_size=120), st.binary(max_size=1))
def test_any_bytes_are_read_or_refused(tail: bytes, kind: bytes) -> None:
    """Of any bytes only a `DecodeError` is raised; what is read is within its bounds."""
    head = wire.ready_topic(ME, 1)
    for frame in (tail, head + tail, head + tail[:18] + kind + tail[18:]):
        assert kind_of(frame) in range(256)
        with suppress(DecodeError):
            read = read_jobs(frame)
            assert read.body <= len(frame)
            assert 1 <= read.count <= FRAME_COUNT
            assert is_name(read.name)
        with suppress(DecodeError):
            progress = read_progress(frame)[2]
            assert progress.done <= progress.got


def test_kinds_of_frames_are_told_apart() -> None:
    """A ready has a shorter header than the rest; what is too short for any is no job."""
    ready = wire.ready_frame(wire.Ready(ME, 1, THEM, {"x": 1}))
    reply = reply_frame(Reply(ME, 1, THEM, 9, value=b"\xc0"))
    jobs, progress = jobs_head(SOME), progress_frame(ME, 1, THEM, DONE)
    assert list(map(kind_of, (ready, reply, jobs, progress))) == [0, 1, 2, 3]
    assert kind_of(b"") == kind_of(jobs[: TOKEN + 18]) == kind_of(b"\x02" + jobs[1:]) == 0


def of(at: int, value: bytes, frame: bytes) -> bytes:
    """Return a frame with other bytes at a place of its own header."""
    at += TOKEN
    return frame[:at] + value + frame[at + len(value) :]


JOB_FRAME = jobs_head(SOME) + b"\xc0"
PROGRESS_FRAME = progress_frame(ME, 1, THEM, DONE)
Q, H = struct.Struct(">Q").pack, struct.Struct(">H").pack


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (b"", "a job frame of 0 bytes"),
        (JOB_FRAME[: TOKEN + 55], "a job frame of"),
        (b"\x02" + JOB_FRAME[1:], "a job frame of"),
        (of(0, b"\x37", JOB_FRAME), "header of 55 bytes"),
        (of(1, b"\x02", JOB_FRAME), "of version 2"),
        (of(19, b"\x10", JOB_FRAME), "flags 16"),
        (of(19, b"\x80", JOB_FRAME), "flags 128"),
        (of(28, Q(0), JOB_FRAME), "in stint 0"),
        (of(36, Q(0), JOB_FRAME), "from 0 on"),
        (of(44, H(0), JOB_FRAME), "of 0 messages"),
        (of(44, H(FRAME_COUNT + 1), JOB_FRAME), f"of {FRAME_COUNT + 1} messages"),
        (of(54, b"\xff", JOB_FRAME), "1 messages from 1"),
        (of(55, b"\xff", JOB_FRAME), "1 messages from 1"),
        (of(54, b"\x00", JOB_FRAME), "an exchange ''"),
        (of(56, b"\xff", JOB_FRAME), "malformed job frame"),
        (of(56, b"*", JOB_FRAME), r"an exchange '\*'"),
        (of(56, b"\0", JOB_FRAME), "an exchange"),
    ],
)
def test_malformed_jobs_are_refused(frame: bytes, why: str) -> None:
    """A wrong size, version, number or name is an error, and so is a flag that has to be known."""
    with pytest.raises(DecodeError, match=why):
        read_jobs(frame)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (b"", "a progress report of 0 bytes"),
        (PROGRESS_FRAME[:-1], "a progress report of"),
        (b"\x02" + PROGRESS_FRAME[1:], "a progress report of"),
        (of(0, b"\x2f", PROGRESS_FRAME), "header of 47 bytes"),
        (of(0, b"\x31", PROGRESS_FRAME), "header of 49 bytes"),
        (of(1, b"\x02", PROGRESS_FRAME), "of version 2"),
        (of(19, b"\x40", PROGRESS_FRAME), "flags 64"),
        (of(36, Q(4), of(28, Q(3), PROGRESS_FRAME)), "of 4 jobs done, of 3"),
    ],
)
def test_malformed_reports_are_refused(frame: bytes, why: str) -> None:
    """A wrong size or version, more done than has come, or a flag that has to be known."""
    with pytest.raises(DecodeError, match=why):
        read_progress(frame)


def test_a_frame_that_is_too_large_is_refused() -> None:
    """Its size is looked at before anything else in it."""

    class Huge(bytes):
        def __len__(self) -> int:
            return MAX_JOBS_BYTES + 1025

    with pytest.raises(DecodeError, match="a job frame of"):
        read_jobs(Huge(JOB_FRAME))


@pytest.mark.parametrize("flag", [0x04, 0x08])
def test_flags_that_may_be_ignored_are(flag: int) -> None:
    """The lower flags may mean something to later versions."""
    frame = of(19, bytes([flag]), JOB_FRAME)
    assert read_jobs(frame) == dataclasses.replace(SOME, body=len(JOB_FRAME) - 1)
    assert read_progress(of(19, bytes([flag]), PROGRESS_FRAME))[2] == DONE


def test_notes_count_with_their_flag_alone() -> None:
    """What lies between the name and the messages is skipped if it is not said to be notes."""
    notes = write_notes(Notes(0, {"trace": "a"}))
    head = jobs_head(dataclasses.replace(SOME, notes=notes))
    read = read_jobs(of(19, b"\x00", head))
    assert (read.notes, read.body) == (b"", len(head))


def longer(frame: bytes, size: int) -> bytes:
    """Return a frame whose own header has more fields, as a later version may write it."""
    end = TOKEN + size
    return of(0, bytes([size + 5]), frame[:end] + b"later" + frame[end:])


def test_a_frame_of_a_later_version_is_read() -> None:
    """Fields of the header after those that are known are skipped."""
    read = read_jobs(longer(JOB_FRAME, 56))
    assert read == dataclasses.replace(SOME, body=len(JOB_FRAME) + 4)
    assert read_progress(longer(PROGRESS_FRAME, 48)) == (ME, THEM, DONE)
    assert read_progress(PROGRESS_FRAME + b"more") == (ME, THEM, DONE)


# ------------------------------------------------------------------------- members


def test_more_ahead_than_may_be_is_read_as_the_most() -> None:
    """A later version may allow a member more at a time."""
    member = GroupMember("x", "workers", 1, 1 << 40)
    read: Any = read_control(control_frame(Members(ME, 1, 0, (member,))))
    assert read.added == (member._replace(ahead=MOST),)


def _many(count: int) -> tuple[GroupMember, ...]:
    return tuple(GroupMember("x", "workers", number) for number in range(count))


@pytest.mark.parametrize(
    "members",
    [
        lambda: _many(MAX_MEMBERS + 1),
        lambda: (("x", "workers", 1),),
        lambda: (("x", "workers", -1, 0),),
        lambda: (("x", "workers", 1, 0.5),),
        lambda: (("", "workers", 1, 0),),
        lambda: (("x", "", 1, 0),),
        lambda: (("x", "a\0b", 1, 0),),
        lambda: (("x", "g" * 256, 1, 0),),
        lambda: (("x", b"workers", 1, 0),),
        lambda: ("workers",),
    ],
)
def test_malformed_members_are_refused(members: Callable[[], Any]) -> None:
    """Too many, too few fields, a wrong type or no name are errors."""
    with pytest.raises(DecodeError):
        read_control(control_frame(Members(ME, 1, 0, members())))


def test_as_many_members_as_a_node_may_have_are_read() -> None:
    """The bound itself is within it."""
    read: Any = read_control(control_frame(Members(ME, 1, 0, _many(MAX_MEMBERS))))
    assert len(read.added) == MAX_MEMBERS
