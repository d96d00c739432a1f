"""`zexchange metrics`: counts that never shrink, the dashboard, and the command as a process."""

import json
import re
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contrib.dashboards import expressions
from tests.support import ROOT, Program, eventually, examples, patience, programs
from zexchange.cli.metrics.totals import NodeTotals
from zexchange.protocol.wire.messages import ExchangeCount

from .conftest import Shell

pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from zexchange import Registry, federate, to_call
from zexchange.cli.metrics import collector as module
from zexchange.cli.metrics.collector import METRICS, FederationCollector
from zexchange.contrib.prometheus import METRICS as METRICS_OF_A_NODE

DASHBOARD = ROOT / "examples" / "metrics" / "federation.json"
Values = dict[tuple[str, str, str], float]


def parsed(text: str) -> Values:
    """Return each value of a scrape, by its name, the node and the exchange."""
    return {
        (s.name, s.labels.get("node", ""), s.labels.get("exchange", "")): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


# ------------------------------------------------------------------------- without sockets

COUNTS = st.dictionaries(
    st.sampled_from("abc"),
    st.tuples(*[st.integers(0, 9)] * 5).map(lambda counts: ExchangeCount("", *counts)),
)


def total(rows: Mapping[str, ExchangeCount], at: int) -> int:
    return sum(row[1 + at] for row in rows.values())


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(COUNTS), st.integers(0, 3))
def test_no_count_shrinks_and_nothing_is_counted_twice(
    looks: list[dict[str, ExchangeCount]], labels: int
) -> None:
    """Whatever a node tells: it forgets exchanges and peers, and counts bytes from 0 on."""
    totals, before, label = NodeTotals(), dict[str, list[int]](), "abc"[:labels]
    last: dict[str, ExchangeCount] = {}
    for rows in looks:
        totals.take(rows, {}, lambda name: name if name in label else "")
        now = {name: list(counts) for name, counts in totals.by_label.items()}
        for name in before.keys() & now.keys():
            assert all(a <= b for a, b in zip(before[name], now[name], strict=True))
            for at in range(5):
                grown = sum(
                    max(0, row[1 + at] - (last[of][1 + at] if of in last else 0))
                    for of, row in rows.items()
                    if (of if of in label else "") == name
                )
                most = total(rows, at) if at == 1 else grown
                assert now[name][at] - before[name][at] <= most
        before, last = now, rows


def test_bytes_begin_at_0_when_a_node_counts_again() -> None:
    """Messages do not: those that were counted before are not added once more."""
    totals = NodeTotals()
    for sent, size in ((10, 100), (12, 0), (13, 8)):
        totals.take({"a": ExchangeCount("a", sent, size)}, {}, str)
    assert totals.by_label["a"][:2] == [13, 108]


@pytest.mark.parametrize("name", METRICS)
def test_names_are_those_of_a_node_wherever_they_mean_the_same(name: str) -> None:
    """They have the same kind and labels, and follow the same conventions."""
    kind, labels, text = METRICS[name]
    if name in METRICS_OF_A_NODE:
        assert METRICS_OF_A_NODE[name][:2] == (kind, labels)
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)
    assert not re.search(r"milli|kilo|mega|minute|count\b|total", name)
    assert labels[:1] == ("federation",)
    assert text.endswith(".")
    assert len(text) < 90


def test_the_dashboard_of_a_federation_asks_for_what_is_exported() -> None:
    """Each name and label in its queries exists, rates are of counters, and each count is shown."""
    exported = {
        f"zexchange_{name}" + "_total" * (kind == "counter"): (kind, labels)
        for name, (kind, labels, _) in METRICS.items()
    }
    asked = set[str]()
    for query in expressions(DASHBOARD):
        for name, matchers, rate in re.findall(
            r"\b(zexchange_\w+)(?:\{([^}]*)\})?(\[\$__rate_interval\])?", query
        ):
            kind, labels = exported[name]
            asked.add(name)
            assert set(re.findall(r"(\w+)=", matchers)) <= set(labels)
            assert bool(rate) == (kind == "counter"), query
    assert asked == set(exported)


def test_the_panels_of_a_federation_do_not_overlap() -> None:
    """Each has an id and a place of its own."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set[tuple[int, int]]()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not taken & cells
        taken |= cells


class Asked:
    """A node that counts how often others are asked."""

    name, id = "lab", "0" * 32

    def __init__(self) -> None:
        self.asked = 0

    def _seen(self, pattern: str, timeout: float) -> Any:
        self.asked += 1
        return type("Seen", (), {"members": [], "told": {}})


def test_nodes_are_asked_while_somebody_scrapes() -> None:
    """Once a second at most; between two scrapes, so that they go on counting; then no more."""
    now, node = [1000.0], Asked()
    exported = FederationCollector(node, ["**"], 10, lambda: now[0])  # type: ignore[arg-type]

    def asked(seconds: float, does: Any) -> int:
        now[0] += seconds
        before = node.asked
        does()
        return node.asked - before

    assert asked(0, exported.keep_counting) == 0
    assert asked(0, exported.collect) == 1
    assert asked(module.LEAST / 2, exported.collect) == 0
    assert asked(module.LEAST, exported.collect) == 1
    assert asked(module.LEAST, exported.keep_counting) == 0
    between = [asked(module.BETWEEN, exported.keep_counting) for _ in range(50)]
    assert between[:30] == [1] * 30
    assert between[-10:] == [0] * 10


# ---------------------------------------------------------------------------- as a process

FLOOD = """
import zexchange

mine, theirs = map(zexchange.get_exchange, sys.argv[1:3])
came = []
theirs.attach(zexchange.to_call(came.append))
with zexchange.federate("lab", label=mine.name) as node:
    node.wait_subscribers(mine.name, 1)
    print(node.id)
    sent = 0
    for line in sys.stdin:
        for _ in range(int(line)):
            mine.send({"n": sent})
            sent += 1
        node.flush()
        print(sent)
"""


@contextmanager
def serving(shell: Shell, *arguments: str) -> Iterator[str]:
    """Run the command, and yield where it serves."""
    command = shell.start("metrics", "--federation", "lab", "--listen", "127.0.0.1:0", *arguments)
    assert command.stderr is not None
    line = command.stderr.readline().decode()
    assert line.startswith("zexchange: serving http://127.0.0.1:"), line
    yield line.split()[-1]
    command.send_signal(signal.SIGTERM)
    assert shell.finish(command)[0] == 143


def scraped(address: str) -> Values:
    with urlopen(address, timeout=patience()) as answer:
        assert answer.headers["content-type"].startswith("text/plain")
        return parsed(answer.read().decode())


@pytest.mark.sockets
def test_counts_are_what_the_senders_have_counted(shell: Shell, rendezvous: Path) -> None:
    """Two processes flood one another; one leaves, and no count of the other shrinks."""
    flooding = programs(FLOOD, [("a", "b"), ("b", "a")])
    with serving(shell) as address, flooding as (one, two):
        nodes = {"a": one.line(), "b": two.line()}
        eventually(lambda: scraped(address).get(("zexchange_nodes", "", "")) == 2)
        for expected in (20_000, 40_000):
            for program in (one, two):
                program.say("20000")
            for program in (one, two):
                program.expect(str(expected))

            def agrees(expected: int = expected) -> bool:
                found = scraped(address)
                return all(
                    found.get(("zexchange_messages_sent_total", nodes[mine], mine)) == expected
                    and found.get(("zexchange_messages_received_total", nodes[other], mine))
                    == expected
                    for mine, other in ("ab", "ba")
                )

            eventually(agrees)
        found = scraped(address)
        assert found["zexchange_sent_bytes_total", nodes["a"], "a"] > 40_000
        assert found["zexchange_messages_lost_total", nodes["b"], "a"] == 0
        assert ("zexchange_messages_sent_total", nodes["b"], "a") not in found
        two.process.stdin.close()  # type: ignore[union-attr]
        two.process.wait(patience())
        eventually(lambda: scraped(address)["zexchange_nodes", "", ""] == 1)
        later = scraped(address)
        assert not any(node == nodes["b"] for _, node, _ in later)
        for name, node, exchange in found:
            if name.endswith("_total") and node == nodes["a"]:
                assert later[name, node, exchange] >= found[name, node, exchange]


@pytest.mark.sockets
def test_few_exchanges_have_labels_and_the_others_are_added_up(rendezvous: Path) -> None:
    """Those that come first; how many have none is told."""
    here, there = Registry(), Registry()
    there.match("**").attach(to_call(lambda msg: None))
    with (
        federate("lab", registry=here) as sender,
        federate("lab", registry=there) as other,
        federate("lab", registry=Registry()) as looking,
    ):
        sender.wait_subscribers("x.0", 1)
        for n in range(5):
            for _ in range(n + 1):
                here.get(f"x.{n}").send(1)
        sender.flush()
        registry = CollectorRegistry()
        registry.register(FederationCollector(looking, ["x.*"], 2, count(0, 10).__next__))

        def found() -> Values:
            return parsed(generate_latest(registry).decode())

        values = eventually(lambda: (v := found()) and v["zexchange_nodes", "", ""] == 2 and v)
        sent = {
            exchange: value
            for (name, node, exchange), value in values.items()
            if name == "zexchange_messages_sent_total" and node == sender.id
        }
        assert len(sent) == 3
        assert sum(sent.values()) == 15
        assert values["zexchange_exchanges_without_label", "", ""] == 3
        assert values["zexchange_exchanges", other.id, ""] == 5


@pytest.mark.sockets
def test_an_address_that_is_taken_is_told(shell: Shell) -> None:
    """With what to do; and Ctrl-C ends the command that serves."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = shell.run("metrics", "--federation", "lab", "--listen", where)
    assert ended.returncode == 1
    assert f"cannot serve at {where}" in ended.stderr.decode()
    assert "--listen" in ended.stderr.decode()
    running = shell.start("metrics", "--federation", "lab", "--listen", "0.0.0.0:0")
    assert running.stderr is not None
    assert b"serving http://0.0.0.0:" in running.stderr.readline()
    assert b"other hosts can read it" in running.stderr.readline()
    running.send_signal(signal.SIGINT)
    status, _, complaints = shell.finish(running)
    assert status == 130
    assert not complaints


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--listen", "9464"), "HOST:PORT"),
        (("--listen", "127.0.0.1:http"), "HOST:PORT"),
        (("--listen", "127.0.0.1:65536"), "HOST:PORT"),
        (("--exchange", "a.**.b"), "**"),
        (("--limit", "-1"), "--limit"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_joined(
    shell: Shell, arguments: tuple[str, ...], text: str
) -> None:
    """Each mistake with the option that has it."""
    ended = shell.run("metrics", *arguments)
    assert ended.returncode == 2
    assert text in ended.stderr.decode()


WITHOUT = """
sys.modules["prometheus_client"] = None
from zexchange.cli.group import run
sys.argv = ["zexchange", *sys.argv[1:]]
sys.stderr = sys.stdout
run()
"""


@pytest.mark.sockets
def test_without_the_extra_it_says_what_to_install(rendezvous: Path) -> None:
    """And joins nothing; the other commands are there."""
    with Program(WITHOUT, "metrics") as program:
        assert program.line().endswith("pip install 'zexchange[prometheus]'")
    with Program(WITHOUT, "--help") as program:
        assert "Usage" in program.line()
