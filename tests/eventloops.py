"""Event loops that a test may be run in; one that is not installed is skipped."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

Main = Callable[[], Awaitable[Any]]


def run_asyncio(main: Main) -> Any:
    """Run a coroutine in asyncio's own loop."""
    return asyncio.run(main())  # type: ignore[arg-type]


def run_uvloop(main: Main) -> Any:
    """Run a coroutine in uvloop."""
    return pytest.importorskip("uvloop").run(main())


def run_trio(main: Main) -> Any:
    """Run a coroutine in trio."""
    return pytest.importorskip("trio").run(main)


def run_anyio(main: Main) -> Any:
    """Run a coroutine under anyio, on asyncio."""
    return pytest.importorskip("anyio").run(main, backend="asyncio")


def run_anyio_on_trio(main: Main) -> Any:
    """Run a coroutine under anyio, on trio."""
    return pytest.importorskip("anyio").run(main, backend="trio")
