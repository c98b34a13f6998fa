"""Seconds to draw a pool of rho^t from the mean field of flocking-1d, -2d and -3d, and its error.

    OMP_NUM_THREADS=1 python -P tests/benchmarks/bench_pools.py [points] [dimension ...]

-P keeps coverage.py beside this file from standing in for the package of that name, which numba imports.

The systems, law, step and save times of the shipped studies, the last save time; double precision, one thread, one run
after one that compiles and plans. "whole" pushes all points at once, "pieces" is what the package does; that both give
the same bytes is asserted. The error is the largest of the first points against a push with half the step, the same
nodes, and transforms 100 times more exact; "reported" is the mean field's own, in root mean square.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
from importlib.metadata import version
from time import perf_counter, process_time

import numpy as np

import mfstudy
from mfstudy.ensemble import Ensemble
from mfstudy.forces.sums import fourier_sum
from mfstudy.references import characteristics
from mfstudy.references.characteristics import Characteristics

TOLERANCE = {1: 1e-6, 2: 1e-6, 3: 1e-3}  # of W_2; what the forces allow
CHECKED = 1000


def rule(law, count):
    """Return the tensor rule of so many nodes."""
    return next(nodes for nodes in (law.nodes(*level) for level in characteristics.LEVELS) if nodes.size == count)


def tighter(dynamics):
    """Return the same force by transforms that are 100 times more exact."""
    sums = dynamics.sums
    tolerance = max(0.01 * sums.transform.tolerance, 2e-15)
    return dataclasses.replace(dynamics, sums=fourier_sum(sums.spectrum, sums.region, tolerance))


def checked(problem, meanfield, start):
    """Return points pushed with half the step by a field that is made so too."""
    dynamics, time = tighter(meanfield.dynamics), problem.time.every(2)
    nodes = rule(problem.initial, len(meanfield.shared["weights"]))
    fields = characteristics._push(dynamics, nodes, time).fields
    *_, last = characteristics._drive(dynamics, start, time, fields)
    return last.ensemble.points


def timed(function):
    wall, cpu = perf_counter(), process_time()
    value = function()
    return value, perf_counter() - wall, process_time() - cpu


def dimension(d, count):
    problem = mfstudy.load(f"flocking-{d}d").problem
    problem = dataclasses.replace(problem, reference=Characteristics(tolerance=TOLERANCE[d]))
    shared, solving, _ = timed(problem.solve)
    meanfield, index = problem.meanfield(shared), len(problem.time.save) - 1
    rho = meanfield.at(index)
    rho.sample(np.random.default_rng(0), CHECKED)
    pool, seconds, cpu = timed(lambda: rho.sample(np.random.default_rng(1), count))
    start = problem.initial.sample(np.random.default_rng(1), count)
    whole, at_once, cpu_at_once = timed(lambda: meanfield._carried(start, problem.time.steps[index]).points)
    assert np.array_equal(pool, whole)
    some = Ensemble(start.position[:CHECKED], start.velocity[:CHECKED])
    error = np.abs(checked(problem, meanfield, some) - pool[:CHECKED]).max()
    transform = meanfield.dynamics.sums.transform
    print(
        f"{d:>2} {count:>8} {seconds:>8.1f} {cpu:>8.1f} {at_once:>8.1f} {cpu_at_once:>8.1f} {error:>8.1e}"
        f" {rho.error:>8.1e}  {transform.lattice.shape} modes, finufft {transform.tolerance:.0e}, step"
        f" {problem.time.step}, {len(shared['field'])} evaluations, {len(shared['weights'])} nodes in {solving:.1f} s"
    )
    sys.stdout.flush()


def main():
    count = int(float(sys.argv[1])) if len(sys.argv) > 1 else 10**6
    if os.environ.get("OMP_NUM_THREADS") != "1":
        sys.exit("OMP_NUM_THREADS must be 1: all rows are of one thread")
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "finufft"))
    print(f"{platform.processor() or platform.machine()}, {libraries}, one thread")
    print(
        f"{'d':>2} {'points':>8} {'pieces':>8} {'CPU':>8} {'whole':>8} {'CPU':>8} {'error':>8} {'reported':>8} settings"
    )
    for d in map(int, sys.argv[2:] or "123"):
        dimension(d, count)


if __name__ == "__main__":
    main()
