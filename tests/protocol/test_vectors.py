"""docs/vectors.json: what other implementations check themselves against holds here too."""

import json
import re
from typing import Any

import pytest

pytest.importorskip("numpy")

import make_vectors as made
import numpy as np
from both import decode_batch

from zexchange.history import Bulk
from zexchange.protocol.codec import extensions
from zexchange.protocol.codec.attachments import decode_frame
from zexchange.protocol.codec.values import decode, encode
from zexchange.protocol.wire import data as wire
from zexchange.protocol.wire.control import control_frame

VECTORS: list[dict[str, Any]] = json.loads(made.PATH.read_text())


def of_kind(kind: str) -> list[Any]:
    found = [vector for vector in VECTORS if vector["kind"] == kind]
    return [pytest.param(vector, id=vector["name"]) for vector in found]


FRAMES = "data", "ready", "reply", "jobs", "progress", "control"
VECTORS_READ = [p for kind in FRAMES for p in of_kind(kind)]


def test_the_file_is_complete() -> None:
    """The file holds what the script writes, and nothing else."""
    assert json.loads(json.dumps(made.vectors())) == VECTORS


def test_every_extension_type_has_a_vector() -> None:
    """Each code of the extension table occurs among the values; the last one in frames."""
    named = {int(code) for v in VECTORS for code in re.findall(r"\((\d+)\)", v["name"])}
    assert named == set(range(extensions.REGISTERED, extensions.SCALAR + 1))


@pytest.mark.parametrize("vector", VECTORS_READ)
def test_frames_are_read(vector: dict[str, Any]) -> None:
    """A frame is read as what the file says it means."""
    value = made.READERS[vector["kind"]](bytes.fromhex(vector["hex"]))
    assert made.plain(value) == vector["means"]


@pytest.mark.parametrize("vector", of_kind("parts"))
def test_messages_in_several_frames_are_read(vector: dict[str, Any]) -> None:
    """The first frame says how many follow, and its values stand for what is in them."""
    head, parts = bytes.fromhex(vector["hex"]), made.PARTS[vector["name"]]
    runs = [[bytes.fromhex(text) * times for text, times in each] for each in vector["attached"]]
    frame = Bulk(head, tuple(memoryview(b"".join(each)) for each in runs))
    assert (head, *frame.buffers) == (parts.head, *parts.attached)
    batch = wire.read_data(head)
    assert batch.flags == wire.ATTACHED
    assert wire.arrived_whole(batch, frame)
    read = decode_frame(frame, batch.body, batch.count)
    assert encode(read) == encode(parts.values)


@pytest.mark.parametrize("vector", of_kind("control"))
def test_control_frames_are_written(vector: dict[str, Any]) -> None:
    """A control message is written as the bytes in the file."""
    assert control_frame(made.CONTROL[vector["name"]]).hex() == vector["hex"]


@pytest.mark.parametrize("vector", of_kind("value"))
def test_values_go_both_ways(vector: dict[str, Any]) -> None:
    """A value is written as the bytes in the file, and read back with its type."""
    body, value = bytes.fromhex(vector["hex"]), made.VALUES[vector["name"]]
    assert encode(value) == body
    for read in (decode(body), *decode_batch(body, 1)):
        assert type(read) is type(value)
        assert np.array_equal(read, value) if isinstance(value, np.ndarray) else read == value


def test_the_token_is_the_topic_of_the_ready() -> None:
    """The ready frame starts with the token that it answers."""
    (token,), (ready, *_) = of_kind("token"), of_kind("ready")
    frame = bytes.fromhex(token.values[0]["hex"])
    assert bytes.fromhex(ready.values[0]["hex"]).startswith(frame)
    assert wire.read_token(frame) == (made.TWO, 3)
