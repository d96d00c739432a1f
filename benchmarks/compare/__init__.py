"""The benchmark: this project and its peers, side by side, in one run.

A workload is a description (`workloads.py`), a contestant a small class in a file of its
own (`contestants/`), a group the processes that carry a workload out for one contestant
(`group.py`, `worker.py`), and what the figures mean is decided in `analysis.py` and
`bars.py`, which are pure. `python -m benchmarks.compare` runs it, in a clone.
It uses the promised names of `zexchange`, and the codec to measure it alone; peers are known
inside `contestants/` and `local.py` only.
"""
