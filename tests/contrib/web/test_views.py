"""What the views of the page show, and the samples of messages, without sockets."""

import json

import pytest

import zexchange
from zexchange import Delivery, ExchangeTraffic, InvalidName, Label, Lost, NodeTraffic, Traffic
from zexchange.contrib.web.page import views
from zexchange.contrib.web.page.asked import Asked, read_asked, read_hello
from zexchange.contrib.web.page.looks import Look
from zexchange.contrib.web.page.samples import KEPT, Sample, Samples, size_of
from zexchange.protocol.traffic.flows import Flow

ONE, TWO, PAGE = "1" * 32, "2" * 32, "9" * 32


def exchange(name: str, rate: float = 5.0, lost: int = 0) -> ExchangeTraffic:
    sent = (ONE,), (TWO,), 50, 500, 49, lost, 0, 1, PAGE
    return ExchangeTraffic(name, *sent, rate, 50.0, 4.0)


def node(id_: str, name: str) -> NodeTraffic:
    rates = 5.0, 50.0, 0.0
    return NodeTraffic(
        id_, Label("host", 7, name), 1e9, True, True, 3, 1, 10, 100, 0.5, 0, (), 0, *rates
    )


def look(*exchanges: ExchangeTraffic, flows: tuple[Flow, ...] = ()) -> Look:
    traffic = Traffic(exchanges, (node(ONE, "feed"), node(TWO, "screen")))
    return Look(1, traffic, flows, PAGE)


def asked(**more: object) -> Asked:
    return Asked(1, "exchanges", **more)  # type: ignore[arg-type]


def names(told: views.Told) -> list[str]:
    return [row["name"] for row in told["rows"]]


def test_rows_come_by_any_column_and_the_other_way_round() -> None:
    """Numbers from the largest on, names from the first on; turned it is the other way."""
    seen = look(exchange("a", 1.0), exchange("b", 9.0), exchange("c", 5.0))
    assert names(views.exchanges_view(seen, asked())) == ["b", "c", "a"]
    assert names(views.exchanges_view(seen, asked(turned=True))) == ["a", "c", "b"]
    assert names(views.exchanges_view(seen, asked(sort=0))) == ["a", "b", "c"]
    assert views.exchanges_view(seen, asked(sort=99))["sort"] == len(views.COLUMNS) - 1


def test_rows_are_filtered_by_a_pattern_or_a_part() -> None:
    """A malformed pattern is told, and shows nothing."""
    seen = look(exchange("x.a"), exchange("x.b.c"), exchange("Y.a"))
    assert names(views.exchanges_view(seen, asked(filter="x.*"))) == ["x.a"]
    assert names(views.exchanges_view(seen, asked(filter="x.**"))) == ["x.a", "x.b.c"]
    assert names(views.exchanges_view(seen, asked(filter="y"))) == ["Y.a"]
    bad = views.exchanges_view(seen, asked(filter="**.x"))
    assert bad["rows"] == []
    assert "last" in bad["fault"]


def test_a_hundred_rows_at_a_time() -> None:
    """From any first one on; from the beginning if there are not so many any longer."""
    seen = look(*[exchange(f"x.{n:05}", float(n)) for n in range(10_000)])
    told = views.exchanges_view(seen, asked(sort=0, first=200))
    assert names(told) == [f"x.{n:05}" for n in range(200, 300)]
    assert (told["first"], told["found"]) == (200, 10_000)
    assert views.exchanges_view(seen, asked(first=20_000))["first"] == 0
    assert len(json.dumps(told)) < 30_000


def test_nodes_are_named_and_many_are_counted() -> None:
    """The page itself is named so, where it is the slowest."""
    named = views.NodeNames(look())
    assert named(PAGE) == "this page"
    assert named.some((ONE, TWO)) == "feed, screen"
    assert named.some(()) == "–"
    assert named.some((ONE, TWO, PAGE, ONE, TWO)) == "feed, screen, this page +2"
    row = views.exchanges_view(look(exchange("a", lost=3)), asked())["rows"][0]
    assert row["cells"][3:5] == ["feed", "screen"]
    assert row["lost"] is True


def test_the_map_has_the_largest_flows() -> None:
    """Of more than it draws, the others are counted."""
    flows = [Flow(ONE, TWO, 2, 4, 7.5), Flow(ONE, "gone", 1, 0, 1.0)]
    told = views.map_view(look(flows=tuple(flows)))
    assert [(f["from"], f["to"], f["rate"], f["lost"]) for f in told["flows"]] == [
        (ONE, TWO, 7.5, 4)
    ]
    assert [one["lost"] for one in told["nodes"]] == [0, 4]
    many = tuple(Flow(ONE, TWO, 1, 0, 1.0) for _ in range(views.FLOWS_MOST + 5))
    assert views.map_view(look(flows=many))["more_flows"] == 5


def test_only_what_can_be_asked_is_read() -> None:
    """Everything else is nothing."""
    assert read_hello('{"zexchange": 1, "token": "t"}') is not None
    good = {"number": 1, "view": "exchanges", "sort": 1, "turned": False, "filter": "", "first": 0}
    assert read_asked(json.dumps(good)) == Asked(1, "exchanges")
    wrong = [("sort", -1), ("first", -1), ("turned", 1), ("filter", None), ("view", "x")]
    for key, value in wrong:
        assert read_asked(json.dumps({**good, key: value})) is None
    for text in ("", "{", "[" * 4000, " " * 5000, b"{}", None):
        assert read_asked(text) is None
        assert read_hello(text) is None


# ------------------------------------------------------------------------------ samples


def delivery(msg: object) -> Delivery[object]:
    return Delivery("x", msg, ONE, 1, 1e9)


def test_a_sample_keeps_the_newest_and_counts_all() -> None:
    """Lines and those that are left out add up, at any pace of looking."""
    sample, shown, skipped, last = Sample(), 0, 0, 0
    for look_at in range(10):
        for number in range(3 * look_at):
            sample.send(delivery(number))
        told, last = views.tail_view(look(), sample, last, 100.0 * look_at)
        shown, skipped = shown + len(told["lines"]), skipped + told["skipped"]
        assert len(told["lines"]) <= KEPT
    assert shown + skipped == sample.came == 3 * 45
    assert skipped
    assert sample.lost == 0
    sample.send(Lost("x", ONE, 5, 9, "gone"))
    assert sample.lost == 5


def test_a_sample_that_takes_long_to_look_at_is_looked_at_less() -> None:
    """Large messages cost a part of the time only."""
    sample = Sample()
    sample.send(delivery({"a": ["x" * 1000] * 20_000}))
    assert len(sample.shown(0.0)) == 1
    sample.send(delivery(1))
    assert len(sample.shown(0.0)) == 1  # not yet
    assert len(sample.shown(1000.0)) == 2


def test_sizes_are_those_of_the_encoded_messages() -> None:
    """Sorted by powers of two, without holes."""
    sample = Sample()
    for size in (3, 3, 16, 1000):
        sample.send(delivery(b"x" * size))
    sample.shown(0.0)
    bars = dict(views.distribution(sample))
    assert bars["≤ 4 B"] == 2
    assert bars["≤ 16 B"] == 1
    assert bars["≤ 1.0 KiB"] == 1
    assert len(bars) == 9
    assert size_of({"a": 1}) == 4
    assert size_of(object()) is None
    assert views.bytes_of(1 << 40) == "1024.0 GiB"


def test_a_message_that_cannot_be_shown_is_told() -> None:
    """Its own functions may fail: it is of this process."""

    class Bad:
        def __str__(self) -> str:
            raise ValueError("no")

    sample = Sample()
    sample.send(Delivery("x", Bad(), None, None, 0.0))
    assert "not shown: ValueError" in sample.shown(0.0)[0].text


def test_samples_are_shared_and_end_with_the_last() -> None:
    """While one browser shows an exchange there is one task on it, and none after that."""
    registry = zexchange.Registry()
    samples = Samples(registry)
    with samples.of("x") as one, samples.of("x") as two:
        assert one is two
        registry.get("x").send(1)
        assert one.came == 1
    assert len(samples) == 0
    registry.get("x").send(2)
    assert one.came == 1
    with pytest.raises(InvalidName):
        samples.check("a*b")
