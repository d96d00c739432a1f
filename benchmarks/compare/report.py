"""A run as Markdown: the bars and what came of them, then a table for each workload. Pure."""

from collections.abc import Iterable, Iterator
from typing import Any

from .analysis import Spread, Table, Verdict
from .bars import BARS
from .record import Record
from .values import Missing, Size, Workload

ASIDE = {"sent", "lost", "p90"}
"""Figures that tables do not show, or not as such."""


def report(record: Record, workloads: Iterable[Workload]) -> str:
    """Return the whole run as Markdown."""
    workloads = list(workloads)
    table = Table(record.results, workloads)
    parts = [
        "# Benchmark",
        where(record.circumstances, record.size),
        "## Bars",
        bars(table),
        *(part for w in workloads for part in section(table, w)),
    ]
    if record.missing:
        parts += ["## Not installed", missing(record.missing)]
    return "\n\n".join(parts) + "\n"


def where(circumstances: dict[str, Any], size: Size) -> str:
    """Return a sentence on where the figures come from."""
    versions = ", ".join(f"{k} {v}" for k, v in circumstances.get("versions", {}).items())
    return (
        f"{circumstances.get('time', '')}: {circumstances.get('cores', '?')} cores"
        f" ({circumstances.get('machine', '?')}, {circumstances.get('system', '?')}),"
        f" load {circumstances.get('load', '?')} before, Python"
        f" {circumstances.get('python', '?')}; {versions}.\n\n"
        f"Medians of {size.rounds} rounds, and the middle half of them; contestants take turns in"
        " each round. Absolute figures vary with the machine; ratios in one run are what"
        f" counts. Several are {size.fan} receivers or senders, {size.nodes} nodes that join at"
        f" once, {size.names:,} names, {size.crowd} peers."
    )


def bars(table: Table) -> str:
    """Return the table of bars, without those that this run has nothing on."""
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
    """Return what is below its bar."""
    return [verdict for verdict in map(table.judge, BARS) if verdict.met is False]


def section(table: Table, workload: Workload) -> Iterator[str]:
    """Return heading and table of a workload; nothing if nobody did it."""
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


def _median(found: Spread | None) -> str:
    return number(found.median) if found else "–"


def missing(absent: Iterable[Missing]) -> str:
    """Return who could not take part, and what would change that."""
    return "\n".join(f"- {one.contestant}: `{one.remedy}`" for one in absent)


def number(value: float | None) -> str:
    """Return a number with three digits that matter."""
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
