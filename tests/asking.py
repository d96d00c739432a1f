"""Imported by programs that tests run: the handler of `tests/locks.py`, there too.

What it finds is printed, where the test expects something else. It knows the engines of the nodes
that are there when something is logged first, and all later ones.
"""

import logging
import sys
from typing import Any


class Asking(logging.Handler):
    """Asks for everything once the network half is there; nothing is imported for it before."""

    def __init__(self) -> None:
        super().__init__()
        self._asking: Any = None
        self._told = 0

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] != "zexchange" or self._engine() is None:
            return
        if self._asking is None:
            self._begin()
        self._asking.emit(record)
        for text in self._asking.wrong[self._told :]:
            print("wrong:", text, flush=True)
        self._told = len(self._asking.wrong)

    def _engine(self) -> Any:
        return getattr(sys.modules.get("zexchange.net.engine.engine"), "Engine", None)

    def _begin(self) -> None:
        from zexchange.imports import importing

        with importing():  # or a child that is forked meanwhile waits for it for ever
            from tests import locks
            from zexchange.net.node import lifetime

        locks.watch()
        locks._engines.update(n._engine for n in list(lifetime.nodes.values()) if n._engine)
        self._asking = locks.Asking()


def install() -> None:
    logging.getLogger().addHandler(Asking())
    logging.getLogger("zexchange").setLevel(logging.INFO)
