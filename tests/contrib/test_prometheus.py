"""What nodes export to Prometheus: names, labels, and counts that never shrink."""

import gc
import json
import re
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contrib.dashboards import expressions
from tests.support import ROOT, Program, eventually, examples
from zexchange import InvalidName, Node, Registry, federate, to_call

pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from zexchange.cli.metrics.collector import METRICS as METRICS_OF_ALL
from zexchange.contrib.prometheus import METRICS, Labels, NodeCollector, Totals

DASHBOARD = ROOT / "examples" / "metrics" / "dashboard.json"


def scraped(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    """Return each value of a scrape, by its name and its labels without that of the node."""
    text = generate_latest(registry).decode()
    return {
        (s.name, *(s.labels[label] for label in ("federation", "exchange") if label in s.labels)): (
            s.value
        )
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def registry_of(*nodes: Node, **limits: Any) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(NodeCollector(*nodes, **limits))
    return registry


# ------------------------------------------------------------------------ without sockets


@pytest.mark.parametrize("name", METRICS)
def test_names_follow_the_conventions(name: str) -> None:
    """Lower case, no unit but a base unit, no ``_total`` of ours, and a sentence of help."""
    kind, labels, text = METRICS[name]
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)
    assert not re.search(r"milli|kilo|mega|minute|count\b|total", name)
    assert labels[:2] == ("federation", "node")
    assert kind in ("counter", "gauge")
    assert text.endswith(".")
    assert len(text) < 90


def test_exchanges_have_labels_until_the_limit() -> None:
    """One that came when there was no room gets no label later, and one that is gone makes room."""
    labels = Labels(("**",), 2)
    labels.look(["a", "b", "c", ""])
    assert list(map(labels, ["a", "b", "c", ""])) == ["a", "b", "", ""]
    labels.look(["b", "c", "d"])
    assert list(map(labels, ["a", "b", "c", "d"])) == ["", "b", "", "d"]


def test_only_exchanges_that_match_have_labels() -> None:
    """All others are added up under the empty one."""
    labels = Labels(("prices.**", "orders"), 10)
    labels.look(["prices.a", "prices", "orders", "orders.x"])
    assert list(map(labels, ["prices.a", "prices", "orders", "orders.x"])) == (
        ["prices.a", "prices", "orders", ""]
    )


def test_patterns_are_checked() -> None:
    """Where the collector is made, and not at a scrape."""
    with pytest.raises(InvalidName):
        NodeCollector(exchanges=["a..*"])


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("receive"), st.sampled_from("abc"), st.sampled_from("xy"), st.integers(1, 9)
        ),
        st.tuples(st.just("forget"), st.sampled_from("abc"), st.sampled_from("xy")),
        st.tuples(st.just("leave"), st.sampled_from("xy")),
        st.tuples(st.just("scrape")),
    )
)


@settings(max_examples=examples(400), deadline=None)
@given(STEPS, st.integers(0, 3))
def test_what_is_forgotten_never_makes_a_count_shrink(
    steps: list[tuple[Any, ...]], limit: int
) -> None:
    """No count shrinks, and together they grow by no more than what has come since."""
    node: dict[tuple[str, str], int] = {}
    labels, totals, come = Labels(("**",), limit), Totals(), 0
    before: dict[str, int] = {}
    for step in steps:
        match step:
            case ("receive", name, origin, n):
                node[name, origin] = node.get((name, origin), 0) + n
                come += n
            case ("forget", name, origin) if (name, origin) in node:
                node["", origin] = node.get(("", origin), 0) + node.pop((name, origin))
            case ("leave", origin):
                node = {key: n for key, n in node.items() if key[1] != origin}
            case ("scrape",):
                labels.look([name for name, _ in node])
                totals.take({key: (n,) for key, n in node.items()}, labels)
                now = {label: n for label, (n,) in totals.by_label.items()}
                kept = now.keys() & before.keys()
                assert all(now[label] >= before[label] for label in kept)
                assert sum(n - before.get(label, 0) for label, n in now.items()) <= come
                before, come = now, 0


def test_what_has_moved_is_not_counted_again() -> None:
    """The count of a forgotten exchange, which its node has under the empty name from then on."""
    totals = Totals()
    totals.take({("a", "x"): (5,), ("b", "x"): (1,)}, str)
    totals.take({("", "x"): (7,), ("b", "x"): (2,)}, str)
    assert totals.by_label == {"": (2,), "b": (2,)}
    totals.take({("", "x"): (7,), ("b", "x"): (2,), ("a", "x"): (1,)}, str)
    assert totals.by_label == {"": (2,), "b": (2,), "a": (1,)}
    totals.take({("", "x"): (8,), ("b", "x"): (2,), ("a", "x"): (1,), ("a", "y"): (3,)}, str)
    assert totals.by_label == {"": (3,), "b": (2,), "a": (4,)}
    totals.take({("", "x"): (8,), ("b", "x"): (2,), ("a", "x"): (1,)}, str)
    assert totals.by_label["a"] == (4,)


def test_the_dashboard_asks_for_what_is_exported() -> None:
    """Each name and label in its queries exists, rates are of counters, and each count is shown."""
    exported = {
        f"zexchange_{name}" + "_total" * (kind == "counter"): (kind, labels)
        for name, (kind, labels, _) in METRICS.items()
    }
    asked = set[str]()
    for query in expressions(DASHBOARD):
        for name, matchers in re.findall(r"\b(zexchange_\w+)(?:\{([^}]*)\})?", query):
            kind, labels = exported[name]
            asked.add(name)
            assert set(re.findall(r"(\w+)=", matchers)) <= set(labels)
            if not query.startswith("label_values"):
                assert ("rate(" in query) == (kind == "counter"), query
        for by in re.findall(r"by \(([^)]*)\)", query):
            assert set(by.split(", ")) <= {"federation", "node", "exchange"}
    assert asked == set(exported)


def test_the_guide_names_what_is_exported() -> None:
    """Its tables have each metric, and its queries and output no other."""
    page = (ROOT / "docs" / "guide" / "metrics.md").read_text(encoding="utf-8")
    tables = "".join(row for row in re.findall(r"^\| `.*$", page, re.M))
    every = {**METRICS, **METRICS_OF_ALL}
    exported = {f"zexchange_{n}" + "_total" * (k == "counter") for n, (k, _, _) in every.items()}
    assert set(re.findall(r"zexchange_\w+", tables)) == exported


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    """Each has an id and a place of its own, and a data source that can be chosen."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set[tuple[int, int]]()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not taken & cells
        taken |= cells
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


# --------------------------------------------------------------------------- with sockets


@pytest.mark.sockets
def test_two_nodes_in_one_scrape(rendezvous: Path) -> None:
    """A registry exports several nodes, and what they count of each other."""
    here, there, heard = Registry(), Registry(), list[int]()
    there.get("prices").attach(to_call(heard.append))
    with federate("fed", registry=here) as one, federate("fed", registry=there) as two:
        registry = registry_of(one, two)
        one.wait_subscribers("prices", 1)
        for n in range(3):
            here.get("prices").send(n)
        one.flush()
        text = generate_latest(registry).decode()
        assert text.count("# TYPE zexchange_messages_sent_total counter") == 1
        by_node = {
            (s.name, s.labels["node"], s.labels.get("exchange")): s.value
            for family in text_string_to_metric_families(text)
            for s in family.samples
        }
        assert by_node["zexchange_messages_sent_total", one.id, "prices"] == 3
        assert by_node["zexchange_messages_received_total", two.id, "prices"] == 3
        assert by_node["zexchange_messages_unacknowledged", one.id, "prices"] == 0
        assert {by_node["zexchange_peers_ready", n.id, None] for n in (one, two)} == {1}
        assert by_node["zexchange_send_window_bytes", one.id, None] == one.stats().window
    assert heard == [0, 1, 2]


@pytest.mark.sockets
def test_a_limit_adds_up_the_rest(rendezvous: Path) -> None:
    """The exchanges without a label are one series, and so are those that do not match."""
    here, there = Registry(), Registry()
    there.match("**").attach(to_call(lambda msg: None))
    with federate("fed", registry=here) as one, federate("fed", registry=there):
        one.wait_subscribers("a.1", 1)
        registry = registry_of(one, exchanges=["a.*"], limit=2)
        for name in ("a.1", "b.1", "a.2", "a.3"):
            here.get(name).send(name)
        one.flush()
        counts = scraped(registry)
        found = {
            key[2]: n for key, n in counts.items() if key[0].endswith("_sent_total") and key[2:]
        }
        assert found == {"a.1": 1, "a.2": 1, "": 2}


@pytest.mark.sockets
def test_a_closed_node_is_exported_no_longer(rendezvous: Path) -> None:
    """Nothing keeps it alive, and its last scrape is no error."""
    collector = NodeCollector()
    registry = CollectorRegistry()
    registry.register(collector)
    assert scraped(registry) == {}
    node = federate("fed", registry=Registry())
    collector.add(node)
    collector.add(node.aio)
    assert scraped(registry)["zexchange_peers", "fed"] == 0
    gone = weakref.ref(node)
    node.close()
    assert scraped(registry) == {}
    del node
    eventually(lambda: gc.collect() is not None and gone() is None)


@pytest.mark.sockets
def test_a_node_is_closed_while_it_is_scraped(rendezvous: Path) -> None:
    """The scrape that runs at that moment, and those after it, raise nothing."""
    node = federate("fed", registry=Registry())
    registry, errors, scrapes, over = registry_of(node), list[BaseException](), list[int](), []

    def scrape() -> None:
        try:
            while not over or not scrapes:
                scrapes.append(len(scraped(registry)))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=scrape) for _ in range(2)]
    for thread in threads:
        thread.start()
    eventually(lambda: scrapes or errors)
    node.close()
    over.append(True)
    for thread in threads:
        thread.join()
    assert not errors
    assert scraped(registry) == {}


@pytest.mark.sockets
def test_two_scrapes_at_a_time_count_once(rendezvous: Path) -> None:
    """One of two that have looked before either has counted leaves it to the other."""
    here, there = Registry(), Registry()
    there.get("a").attach(to_call(lambda msg: None))
    with federate("fed", registry=here) as one, federate("fed", registry=there):
        one.wait_subscribers("a", 1)
        collector = NodeCollector(one)
        (known,) = collector._nodes
        here.get("a").send(1)
        earlier = known.look()
        here.get("a").send(2)
        later = known.look()
        assert earlier is not None
        assert later is not None
        families = {family.name: family for family in collector.describe()}
        named = {name: families[f"zexchange_{name}"] for name in METRICS}
        for seen in (later, earlier, known.look()):
            assert seen is not None
            known.export(named, seen)
        values = [sample.value for sample in families["zexchange_messages_sent"].samples]
        assert values == [2, 2, 2]


FORKING = """
import os, zexchange
from prometheus_client import CollectorRegistry, generate_latest
from zexchange.contrib.prometheus import NodeCollector

node = zexchange.federate("fed")
registry = CollectorRegistry()
registry.register(NodeCollector(node))
node.wait_subscribers("a", 1)

def scrape(who):
    text = generate_latest(registry).decode()
    found = [line for line in text.splitlines() if line.startswith("zexchange_messages_sent_total")]
    print(who, *(line.rpartition(" ")[2] for line in found), text.count(node.id) > 0)

for _ in range(5):
    zexchange.get_exchange("a").send(1)
scrape("parent")
child = os.fork()
if child == 0:
    node.wait_subscribers("a", 1)
    zexchange.get_exchange("a").send(1)
    scrape("child")
    node.close()
    os._exit(0)
os.waitpid(child, 0)
scrape("parent")
node.close()
"""


@pytest.mark.sockets
def test_a_forked_child_counts_from_the_start(rendezvous: Path) -> None:
    """It has a node of its own, which is exported under the id of that."""
    here = Registry()
    here.get("a").attach(to_call(lambda msg: None))
    with federate("fed", registry=here), Program(FORKING) as program:
        lines = [program.line() for _ in range(3)]
    assert lines == ["parent 5.0 True", "child 1.0 True", "parent 5.0 True"]


@pytest.mark.sockets
def test_a_second_collector_is_refused(rendezvous: Path) -> None:
    """It would export the same metrics twice: all nodes belong to one."""
    with federate("fed", registry=Registry()) as node:
        registry = registry_of(node)
        with pytest.raises(ValueError, match="zexchange_peers"):
            registry.register(NodeCollector(node))


@pytest.mark.sockets
def test_the_multiprocess_mode_reads_no_collectors(rendezvous: Path, tmp_path: Path) -> None:
    """Its own collector reads files, in which a node's counts are not."""
    with federate("fed", registry=Registry()) as node:
        registry = registry_of(node)
        assert b"zexchange_peers" in generate_latest(registry)
        several = CollectorRegistry()
        MultiProcessCollector(several, path=str(tmp_path))  # type: ignore[no-untyped-call]
        assert b"zexchange" not in generate_latest(several)


APART = """
import zexchange
with zexchange.federate("fed") as node:
    node.stats()
    zexchange.get_exchange("a").send(1)
print(sorted({"prometheus_client", "opentelemetry", "starlette"} & set(sys.modules)))
"""


@pytest.mark.sockets
def test_nothing_is_loaded_unless_a_program_imports_it(rendezvous: Path) -> None:
    """Neither metrics nor traces, nor what serves browsers."""
    with Program(APART) as program:
        program.expect("[]")
