"""What results mean: medians, spread, ratios, losses, and whether bars are met."""

import pytest

from benchmarks.compare.analysis import Table, spread
from benchmarks.compare.bars import BARS
from benchmarks.compare.contestants import CONTESTANTS
from benchmarks.compare.local import MAKERS
from benchmarks.compare.quantiles import in_microseconds, modes, quantile
from benchmarks.compare.values import Bar, Result, Workload
from benchmarks.compare.workloads import WORKLOADS, chosen

LOAD = Workload("load", "a load", "pair", "flood")
OTHER = Workload("other", "another", "pair", "flood")


def table(**rates: list[float]) -> Table:
    """A table of one workload, from the rates of each contestant."""
    results = [
        Result("load", name.replace("_", " "), number, {"rate": rate})
        for name, values in rates.items()
        for number, rate in enumerate(values)
    ]
    return Table(results, [LOAD, OTHER])


def test_spread_is_median_and_quartiles() -> None:
    """The middle half of the rounds lies between the quartiles; one round is all three."""
    assert spread([5, 1, 4, 2, 3]).median == 3
    assert (spread([5, 1, 4, 2, 3]).low, spread([5, 1, 4, 2, 3]).high) == (2, 4)
    one = spread([7])
    assert (one.low, one.median, one.high, one.rounds) == (7, 7, 7, 1)


def test_ratio_is_of_medians() -> None:
    """One round that went wrong does not decide."""
    found = table(zexchange=[20, 20, 1], peer=[10, 10, 1000])
    assert found.ratio("load", "peer", "zexchange") == 2
    assert found.ratio("load", "nobody", "zexchange") is None


def test_losses_add_up_over_rounds() -> None:
    """What never came is a part of all that was sent, in every round."""
    figures = [{"sent": 100, "lost": 0}, {"sent": 300, "lost": 40}]
    results = [Result("load", "peer", n, found) for n, found in enumerate(figures)]
    found = Table(results, [LOAD])
    assert found.lost("load", "peer") == 0.1
    assert found.lost("load", "nobody") == 0


@pytest.mark.parametrize(
    ("bar", "value", "met", "against"),
    [
        (Bar("", "load", ("weak", "strong"), 2.0), 1.5, False, "strong"),
        (Bar("", "load", ("weak",), 2.0), 3.0, True, "weak"),
        (Bar("", "load", ("weak", "strong"), 2.0, least=False), 3.0, False, "weak"),
        (Bar("", "load", (), 30, least=False), 30, True, ""),
        (Bar("", "load", (), 31), 30, False, ""),
        (Bar("", "load", ("nobody",), 1.0), None, None, ""),
        (Bar("", "nothing", ("weak",), 1.0), None, None, ""),
        (Bar("", "other", ("weak",), 1.0), None, None, ""),
    ],
)
def test_bars(bar: Bar, value: float | None, met: bool | None, against: str) -> None:
    """Of several peers the one counts that is hardest to beat; who is not there does not."""
    verdict = table(zexchange=[30], weak=[10], strong=[20]).judge(bar)
    assert (verdict.value, verdict.met, verdict.against) == (value, met, against)


def test_a_bar_may_compare_two_workloads() -> None:
    """Ours of one workload, theirs of another."""
    results = [
        Result("load", "zexchange", 0, {"rate": 7.0}),
        Result("other", "zexchange", 0, {"rate": 10.0}),
    ]
    verdict = Table(results, [LOAD, OTHER]).judge(
        Bar("", "load", ("zexchange",), 0.7, other="other")
    )
    assert (verdict.value, verdict.met) == (0.7, True)


def test_contestants_stand_as_in_the_workload() -> None:
    """Whoever had the first turn; those that it does not name come last."""
    results = [Result("dict", name, 0, {"rate": 1.0}) for name in ("new", "nats-py", "zexchange")]
    results.append(Result("dict", "pyzmq plain", 0, problem="gone"))
    names = ["zexchange", "pyzmq plain", "nats-py", "new"]
    assert Table(results, WORKLOADS).contestants("dict") == names


def test_stretch() -> None:
    """What would be better still is judged apart, and only where it is set."""
    found = table(zexchange=[30], peer=[10])
    assert found.judge(Bar("", "load", ("peer",), 2.0)).stretched is None
    assert found.judge(Bar("", "load", ("peer",), 2.0, stretch=4.0)).stretched is False
    assert found.judge(Bar("", "load", ("peer",), 2.0, stretch=3.0)).stretched is True


def test_quantiles() -> None:
    """A quantile is a value that was there; durations are kept in microseconds."""
    assert [quantile([1, 2, 3, 4], part) for part in (0, 0.5, 0.99, 1)] == [1, 3, 4, 4]
    assert in_microseconds([]) == {}
    found = in_microseconds([n / 1e6 for n in range(1000, 0, -1)])
    assert [round(found[name]) for name in ("p50", "p90", "p99", "p999")] == [501, 901, 991, 1000]


ONE_MODE = [100, 101, 99, 102, 98, 100, 101, 99, 100, 103]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([*ONE_MODE, *(n * 1.5 for n in ONE_MODE)], (100, 150)),
        ([100, 150, 101, 152, 99, 149, 100, 151], (100, 150.5)),
        (ONE_MODE, None),
        ([*ONE_MODE, 200], None),  # one round that was disturbed
        ([*ONE_MODE, *(n * 1.15 for n in ONE_MODE)], None),  # too near
        ([100, 110, 120, 130, 140, 150, 160, 170], None),  # spread evenly
        ([100, 100, 200, 200, 200], None),  # too few
        ([], None),
    ],
)
def test_modes(values: list[float], found: tuple[float, float] | None) -> None:
    """Two groups are found that are far apart and narrow, in whatever order they came."""
    assert modes(values) == found
    assert modes(values[::-1]) == found


def test_whose_rounds_are_in_two_groups_is_known() -> None:
    """The workload is named if any contestant's are."""
    found = table(zexchange=[20.0] * 10, peer=[10.0, 20.0] * 5)
    assert found.modes("load", "peer") == (10, 20)
    assert found.modes("load", "zexchange") is None
    assert found.in_two_groups() == ["load"]
    assert table(zexchange=[20.0] * 10).in_two_groups() == []


def test_descriptions_name_what_there_is() -> None:
    """Workloads have names of their own; those that they and bars are about exist."""
    names = [workload.name for workload in WORKLOADS]
    assert len(set(names)) == len(names)
    for workload in WORKLOADS:
        assert set(workload.among) <= set(CONTESTANTS)
        able = [name for name in workload.among if workload.measure in CONTESTANTS[name].measures]
        assert able
    everybody = {*CONTESTANTS, *MAKERS, "msgpack", "our codec"}
    for bar in BARS:
        assert {bar.workload, bar.other or bar.workload} <= set(names)
        assert {bar.ours, *bar.against} <= everybody


def test_workloads_are_chosen_by_words() -> None:
    """Parts of names choose workloads, and peers; this project is always there."""
    assert chosen() == list(WORKLOADS)
    assert [w.name for w in chosen(("8-to", "1m"))] == ["1m", "8-to-1"]
    (trip,) = chosen(("round-trip-loaded",), ("zenoh",))
    assert trip.among == ("zexchange", "zenoh block", "zenoh default")
