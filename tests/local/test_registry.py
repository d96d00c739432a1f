"""Names to exchanges, views over them, observers and interest."""

import copy
import gc
import pickle
import random
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import eventually
from zexchange.errors import InvalidName
from zexchange.local import Registry, default_registry, get_exchange, match, retain, to_call
from zexchange.names import matches


class Task:
    def __init__(self):
        self.got = []

    def send(self, msg):
        self.got.append(msg)


class Watch:
    """An observer that lists what it hears."""

    def __init__(self):
        self.heard = []

    def exchange_added(self, exchange):
        self.heard.append(("exchange", exchange.name))

    def check_interest(self, keys, patterns, size):
        pass

    def interest_changed(self, key, wanted):
        self.heard.append(("+" if wanted else "-", key))

    def revive(self):
        self.heard.append(("revive",))


@pytest.fixture
def registry():
    return Registry()


def test_the_same_name_is_the_same_object(registry):
    """So is the same pattern; the default registry is behind the functions."""
    assert registry.get("a") is registry.get("a")
    assert registry.match("a.*") is registry.match("a.*")
    assert registry.find("b") is None
    assert registry.find("a") is registry.get("a")
    assert get_exchange("test.registry") is default_registry.get("test.registry")
    assert match("test.registry.*") is default_registry.match("test.registry.*")


def test_threads_asking_together_get_one_exchange(registry):
    """Eight threads that ask for one new name at once get the very same object."""
    for n in range(50):
        barrier, found = threading.Barrier(8), []

        def ask(name=str(n), barrier=barrier, found=found):
            barrier.wait(10)
            found.append(registry.get(name))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(found) == 8
        assert len(set(map(id, found))) == 1


@pytest.mark.parametrize("name", ["", "a.*", "**", "a\0b", "x" * 256, 1, ["a"], None])
def test_what_is_no_name_is_refused(registry, name):
    """InvalidName is also a ValueError; a pattern is pointed to `match`."""
    with pytest.raises(ValueError, match="match" if name in ("a.*", "**") else "name") as caught:
        registry.get(name)
    assert isinstance(caught.value, InvalidName)


def test_an_observer_has_a_new_exchange_before_anybody(registry):
    """A bridge attached in `exchange_added` gets the very first message."""
    bridge = Task()

    class Bridging(Watch):
        def exchange_added(self, exchange):
            exchange._attach_bridge(bridge)
            assert registry.get(exchange.name) is exchange

    registry._observe(Bridging())
    registry.get("a").send(1)
    assert bridge.got == [1]


def test_interest_comes_with_the_first_task_and_goes_with_the_last(registry):
    """Bridges and exchanges are no interest; a name watched twice is one interest."""
    a, task, watch = registry.get("a"), Task(), Watch()
    registry.match("b.*").attach(task)
    assert registry._observe(watch) == {"b.*"}
    a._attach_bridge(Task())
    a.attach(registry.get("y"))
    assert watch.heard == [("exchange", "y")]
    del watch.heard[:]
    a.attach(task)
    a.attach(task)
    registry.match("a").attach(task)
    a.detach(task)
    a.detach(task)
    assert watch.heard == [("+", "a")]
    registry.match("a").detach(task)
    registry.match("b.*").detach(task)
    assert watch.heard == [("+", "a"), ("-", "a"), ("-", "b.*")]
    registry._unobserve(watch)
    a.attach(task)
    assert watch.heard[3:] == []


def test_a_failing_observer_harms_nobody(registry, caplog):
    """It is logged, and the exchange is made."""

    class Broken(Watch):
        def exchange_added(self, exchange):
            raise OSError

    watch = Watch()
    registry._observe(Broken())
    registry._observe(watch)
    registry.get("a").send(1)
    assert watch.heard == [("exchange", "a")]
    eventually(lambda: "observer" in caplog.text)


# Views.


def test_a_view_covers_exchanges_made_later(registry):
    """Its tasks get what each matching exchange sends; `names=True` adds the name."""
    plain, named = Task(), Task()
    registry.get("a.x").send(0)
    view = registry.match("a.*")
    with view.subscribe(plain), view.subscribe(named, names=True):
        registry.get("a.x").send(1)
        registry.get("a.y").send(2)
        registry.get("b.y").send(3)
        registry.get("a.y")._deliver([4], "o", 1, 0.0)
        assert len(view) == 2
        assert view.subscribers == (plain, named)
    registry.get("a.x").send(5)
    assert plain.got == [1, 2, 4]
    assert named.got == [("a.x", 1), ("a.y", 2), ("a.y", 4)]


def test_a_task_attached_in_several_ways_gets_each_message_once(registry):
    """By name and by two patterns it counts once, with names it is another subscription."""
    task, exchange = Task(), registry.get("a.x")
    exchange.attach(task)
    registry.match("a.*").attach(task)
    registry.match("**").attach(task)
    exchange.send(1)
    exchange._deliver([2], "o", 1, 0.0)
    exchange.detach(task)
    registry.match("**").detach(task)
    exchange.send(3)
    assert task.got == [1, 2, 3]
    registry.match("a.*").attach(task, names=True)
    exchange.send(4)
    assert task.got[3:] == [4, ("a.x", 4)]


def test_a_failing_task_of_a_view_is_named(registry):
    """The note names the task itself and the exchange, also with names=True."""

    class Failing:
        def send(self, msg):
            raise ValueError("mine")

        def __repr__(self):
            return "<failing>"

    registry.match("*").attach(Failing(), names=True)
    with pytest.raises(ValueError, match="mine") as caught:
        registry.get("a").send(1)
    assert caught.value.__notes__ == ["raised by task <failing> of exchange 'a'"]


def test_a_generator_that_finishes_leaves_its_view(registry):
    """A view detaches an ended task as an exchange does, and its interest goes."""

    def one():
        yield

    generator, view, watch = one(), registry.match("*"), Watch()
    next(generator)
    registry._observe(watch)
    view.attach(generator)
    registry.get("a").send(1)
    assert len(view) == 0
    assert watch.heard == [("+", "*"), ("exchange", "a"), ("-", "*")]


def test_a_name_made_while_a_view_is_attached_is_covered(registry):
    """However creation and attach interleave, what is sent after both is received."""
    for n in range(100):
        task, barrier = Task(), threading.Barrier(2)

        def create(name=f"r{n}.x", barrier=barrier):
            barrier.wait(10)
            registry.get(name).send("early")

        thread = threading.Thread(target=create)
        thread.start()
        barrier.wait(10)
        registry.match(f"r{n}.*").attach(task)
        thread.join(10)
        registry.get(f"r{n}.x").send("late")
        assert task.got[-1] == "late"


SEGMENTS = st.sampled_from(["a", "b", "*"])


@given(
    st.lists(st.lists(SEGMENTS, min_size=1, max_size=3).map(".".join), max_size=4),
    st.lists(st.sampled_from(["a", "b", "a.a", "a.b", "a.b.a"]), max_size=6),
)
def test_views_and_exchanges_agree_with_matching_in_any_order(patterns, names):
    """A task on several views gets exactly the messages of names that any of them matches."""
    registry, task = Registry(), Task()
    for i, name in enumerate(names):
        registry.get(name)
        for pattern in patterns[i : i + 1]:
            registry.match(pattern).attach(task)
        registry.get(name).send(i)
    attached = [patterns[: i + 1] for i in range(len(names))]
    assert task.got == [
        i for i, name in enumerate(names) if any(matches(p, name) for p in attached[i])
    ]


# Retention.


def test_a_late_joiner_gets_the_last_messages_then_the_live_ones(registry):
    """Up to N of what was kept, in order; the largest matching number is what is kept."""
    registry.get("c.x").send("too early")
    registry.retain("c.**", 2)
    registry.retain("c.x", 3)
    exchange, task, few = registry.get("c.x"), Task(), Task()
    for n in range(5):
        exchange.send(n)
    exchange.attach(task, history=9)
    exchange.attach(few, history=1)
    exchange.attach(none := Task())
    exchange.send(5)
    assert task.got == [2, 3, 4, 5]
    assert few.got == [4, 5]
    assert none.got == [5]
    assert exchange.stats().retained == 3
    registry.retain("c.x", 0)
    registry.retain("c.**", 0)
    exchange.send(6)
    exchange.attach(after := Task(), history=9)
    assert after.got == []
    assert task.got[-1] == 6
    with pytest.raises(ValueError, match="number"):
        registry.retain("c.**", -1)


def test_a_view_gives_history_of_every_exchange_once(registry):
    """Names and details have theirs too; a task that gets the messages anyway gets no history."""
    registry.retain("**", 2)
    task, known = Task(), Task()
    registry.get("a").attach(known)
    for name in "ab":
        registry.get(name).send(name)
    view = registry.match("*")
    view.attach(task, names=True, history=5)
    view.attach(known, history=5)
    with view.stream(details=True, history=5) as stream:
        registry.get("c").send("c")
        assert [(d.name, d.msg) for d in (stream.get(1) for _ in range(3))] == [
            (x, x) for x in "abc"
        ]
    assert task.got == [("a", "a"), ("b", "b"), ("c", "c")]
    assert known.got == ["a", "b", "c"]


def test_history_has_no_seam_against_concurrent_sends(registry):
    """Joiners in the middle of four senders get, of each, an unbroken row up to its end."""
    registry.retain("**", 50)
    exchange, per_thread = registry.get("x"), 400

    def send(who):
        for n in range(per_thread):
            exchange.send((who, n))

    threads = [threading.Thread(target=send, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    joiners = []
    while any(thread.is_alive() for thread in threads):
        joiners.append(Task())
        (exchange if len(joiners) % 2 else registry.match("*")).attach(joiners[-1], history=20)
    for thread in threads:
        thread.join(10)
    for joiner in joiners:
        for who in range(4):
            got = [n for sender, n in joiner.got if sender == who]
            assert got == list(range(per_thread))[per_thread - len(got) :]


def test_what_is_sent_during_the_history_comes_after_it(registry):
    """A message from another thread in the middle of a replay is parked, and not lost."""
    registry.retain("x", 5)
    exchange, got = registry.get("x"), []

    class Slow:
        def send(self, msg):
            got.append(msg)
            if msg == 0:
                thread = threading.Thread(target=exchange.send, args=(3,))
                thread.start()
                thread.join(10)

    for n in range(3):
        exchange.send(n)
    exchange.attach(Slow(), history=3)
    exchange.send(4)
    assert got == [0, 1, 2, 3, 4]


def test_a_task_that_fails_on_history_is_logged_and_stays(registry, caplog):
    """History has no sender to raise to."""
    registry.retain("x", 2)
    exchange, got = registry.get("x"), []
    exchange.send(0)
    exchange.attach(to_call(lambda msg: got.append(1 / msg)), history=1)
    exchange.send(1)
    assert got == [1]
    assert exchange.stats().errors == 1
    assert "'x'" in caplog.text


def test_a_task_detached_in_the_middle_of_its_history_gets_no_more(registry):
    """Its first message may be enough for it."""
    registry.retain("x", 5)
    exchange, got = registry.get("x"), []

    class Once:
        def send(self, msg):
            got.append(msg)
            exchange.detach(self)

    for n in range(3):
        exchange.send(n)
    exchange.attach(Once(), history=3)
    exchange.send(3)
    assert got == [0]


def test_retained_exchanges_isolate_errors_too(registry):
    """One failing task of a retained exchange robs nobody, and its sender gets the error."""
    registry.retain("x", 5)
    exchange = registry.get("x")
    exchange.attach(to_call(lambda msg: 1 / msg))
    with exchange.record() as got, pytest.raises(ZeroDivisionError):
        exchange.send(0)
    assert got == [0]


def test_retain_is_that_of_the_default_registry():
    """What `get_exchange` gives keeps its last messages, and 0 takes that back."""
    exchange = get_exchange("test_retain.x")
    retain("test_retain.*", 1)
    try:
        exchange.send(1)
        with exchange.stream(history=1) as stream:
            assert stream.get(0) == 1
    finally:
        retain("test_retain.*", 0)
    assert exchange.stats().retained == 0


@pytest.fixture
def few(monkeypatch, registry):
    """A registry that holds three exchanges strongly, as others hold thousands."""
    monkeypatch.setattr("zexchange.local.registry.AWAKE", 3)
    return registry


def held(registry):
    return {exchange.name for exchange in registry.exchanges()}


def test_exchanges_that_nobody_refers_to_go_where_there_are_many(few):
    """At once, without the collector: what is made for one message each stays small."""
    gc.disable()
    try:
        for n in range(100):
            few.get(f"reply.{n}").send(n)
        for n in range(100, 200):  # as where messages arrive
            few.get(f"reply.{n}")._deliver([n], "o", 1, 0.0)
        for n in range(200, 300):
            few.get(f"reply.{n}")
    finally:
        gc.enable()
    assert held(few) == {"reply.297", "reply.298", "reply.299"}
    assert few.find("reply.0") is None
    assert not few._has("reply.0")


def test_an_exchange_that_rests_stays_the_same_object(few):
    """As long as anybody refers to it; what is attached to it then holds it again."""
    kept, task = few.get("kept"), Task()
    for n in range(100):
        few.get(str(n))
    assert few.find("kept") is kept
    assert few.get("kept") is kept
    for n in range(100):
        few.get(str(n))
    kept.attach(task)
    del kept
    for n in range(100):
        few.get(str(n))
    few.get("kept").send(1)
    assert task.got == [1]


def test_a_view_is_told_of_by_exchanges_that_rest(few):
    """What is attached to a view, and what is kept from now on, counts for them, too."""
    one, other, task = few.get("a.one"), few.get("a.other"), Task()
    for exchange in (one, other):
        exchange.send(0)
    for n in range(100):
        few.get(str(n))
    few.match("a.*").attach(task)
    few.retain("a.other", 1)
    one.send(1)
    other.send(2)
    del one, other
    for n in range(100):
        few.get(str(n))
    assert task.got == [1, 2]
    assert held(few) >= {"a.other"}
    assert "a.one" not in held(few)
    late = Task()
    few.get("a.other").attach(late, history=1)
    assert late.got == [2]


def test_what_is_used_is_held_however_much_there_is(few):
    """Exchanges with tasks, with a type, or that keep messages, do not rest."""
    few.retain("kept", 1)
    few.get("kept").send(1)
    few.get("typed", type=int)
    few.get("heard").attach(Task())
    for n in range(100):
        few.get(str(n))
    assert held(few) >= {"kept", "typed", "heard"}
    assert few.get("typed").type is int


def test_a_pattern_without_retention_is_forgotten(registry):
    """Taken back, it leaves nothing behind."""
    for n in range(10):
        registry.retain(f"a.{n}.*", 3)
        registry.retain(f"a.{n}.*", 0)
    assert not registry._retained


def test_threads_that_make_and_let_go_of_names_get_one_object_each(few):
    """Two threads that refer to one name at the same time refer to the same exchange."""
    held_by, wrong, lock = {}, [], threading.Lock()

    def work(seed):
        chance = random.Random(seed)
        for _ in range(3000):
            name = str(chance.randrange(12))
            exchange = few.get(name)
            with lock:
                held_by.setdefault(name, []).append(exchange)
                if any(other is not exchange for other in held_by[name]):
                    wrong.append(name)
            exchange.send(1)
            with lock:
                held_by[name].remove(exchange)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def calls_of_a_first_send(patterns):
    """Return how many Python functions the first send on a new name calls."""
    registry, calls, got = Registry(), [], Task()
    for n in range(patterns):
        registry.match(f"room.{n}.*.log.**").attach(got)
    exchange = registry.get("room.7.door.log.new")
    sys.setprofile(lambda frame, event, arg: calls.append(event))
    try:
        exchange.send(1)
    finally:
        sys.setprofile(None)
    assert got.got == [1]
    return calls.count("call")


def test_a_new_name_costs_by_the_patterns_that_cover_it():
    """Others cost nothing: five times as many are no cliff."""
    assert calls_of_a_first_send(5000) <= 2 * calls_of_a_first_send(10)


def test_tasks_of_views_are_called_in_the_order_in_which_the_views_were_made():
    """However their patterns are kept."""
    registry, order = Registry(), []
    patterns = ["a.**", "*.b", "**", "a.*", "a.b", "*.**", "a.b.**"]
    for pattern in patterns:
        registry.match(pattern).attach(to_call(lambda msg, pattern=pattern: order.append(pattern)))
    registry.get("a.b").send(1)
    assert order == patterns


class Point:
    """What a codec of the program makes plain."""


class Codec:
    """A codec that is given with the type, and pickled by its place."""

    def encode(self, msg):
        return None

    def decode(self, plain):
        return Point()

    def __eq__(self, other):
        return isinstance(other, Codec)

    __hash__ = None


def test_an_exchange_is_its_name():
    """Copied or unpickled it is the same object, a typed one and a view as well."""
    plain, view = get_exchange("recalled.plain"), match("recalled.*")
    typed = get_exchange("recalled.int", type=int)
    coded = get_exchange("recalled.point", type=Point, codec=Codec())
    for one in (plain, typed, coded, view):
        assert copy.copy(one) is one
        assert copy.deepcopy([one])[0] is one
        assert pickle.loads(pickle.dumps(one)) is one
    made, given_ = typed.__reduce__()
    assert made.keywords == {"type": int, "codec": None}
    assert given_ == ()


def test_what_belongs_to_this_process_is_not_copied():
    """An exchange of a registry of one's own is not pickled; a stream is neither."""
    registry = Registry()
    own = registry.get("own")
    assert copy.deepcopy(own) is own
    for one in (own, registry.match("*")):
        with pytest.raises(TypeError, match="pass its name"):
            pickle.dumps(one)
    with own.stream() as stream:
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="stream"):
                attempt(stream)
