"""Job frames and progress reports (`protocol.wire.jobs`), and what a member takes of them."""

import dataclasses
from collections.abc import Iterator

from zexchange.errors import DecodeError
from zexchange.groups.intake import Intake
from zexchange.groups.queue import MOST
from zexchange.names import is_name
from zexchange.protocol.codec.attachments import decode_frame
from zexchange.protocol.wire.jobs import (
    FRAME_COUNT,
    JOBS,
    PROGRESS,
    Jobs,
    jobs_head,
    kind_of,
    progress_frame,
    read_jobs,
    read_progress,
)
from zexchange.protocol.wire.notes import read_notes

from ..bounds import require
from ..seeds import bombs, vectors

MAX_LEN = 400
EXACTLY = 2**31
"""Seconds since the epoch up to which a float holds microseconds."""


def seeds() -> Iterator[bytes]:
    """Yield frames of both kinds, and bombs as the messages and the notes of jobs."""
    yield from (frame for frame, _ in vectors("jobs", "progress", "reply", "ready"))
    for frame, _ in vectors("jobs"):
        jobs = read_jobs(frame)
        yield from (frame[: jobs.body] + bomb for bomb in bombs())
        for bomb in bombs():
            yield jobs_head(dataclasses.replace(jobs, notes=(b"\x91" + bomb)[:255])) + b"\xc0"


def execute(data: bytes) -> None:
    """Read a frame as either; it is written and read again as the same."""
    require(0 <= kind_of(data) <= 255, data)
    try:
        _jobs(data, read_jobs(data))
    except DecodeError:
        pass
    try:
        receiver, origin, progress = read_progress(data)
    except DecodeError:
        return
    again = progress_frame(receiver, 1, origin, progress)
    require(kind_of(again) == PROGRESS, progress)
    require(progress.done <= progress.got, progress)
    read = read_progress(again)
    require(read[:2] == (receiver, origin), progress)
    require(abs(read[2].work - progress.work) < 2e-6, progress)
    require(read[2]._replace(work=progress.work) == progress, progress)


def _jobs(frame: bytes, jobs: Jobs) -> None:
    require(is_name(jobs.name), jobs)
    require(0 < jobs.body <= len(frame), jobs)
    require(1 <= jobs.count <= FRAME_COUNT, jobs)
    if jobs.sent_at < EXACTLY:
        head = jobs_head(jobs)
        require(kind_of(head) == JOBS, jobs)
        require(read_jobs(head) == dataclasses.replace(jobs, body=len(head)), jobs)
    _taken(jobs)
    try:
        for note in read_notes(jobs.notes, jobs.count) if jobs.notes else ():
            require(note.at < jobs.count, note)
        require(len(decode_frame(frame, jobs.body, jobs.count)) == jobs.count, jobs)
    except DecodeError:
        pass


def _taken(jobs: Jobs) -> None:
    """Have a member take the jobs, twice, and handle them; its progress can be written."""
    intake = Intake()
    intake.take(jobs.stint, 1, 1)
    known = intake.take(jobs.stint, jobs.first, jobs.count)
    require((known is None) == (jobs.first > 2 or jobs.first + jobs.count > MOST + 1), jobs)
    require(known is None or 0 <= known <= 1, jobs)
    again = intake.take(jobs.stint, jobs.first, jobs.count)
    require(again == (None if known is None else jobs.count), jobs)
    for number in range(intake.got, 0, -1):
        intake.finish(jobs.stint, number, 0.0)
    progress = intake.progress(0.0)
    require(progress.done == progress.got == intake.got, progress)
    progress_frame(jobs.receiver, jobs.epoch, jobs.origin, progress)
