"""Large messages over real sockets: as they were sent, not copied, and not lost."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import zmq

from tests.net.conftest import Joiner, collect, publish
from tests.net.test_hostile import still_good
from tests.net.test_tcp import behind
from tests.relay import Relay
from tests.support import eventually, tcp
from zexchange import EncodeError, Node, Registry
from zexchange.history import Frame
from zexchange.protocol.codec.values import encode
from zexchange.protocol.wire.data import data_head, topic

np = pytest.importorskip("numpy")

pytestmark = pytest.mark.sockets

MIB = 1 << 20


class Task:
    def __init__(self) -> None:
        self.got: list[Any] = []

    def send(self, msg: Any) -> None:
        self.got.append(msg)


def frames_of(node: Node, name: str) -> list[Frame]:
    assert node._engine is not None
    return node._engine.outbound.window._ring.replay(name, 1, 1 << 62, 1 << 62)


def rejected(node: Node) -> int:
    return sum(node.stats().rejected.values())


def kinds() -> list[Any]:
    """Arrays of many kinds, each over the limit."""
    base = np.arange(300_000, dtype=">i4").reshape(300, 1000)
    frozen = np.ones((2, 50_000), np.complex128)
    frozen.flags.writeable = False
    return [
        base,
        np.asfortranarray(base),
        base.T,
        base[::2, ::-1],
        frozen,
        np.zeros(20_000, [("a", "<f4"), ("b", "U3")]),
        np.arange(100_000).astype("M8[s]"),
        np.array("x" * 100_000),
        np.zeros((0, 5)),
        np.ones(100_000, bool),
        np.ones(20_000, np.longdouble),
    ]


def test_large_messages_arrive_as_they_were(join: Joiner) -> None:
    """Bytes and arrays of any kind, anywhere in a message; writable if they were."""
    node, here = join()
    _, there = join()
    there.get("x").attach(task := Task())
    node.wait_subscribers("x", 1)
    sent: list[Any] = [bytes(range(256)) * 4096, {"a": (1, [bytes(MIB), "b"])}, "small", *kinds()]
    for msg in sent:
        here.get("x").send(msg)
    here.get("x").send([sent[0], (sent[3], {"k": sent[4]})])
    node.flush()
    assert task.got[:3] == sent[:3]
    assert task.got[-1][0] == sent[0]
    arrays = [*task.got[3:-1], task.got[-1][1][0], task.got[-1][1][1]["k"]]
    for got, array in zip(arrays, [*sent[3:], sent[3], sent[4]], strict=True):
        assert (got.dtype.str, got.shape) == (array.dtype.str, array.shape)
        assert got.tobytes("A") == array.tobytes("A")
        assert got.flags.f_contiguous == array.flags.f_contiguous or not array.flags.forc
        assert got.flags.writeable == array.flags.writeable
        assert got.flags.aligned


def test_what_changes_right_after_send_arrives_as_it_was(join: Joiner) -> None:
    """A bytearray, a view of it, an array: copied inside `send`, and what is kept as well."""
    node, here = join()
    _, there = join()
    there.get("x").attach(task := Task())
    node.wait_subscribers("x", 1)
    for n in range(1, 6):
        raw, array = bytearray(b"%d" % n) * MIB, np.full(MIB // 8, n)
        here.get("x").send([raw, memoryview(raw), array])
        raw[:] = bytes(MIB)
        array[:] = 0
    node.flush()
    for n, (raw, view, array) in enumerate(task.got, 1):
        assert raw == view == b"%d" % n * MIB
        assert (array == n).all()


def test_the_sender_does_not_copy_bytes(join: Joiner) -> None:
    """The ring holds the very object, once however many receive it; so does a local task."""
    node, here = join()
    for _ in range(2):
        collect(join()[1], "x")
    local = collect(here, "x")
    node.wait_subscribers("x", 2)
    msg = bytes(range(256)) * 4096
    for _ in range(3):
        here.get("x").send({"m": msg})
    node.flush()
    assert all(item["m"] is msg for item in local)  # type: ignore[index]
    frames = frames_of(node, "x")
    assert [frame.buffers[0] is msg for frame in frames] == [True] * 3
    assert all(len(frame.data) < 200 for frame in frames)


def test_small_and_large_keep_their_order(join: Joiner) -> None:
    """Also where they travel together: a message with frames of its own ends a batch."""
    node, here = join()
    _, there = join()
    got = collect(there, "x")
    node.wait_subscribers("x", 1)
    sent = [n if n % 7 else bytes([n % 256]) * 70_000 for n in range(500)]
    for msg in sent:
        here.get("x").send(msg)
    node.flush()
    assert got == sent


def test_what_a_cut_loses_is_sent_again_as_it_was(
    relays: tuple[Relay, Relay], join: Joiner
) -> None:
    """A replay carries all frames of a message, with what was in them when it was sent."""
    node, here = behind(join, relays, stall=30)
    other, there = join(peers=[tcp(relays[0].port)], local=False)
    there.get("x").attach(task := Task())
    node.wait_subscribers("x", 1)
    array = np.zeros(MIB // 8)
    for n in range(30):
        array[:] = n
        here.get("x").send((n, array, bytes([n]) * MIB))
        if n % 10 == 5:
            relays[1].cut()
    node.flush(30)
    assert [n for n, _, _ in task.got] == list(range(30))
    for n, arrived, raw in task.got:
        assert (arrived == n).all()
        assert arrived.flags.writeable
        assert raw == bytes([n]) * MIB
    tally = other.stats().received["x", node.id]
    assert tally.lost == 0
    assert tally.recovered > 0


def test_a_late_joiner_gets_large_messages(join: Joiner) -> None:
    """From those that were sent before the node was there, and since: the originals."""
    early = Registry()
    early.retain("x", 4)
    early.get("x").send(np.full(MIB // 8, 1))
    node, here = join(registry=early)
    array = np.full(MIB // 8, 2)
    here.get("x").send(array)
    array[:] = 0
    for msg in ("small", bytes(MIB)):
        here.get("x").send(msg)
    _, there = join()
    there.get("x").attach(task := Task(), history=4)
    eventually(lambda: len(task.got) == 4)
    assert (task.got[0] == 1).all()
    assert (task.got[1] == 2).all()
    assert task.got[2:] == ["small", bytes(MIB)]
    assert rejected(node) == 0


def test_arrays_of_objects_are_refused(join: Joiner) -> None:
    """With the exchange and the path, also beside a large part."""
    node, here = join()
    collect(join()[1], "x")
    node.wait_subscribers("x", 1)
    with pytest.raises(EncodeError, match=r"exchange 'x': msg\[1\]\[0\]: cannot encode NumPy"):
        here.get("x").send([bytes(MIB), (np.full(100_000, None),)])


def test_a_few_large_messages_are_under_way_at_once(join: Joiner) -> None:
    """One that fills the window alone does not have to be acknowledged before the next."""
    node, here = join(stall=60, replay_bytes=32 << 20)
    _, there = join()
    release: list[bool] = []

    @there.get("x").handler
    def slow(msg: bytes) -> None:
        eventually(lambda: release)

    node.wait_subscribers("x", 1)
    assert node._engine is not None
    window = node._engine.outbound.window
    for _ in range(2):
        here.get("x").send(bytes(9 << 20))
        assert not window.full
    assert window.filled()[0] > window.filled()[1]
    release.append(True)
    for _ in range(5):
        here.get("x").send(bytes(9 << 20))
    node.flush(30)
    assert window.filled()[2] <= 32 << 20


def parts(origin: bytes, first: int, attached: int, *buffers: bytes) -> list[bytes]:
    stands = [b"\xd7\x0f" + i.to_bytes(4, "big") + (4).to_bytes(4, "big") for i in range(attached)]
    head = data_head(topic("x"), origin, first, 1, 0.0, attached)
    return [head + bytes([0x90 + attached]) + b"".join(stands), *buffers]


Damage = Callable[[bytes], list[bytes]]


@pytest.mark.parametrize(
    "damage",
    [
        lambda me: parts(me, 1, 2, b"1234"),
        lambda me: parts(me, 1, 1, b"1234", b"5678"),
        lambda me: parts(me, 1, 1),
        lambda me: parts(me, 1, 1, b"12345"),
        lambda me: parts(me, 1, 1, *[b"1234"] * 3000),
        lambda me: [b"\x01x\0", b"1234"],
        lambda me: [b"\x01x\0" + b"\x2b\x01" + me + bytes(25), b"1234"],
    ],
)
def test_frames_that_do_not_fit_are_counted(join: Joiner, damage: Damage) -> None:
    """Too many, too few, of another length, not announced: rejected, and the next is read."""
    node, here = join()
    other, there = join()
    got = collect(here, "x")
    other.wait_subscribers("x", 1)
    publish(other, lambda me: [damage(me)])
    eventually(lambda: rejected(node))
    assert rejected(node) == 1
    there.get("x").send(bytes(MIB))
    if got == []:  # number 1 was used up by what was malformed
        there.get("x").send(bytes(MIB))
    other.flush()
    assert got[-1] == bytes(MIB)
    still_good(other, there, got)


def test_a_message_that_was_broken_off_is_dropped(join: Joiner) -> None:
    """An empty last frame says so; the message itself comes again, and no word is lost on it."""
    node, here = join()
    other, there = join()
    got = collect(here, "x")
    other.wait_subscribers("x", 1)
    publish(other, lambda me: [parts(me, 1, 2, b""), parts(me, 1, 2, b"1234", b"")])
    there.get("x").send(bytes(MIB))
    other.flush()
    assert got == [bytes(MIB)]
    assert rejected(node) == 0


def test_parts_at_the_control_endpoint_are_rejected(join: Joiner) -> None:
    """A control message has one frame."""
    node, here = join(listen="tcp://127.0.0.1:0")
    endpoint = next(e for e in node.endpoints if e.startswith("tcp"))
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.connect(endpoint)
        stranger.send_multipart([b"\x02" + encode(["ping"]), b"more"])
        eventually(lambda: rejected(node))
    assert here.get("x").name == "x"


def test_small_messages_have_one_frame(join: Joiner) -> None:
    """What is below the limit goes as ever."""
    node, here = join()
    collect(join()[1], "x")
    node.wait_subscribers("x", 1)
    here.get("x").send({"a": bytes(60_000), "b": np.ones(10)})
    node.flush()
    (frame,) = frames_of(node, "x")
    assert frame.buffers == ()
    assert sys.getsizeof(frame.data) > 60_000
