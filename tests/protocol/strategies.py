"""Hypothesis strategies for the values that travel: names, control messages, heads, frames."""

from hypothesis import strategies as st

from zexchange.groups.queue import MOST
from zexchange.names import MAX_NAME_BYTES, is_name
from zexchange.protocol.wire import messages as v
from zexchange.protocol.wire.control import control_frame
from zexchange.protocol.wire.data import BASED, STARTED, data_head, ready_frame, topic

NAMES = ("a", "a.x", "a.y", "a.x.z", "b")
KEYS = (*NAMES, "a.*", "a.**", "**", "*", "a.*.z")

numbers = st.integers(0, 2**64 - 1)
node_ids = st.binary(min_size=16, max_size=16)
receivers = st.just(b"") | node_ids
words = st.text(max_size=20)
public_keys = st.binary(min_size=32, max_size=32)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(
    lambda text: len(text.encode()) <= MAX_NAME_BYTES
)
heads = st.dictionaries(names, numbers, max_size=5)
labels = st.builds(v.Label, words, numbers, words)
addresses = st.lists(st.builds(v.Address, words, words), max_size=3).map(tuple)
some_names = st.lists(names, max_size=4).map(tuple)
# Up to the year 2041 a float of seconds holds microseconds exactly enough to come back.
moments = st.integers(0, 2**51).map(lambda microseconds: microseconds / 1e6)

federations = names.filter(is_name)
counts = st.lists(
    st.builds(v.ExchangeCount, names.filter(is_name), *[numbers] * 6, receivers), max_size=3
).map(tuple)
figures = st.dictionaries(words, numbers, max_size=3)
slow = st.lists(node_ids, max_size=2).map(tuple)
group_members = st.lists(
    st.builds(v.GroupMember, names, names, numbers, st.integers(0, MOST)), max_size=3
).map(tuple)

hellos = st.builds(
    v.Hello,
    sender=node_ids,
    federation=federations,
    label=labels,
    addresses=addresses,
    epoch=numbers,
    interest=some_names,
    versions=st.tuples(numbers, numbers),
    features=st.lists(words, max_size=3).map(tuple),
    started=st.just(0.0) | moments,
    acknowledge=st.tuples(numbers, numbers),
    key=st.just(b"") | public_keys,
    registry=st.just(b"") | node_ids,
    exchanges=some_names,
    responders=st.tuples(numbers, st.lists(federations, max_size=3).map(tuple)),
    members=st.tuples(numbers, group_members),
)
known = st.lists(st.tuples(node_ids, addresses), max_size=3).map(tuple)
ranges = st.dictionaries(words, st.tuples(numbers, numbers), max_size=3)
node_keys = st.dictionaries(node_ids, public_keys, max_size=3).map(lambda d: tuple(d.items()))
welcomes = st.builds(
    lambda hello, peers, keys: v.Welcome(hello.sender, hello, peers, keys), hellos, known, node_keys
)
controls = st.one_of(
    hellos,
    welcomes,
    st.builds(v.Refuse, node_ids, words, words),
    st.builds(v.Interest, node_ids, numbers, numbers, numbers, some_names, some_names, receivers),
    st.builds(v.Ping, node_ids, *[numbers] * 3, receivers, *[numbers] * 3),
    st.builds(v.Members, node_ids, numbers, numbers, group_members, group_members, receivers),
    st.builds(
        v.Pong,
        node_ids,
        st.floats(0, 2e9),
        st.floats(0, 1e6),
        st.none() | st.integers(0, 2**64 - 1),
    ),
    st.builds(v.Resync, node_ids),
    st.builds(v.Stranger, node_ids),
    st.builds(v.Ack, node_ids, heads, receivers),
    st.builds(v.Slow, node_ids, st.booleans(), receivers),
    st.builds(v.Replay, node_ids, words, numbers, numbers, numbers),
    st.builds(v.Replayed, node_ids, words, numbers, numbers, numbers),
    st.builds(v.Recall, node_ids, numbers, words),
    st.builds(v.Recalled, node_ids, numbers, ranges),
    st.builds(v.Count, node_ids, numbers, names.filter(is_name), numbers, numbers, words),
    st.builds(
        v.Counted, node_ids, numbers, numbers, numbers, moments, counts, words, figures, slow
    ),
    st.builds(v.Named, node_ids, numbers, some_names, receivers),
    st.builds(v.Forgot, node_ids, numbers, receivers),
    st.builds(v.Bye, node_ids, heads),
)
promises = st.lists(st.builds(v.Promise, numbers, heads), max_size=3).map(tuple)
parts = st.sampled_from([(1, 1), (1, 2), (2, 2), (7, 256)])
readies = st.builds(
    lambda part, *fields: v.Ready(*fields[:-2], *part, *fields[-2], *fields[-1]),
    parts, node_ids, numbers, node_ids, heads, promises, heads,
    st.just(({}, 0)) | st.tuples(heads, st.integers(1, 2**64 - 1)), st.tuples(heads, numbers),
)  # fmt: skip


@st.composite
def batches(draw: st.DrawFn) -> tuple[v.Batch, bytes]:
    """A data frame's head as a value, and the bytes of the whole frame."""
    name, origin = draw(names), draw(node_ids)
    first, count = draw(st.integers(1, 2**63)), draw(st.integers(0, 2**32 - 1))
    sent_at, body = draw(moments), draw(st.binary(max_size=20))
    start = draw(st.sampled_from([0, 0, 1, 2**62]))
    first += start
    base = draw(st.sampled_from([start, start, 0, start // 2]))
    head = data_head(topic(name), origin, first, count, sent_at, 0, start, base)
    flags = (BASED if base < start else STARTED) if start else 0
    whole = head + body
    return v.Batch(name, origin, first, count, flags, sent_at, len(head), start, base), whole


frames = st.one_of(
    controls.map(control_frame), readies.map(ready_frame), batches().map(lambda pair: pair[1])
)


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """A valid frame with bytes flipped, cut out or repeated."""
    frame = bytearray(draw(frames))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(len(frame) - 1, 0)))
        end = start + draw(st.integers(1, 12))
        match draw(st.sampled_from(["flip", "cut", "repeat", "end"])):
            case "flip" if frame:
                frame[start] ^= draw(st.integers(1, 255))
            case "cut":
                del frame[start:end]
            case "repeat":
                frame[start:start] = frame[start:end]
            case "end":
                del frame[start:]
    return bytes(frame)
