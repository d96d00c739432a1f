"""Arrears: who asked for history is given the newest of all that is kept, then what is live."""

import threading

import pytest

from zexchange import Registry
from zexchange.local.parking import Parking
from zexchange.local.tasks.stream import Delivery


class Observer:
    """Federates nothing; a test says by hand what arrives."""

    def __init__(self):
        self._joiners = []
        self.changed = []

    def exchange_added(self, exchange):
        pass

    def check_interest(self, keys, patterns, size):
        pass

    def interest_changed(self, key, wanted):
        pass

    def revive(self):
        pass

    def retention_changed(self, exchange):
        self.changed.append(exchange.name)

    def history_added(self, key, catch_up):
        self._joiners.append((key, catch_up))


class Bridge:
    inherits = True

    def __init__(self):
        self.got = []

    def prepare(self, kept):
        return [msg for msg, _ in kept]

    def inherit(self, prepared):
        self.got += prepared

    def send(self, msg):
        self.got.append(msg)


class Task:
    def __init__(self):
        self.got = []

    def send(self, msg):
        self.got.append(msg)


@pytest.fixture
def registry():
    return Registry()


@pytest.fixture
def exchange(registry):
    """One that keeps messages, and has one already."""
    registry.retain("x", 9)
    exchange = registry.get("x")
    exchange.send(0)
    return exchange


@pytest.fixture
def observer(registry):
    observer = Observer()
    registry._observe(observer)
    return observer


def old(name, *numbers, origin="o"):
    return [Delivery(name, -n, origin, n, 0.0) for n in numbers]


def test_live_messages_wait_for_the_history(registry, observer):
    """Then history comes first, what waited comes next, and all else at once."""
    exchange, task = registry.get("x"), Task()
    exchange.attach(task, history=3)
    ((key, catch_up),) = observer._joiners
    assert (key, catch_up.most) == ("x", 3)
    exchange._deliver([4, 5], "o", 4, 0.0)
    assert catch_up.begin("o")
    assert not catch_up.begin("o")
    catch_up.noted(observer)
    exchange._deliver([6], "o", 6, 0.0)
    assert task.got == []
    assert (catch_up.live("o", "x"), catch_up.live("o", "y")) == (4, None)
    catch_up.complete("o", old("x", 2, 3))
    assert task.got == [-2, -3, 4, 5, 6]
    exchange._deliver([7], "o", 7, 0.0)
    assert task.got[5:] == [7]
    assert not catch_up.open
    assert not catch_up.begin("o"), "its history is not given twice"


def kept(origin, *sent_at, name="x"):
    """Messages that an origin keeps, with when they were sent."""
    return [Delivery(name, f"{origin}{n}", origin, n, at) for n, at in enumerate(sent_at, 1)]


def owed(registry, observer, history, *origins):
    """A joiner, and what it is owed by origins that are there."""
    registry.get("x").attach(task := Task(), history=history)
    _, catch_up = observer._joiners[-1]
    for origin in origins:
        catch_up.begin(origin)
    catch_up.noted(observer)
    return task, catch_up


def test_the_newest_of_all_comes_once_all_have_said_what_they_keep(registry, observer):
    """In the order of sending; what is live waits meanwhile, in the order in which it comes."""
    exchange = registry.get("x")
    task, catch_up = owed(registry, observer, 2, "a", "b")
    catch_up.complete("a", kept("a", 1.0, 5.0))
    exchange._deliver(["live b"], "b", 3, 9.0)
    exchange.send("here")
    exchange._deliver(["live a"], "a", 3, 9.5)
    assert task.got == []
    assert catch_up.awaits("a"), "what waits is not acknowledged"
    catch_up.complete("b", kept("b", 3.0, 2.0))
    assert task.got == ["b2", "a2", "live b", "here", "live a"]
    assert [catch_up.open, catch_up.gathering, catch_up.awaits("a")] == [False, False, False]


def test_what_is_kept_here_is_kept_by_one_more_publisher(registry, observer):
    """Its place is that of its time, and not the first."""
    registry.retain("x", 3)
    exchange, now = registry.get("x"), 100.0
    registry.time = lambda: now
    for now in (101.0, 103.0):
        exchange.send(f"here {now:g}")
    now = 200.0
    task, catch_up = owed(registry, observer, 3, "a")
    assert task.got == []
    catch_up.complete("a", kept("a", 100.0, 102.0, 104.0))
    assert task.got == ["a2", "here 103", "a3"]


def test_who_is_alone_is_given_at_once_what_is_kept_here(registry):
    """Nobody else is there, as the observer says at once: it need not wait for a thread."""

    class Alone(Observer):
        def history_added(self, key, catch_up):
            super().history_added(key, catch_up)
            catch_up.alone(self)

    registry._observe(observer := Alone())
    registry.retain("x", 3)
    exchange = registry.get("x")
    exchange.send("kept")
    exchange.attach(task := Task(), history=1)
    assert task.got == ["kept"]
    exchange.send("live")
    assert task.got == ["kept", "live"]
    ((_, catch_up),) = observer._joiners
    exchange._deliver(["first"], "o", 1, 0.0)
    assert catch_up.open, "what arrives waits until it is known of whom history is to come"
    catch_up.noted(observer)
    assert task.got == ["kept", "live", "first"]


def test_one_that_comes_later_adds_what_is_newer(registry, observer):
    """Than what others sent: kept or live, here or elsewhere; not than what it sends meanwhile."""
    exchange, now = registry.get("x"), 50.0
    registry.time = lambda: now
    task, catch_up = owed(registry, observer, 9, "a")
    catch_up.complete("a", kept("a", 10.0))
    exchange._deliver(["live"], "a", 2, 20.0)
    catch_up.begin("late")
    exchange._deliver(["late, live"], "late", 4, 40.0)
    catch_up.complete("late", kept("late", 9.0, 19.0, 30.0))
    assert task.got == ["a1", "live", "late3", "late, live"]
    exchange.send("here")
    catch_up.begin("later")
    catch_up.complete("later", kept("later", 45.0))
    assert task.got[4:] == ["here"]


def test_a_clock_that_is_ahead_does_not_win_for_ever(registry, observer):
    """What it says was sent in the future counts as sent when it arrived."""
    exchange, now = registry.get("x"), 100.0
    registry.time = lambda: now
    task, catch_up = owed(registry, observer, 9, "ahead")
    catch_up.complete("ahead", kept("ahead", 3700.0))
    now = 110.0
    catch_up.begin("right")
    catch_up.complete("right", kept("right", 105.0))
    assert task.got == ["ahead1", "right1"]
    exchange._deliver(["live"], "ahead", 2, 9999.0)
    now = 120.0
    catch_up.begin("another")
    catch_up.complete("another", kept("another", 115.0))
    assert task.got[2:] == ["live", "another1"]


def test_who_takes_too_long_is_late(registry, observer):
    """The others are given; it adds what is newer, as if it had come later."""
    exchange = registry.get("x")
    task, catch_up = owed(registry, observer, 9, "quick", "slow")
    catch_up.complete("quick", kept("quick", 5.0))
    exchange._deliver(["s"], "slow", 3, 8.0)
    assert task.got == []
    catch_up.expire()
    assert task.got == ["quick1"]
    assert catch_up.open
    exchange._deliver(["q"], "quick", 2, 6.0)
    assert task.got == ["quick1", "q"]
    catch_up.complete("slow", kept("slow", 1.0, 7.0))
    assert task.got == ["quick1", "q", "slow2", "s"]


def test_who_is_there_and_not_ready_is_not_waited_for(registry, observer):
    """It is late from the first; what it sends waits for its own history alone."""
    registry.get("x").attach(task := Task(), history=9)
    ((_, catch_up),) = observer._joiners
    catch_up.begin("ready")
    catch_up.begin("not ready", expected=False)
    catch_up.noted(observer)
    catch_up.complete("ready", kept("ready", 5.0))
    assert task.got == ["ready1"]
    assert catch_up.awaits("not ready")


def test_who_leaves_while_others_are_waited_for_and_comes_back(registry, observer):
    """Its history comes with theirs, and nothing twice."""
    exchange = registry.get("x")
    task, catch_up = owed(registry, observer, 9, "a", "b")
    exchange._deliver(["b2"], "b", 2, 6.0)
    catch_up.complete("b", [], through=False)
    assert catch_up.begin("b")
    catch_up.complete("a", kept("a", 5.0))
    assert task.got == []
    catch_up.complete("b", kept("b", 4.0))
    assert task.got == ["b1", "a1", "b2"]


def test_too_much_that_is_sent_here_waits_for_nobody(registry, observer, monkeypatch):
    """What waits is bounded: then who has not said what it keeps is late."""
    monkeypatch.setattr("zexchange.local.late_join.PARKED_MOST", 3)
    task, _ = owed(registry, observer, 9, "stuck")
    for n in range(6):
        registry.get("x").send(n)
    assert task.got == list(range(6))


def test_joiners_of_before_the_observer_gather_what_it_meets(registry):
    """Once: what was given here before counts, and the newest of the others come together."""
    registry.retain("x", 1)
    exchange, now = registry.get("x"), 10.0
    registry.time = lambda: now
    exchange.send("here")
    exchange.attach(task := Task(), history=1)
    now = 100.0
    assert task.got == ["here"]
    registry._observe(observer := Observer())
    ((_, catch_up),) = registry._joiners()
    catch_up.again(observer)
    catch_up.begin("a")
    exchange.send("live")
    assert task.got == ["here", "live"], "what is sent here does not wait: it was there before"
    catch_up.complete("a", kept("a", 1.0, 200.0))
    catch_up.begin("b")
    catch_up.complete("b", kept("b", 150.0))
    assert task.got == ["here", "live"]
    catch_up.noted(observer)
    assert task.got == ["here", "live", "b1"]


def test_where_nobody_has_history_all_is_live(registry, observer):
    """As soon as the observer has said so; and at once without any observer."""
    exchange, task = registry.get("x"), Task()
    exchange.attach(task, history=1)
    exchange._deliver([1], "o", 1, 0.0)
    observer._joiners[0][1].noted(observer)
    assert task.got == [1], "its origin has left, or owes nothing"
    exchange._deliver([2], "o", 2, 0.0)
    assert task.got == [1, 2]


def test_what_is_sent_here_waits_as_well(registry, observer):
    """It is newer than what other nodes keep, and comes after that."""
    exchange, task = registry.get("x"), Task()
    exchange.attach(task, history=1)
    exchange.send("here")
    assert task.got == []
    observer._joiners[0][1].noted(observer)
    assert task.got == ["here"]


def test_an_unobserved_registry_owes_nothing(registry):
    """A task that joins before the node is there gets what arrives."""
    exchange, task = registry.get("x"), Task()
    exchange.attach(task, history=1)
    exchange._deliver([1], "o", 1, 0.0)
    assert task.got == [1]
    ((key, catch_up),) = registry._joiners()
    assert (key, catch_up.open) == ("x", False)
    catch_up.begin("late")
    exchange._deliver([2], "late", 2, 0.0)
    assert task.got == [1]
    catch_up.complete("late", kept("late", 1.0))
    assert task.got == [1, "late1", 2]


def test_views_and_streams_get_it_in_their_own_form(registry, observer):
    """Names, details, and what is reported lost in its place."""
    named, exchange = Task(), registry.get("a.b")
    registry.match("a.*").attach(named, names=True, history=2)

    class Notice:
        origin, exchange, first = "o", "a.b", 5

    with exchange.stream(details=True, history=2) as stream:
        for _, catch_up in observer._joiners:
            catch_up.begin("o")
            catch_up.noted(observer)
        exchange._deliver([4], "o", 4, 0.0)
        exchange._report(Notice())
        for _, catch_up in observer._joiners:
            catch_up.complete("o", old("a.b", 3))
        exchange._deliver([6], "o", 6, 0.0)
        items = [stream.get(0) for _ in range(4)]
    assert named.got == [("a.b", -3), ("a.b", 4), ("a.b", 6)]
    assert [getattr(item, "seq", "lost") for item in items] == [3, 4, "lost", 6]
    assert stream.stats().received == 4


def test_history_fits_a_full_stream(registry, observer):
    """It goes beyond the bound, or the thread that brings it would wait for the reader."""
    with registry.get("x").stream(maxsize=1, overflow="block", history=5) as stream:
        ((_, catch_up),) = observer._joiners
        catch_up.begin("o")
        catch_up.noted(observer)
        catch_up.complete("o", old("x", 1, 2, 3))
        assert len(stream) == 3


def test_a_task_that_leaves_is_owed_nothing(registry, observer):
    """Neither what waits, nor what comes, also from inside its own history."""
    exchange, task = registry.get("x"), Task()
    exchange.attach(task, history=3)
    ((_, catch_up),) = observer._joiners
    exchange._deliver([1], "o", 1, 0.0)
    exchange.detach(task)
    assert catch_up.cancelled
    assert not catch_up.begin("o")
    catch_up.complete("o", old("x", 1))
    assert task.got == []
    assert registry._joiners() == []

    class Once(Task):
        def send(self, msg):
            super().send(msg)
            exchange.detach(self)

    exchange.attach(once := Once(), history=3)
    catch_up = observer._joiners[-1][1]
    catch_up.begin("o")
    catch_up.noted(observer)
    catch_up.complete("o", old("x", 1, 2))
    assert once.got == [-1]


def test_a_task_that_has_the_messages_in_another_way_gets_no_history(registry, observer):
    """It has had them already, and nothing comes twice."""
    exchange, task = registry.get("a"), Task()
    exchange.attach(task)
    registry.match("*").attach(task, history=3)
    ((_, catch_up),) = observer._joiners
    catch_up.begin("o")
    catch_up.noted(observer)
    exchange._deliver([2], "o", 2, 0.0)
    catch_up.complete("o", [*old("a", 1), *old("b", 1)])
    assert task.got == [2]


def test_a_failing_task_is_logged_and_robs_nobody(registry, observer, caplog):
    """Its history goes on, and what waited comes."""
    exchange = registry.get("x")

    class Failing(Task):
        def send(self, msg):
            super().send(msg)
            raise ValueError(msg)

    exchange.attach(task := Failing(), history=3)
    ((_, catch_up),) = observer._joiners
    catch_up.begin("o")
    catch_up.noted(observer)
    exchange._deliver([3], "o", 3, 0.0)
    catch_up.complete("o", old("x", 1, 2))
    assert task.got == [-1, -2, 3]
    assert exchange.stats().errors == 3
    assert "Failing" in caplog.text


def test_retention_is_told_to_observers(registry, observer):
    """They have to keep what is sent, too."""
    registry.get("a.x")
    registry.get("b.x")
    registry.retain("a.*", 3)
    assert observer.changed == ["a.x"]


def test_a_bridge_is_prepared_outside_the_lock(exchange):
    """What is encoded for it may call anything, and what is sent meanwhile is not forgotten."""

    class Slow(Bridge):
        def prepare(self, kept):
            if kept[0][0] == 0:
                for n in (1, 2, 3):
                    sender = threading.Thread(target=exchange.send, args=(n,))
                    sender.start()
                    sender.join(10)
                    assert not sender.is_alive()
                exchange.send(4)
            return super().prepare(kept)

    exchange._attach_bridge(bridge := Slow())
    exchange.send("live")
    assert bridge.got == [0, 1, 2, 3, 4, "live"]


def test_a_second_thread_that_attaches_a_bridge_returns_when_it_is_there(exchange):
    """It does what the first is about to do, which then has nothing left to do."""

    class Twice(Bridge):
        def prepare(self, kept):
            if kept[0][0] == 0 and not self.got:
                self.got.append("second")
                second = threading.Thread(target=exchange._attach_bridge, args=(self,))
                second.start()
                second.join(10)
                assert self.got == ["second", 0]
                exchange.send(1)
            return super().prepare(kept)

    exchange._attach_bridge(bridge := Twice())
    exchange.send(2)
    assert bridge.got == ["second", 0, 1, 2]
    assert exchange.stats().bridges == 1


def test_a_bridge_that_is_detached_while_it_is_prepared_stays_so(exchange):
    """And the next one inherits all that is kept."""

    class Leaving(Bridge):
        def prepare(self, kept):
            if kept[0][0] == 0:
                exchange.send(1)
                exchange._detach_bridge(self)
            return super().prepare(kept)

    exchange._attach_bridge(gone := Leaving())
    exchange.send(2)
    assert gone.got == []
    exchange._attach_bridge(following := Bridge())
    assert following.got == [0, 1, 2]


def test_a_send_that_began_before_the_bridge_was_there_passes_by_it(registry):
    """Whoever was about to park finds the bridge instead, and nothing is lost between them."""
    bridge = Bridge()
    parking = Parking(bridge, [], threading.RLock())
    parking.send(1)
    assert bridge.got == []
    bridge.inherit(parking.end([0]))
    parking.send(2)
    assert bridge.got == [0, 1, 2]


def test_what_one_bridge_has_carried_the_next_does_not_inherit(exchange):
    """Others have it from the node that has left."""
    first, second = Bridge(), Bridge()
    exchange._attach_bridge(first)
    exchange.send(1)
    exchange._detach_bridge(first)
    exchange.send(2)
    exchange._attach_bridge(second)
    assert (first.got, second.got) == ([0, 1], [2])


class Early(Observer):
    """Has something arrive the moment that it is told of a key, and of a joiner."""

    def __init__(self, registry):
        super().__init__()
        self._registry = registry

    def check_interest(self, keys, patterns, size):
        pass

    def interest_changed(self, key, wanted):
        self._registry.get("a.x")._deliver([2], "o", 2, 0.0)

    def history_added(self, key, catch_up):
        super().history_added(key, catch_up)
        catch_up.begin("o")
        self._registry.get("a.x")._deliver([3], "o", 3, 0.0)


@pytest.mark.parametrize("where", ["a.x", "a.*"])
@pytest.mark.parametrize("known", [False, True])
def test_what_arrives_while_a_task_is_being_attached_waits(registry, where, known):
    """It comes behind the history, and neither before it nor not at all."""
    if known:
        registry.get("a.x")._deliver([1], "o", 1, 0.0)
    registry._observe(observer := Early(registry))
    task = Task()
    at = registry.match(where) if "*" in where else registry.get(where)
    at.attach(task, history=3)
    ((_, catch_up),) = observer._joiners
    catch_up.noted(observer)
    first = catch_up.live("o", "a.x")
    assert (task.got, first) in (([], 2), ([], 3))
    catch_up.complete("o", old("a.x", *range(1, first)))
    assert task.got == [*range(-1, -first, -1), *range(first, 4)]
