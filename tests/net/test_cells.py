"""Cells of a notebook: plain code that an event loop runs, and that may wait all the same."""

import ast
import asyncio
import inspect
import re
from types import CodeType
from typing import Any

import pytest

from tests.support import ROOT, Program, eventually
from zexchange import Registry, federate

pytestmark = pytest.mark.sockets

KERNEL = """
import ast, asyncio, inspect, sys

async def kernel(cells):
    space = {"__name__": "__main__"}
    for cell in cells:
        code = compile(cell, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if code.co_flags & inspect.CO_COROUTINE:
            await eval(code, space)
        else:
            exec(code, space)

asyncio.run(kernel(CELLS))
print("over")
"""


def kernel(*cells: str) -> str:
    """Return a program that runs cells as a notebook's kernel does."""
    return f"CELLS = {cells!r}\n{KERNEL}"


def published() -> str:
    """Return README's second program."""
    found = re.search(r"```python\n# publish\.py\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert found
    return found[1]


def test_the_readmes_program_runs_in_a_cell() -> None:
    """It waits for those who listen, and what it has sent has arrived when the block ends."""
    registry = Registry()
    with federate("trading", registry=registry), registry.get("prices").record() as got:
        with Program(kernel(published())) as program:
            program.expect("over")
            assert got == [{"sym": "AAPL", "px": 191.25}]
            assert program.end() == 0


def test_a_cell_waits_for_room_and_for_what_it_has_sent() -> None:
    """As the same lines do in a script, and also where the cell awaits something."""
    batch = """
import asyncio, zexchange
big = zexchange.get_exchange("big")
with zexchange.federate("fed", replay_bytes=1 << 20) as node:
    node.wait_subscribers("big", 1)
    {first}
    for n in range(40):
        big.send((n, bytes(100_000)))
"""
    cells = [batch.format(first="pass"), batch.format(first="await asyncio.sleep(0)")]
    registry = Registry()
    with federate("fed", registry=registry), registry.get("big").record() as got:
        with Program(kernel(*cells)) as program:
            program.expect("over")
            assert program.end() == 0
        assert [n for n, _ in got] == [*range(40), *range(40)]


def test_an_interactive_loop_runs_it_as_well() -> None:
    """Of the standard library: `python -m asyncio` reads lines, and runs them in its loop."""
    registry = Registry()
    with federate("trading", registry=registry), registry.get("prices").record() as got:
        with Program("import runpy; runpy.run_module('asyncio', run_name='__main__')") as program:
            for line in (*published().splitlines(), "", "print('ov' + 'er')", "exit()"):
                program.say(line)
            eventually(lambda: bool(got))
            program.end()
    assert got == [{"sym": "AAPL", "px": 191.25}]


def test_a_coroutine_of_a_cell_may_not_wait_nor_a_callback() -> None:
    """It would hold up what else runs there: `node.aio` is for them."""
    refused: list[str] = []

    def attempt() -> None:
        try:
            node.flush(timeout=0.1)
        except RuntimeError as error:
            refused.append(str(error))

    async def coroutine() -> None:
        attempt()

    async def main() -> None:
        space = {"__name__": "__main__", "attempt": attempt, "coroutine": coroutine}
        run("attempt()", space)
        assert not refused
        code = compile("await coroutine()", "<cell>", "eval", ALLOW_AWAIT)
        await eval(code, space)
        assert len(refused) == 1
        asyncio.get_running_loop().call_soon(attempt)
        await asyncio.sleep(0)
        assert len(refused) == 2
        run("attempt()", {**space, "__name__": "some.module"})  # which a server imports
        assert len(refused) == 3

    with federate("fed", registry=Registry()) as node:
        asyncio.run(main())
    assert all("node.aio" in text for text in refused)


ALLOW_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def run(text: str, space: dict[str, Any]) -> None:
    """Carry out plain lines."""
    code: CodeType = compile(text, "<cell>", "exec")
    assert not code.co_flags & inspect.CO_COROUTINE
    exec(code, space)
