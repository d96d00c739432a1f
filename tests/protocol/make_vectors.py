"""Writes docs/vectors.json: frames and values as bytes, for other implementations to check.

Run ``python tests/protocol/make_vectors.py`` after the format has grown; a vector that is
there already never changes within a version. It needs NumPy, for the two types of its own.
"""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np

from zexchange.groups.intake import Progress
from zexchange.history import Buffer, Bulk
from zexchange.protocol.codec import attachments as buffers
from zexchange.protocol.codec.attachments import encode_attaching
from zexchange.protocol.codec.values import Unknown, decode, encode
from zexchange.protocol.wire import data as wire
from zexchange.protocol.wire import messages as v
from zexchange.protocol.wire.control import control_frame, read_control
from zexchange.protocol.wire.jobs import (
    Jobs,
    jobs_head,
    progress_frame,
    read_jobs,
    read_progress,
)
from zexchange.protocol.wire.notes import Notes, write_notes
from zexchange.protocol.wire.replies import FAILED, GONE, Reply, read_reply, reply_frame

PATH = Path(__file__).parents[2] / "docs" / "vectors.json"
ONE, TWO = bytes(range(16)), bytes(range(0x10, 0x20))
HELLO = v.Hello(
    sender=ONE,
    federation="trading",
    label=v.Label("host-a", 4711, "feed"),
    addresses=(v.Address("tcp://10.0.0.1:7400", "tcp://10.0.0.1:7401"),),
    epoch=2,
    interest=("orders.*", "prices"),
)
OTHER = v.Hello(
    sender=TWO,
    federation="trading",
    label=v.Label("host-b", 42),
    addresses=(v.Address("ipc:///run/b", "ipc:///run/b.data"),),
    epoch=1,
    interest=(),
    versions=(1, 2),
    features=("later",),
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A value, and the frame that is written for it."""

    value: object
    frame: bytes


WORKER = v.GroupMember("prices", "workers", 7)
CONTROL: dict[str, v.Control] = {
    "hello": HELLO,
    "hello, with its start": dataclasses.replace(HELLO, started=1_700_000_000.25),
    "hello, of a small ring": dataclasses.replace(HELLO, acknowledge=(65_536, 250)),
    "welcome": v.Welcome(TWO, OTHER, ((ONE, HELLO.addresses),)),
    "refuse": v.Refuse(TWO, "federation", "this node is in federation 'a', not 'b'"),
    "interest, a change": v.Interest(ONE, 3, 2, 1, ("metrics.**",), ("prices",)),
    "interest, in whole": v.Interest(ONE, 3, 0, 2, ("metrics.**", "orders.*"), ()),
    "ping": v.Ping(ONE, 3, 300),
    "ping, with what is confirmed": v.Ping(ONE, 3, 300, 2),
    "pong": v.Pong(TWO),
    "pong of who is held up": v.Pong(TWO, 1_700_000_000.25, 12.5, 40),
    "resync": v.Resync(TWO),
    "stranger": v.Stranger(TWO),
    "ack": v.Ack(ONE, {"prices": 70_000}),
    "replay": v.Replay(ONE, "prices", 7, 11),
    "replayed": v.Replayed(ONE, "prices", 9, 11),
    "replay, of a recall": v.Replay(ONE, "prices", 7, 11, 3),
    "replayed, of a recall": v.Replayed(ONE, "prices", 9, 11, 3),
    "slow": v.Slow(ONE, True, TWO),
    "forgot": v.Forgot(TWO, 4, ONE),
    "hello, of a node that forgets": dataclasses.replace(HELLO, features=("forget",)),
    "hello, of a node that knows offers": dataclasses.replace(
        HELLO, features=("forget", "conflate")
    ),
    "recall": v.Recall(ONE, 3, "metrics.**"),
    "hello, of a node that answers": dataclasses.replace(
        HELLO, features=("forget", "request"), responders=(3, ("prices",))
    ),
    "ping, of a node that answers": v.Ping(ONE, 3, 300, 2, TWO, responders=3),
    "responders, a change": v.Responders(ONE, 4, 3, ("orders.new",), ("prices",), TWO),
    "responders, in whole": v.Responders(ONE, 4, 0, ("orders.new",), (), TWO),
    "hello, of a node with members of groups": dataclasses.replace(
        HELLO,
        features=("forget", "request", "group"),
        members=(2, (WORKER, v.GroupMember("orders.**", "audit", 9, 1))),
    ),
    "ping, of a node with members of groups": v.Ping(ONE, 3, 300, 2, TWO, members=2),
    "members, a change": v.Members(
        ONE, 3, 2, (v.GroupMember("orders.new", "workers", 10),), (WORKER,), TWO
    ),
    "members, in whole": v.Members(ONE, 3, 0, (WORKER,), (), TWO),
    "hello, of a process in several federations": dataclasses.replace(
        HELLO, registry=bytes(range(0x20, 0x30)), exchanges=("chat.**", "logs")
    ),
    "hello, of a node with a key": dataclasses.replace(HELLO, key=bytes(range(32))),
    "welcome, with keys": v.Welcome(
        TWO, OTHER, ((ONE, HELLO.addresses),), ((ONE, bytes(range(32))),)
    ),
    "ping, of one that tells names": v.Ping(ONE, 3, 2, 2, TWO, 40),
    "named": v.Named(ONE, 40, ("orders.eu.new",), TWO),
    "recalled": v.Recalled(ONE, 3, {"metrics.cpu": (2, 70_000)}),
    "hello, of a node that counts": dataclasses.replace(HELLO, features=("forget", "count")),
    "count": v.Count(ONE, 3, "metrics.**"),
    "count, the next part": v.Count(ONE, 4, "metrics.**", 2, 17, "metrics.cpu"),
    "counted": v.Counted(
        TWO,
        3,
        2,
        18,
        1234.5,
        (
            v.ExchangeCount("metrics.cpu", 70_000, 4_200_000, unacknowledged=12, slowest=ONE),
            v.ExchangeCount("metrics.disk", received=500, lost=2, conflated=1),
            v.ExchangeCount("metrics.gone"),
        ),
        node={"exchanges": 2, "peers": 1, "used": 0, "window": 2**23, "waited": 250_000},
        slow=(ONE,),
    ),
    "counted, a part": v.Counted(
        TWO, 3, 2, 18, 1234.5, (v.ExchangeCount("metrics.cpu", 1),), "metrics.cpu"
    ),
    "ack, to a node": v.Ack(ONE, {"prices": 70_000}, TWO),
    "bye": v.Bye(ONE, {"orders.new": 1, "prices": 2**33}),
}

VALUES: dict[str, object] = {
    "nil": None,
    "boolean": True,
    "integer": -1,
    "largest integer of MessagePack": 2**64 - 1,
    "float": 191.25,
    "text": "Grüße",
    "bytes": b"\x00\xff",
    "list": [1, [2.5, "x"]],
    "map": {"sym": "AAPL", 1: None},
    "registered type (1), not known here": Unknown("shop.Order", encode([7, "bolt"])),
    "tuple (2)": (1, "a"),
    "tuple in a tuple": ((), (1,)),
    "set (3)": {7},
    "frozenset (4)": frozenset({"x"}),
    "integer beyond 64 bits (5)": 2**64,
    "negative integer beyond 64 bits (5)": -(2**63) - 1,
    "complex (6)": 1.5 - 2j,
    "decimal (7)": Decimal("-12.50"),
    "UUID (8)": UUID("00112233-4455-6677-8899-aabbccddeeff"),
    "date (9)": date(2024, 2, 29),
    "time (10)": time(23, 59, 58, 999999),
    "datetime (11), naive": datetime(2024, 2, 29, 12, 0),
    "datetime (11), offset": datetime(2024, 2, 29, 12, 0, tzinfo=timezone(timedelta(hours=-5))),
    "datetime (11), second of two equal times": datetime(
        2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1
    ),
    "timedelta (12)": timedelta(days=-1, microseconds=5),
    "array (13)": np.array([[1, 2, 3], [4, 5, 6]], dtype="<i2"),
    "array (13), Fortran order": np.asfortranarray(np.array([[1.5, 2.5], [3.5, 4.5]], dtype="<f4")),
    "scalar (14)": np.float64(0.5),
    "extension not known here": Unknown(99, b"later"),
}


def data(
    name: str,
    first: int,
    count: int,
    sent_at: float,
    body: bytes,
    start: int = 0,
    base: int | None = None,
    flags: int = 0,
    notes: tuple[Notes, ...] = (),
) -> Pair:
    field = write_notes(*notes) if notes else b""
    head = wire.data_head(
        wire.topic(name), ONE, first, count, sent_at, 0, start, base, flags, field
    )
    flags |= (wire.STARTED if base is None else wire.BASED) if start else 0
    flags |= wire.NOTED if notes else 0
    base = start if base is None else base
    batch = v.Batch(name, ONE, first, count, flags, sent_at, len(head), start, base, notes)
    return Pair(batch, head + body)


REPLIES = {
    "reply, a value": Reply(TWO, 3, ONE, 9, value=encode({"px": 191.25})),
    "reply, of a responder that has raised": Reply(
        TWO, 3, ONE, 9, FAILED, error="KeyError", text="'AAPL'"
    ),
    "reply, without a responder": Reply(TWO, 3, ONE, 9, GONE, text="it was detached"),
}
JOBS = Jobs(TWO, 3, ONE, 7, 12, 1, 1, 1_700_000_000.25, "prices")


def jobs(given: Jobs, body: bytes) -> Pair:
    head = jobs_head(given)
    return Pair(dataclasses.replace(given, body=len(head)), head + body)


WORK: dict[str, Pair] = {
    "jobs, one message": jobs(JOBS, encode({"px": 191.25})),
    "jobs, three messages that another member may have handled": jobs(
        dataclasses.replace(JOBS, first=70_001, count=3, redelivered=True), b"\x01\x02\xa1x"
    ),
    "jobs, with headers": jobs(
        dataclasses.replace(
            JOBS, count=2, name="prix.été", notes=write_notes(Notes(0, {"trace": "abc"}))
        ),
        b"\x01\x02",
    ),
}
REPORTS = {
    "progress": Progress(12, 70_003, 70_001, 0.25),
    "progress, of a member that has ended": Progress(12, 70_003, 70_001, 0.000001, ended=True),
    "progress, of a member that misses some": Progress(12, 70_003, 70_001, 0.25, missed=True),
}
READY = v.Ready(TWO, 3, ONE, {"orders.new": 1, "prices": 70_000})
READY_STARTED = dataclasses.replace(
    READY, heads={"prices": 70_000, "reply.7": 70_002}, starts={"reply.7": 70_000}
)
READY_BASED = dataclasses.replace(READY_STARTED, bases={"reply.7": 60_000})
READY_FORGET = v.Ready(TWO, 3, ONE, {}, forget={"reply.7": 70_002}, number=4)
READY_ACCOUNT = dataclasses.replace(READY, account=7)
READY_PARTS = dataclasses.replace(READY_STARTED, part=2, parts=3)
READY_AGAIN = dataclasses.replace(READY, promised=(v.Promise(3, {"prices": 69_998}),))
DATA: dict[str, Pair] = {
    "data, one value": data("prices", 1, 1, 1_700_000_000.25, encode({"px": 191.25})),
    "data, a batch of three": data("orders.new", 7, 3, 1_700_000_000.0, b"\x01\x02\xa1x"),
    "beacon": data("prices", 70_001, 0, 1_700_000_001.0, b""),
    "data, of an exchange that starts at 70,000": data(
        "reply.7", 70_001, 2, 1_700_000_000.25, b"\x01\x02", 70_000
    ),
    "data, of one that starts at 70,000, and in another federation at 60,000": data(
        "reply.7", 70_001, 1, 1_700_000_000.25, encode({"x": 1}), 70_000, 60_000
    ),
    "beacon, of an exchange that starts at 70,000": data(
        "reply.7", 70_003, 0, 1_700_000_001.0, b"", 70_000
    ),
    "offer": data("camera", 8, 0, 1_700_000_000.25, b"", flags=wire.CONFLATED),
    "data, the answer to a claim": data(
        "camera", 9, 1, 1_700_000_000.5, encode({"px": 191.25}), flags=wire.CONFLATED
    ),
    "data, with headers of the last value": data(
        "prices", 7, 2, 1_700_000_000.25, b"\x01\x02", notes=(Notes(0, {"trace": "a1", "n": 7}),)
    ),
    "data, of an exchange that starts at 70,000, with a question": data(
        "prices", 70_001, 1, 1_700_000_000.25, b"\x01", 70_000, notes=(Notes(0, {}, 9, TWO),)
    ),
    "data, with a question to all": data(
        "prices", 7, 1, 1_700_000_000.25, b"\x01", notes=(Notes(0, {"x": b"y"}, 10),)
    ),
    "data, name beyond ASCII": data("prix.été", 2**40, 1, 0.000001, b"\xc0"),
}
TOKEN = wire.ready_topic(TWO, 3)


@dataclass(frozen=True, slots=True)
class Parts:
    """Data frames that belong together: values, and the frame with what is attached."""

    values: list[Any]
    head: bytes
    attached: tuple[Buffer, ...]
    means: str


def in_parts(means: str, sent_at: float, *values: object) -> Parts:
    """The last of the values has something attached."""
    *before, last = values
    body = encode_attaching(last)
    assert isinstance(body, Bulk)
    count, number = len(values), len(body.buffers)
    head = wire.data_head(wire.topic("prices"), ONE, 1, count, sent_at, number)
    packed = b"".join([head, *map(encode, before), body.packed])
    return Parts(list(values), packed, body.buffers, means)


LARGE = bytes([7]) * buffers.LARGE
PARTS: dict[str, Parts] = {
    "bytes of 64 KiB, in a frame of their own": in_parts(
        "bytes([7]) * 65536", 1_700_000_000.25, LARGE
    ),
    "behind a small value, inside others": in_parts(
        "1, and {'b': (bytes([7]) * 65536, [bytes([7]) * 65536])}", 0.0, 1, {"b": (LARGE, [LARGE])}
    ),
    "an array of 64 KiB": in_parts(
        "a list of NumPy <f8 [2, 4096], 0.5 throughout", 0.0, [np.full((2, 4096), 0.5, "<f8")]
    ),
}


def run_lengths(data: bytes | memoryview) -> list[list[Any]]:
    """What repeats over and over, as it stands in JSON: hexadecimal digits, and how often."""
    text = bytes(data)
    for size in (1, 8):
        if text == text[:size] * (len(text) // size):
            return [[text[:size].hex(), len(text) // size]]
    raise ValueError("nothing that repeats")


def parts_entry(name: str, parts: Parts) -> dict[str, Any]:
    batch = wire.read_data(parts.head)
    means = {**plain(batch), "values": parts.means}
    found = entry("parts", name, parts.head, means)
    return {**found, "attached": [run_lengths(buffer) for buffer in parts.attached]}


LATER = {
    "start": 0,
    "starts": {},
    "part": 1,
    "parts": 1,
    "forget": {},
    "number": 0,
    "base": 0,
    "bases": {},
    "account": 0,
    "notes": [],
}
"""Fields that frames have not had from the beginning, and what a frame means without them."""
NOT_IN: dict[type, tuple[str, ...]] = {
    v.Ready: tuple(LATER),
    v.Batch: ("start", "base", "notes"),
    v.Hello: ("responders", "members"),
    v.Ping: ("responders", "members"),
}


def _absent(name: str, found: Any) -> bool:
    """Return whether a field has the value that a frame without it means."""
    if name in ("responders", "members"):
        return found in (0, [0, []])
    return bool(LATER[name] == found)


def plain(value: Any) -> Any:
    """A frame's value as JSON: field by field, bytes as hexadecimal digits."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        later = NOT_IN.get(type(value), ())
        return {n: found for n, found in fields.items() if n not in later or not _absent(n, found)}
    if isinstance(value, v.Address | v.GroupMember | Progress):
        return plain(value._asdict())
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value.hex() if isinstance(value, bytes) else value


def meaning(value: object) -> str:
    """A value in Python's words; NumPy's differ from version to version."""
    if isinstance(value, np.ndarray | np.generic):
        return f"NumPy {value.dtype.str} {list(value.shape)} {value.tolist()}"
    return repr(value)


def entry(kind: str, name: str, frame: bytes, means: Any) -> dict[str, Any]:
    return {"kind": kind, "name": name, "hex": frame.hex(), "means": means}


def vectors() -> list[dict[str, Any]]:
    """Every vector, in the order of the file."""
    found = [entry("data", name, pair.frame, plain(pair.value)) for name, pair in DATA.items()]
    found.append(entry("ready", "ready", wire.ready_frame(READY), plain(READY)))
    again = entry("ready", "ready, again", wire.ready_frame(READY_AGAIN), plain(READY_AGAIN))
    found.append(again)
    later = {
        "with a start": READY_STARTED,
        "with a base": READY_BASED,
        "part 2 of 3": READY_PARTS,
        "forget": READY_FORGET,
        "of an account": READY_ACCOUNT,
    }
    for name, ready in later.items():
        found.append(entry("ready", f"ready, {name}", wire.ready_frame(ready), plain(ready)))
    found.append(entry("token", "token", TOKEN, {"receiver": TWO.hex(), "epoch": 3}))
    for key in ("prices", "orders.*", "orders.**", "**"):
        means = {"key": key, "topics": [topic.hex() for topic in wire.topics(key)]}
        found.append(entry("subscription", key, wire.topics(key)[0], means))
    found += [entry("reply", n, reply_frame(r), plain(r._asdict())) for n, r in REPLIES.items()]
    found += [entry("jobs", n, pair.frame, plain(pair.value)) for n, pair in WORK.items()]
    for name, progress in REPORTS.items():
        frame = progress_frame(TWO, 3, ONE, progress)
        found.append(entry("progress", name, frame, plain(whole_progress(TWO, ONE, progress))))
    found += [entry("control", n, control_frame(m), plain(m)) for n, m in CONTROL.items()]
    found += [entry("value", name, encode(value), meaning(value)) for name, value in VALUES.items()]
    found += [parts_entry(name, parts) for name, parts in PARTS.items()]
    return found


def whole_progress(receiver: bytes, origin: bytes, progress: Progress) -> dict[str, Any]:
    """A progress report with the nodes that it goes to and comes from."""
    return {"receiver": receiver, "origin": origin, **progress._asdict()}


READERS: dict[str, Callable[[bytes], Any]] = {
    "data": wire.read_data,
    "ready": wire.read_ready,
    "control": read_control,
    "reply": lambda frame: read_reply(frame)._asdict(),
    "jobs": read_jobs,
    "progress": lambda frame: whole_progress(*read_progress(frame)),
    "value": decode,
}


def main() -> None:
    lines = ",\n".join(f"  {json.dumps(vector, ensure_ascii=False)}" for vector in vectors())
    PATH.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
