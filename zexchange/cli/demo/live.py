"""The demo on a terminal: one table that lives, and what happens below it.

The main thread alone draws, between two batches of messages, so that the board needs no
lock. It must not know processes or nodes.
"""

import time

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .board import WIDTH, Board, Row, Tally, quantity, sparkline
from .screen import Screen, cells, headings, remark, sentence

COLOURS = {"sensor-1": "yellow", "sensor-2": "cyan", "sensor-3": "green", "analyst": "magenta"}
SAID = 8
NARROW = 10
OTHERS = 40
"""Columns of the terminal that everything but names and sparklines takes."""


class LiveScreen(Screen):
    """A table that is drawn again for each frame."""

    def __init__(self, board: Board, federation: str) -> None:
        super().__init__(board, federation)
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> "LiveScreen":
        self._live.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._live.stop()

    def frame(self) -> None:
        """Draw."""
        self._live.update(self._picture(), refresh=True)

    def verdict(self, tallies: list[Tally]) -> None:
        """Leave on the terminal what happened, and the count."""
        good = all(line.whole for line in tallies)
        mark = Text("✓ ", "bold green") if good else Text("✗ ", "bold red")
        words = Text(sentence(tallies), "bold" if good else "bold red")
        parts: list[RenderableType] = [
            self._title(),
            self._story(),
            _final(tallies),
            mark + words,
            Text(),
        ]
        self._console.print(Padding(Group(*parts), (1, 1, 0, 1)))

    def _picture(self) -> RenderableType:
        return Padding(Group(self._title(), self._table(), self._story()), (1, 1, 0, 1))

    def _title(self) -> Text:
        senders = len({row.origin for row in self.board.rows.values()} - set(self.board.gone))
        return Text.assemble(
            ("zexchange", "bold"),
            ("   one row per exchange and sender", "dim"),
            (f"   {senders} sending   {self.elapsed:4.1f} s", "dim"),
        )

    def _table(self) -> Table:
        table = _frame()
        # Widths that do not follow the values, or the whole picture would jitter.
        table.add_column("exchange", min_width=20)
        table.add_column("last", justify="right", min_width=10, no_wrap=True)
        table.add_column("", width=self._bars(), no_wrap=True)
        table.add_column("rate", justify="right", min_width=4, no_wrap=True)
        table.add_column("from", min_width=10, no_wrap=True)
        now, before = time.monotonic(), ""
        for row in self.board.sorted():
            table.add_row(*self._cells(row, now, row.name == before))
            before = row.name
        return table

    def _bars(self) -> int:
        """Return how many values of a row there is room for."""
        longest = max((len(row.name) for row in self.board.rows.values()), default=0)
        return max(NARROW, min(WIDTH, self._console.width - longest - OTHERS))

    def _cells(self, row: Row, now: float, repeated: bool) -> list[Text]:
        label, dead = self.board.label(row.origin), row.origin in self.board.gone
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
            for at, text in self.said[-SAID:]
        ]
        return Group(*lines, Text())


def _frame() -> Table:
    return Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)


def _final(tallies: list[Tally]) -> Table:
    """Return the table of who sent and who got how many."""
    table = _frame()
    for heading in headings():
        left = heading in ("EXCHANGE", "FROM", "")
        table.add_column(heading.lower(), justify="left" if left else "right")
    for line in tallies:
        style = {"killed": "red", "ok": "green"}.get(remark(line), "bold red")
        *row, last = cells(line)
        colour = COLOURS.get(line.sender, "")
        table.add_row(row[0], Text(row[1], colour), *row[2:], Text(last, style))
    return table
