"""Sensors in processes of their own, and a plot that shows them while they measure.

Run it with: python examples/plot/sensors.py

It needs ``pip install matplotlib``. With a file's name after the
command, or without a screen, the plot goes into a file: the named one, or ``sensors.png`` in
the temporary directory.
"""

import math
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

import matplotlib

import zexchange

SENSORS = ("north", "east", "south")
READINGS = 100
PAUSE = 0.01


def measure(place, phase):
    """Send a reading of one sensor a hundred times a second."""
    with zexchange.federate("sensors-example") as node:
        node.wait_subscribers(f"sensors.{place}", 1)
        since = time.monotonic()
        for n in range(READINGS):
            celsius = 20 + 3 * math.sin(n / 12 + phase)
            zexchange.get_exchange(f"sensors.{place}").send((time.time(), celsius))
            time.sleep(max(0.0, since + (n + 1) * PAUSE - time.monotonic()))
        node.flush()


class Plot:
    """A line for each sensor."""

    def __init__(self, live):
        from matplotlib import pyplot

        self.live, self.pyplot = live, pyplot
        self.figure, self.axes = pyplot.subplots(figsize=(6, 3), layout="constrained")
        self.axes.set(xlabel="seconds", ylabel="°C", title="sensors.*")
        self.lines = {place: self.axes.plot([], [], label=place)[0] for place in SENSORS}
        self.axes.legend(loc="upper right")
        self.readings = {place: [] for place in SENSORS}
        self.begin = self.drawn = None

    def add(self, place, at, celsius):
        """Take a reading; draw ten times a second, if somebody looks."""
        self.begin = self.begin or at
        self.readings[place].append((at - self.begin, celsius))
        if self.live and at - (self.drawn or 0) > 0.1:
            self.drawn = at
            self.draw()
            self.pyplot.pause(0.001)

    def draw(self):
        for place, line in self.lines.items():
            if self.readings[place]:
                line.set_data(*zip(*self.readings[place], strict=True))
        self.axes.relim()
        self.axes.autoscale_view()


def main(path):
    live = path is None and bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if not live:
        matplotlib.use("agg")
    plot = Plot(live)
    spawn = multiprocessing.get_context("spawn")
    with zexchange.match("sensors.*").stream(names=True) as readings:
        with zexchange.federate("sensors-example"):
            sensors = [spawn.Process(target=measure, args=(p, n)) for n, p in enumerate(SENSORS)]
            for sensor in sensors:
                sensor.start()
            for _ in range(READINGS * len(SENSORS)):
                name, (at, celsius) = readings.get(timeout=20)
                plot.add(name.removeprefix("sensors."), at, celsius)
            for sensor in sensors:
                sensor.join()
    plot.draw()
    print(", ".join(f"{place}: {len(plot.readings[place])} readings" for place in SENSORS))
    if live:
        plot.pyplot.show()
    else:
        plot.figure.savefig(path or Path(tempfile.gettempdir()) / "sensors.png")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
