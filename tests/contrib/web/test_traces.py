"""A trace that begins in a page, and comes back to it: one id, and the right parents."""

import json
from pathlib import Path

import pytest

from tests.contrib.test_opentelemetry import TRACED
from tests.contrib.web.servers import TOKEN, gateway
from tests.contrib.web.servers import node as find_node
from tests.contrib.web.test_client import page
from tests.support import Program

pytestmark = pytest.mark.sockets

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PACKER = (
    TRACED
    + """
@tracing.handler(orders)
def pack(order):
    tracing.send(packed, [order])

with zexchange.federate("browsers") as node:
    node.wait_subscribers("packed", 2)
    print("ready")
    told(2)
    input()
"""
)
VAN = (
    TRACED
    + """
shipped = zexchange.get_exchange("shipped")
with packed.stream(details=True) as parcels, zexchange.federate("browsers") as node:
    node.wait_subscribers("shipped", 1)
    print("ready")
    parcel = parcels.get(timeout=60)
    with tracing.process(parcel):
        tracing.send(shipped, parcel.msg)
    node.flush()
    told(2)
    input()
"""
)
SCRIPT = """
const show = (value, { exchange, headers }) => say(exchange, value, headers)
await client.exchange("packed").attach(show)
await client.exchange("shipped").attach(show)
say("attached")
await new Promise(done => process.stdin.once("data", done))
await client.exchange("orders").send(7, { headers: { traceparent: "00-TRACE-SPAN-01" } })
"""


def test_a_trace_through_three_processes_and_a_page(rendezvous: Path, tmp_path: Path) -> None:
    """The page, its gateway, a program that sends on, and one that reads a stream; and the page."""
    find_node()
    how = f"subscribe=['packed', 'shipped'], publish='orders', token={TOKEN!r}"
    script = SCRIPT.replace("TRACE", TRACE).replace("SPAN", SPAN)
    with (
        gateway(tmp_path, how) as port,
        page(tmp_path, port, script) as shown,
        Program(VAN) as van,
        Program(PACKER) as packer,
    ):
        shown.until("attached")
        van.expect("ready")
        packer.expect("ready")
        assert shown.process.stdin is not None
        print("go", file=shown.process.stdin, flush=True)
        told = [json.loads(program.line()) for program in (packer, van)]
        seen = [shown.until("packed"), shown.until("shipped")]
        van.say()
        packer.say()
    spans = {span[0]: span for each in told for span in each}
    order = ["process orders", "send packed", "process packed", "send shipped"]
    chain = [spans[name] for name in order]
    assert {trace for _, _, trace, *_ in chain} == {int(TRACE, 16)}
    parents = [parent for *_, parent, _ in chain]
    assert parents == [int(SPAN, 16), *(span for _, _, _, span, *_ in chain[:-1])]
    assert [kind for _, kind, *_ in chain] == ["CONSUMER", "PRODUCER"] * 2
    for (_, value, headers), span in zip(seen, (chain[1], chain[3]), strict=True):
        assert value == [7]
        assert headers == {"traceparent": f"00-{TRACE}-{span[3]:016x}-01"}
