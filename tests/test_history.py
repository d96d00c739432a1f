"""The ring: what is held stays, what is not goes, and the sums are right at every step."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from zexchange.history import FRAME_OVERHEAD, HELD_MOST, UNDER_WAY, Bulk, Frame, Retained, Ring

PEERS = [b"a", b"b", b"c"]
NAMES = ["x", "y"]

steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("append"),
            st.sampled_from(NAMES),
            st.integers(1, 5),
            st.integers(0, 400),
            st.sets(st.sampled_from(PEERS)),
        ),
        st.tuples(
            st.just("ack"), st.sampled_from(NAMES), st.sampled_from(PEERS), st.integers(0, 60)
        ),
        st.tuples(st.just("release"), st.sampled_from(PEERS), st.sampled_from([*NAMES, None])),
        st.tuples(
            st.just("hold"), st.sampled_from(NAMES), st.sampled_from(PEERS), st.integers(0, 60)
        ),
    ),
    max_size=60,
)


@given(steps, st.integers(1000, 4000), st.integers(5, 30))
def test_the_ring_against_a_plain_list(steps: list, most_bytes: int, most_messages: int) -> None:
    """Held frames are never evicted; others go, oldest first, only when there is too much."""
    ring = Ring(most_bytes, most_messages, window=1000)
    model: deque[Frame] = deque()
    heads = dict.fromkeys(NAMES, 0)
    for step in steps:
        match step:
            case ("append", name, count, size, waiting):
                first, heads[name] = heads[name] + 1, heads[name] + count
                frame = Frame(name, first, heads[name], bytes(size), waiting)
                model.append(frame)
                ring.append(frame)
            case ("ack", name, peer, position):
                ring.acknowledge(peer, name, position)
                kept = [f for f in model if f.name == name and f.last <= position]
                assert not any(peer in frame.waiting for frame in kept)
            case ("release", peer, name):
                ring.release(peer, name)
                assert not any(
                    peer in frame.waiting for frame in model if name in (None, frame.name)
                )
            case ("hold", name, peer, position):
                ring.hold(peer, name, position)
                later = [f for f in model if f.name == name and f.last > position]
                assert all(peer in frame.waiting for frame in later)
        while _too_much(model, most_bytes, most_messages) and not model[0].waiting:
            model.popleft()
        assert list(ring._order) == list(model)
        assert ring.bytes == sum(frame.size for frame in model)
        assert ring.messages == sum(f.last - f.first + 1 for f in model)
        assert ring.held_bytes == sum(frame.size for held in ring._held.values() for frame in held)
        assert ring.held_frames == sum(map(len, ring._held.values()))
        for name in NAMES:
            own = [frame for frame in model if frame.name == name]
            held = [frame for frame in own if frame.waiting]
            assert (name in ring.held()) == bool(held)
            if held:
                assert held[-1].last <= ring.held()[name] <= heads[name]
            found = ring.replay(name, 1, heads[name], 10**9)
            assert found == own


def _too_much(frames: deque[Frame], most_bytes: int, most_messages: int) -> bool:
    messages = sum(f.last - f.first + 1 for f in frames)
    return bool(frames) and (sum(f.size for f in frames) > most_bytes or messages > most_messages)


def test_replay_is_bounded_and_starts_where_asked() -> None:
    """A request gets the frames of its range, the first at any size, the rest up to a bound."""
    ring = Ring(1 << 20, 1000, 1 << 19)
    frames = [Frame("x", n, n + 1, bytes(100), ()) for n in range(1, 21, 2)]
    for frame in frames:
        ring.append(frame)
    assert ring.replay("x", 4, 9, 10**6) == frames[1:5]
    assert ring.replay("x", 1, 20, 1) == frames[:1]
    assert ring.replay("x", 1, 20, 2 * (100 + FRAME_OVERHEAD)) == frames[:2]
    assert ring.replay("x", 21, 30, 10**6) == []
    assert ring.replay("y", 1, 30, 10**6) == []


def test_behind_tells_what_is_kept_after_a_number() -> None:
    """`behind` counts bytes that somebody still lacks, and says None if some are gone."""
    ring = Ring(3 * (100 + FRAME_OVERHEAD), 1000, 1 << 19)
    for n in range(1, 6):
        ring.append(Frame("x", n, n, bytes(100), ()))
    assert ring.behind("x", 5) == 0
    assert ring.behind("x", 3) == 2 * (100 + FRAME_OVERHEAD)
    assert ring.behind("x", 1) is None
    assert ring.behind("never", 0) == 0


def test_the_window_is_full_by_many_small_frames() -> None:
    """However few bytes they are: each may lie in a pipe that drops what is too many."""
    ring = Ring(1 << 30, 1_000_000, window=1 << 29)
    full = [ring.append(Frame("x", n, n, b"", [b"a"])) for n in range(1, HELD_MOST + 2)]
    assert full == [False] * (HELD_MOST - 1) + [True] * 2
    assert ring.full
    ring.acknowledge(b"a", "x", 2)
    assert not ring.full


def test_one_exchange_for_each_that_holds() -> None:
    """By few exchanges all can be asked, however many there are."""
    ring = Ring(1 << 20, 1000, window=500)
    for n in range(50):
        ring.append(Frame(f"x.{n}", 1, 1, b"", [b"a"]))
    ring.append(Frame("y", 1, 1, b"", [b"b"]))
    ring.append(Frame("z", 1, 1, b""))
    assert sorted(name[0] for name in ring.holders().values()) == ["x", "y"]
    ring.release(b"a")
    assert ring.holders() == {b"b": "y"}


def test_the_window_is_full_by_what_is_held() -> None:
    """Only frames that somebody waits for fill the window, and some, however large they are."""
    ring = Ring(1 << 20, 1000, window=500)
    ring.append(Frame("x", 1, 1, bytes(1000), ()))
    assert not ring.full
    for n in range(2, 2 + UNDER_WAY):
        assert not ring.full
        ring.append(Frame("x", n, n, bytes(1000), [b"a"]))
    assert ring.full
    assert ring.holders() == {b"a": "x"}
    ring.acknowledge(b"a", "x", 2)
    assert not ring.full
    ring.acknowledge(b"a", "x", 1 + UNDER_WAY)
    assert ring.holders() == {}


def test_frames_under_way_stay_within_the_ring() -> None:
    """Frames so large that few of them fill the ring leave no room for another."""
    ring = Ring(6000, 1000, window=3000)
    ring.append(Frame("x", 1, 1, bytes(4000), [b"a"]))
    assert not ring.full
    ring.append(Frame("x", 2, 2, bytes(4000), [b"a"]))
    assert ring.full


def test_buffers_count_like_any_bytes() -> None:
    """A frame with buffers is as large as all of it, and keeps the very objects."""
    large = bytes(1000)
    ring = Ring(1 << 20, 1000, window=1 << 19)
    frame = Frame("x", 1, 1, b"head", [b"a"], (large, memoryview(large)))
    ring.append(frame)
    assert frame.size == ring.bytes == ring.held_bytes == 2004 + FRAME_OVERHEAD
    assert len(Bulk(b"head", frame.buffers)) + FRAME_OVERHEAD == frame.size
    assert ring.replay("x", 1, 1, 1)[0].buffers[0] is large


def test_runs_end_behind_a_message_with_buffers() -> None:
    """Kept messages of one moment share a run, but only the last of it has buffers."""
    bulk = Bulk(b"x", (bytes(10),))
    kept = Retained(10)
    kept.keep(1, 0.5, [b"a", bulk, b"b", b"c", bulk, bulk])
    runs = [run.bodies for run in kept.runs(1, 6, 1 << 20)]
    assert runs == [[b"a", bulk], [b"b", b"c", bulk], [bulk]]
