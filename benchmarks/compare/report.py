"""A run as Markdown: the bars and whether they were met, then a table for each workload. Pure."""

from collections.abc import Iterable, Iterator
from textwrap import fill
from typing import Any

from .analysis import Spread, Table, Verdict
from .bars import BARS
from .record import Record
from .values import Missing, Size, Workload

ASIDE = {"sent", "lost", "p90"}
"""Figures that tables do not show, or not as such."""
WIDTH = 100
BEGIN, END = "<!-- figures: begin", "<!-- figures: end"
"""The lines of a page between which the figures of a run are put."""
SUMMARY = ("dict", "text", "64k", "1m", "1-to-8", "100-exchanges", "round-trip", "one-way")
"""Workloads of the table at the top."""


def report(record: Record, workloads: Iterable[Workload]) -> str:
    """Return the whole run as Markdown."""
    workloads = list(workloads)
    table = Table(record.results, workloads)
    parts = [
        "# Benchmark",
        where(record.circumstances, record.size),
        *summary(table),
        "## Bars",
        bars(table),
        *(part for w in workloads for part in section(table, w)),
    ]
    if record.missing:
        parts += ["## Not installed", missing(record.missing)]
    return "\n\n".join(parts) + "\n"


def put_into(page: str, record: Record, workloads: Iterable[Workload]) -> str:
    """Return a page with the summary of a run in the place of the one that it has.

    Raises:
        ValueError: the page has no lines that begin with `BEGIN` and `END`, or has several.
    """
    lines = page.split("\n")
    places = [n for n, line in enumerate(lines) if line.startswith((BEGIN, END))]
    if len(places) != 2 or not lines[places[0]].startswith(BEGIN):
        raise ValueError(f"it has no place for figures, between {BEGIN} and {END}")
    machine = where(record.circumstances, record.size).partition("\n\n")[0]
    _, *parts = summary(Table(record.results, workloads))
    figures = "\n\n".join([machine, *parts])
    return "\n".join([*lines[: places[0] + 1], "", figures, "", *lines[places[1] :]])


def where(circumstances: dict[str, Any], size: Size) -> str:
    """Return two paragraphs: the machine and versions of the run, and how to read its figures."""
    versions = ", ".join(f"{k} {v}" for k, v in circumstances.get("versions", {}).items())
    machine = (
        f"{circumstances.get('time', '')}: {circumstances.get('cores', '?')} cores"
        f" ({circumstances.get('machine', '?')}, {circumstances.get('system', '?')}),"
        f" load {circumstances.get('load', '?')} before{_state(circumstances)}, Python"
        f" {circumstances.get('python', '?')}; {versions}."
    )
    reading = (
        f"The figures are medians of {size.rounds} rounds, with the middle half of the rounds;"
        " contestants take turns in each round. Absolute figures vary with the machine, so compare"
        f' the ratios within one run. "Several" means {size.fan} receivers or senders,'
        f' "many names" {size.names:,} names, and "many peers" {size.crowd} peers;'
        f" {size.nodes} nodes join at once."
    )
    return "\n\n".join(fill(text, WIDTH, break_on_hyphens=False) for text in (machine, reading))


def _state(circumstances: dict[str, Any]) -> str:
    """Return in words what a record says of its machine; older ones do not."""
    if "quiet" not in circumstances:
        return ""
    state = "quiet" if circumstances["quiet"] else "not quiet"
    askings = circumstances.get("askings", 1)
    return f" ({state}), asked {askings} times" if askings > 1 else f" ({state})"


def summary(table: Table) -> Iterator[str]:
    """Return heading and table of the main workloads, a row for each contestant of them."""
    columns = [name for name in SUMMARY if table.contestants(name)]
    rows = {name: "" for column in columns for name in table.contestants(column)}
    if not columns:
        return
    yield "## Summary"
    reading = (
        "Medians, rates in messages a second; more is better, but for round trips and one way,"
        " which are in microseconds. `pyzmq plain` is written by hand for a program with one"
        " topic, `pyzmq general` for one with many."
    )
    yield fill(reading, WIDTH, break_on_hyphens=False)
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for name in rows:
        cells = (_with_loss(table, column, name) for column in columns)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    yield "\n".join(lines)


def _with_loss(table: Table, workload: str, name: str) -> str:
    found, lost = table.spread(workload, name), table.lost(workload, name)
    return _median(found) + (f", {lost:.1%} lost" if found and lost else "")


def bars(table: Table) -> str:
    """Return the table of bars, without those for which this run has no figures."""
    rows = ["| bar | limit | here | met | stretch |", "|---|---|---|---|---|"]
    for bar in BARS:
        verdict = table.judge(bar)
        if verdict.value is None:
            continue
        sign, unit = ("≥" if bar.least else "≤"), "×" if bar.against else ""
        against = f" ({verdict.against})" if len(bar.against) > 1 else ""
        stretch = f"{sign} {number(bar.stretch)}{unit}: {_said(verdict.stretched)}"
        rows.append(
            f"| {bar.name} | {sign} {number(bar.limit)}{unit} |"
            f" {number(verdict.value)}{unit}{against} | {_said(verdict.met)} |"
            f" {stretch if bar.stretch is not None else '–'} |"
        )
    return "\n".join(rows)


def _said(met: bool | None) -> str:
    return {True: "yes", False: "**no**", None: "–"}[met]


def unmet(table: Table) -> list[Verdict]:
    """Return the verdicts on bars that were not met."""
    return [verdict for verdict in map(table.judge, BARS) if verdict.met is False]


def section(table: Table, workload: Workload) -> Iterator[str]:
    """Return heading and table of a workload; nothing if no contestant ran it."""
    names = table.contestants(workload.name)
    if not names:
        return
    figures = [name for name in table.figures(workload.name) if name not in ASIDE]
    also = [name for name in figures if name != workload.figure]
    yield f"## {workload.title} (`{workload.name}`)"
    heads = [f"{workload.figure}, {workload.unit}", "middle half", "zexchange to it", "lost", *also]
    rows = [f"| | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    rows += [f"| {name} | {' | '.join(_cells(table, workload, name, also))} |" for name in names]
    yield "\n".join(rows)
    flagged = [
        f"{name} {_and(found)}" for name in names if (found := table.modes(workload.name, name))
    ]
    if flagged:
        yield f"**In two groups**, whose medians are: {'; '.join(flagged)}."


def _cells(table: Table, workload: Workload, name: str, also: list[str]) -> list[str]:
    found = table.spread(workload.name, name)
    if found is None:
        return [table.problems.get((workload.name, name), "–"), *["–"] * (3 + len(also))]
    ours = table.ours(workload.name)
    ratio = table.ratio(workload.name, name, ours) if ours else None
    lost = table.lost(workload.name, name)
    return [
        number(found.median),
        _between(found),
        f"{ratio:.2f}×" if ratio is not None else "–",
        f"**{lost:.1%}**" if lost else "0",
        *(_median(table.spread(workload.name, name, figure)) for figure in also),
    ]


def _between(found: Spread) -> str:
    return f"{number(found.low)}–{number(found.high)}"


def _and(groups: tuple[float, float]) -> str:
    return " and ".join(map(number, groups))


def _median(found: Spread | None) -> str:
    return number(found.median) if found else "–"


def missing(absent: Iterable[Missing]) -> str:
    """Return the contestants that could not take part, and how to install each."""
    return "\n".join(f"- {one.contestant}: `{one.remedy}`" for one in absent)


def number(value: float | None) -> str:
    """Return a number with three significant digits."""
    if value is None:
        return "–"
    for size, mark in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return f"{_digits(value / size)}{mark}"
    return _digits(value)


def _digits(value: float) -> str:
    size = abs(value)
    places = 0 if size >= 100 else 1 if size >= 10 else 2
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
