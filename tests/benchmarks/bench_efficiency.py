"""Parallel efficiency: the same study by one worker and by two.

    OMP_NUM_THREADS=1 python -P tests/benchmarks/bench_efficiency.py [seconds of work, 300]

Prints T1, T2, T1 / (2 T2), and beside each the sum of the blocks' own seconds, from the notes: T - sum / workers is
what start-up, the scheduler and the tail cost. What is compiled is compiled first, in a run that is not timed; a pilot
tells how many replicates the seconds take. Where other work is on the machine, or the cores share caches and clock, the
sums differ: the efficiency of the machine is printed too, sum1 / sum2.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from time import perf_counter

import mfstudy
from mfstudy.study import parse

TEXT = """
schema = 1
name = "efficiency"
seed = 3
[system]
kind = "static"
dim = 2
[law]
kind = "box"
position_halfwidth = 0.5
[[observable]]
kind = "empirical"
p = 2
[sweep]
sizes = [50, 100, 200, 500]
replicates = {replicates}
"""
PILOT = 64


def timed(replicates, path, workers):
    """Return the seconds of a run, and the sum of its blocks' own."""
    begun = perf_counter()
    results = mfstudy.run(parse(TEXT.format(replicates=replicates)), path, workers=workers)
    seconds, store = perf_counter() - begun, results.store
    return seconds, sum(note["seconds"] for point in store.points() for note in store.notes(point).values())


def main():
    wanted = float(sys.argv[1]) if len(sys.argv) > 1 else 300.0
    with tempfile.TemporaryDirectory() as folder:
        timed(16, Path(folder) / "compiled", 1)
        _, pilot = timed(PILOT, Path(folder) / "pilot", 1)
        replicates = max(16, round(PILOT * wanted / pilot / 16) * 16)
        print(f"{replicates} replicates of each size", flush=True)
        whole, own = zip(*(timed(replicates, Path(folder) / str(n), n) for n in (1, 2)), strict=True)
    for workers, seconds, total in zip((1, 2), whole, own, strict=True):
        lost = seconds - total / workers
        share = f"lost {lost:5.1f} s ({lost / seconds:.1%})"
        print(f"{workers} workers: {seconds:7.1f} s, blocks {total:7.1f} core-s, {share}")
    print(
        f"efficiency T1 / (2 T2) = {whole[0] / 2 / whole[1]:.3f}; of the machine, sum1 / sum2 = {own[0] / own[1]:.3f};"
    )
    print(f"without the machine's, T1 / (2 T2) * sum2 / sum1 = {whole[0] / 2 / whole[1] * own[1] / own[0]:.3f}")


if __name__ == "__main__":
    main()
