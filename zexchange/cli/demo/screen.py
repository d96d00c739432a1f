"""How the demo looks: a live table on a terminal, plain lines anywhere else.

Both show the same board and say the same sentences. They must not know processes or
nodes.
"""

import time

import click

from ..peers import as_columns
from .board import Board, Row, Tally, quantity

PLAIN_EVERY = 2.0
RECEIVERS = ("analyst", "screen")


class Screen:
    """What both kinds share: the time since the beginning, and what was said."""

    def __init__(self, board: Board, federation: str) -> None:
        self.board = board
        self.federation = federation
        self.said: list[tuple[float, str]] = []
        self.began = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    def say(self, text: str) -> None:
        """Tell the audience what happens."""
        self.said.append((self.elapsed, text))

    def frame(self) -> None:
        """Show what is known now."""

    def verdict(self, tallies: list[Tally]) -> None:
        """Show the count at the end."""

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *reason: object) -> None:
        pass


class PlainScreen(Screen):
    """Plain lines: what happens at once, what flows every two seconds."""

    def __init__(self, board: Board, federation: str) -> None:
        super().__init__(board, federation)
        self._due = PLAIN_EVERY

    def say(self, text: str) -> None:
        """Print a line."""
        super().say(text)
        click.echo(f"{self.elapsed:5.1f} s  {text}")

    def frame(self) -> None:
        """Print a line for each row, now and then."""
        if self.elapsed < self._due:
            return
        self._due += PLAIN_EVERY
        now = time.monotonic()
        for row in self.board.sorted():
            if row.rate(now):
                click.echo(f"{self.elapsed:5.1f} s  {_plain_row(self.board, row, now)}")

    def verdict(self, tallies: list[Tally]) -> None:
        """Print the table and the sentence."""
        click.echo("")
        click.echo("\n".join(as_columns([headings(), *[cells(line) for line in tallies]])))
        click.echo(f"\n{sentence(tallies)}")


def _plain_row(board: Board, row: Row, now: float) -> str:
    last = quantity(row.values[-1], row.unit)
    return f"{row.name}  {last}  {row.rate(now):.0f}/s  from {board.label(row.origin)}"


def headings() -> tuple[str, ...]:
    """Return the headings of the final table."""
    return "EXCHANGE", "FROM", "SENT", "ANALYST", "SCREEN", "LOST", ""


def cells(line: Tally) -> tuple[str, ...]:
    """Return a line of the final table."""
    sent = "?" if line.sent is None else f"{line.sent:,}"
    got = [f"{line.received[who]:,}" if who in line.received else "-" for who in RECEIVERS]
    return line.name, line.sender, sent, *got, f"{line.lost:,}", remark(line)


def remark(line: Tally) -> str:
    """Return what is to be said of a line of the final table."""
    if line.sent is None:
        return "killed"
    return "ok" if line.whole else "NOT WHOLE"


def sentence(tallies: list[Tally]) -> str:
    """Return the verdict in words."""
    living = [line for line in tallies if line.sent is not None]
    sent = sum(line.sent or 0 for line in living)
    short = sum(not line.whole for line in living)
    if short:
        return f"Not everything arrived: {short} of {len(living)} lines are not whole."
    return f"Everything that the living sent was received: {sent:,} messages, none lost."
