"""One object for each registry of this process, made when it is first asked for."""

import threading
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

from ...local.process.fork import track
from ...local.registry import Registry

V = TypeVar("V")


class PerRegistry(Generic[V]):
    """One object for each registry. It goes with its registry; a forked child starts with none."""

    def __init__(self) -> None:
        self._found: weakref.WeakKeyDictionary[Registry, V] = weakref.WeakKeyDictionary()
        self._lock = threading.RLock()
        track(self)

    def get(self, registry: Registry, make: Callable[[], V]) -> V:
        """Return the object of a registry, made by ``make`` at the first call. Any thread."""
        with self._lock:
            there = self._found.get(registry)
            if there is None:
                there = self._found[registry] = make()
            return there

    def _after_fork(self) -> None:
        self._found = weakref.WeakKeyDictionary()
        self._lock = threading.RLock()
