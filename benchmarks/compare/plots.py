"""A run as pictures: bars of what matters most, for the README. Needs matplotlib."""

from pathlib import Path

from .analysis import Spread, Table
from .report import number

PLOTS = {
    "throughput": ("dict", "text", "1-to-8", "64k", "1m", "100-exchanges"),
    "latency": ("round-trip", "one-way", "paced-10k"),
    "large": ("64k", "1m", "8m"),
    "local": ("local-1", "local-10"),
}
"""The workloads of each picture."""
ACROSS = 3
"""Bar charts beside each other; more of them are below."""
LEFT_OUT = "pyzmq general"
"""How the names begin of those that are in the tables only: the plain forms are what to beat."""
OURS, THEIRS = "#3b82c4", "#a3a8ad"
INK = "#767d85"
"""Of words and lines: as easy to read on a white page as on a dark one."""


def plot(table: Table, folder: Path) -> list[Path]:
    """Draw what the table has figures of, and return the files."""
    return [
        _draw(table, found, folder / f"{name}.svg")
        for name, workloads in PLOTS.items()
        if (found := [w for w in workloads if w in table.workloads and table.contestants(w)])
    ]


def _draw(table: Table, names: list[str], path: Path) -> Path:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "zexchange"  # the same picture, the same file
    for of in ("text.color", "xtick.color", "ytick.color", "axes.edgecolor"):
        mpl.rcParams[of] = INK
    from matplotlib import pyplot as plt

    across = min(len(names), ACROSS)
    down = -(-len(names) // across)
    size = (3.6 * across, 3.4 * down)
    figure, axes = plt.subplots(down, across, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, names, strict=False):
        workload = table.workloads[name]
        rows = [
            (contestant, found)
            for contestant in reversed(table.contestants(name))
            if not contestant.startswith(LEFT_OUT) and (found := table.spread(name, contestant))
        ]
        rows.sort(key=lambda row: row[1].median, reverse=not workload.more_is_better)
        values = [found.median for _, found in rows]
        errors = [
            [found.median - found.low for _, found in rows],
            [found.high - found.median for _, found in rows],
        ]
        colors = [OURS if label.startswith("zexchange") else THEIRS for label, _ in rows]
        bars = axis.barh(
            [label for label, _ in rows], values, xerr=errors, color=colors, ecolor=INK
        )
        axis.bar_label(bars, [_label(table, name, *row) for row in rows], padding=4, fontsize=7)
        axis.set_title(f"{workload.title}\n{workload.unit}", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.margins(x=0.22)
        axis.spines[["top", "right"]].set_visible(False)
        axis.xaxis.set_visible(False)
    figure.savefig(path, metadata={"Date": None}, transparent=True)
    plt.close(figure)
    return path


def _label(table: Table, workload: str, contestant: str, found: Spread) -> str:
    lost = table.lost(workload, contestant)
    return f"{number(found.median)}, {lost:.0%} lost" if lost >= 0.005 else number(found.median)
