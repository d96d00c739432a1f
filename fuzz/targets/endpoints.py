"""Endpoints as the environment, arguments and strangers write them (`net.endpoints`, `net.plan`).

The ``$ZEXCHANGE_…`` variables end in `make_plan`, whatever shell or service set them: the text
is split at NUL, which no variable can have, into the arguments.
"""

from collections.abc import Iterator

from zexchange.errors import ExchangeError
from zexchange.net.config import make_plan
from zexchange.net.transport.endpoints import parse_tcp, reachable, resolve_wild, socket_address
from zexchange.protocol.wire.messages import Address

from ..bounds import require

MAX_LEN = 200


def seeds() -> Iterator[bytes]:
    """Yield federation, listen, advertise, a peer, exchanges, and whether insecure is set."""
    tcp = "tcp://127.0.0.1:7400"
    yield "\0".join(("fed", tcp, "tcp://[::1]:0", "tcp://localhost:65535", "a.**", "1")).encode()
    yield "\0".join(("a/../b", "tcp://*:7400", "", tcp, "**", "")).encode()
    yield "\0".join(("x", "tcp://0.0.0.0:0", "tcp://10.0.0.1:7400", "ipc:///x", "*", "1")).encode()
    yield "\0".join(("é", "tcp://[fe80::1%eth0]:1", "tcp://h:٣", "tcp://:1", "", "1")).encode()
    yield b"\xff\0tcp://\xff:1\0tcp://a:99999"


def execute(data: bytes) -> None:
    """Make a plan, and judge every text as an endpoint of a stranger."""
    texts = data.decode(errors="surrogateescape").split("\0")
    _judge(texts[-1])
    federation, listen, advertise, peer, exchanges, insecure = (*texts, *[""] * 6)[:6]
    try:
        plan = make_plan(
            federation,
            listen or None,
            advertise or None,
            (peer,) if peer else (),
            insecure != "2",
            exchanges or "**",
            "",
            bool(insecure),
        )
    except (ExchangeError, ValueError):
        return
    require(plan.listen is None or all(0 <= end.port <= 65535 for end in plan.listen), plan)
    if not insecure:
        require(plan.listen is None or all(end.loopback for end in plan.listen), plan)


def _judge(text: str) -> None:
    socket_address(text)
    for ours in (False, True):
        reachable(Address(text, text), lambda path, ours=ours: ours)
    for address in resolve_wild([Address(text, text)], "10.0.0.1"):
        require(isinstance(address.control, str), text)
    try:
        tcp = parse_tcp(text)
    except ValueError:
        return
    require(parse_tcp(str(tcp)) == tcp, text)
