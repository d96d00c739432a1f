"""The output of the demo: a live table on a terminal, and plain lines elsewhere.

Only the main thread draws, between two batches of messages, so the board needs no lock. This
module does not know processes or nodes.
"""

import sys
import time
from contextlib import AbstractContextManager, nullcontext

import click
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..peers import as_columns
from .board import LISTENERS, WIDTH, Board, Row, Tally, quantity, sparkline

COLOURS = {"sensor-1": "yellow", "sensor-2": "cyan", "sensor-3": "green", "analyst": "magenta"}
PLAIN_EVERY = 2.0
SAID = 8
NARROW = 10
OTHERS = 40
"""Columns of the terminal that are not for names of exchanges and sparklines."""
HEADINGS = ("EXCHANGE", "FROM", "SENT", "ANALYST", "SCREEN", "LOST", "")


class Display:
    """Shows a board, the events of the demo, and the final count."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._said: list[tuple[float, str]] = []
        self._began = time.monotonic()
        self._plain_at = PLAIN_EVERY
        self._console = Console(highlight=False)
        self._live: Live | None = None
        if sys.stdout.isatty():
            self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def drawing(self) -> AbstractContextManager[object]:
        """Return the context manager inside which `frame` is to be called."""
        return self._live or nullcontext()

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        """Announce an event: on a terminal with the next frame, elsewhere at once."""
        self._said.append((self._elapsed, text))
        if self._live is None:
            click.echo(f"{self._elapsed:5.1f} s  {text}")

    def frame(self) -> None:
        """Show the current state; called about ten times a second."""
        if self._live is not None:
            parts = self._title(), self._table(), self._story()
            self._live.update(Padding(Group(*parts), (1, 1, 0, 1)), refresh=True)
        elif self._elapsed >= self._plain_at:
            self._plain_at += PLAIN_EVERY
            now = time.monotonic()
            for row in self._board.sorted():
                if rate := row.rate(now):
                    last, label = quantity(row.values[-1], row.unit), self._board.label(row.origin)
                    text = f"{row.name}  {last}  {rate:.0f}/s  from {label}"
                    click.echo(f"{self._elapsed:5.1f} s  {text}")

    def verdict(self, tallies: list[Tally]) -> None:
        """Print the final summary: the events, and the count."""
        words, rows = sentence(tallies), [cells(line) for line in tallies]
        if self._live is None:
            click.echo("\n".join(["", *as_columns([HEADINGS, *rows]), "", words]))
            return
        good = all(line.whole for line in tallies)
        mark = Text("✓ ", "bold green") if good else Text("✗ ", "bold red")
        said = mark + Text(words, "bold" if good else "bold red")
        parts: list[RenderableType] = [self._title(), self._story(), _final(rows), said, Text()]
        self._console.print(Padding(Group(*parts), (1, 1, 0, 1)))

    def _title(self) -> Text:
        senders = len({origin for _, origin in self._board.rows} - self._board.gone)
        return Text.assemble(
            ("zexchange", "bold"),
            ("   one row per exchange and sender", "dim"),
            (f"   {senders} sending   {self._elapsed:4.1f} s", "dim"),
        )

    def _table(self) -> Table:
        table = _frame()
        # Fixed widths: if they followed the values, the table would jitter.
        table.add_column("exchange", min_width=20)
        table.add_column("last", justify="right", min_width=10, no_wrap=True)
        table.add_column("", width=self._bars(), no_wrap=True)
        table.add_column("rate", justify="right", min_width=4, no_wrap=True)
        table.add_column("from", min_width=10, no_wrap=True)
        now, before = time.monotonic(), ""
        for row in self._board.sorted():
            table.add_row(*self._cells(row, now, row.name == before))
            before = row.name
        return table

    def _bars(self) -> int:
        """Return how many values fit into the sparkline of a row."""
        longest = max((len(name) for name, _ in self._board.rows), default=0)
        return max(NARROW, min(WIDTH, self._console.width - longest - OTHERS))

    def _cells(self, row: Row, now: float, repeated: bool) -> list[Text]:
        label, dead = self._board.label(row.origin), row.origin in self._board.gone
        colour = "dim" if dead else COLOURS.get(label, "white")
        bars = sparkline(list(row.values)[-self._bars() :], 100.0 if row.unit == "%" else None)
        return [
            Text(row.name, "dim" if repeated or dead else ""),
            Text(quantity(row.values[-1], row.unit), "dim" if dead else "bold"),
            Text(bars, colour),
            Text("-" if dead else f"{row.rate(now):.0f}/s", "dim"),
            Text(f"{label} ✗" if dead else label, "red" if dead else colour),
        ]

    def _story(self) -> Group:
        lines = [
            Text.assemble((f"{at:5.1f} s  ", "dim"), (text, "red" if "killed" in text else ""))
            for at, text in self._said[-SAID:]
        ]
        return Group(*lines, Text())


def _frame() -> Table:
    return Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)


def _final(rows: list[tuple[str, ...]]) -> Table:
    """Return the table of the messages that each process sent and received."""
    table = _frame()
    for heading in HEADINGS:
        left = heading in ("EXCHANGE", "FROM", "")
        table.add_column(heading.lower(), justify="left" if left else "right")
    for name, sender, *counts, remark in rows:
        style = {"killed": "red", "ok": "green"}.get(remark, "bold red")
        table.add_row(name, Text(sender, COLOURS.get(sender, "")), *counts, Text(remark, style))
    return table


def cells(line: Tally) -> tuple[str, ...]:
    """Return a tally as a row of the final table."""
    sent = "?" if line.sent is None else f"{line.sent:,}"
    remark = "killed" if line.sent is None else "ok" if line.whole else "NOT WHOLE"
    got = [f"{line.received[who]:,}" if who in line.received else "-" for who in RECEIVERS]
    return line.name, line.sender, sent, *got, f"{line.lost:,}", remark


RECEIVERS = LISTENERS["metrics"]


def sentence(tallies: list[Tally]) -> str:
    """Return the result of the demo as a sentence."""
    living = [line for line in tallies if line.sent is not None]
    sent = sum(line.sent or 0 for line in living)
    short = sum(not line.whole for line in living)
    if short:
        return f"Not everything arrived: {short} of {len(living)} lines are not whole."
    return f"Everything that the living sent was received: {sent:,} messages, none lost."
