"""Numbers that pages of the guide give, and the constants of the code that make them true."""

import inspect
from collections import Counter

import pytest

from tests.support import ROOT
from zexchange import Node
from zexchange.cli.top.command import MOST, top
from zexchange.contrib.web.queue import Limits
from zexchange.local.tasks import noted
from zexchange.net.engine import counting
from zexchange.net.outbound.counting import FRAMES_MOST

METRICS, SEEING, BROWSERS = "guide/metrics.md", "guide/seeing.md", "guide/browsers.md"
TRACEPARENT = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}


def words(page: str) -> str:
    """The text of a page as one line."""
    return " ".join((ROOT / "docs" / page).read_text(encoding="utf-8").split())


def size(headers: dict[str, str]) -> int:
    """Bytes that headers count for."""
    return sum(len(name) + len(value) for name, value in headers.items())


def test_numbers_of_seeing() -> None:
    """How long nodes count, how often the command looks, and how many frames are looked at."""
    page = words(SEEING)
    assert counting.LOOKED_AT_FOR == 10
    assert "Ten seconds after the last look a node stops counting" in page
    (every,) = [option for option in top.params if option.name == "every"]
    assert (every.type.min, every.type.max, every.default) == (0.1, MOST, 1.0)  # type: ignore[attr-defined]
    assert f"from {0.1} to {MOST:g}" in page
    assert "changes once a second" in page
    assert f"more than {10 * FRAMES_MOST:,} frames a second" in page  # ten looks a second


def test_numbers_of_metrics() -> None:
    """How often nodes are asked, how many series there are, and what a trace takes."""
    collector = pytest.importorskip("zexchange.cli.metrics.collector")
    page = words(METRICS)
    assert (collector.LEAST, collector.SCRAPED_FOR) == (1, 150)
    assert f"once a second at most, and every {collector.BETWEEN:g} seconds" in page
    assert f"after {counting.LOOKED_AT_FOR:g} seconds without a question" in page
    assert "150 seconds after the last scrape" in page
    kinds = Counter(labels[:3] for _, labels, _ in collector.METRICS.values())
    by_exchange = kinds.pop(collector.EXCHANGE)
    kinds.pop(collector.FEDERATION)
    assert (by_exchange, kinds.total()) == (6, 11)
    assert "six series for each node and exchange with a label" in page
    assert "eleven for the node itself" in page


def test_numbers_of_labels_and_traces() -> None:
    """At most so many exchanges have a label, and a trace takes so many bytes."""
    prometheus = pytest.importorskip("zexchange.contrib.prometheus")
    limit = inspect.signature(prometheus.NodeCollector).parameters["limit"].default
    page = words(METRICS)
    assert f"at most {limit} exchanges of a node have a label" in page
    assert f"takes {size(TRACEPARENT)} of the {noted.HEADERS_BYTES} bytes" in page


def test_numbers_of_browsers() -> None:
    """What is kept, and for how long; what the module does by itself is in its own tests."""
    page = words(BROWSERS)
    assert Limits().keep == 60
    assert "For a minute the gateway keeps" in page


def test_the_first_look_is_described_where_it_is_made() -> None:
    """`Node.traffic` takes the pattern and the timeout that the page names."""
    assert {"pattern", "timeout"} <= inspect.signature(Node.traffic).parameters.keys()
    assert "its `timeout=` is over" in words(SEEING)


def test_numbers_of_the_frames_of_browsers() -> None:
    """The codes of closed connections, the limits, and the pings of the server."""
    doors = pytest.importorskip("zexchange.contrib.web.doors")
    sources = pytest.importorskip("zexchange.contrib.web.sources")
    uvicorn = pytest.importorskip("uvicorn")
    page = words("internals/browsers.md")
    for code, text in {
        doors.MALFORMED: "no frame of this protocol",
        doors.BAD_TOKEN: "token",
        doors.BAD_ORIGIN: "origin",
        doors.LATE: f"no hello in {doors.HELLO_TIMEOUT:g} s",
        doors.REPLACED: "another connection goes on with the session",
        doors.TOO_LARGE: "a frame too large",
    }.items():
        assert f"{code} ({text})" in page
    assert f"is cut off at {Limits().replies}" in page
    assert f"beyond {sources.WAITING:,}" in page
    assert f"({uvicorn.Config('x').ws_ping_interval:g} seconds, with uvicorn)" in page
