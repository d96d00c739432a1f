"""The three screens of `zexchange top` on a terminal, and what keys do to them.

The code is pure: what flows, keys and the size of the terminal come in, and lines of text go out.
It knows neither nodes nor files. Lines are as long as the terminal is wide, at most.
"""

from collections import deque
from collections.abc import Sequence
from enum import Enum

from zexchange import ExchangeTraffic, NodeTraffic, Traffic

from ...display.tables import EXCHANGES, NODES, Column, Names, R, amount, cut, fitting, ordered
from ...display.text import printable
from ..demo.board import sparkline

MINUTE = 60.0
"""Seconds of which rates are remembered."""
BUSIEST = 1000
"""Exchanges of each look whose rates are remembered."""
HEAD = 3
"""Lines above the rows."""
Line = tuple[str, str]
"""A line of the screen, and its style."""


class Screen(Enum):
    """The screen that is shown."""

    EXCHANGES = "exchanges"
    NODES = "nodes"
    EXCHANGE = "exchange"


class View:
    """The state of the display.

    Args:
        title: the federation and the pattern.
        every: seconds between two looks.
    """

    def __init__(self, title: str, every: float) -> None:
        self.screen = Screen.EXCHANGES
        self.ended = False
        self.traffic = Traffic((), ())
        self._title = printable(title)
        self._columns = {Screen.EXCHANGES: 1, Screen.NODES: 1}
        self._row = 0
        self._first = 0
        self._name = ""
        self._rates: deque[dict[str, float]] = deque(maxlen=max(2, int(MINUTE / every)))

    # ---------------------------------------------------------------------- what comes in

    def look(self, traffic: Traffic) -> None:
        """Take what flows now."""
        self.traffic = traffic
        rates = {e.name: e.messages_per_second or 0.0 for e in traffic.exchanges}
        if len(rates) > BUSIEST:
            busiest = sorted(rates, key=lambda name: -rates[name])[:BUSIEST]
            rates = {name: rates[name] for name in {*busiest, self._name} if name in rates}
        self._rates.append(rates)

    def key(self, key: str) -> None:
        """Take a key: its character, or ``up``, ``down``, ``enter`` and so on."""
        if key in ("q", "end of file"):
            self.ended = True
        elif key in ("tab", "n", "e"):
            other = Screen.EXCHANGES if self.screen is Screen.NODES else Screen.NODES
            wanted = {"n": Screen.NODES, "e": Screen.EXCHANGES}.get(key, other)
            if wanted is not self.screen:
                self.screen, self._row, self._first = wanted, 0, 0
        elif key in ("escape", "backspace", "left") and self.screen is Screen.EXCHANGE:
            self.screen = Screen.EXCHANGES
        elif key in ("s", "S") and self.screen is not Screen.EXCHANGE:
            step = 1 if key == "s" else -1
            columns: Sequence[object] = EXCHANGES if self.screen is Screen.EXCHANGES else NODES
            self._columns[self.screen] = (self._columns[self.screen] + step) % len(columns)
        elif key in ("up", "k", "down", "j", "page up", "page down", "home"):
            self._move(key)
        elif key in ("enter", "right") and self.screen is Screen.EXCHANGES:
            rows = self._exchanges()
            if rows:
                self._name = rows[min(self._row, len(rows) - 1)].name
                self.screen = Screen.EXCHANGE

    def _move(self, key: str) -> None:
        step = {"up": -1, "k": -1, "page up": -20, "page down": 20, "home": -self._row}.get(key, 1)
        rows: Sequence[object] = self.traffic.exchanges
        if self.screen is Screen.NODES:
            rows = self.traffic.nodes
        self._row = max(0, min(self._row + step, len(rows) - 1))

    def _exchanges(self) -> list[ExchangeTraffic]:
        return ordered(self.traffic.exchanges, EXCHANGES[self._columns[Screen.EXCHANGES]])

    # ----------------------------------------------------------------------- what goes out

    def lines(self, width: int, height: int) -> list[Line]:
        """Return the lines of a terminal of some size, each with its style."""
        names = Names(self.traffic.nodes)
        if self.screen is Screen.EXCHANGE:
            found = self._one(names, width, height)
        elif self.screen is Screen.NODES:
            column = NODES[self._columns[self.screen]]
            nodes = ordered(self.traffic.nodes, column)
            found = self._table(nodes, fitting(NODES, width), column, names, height)
        else:
            column_of = EXCHANGES[self._columns[self.screen]]
            shown = fitting(EXCHANGES, width)
            found = self._table(self._exchanges(), shown, column_of, names, height)
        lines = [(self._summary(), "bold"), *found]
        help_ = "q quit  tab nodes/exchanges  s sort  ↑↓ select  enter one exchange"
        if self.screen is Screen.EXCHANGE:
            help_ = "q quit  esc back"
        lines = lines[: height - 1] + [("", "")] * max(0, height - 1 - len(lines))
        return [(cut(text, width), style) for text, style in [*lines, (help_, "dim")]][-height:]

    def _summary(self) -> str:
        traffic = self.traffic
        rates = [e.messages_per_second for e in traffic.exchanges]
        known = [rate for rate in rates if rate is not None]
        total = amount(sum(known)) if known or not rates else "-"
        silent = sum(not node.answered for node in traffic.nodes)
        told = f", {silent} without an answer" if silent else ""
        counted = f"{len(traffic.nodes)} nodes{told}  {len(rates)} exchanges"
        return f"{self._title}  {counted}  {total} msg/s"

    def _table(
        self,
        rows: Sequence[R],
        columns: Sequence[Column[R]],
        by: Column[R],
        names: Names,
        height: int,
    ) -> list[Line]:
        """Return the headings, and the rows around the selected one."""
        heading = "  ".join(_placed(c.title, c) for c in columns)
        lines: list[Line] = [(f"by {by.title.lower()}", "dim"), (heading, "reverse")]
        room = max(1, height - HEAD - 1)
        self._row = max(0, min(self._row, len(rows) - 1))
        self._first = max(0, min(self._first, len(rows) - room, self._row))
        self._first = max(self._first, self._row - room + 1)
        for number, row in enumerate(rows[self._first : self._first + room], self._first):
            text = "  ".join(_placed(c.cell(row, amount, names), c) for c in columns)
            lines.append((text, _style(row, number == self._row)))
        if not rows:
            alone = "no node is here: zexchange peers says what there is on this host"
            lines.append(("nothing yet" if self.traffic.nodes else alone, "dim"))
        return lines

    def _one(self, names: Names, width: int, height: int) -> list[Line]:
        """Return all there is to say of one exchange."""
        name = self._name
        row = next((e for e in self.traffic.exchanges if e.name == name), None)
        lines: list[Line] = [("", ""), (printable(name), "bold cyan")]
        if row is None:
            return [*lines, ("nothing flows here any longer", "dim")]
        rates = [look.get(name, 0.0) for look in self._rates]
        shown = rates[-max(1, width - 2) :]
        lines += [
            ("", ""),
            (f"{amount(row.messages_per_second)} msg/s, {amount(max(shown))} at most", ""),
            (sparkline(shown), "green"),
            ("", ""),
            (f"bytes/s    {amount(row.bytes_per_second)}", ""),
            (f"given/s    {amount(row.received_per_second)}", ""),
            (f"messages   {row.messages}", ""),
            (f"lost       {row.lost}", "red" if row.lost else ""),
            (f"skipped    {row.conflated}", ""),
            (f"unacked    {row.unacknowledged}  {names(row.slowest) if row.slowest else ''}", ""),
            (f"senders    {', '.join(map(names, row.senders)) or '-'}", ""),
            (f"listeners  {', '.join(map(names, row.listeners)) or '-'}", ""),
        ]
        return lines


def _placed(text: str, column: Column[R]) -> str:
    shown = cut(text, column.width)
    return shown.ljust(column.width) if column.left else shown.rjust(column.width)


def _style(row: ExchangeTraffic | NodeTraffic, selected: bool) -> str:
    if isinstance(row, ExchangeTraffic):
        style = "red" if row.lost else "" if row.messages_per_second else "dim"
    else:
        style = "" if row.answered else "yellow"
    return f"{style} bold on grey23".strip() if selected else style
