"""Which locks of the package a thread has, and a logging handler that asks for everything.

No lock of ours is held while somebody else's code runs: so whoever is logged to, told of an
event, or called in any other way, may ask for whatever there is.
"""

import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

from zexchange import Registry, imports
from zexchange.errors import ExchangeError
from zexchange.local.process import fork as forking
from zexchange.net.engine.engine import Engine
from zexchange.net.node import lifetime
from zexchange.net.transport import sockets
from zexchange.protocol.codec import custom_types as registration

MADE = {
    "contrib/membership.py": {"self._lock"},
    "contrib/prometheus.py": {"self._lock"},
    "imports.py": {"lock"},
    "local/late_join.py": {"self._lock"},
    "local/subscribers.py": {"self._lock"},
    "local/tasks/buffered.py": {"self._lock"},
    "local/cycles.py": {"chains"},
    "local/process/fork.py": {"self.lock"},
    "local/tasks/adapters.py": {"self._lock"},
    "local/process/worker.py": {"self._turn"},  # only ever tried
    "local/process/logs.py": {"self._counting"},
    "local/tasks/mailbox.py": {"self._lock", "self._filled", "self._roomy"},
    "local/registry.py": {"self._lock"},
    "local/asking.py": {"self._lock"},
    "local/memberships.py": {"self._lock"},
    "local/sharing/member.py": {"self._lock"},
    "local/sharing/roster.py": {"self._lock"},
    "local/sharing/share.py": {"self._lock"},
    "local/sharing/supply.py": {"self._lock"},
    "net/engine/requests.py": {"self._lock"},
    "net/outbound/bridges.py": {"self._lock"},
    "net/inbound/rejections.py": {"self._lock"},
    "net/inbound/merging.py": {"self.lock"},
    "net/node/lifetime.py": {"lock", "self._starting"},
    "net/outbound/publisher.py": {"self._lock"},
    "net/peering/rendezvous.py": {"self._changing"},
    "net/outbound/shared.py": {"self.moving"},
    "net/outbound/siblings.py": {"self._placing", "self.naming"},
    "net/transport/per_registry.py": {"self._lock"},
    "net/transport/polling.py": {"self._closing"},
    "net/transport/sockets.py": {"_starting"},
    "protocol/interest/changes.py": {"self._lock"},  # a plain one, for which nothing is called
    "protocol/codec/custom_types.py": {"_changing"},
}
"""Where locks are made, and what they are called: `held` has to know each of them."""
NAMES = (
    "_lock", "lock", "_starting", "_changing", "_closing", "_counting", "_placing", "moving",
    "naming",
)  # fmt: skip
PARTS = (
    "bridges", "rejection_counter", "_waker", "places._rendezvous", "siblings", "inbound._waker",
    "inbound._processes", "requests",
)  # fmt: skip
"""What has locks in an engine, beside the engine itself and what is known by `fork.track`."""
MOST = 20
"""Questions that are asked in one test: some log thousands of records."""
LOOKS, APART = 100, 50
"""Records of one test for each of which all locks are looked at, and then one of so many.

There may be ten thousands of exchanges, of earlier tests too, which each look goes through.
"""
_engines: "weakref.WeakSet[Engine]" = weakref.WeakSet()


def watch() -> None:
    """Have `held` know every engine from now on, those included that are only just made."""
    make = Engine.__init__

    def made(self: Engine, *args: Any, **kwargs: Any) -> None:
        _engines.add(self)
        make(self, *args, **kwargs)

    Engine.__init__ = made  # type: ignore[method-assign]


def held() -> list[str]:
    """Return the locks that this thread has, but for the turn of a generator that is a task."""
    found = [
        _name(owner, name)
        for owner in _owners()
        for name in _names[type(owner)]
        if _owned(getattr(owner, name, None))
    ]
    me = threading.get_ident()
    for engine in _alive(_engines):
        if vars(engine).get("changed") is not None and _owned(engine.changed):
            found.append("Engine.changed")
        if getattr(getattr(engine, "outbound", None), "_holder", 0) == me:
            found.append("Outbound._lock")
    return found


def _alive(known: "weakref.WeakSet[Any]") -> list[Any]:
    """Return what is in a weak set: its own iterator fails if a thread adds to it meanwhile."""
    references: set[Callable[[], Any]] = known.data  # type: ignore[attr-defined]
    return [found for reference in list(references) if (found := reference()) is not None]


def _owners() -> Iterator[object]:
    yield from (imports, lifetime, sockets, registration)
    yield from list(lifetime.nodes.values())
    for owner in _alive(forking._tracked):
        if type(owner).__module__ != "zexchange.local.tasks.validation":
            yield owner
        for subscription in list(getattr(owner, "_table", {}).values()):
            if subscription.catch_up is not None:
                yield subscription.catch_up
    for engine in _alive(_engines):
        for path in PARTS:
            yield part(engine, path)
        shared = part(engine, "siblings._shared")
        yield from list(shared.values()) if shared else ()


def part(engine: Engine, path: str) -> Any:
    """Return a part of an engine, None if that is not made yet."""
    return reduce(lambda owner, name: getattr(owner, name, None), path.split("."), engine)


class _Names(dict[type, list[str]]):
    """By type, those of `NAMES` that its objects may have: there are many, and most have one."""

    def __missing__(self, kind: type) -> list[str]:
        open_ended = any("__dict__" in vars(base) for base in kind.__mro__)
        self[kind] = [name for name in NAMES if open_ended or hasattr(kind, name)]
        return self[kind]


_names = _Names()


def _owned(lock: Any) -> bool:
    owned = getattr(lock, "_is_owned", None)
    return bool(owned and owned())


def _name(owner: object, name: str) -> str:
    return f"{getattr(owner, '__name__', type(owner).__name__)}.{name}"


class Asking(logging.Handler):
    """A handler, with a lock of its own as every handler has, that asks for everything."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = self.seen = 0
        self.wrong: list[str] = []
        self._local = Registry()

    def emit(self, record: logging.LogRecord) -> None:
        self.seen += 1
        if self.seen > LOOKS and self.seen % APART:
            return
        locks = held()
        if locks:
            self.wrong.append(f"{record.getMessage()!r} was logged with {locks} held")
        elif self.asked < MOST:
            self.asked += 1
            try:
                self.ask()
            except ExchangeError:
                pass  # of a node that is closed meanwhile
            except Exception as error:
                self.wrong.append(f"{type(error).__name__} in a handler: {error}")

    def ask(self) -> None:
        """Ask for all that changes nothing for anybody else."""
        exchange = self._local.get("asked")
        with exchange.record() as heard:
            exchange.send(1)
        assert heard == [1]
        self._local.match("**")
        for node in list(lifetime.nodes.values()):
            # Not those of a simulated world, which is run by one thread; and asking that of a
            # forked child would start it.
            if node._world is None and node._engine is not None:
                _ = node.peers, node.stats(), node.endpoints, repr(node)
                if not node._would_wait_for_itself():
                    node.wait_peers(0, 0.0)
