"""Pairs per second of direct sums beside NumPy's and KeOps'.

    OMP_NUM_THREADS=1 python -P tests/benchmarks/bench_pairwise.py [N]

-P keeps coverage.py beside this file from standing in for the package of that name, which numba imports.

Alignment, S = sum_j psi(|x_i - x_j|^2) [1, v_j] with psi = (1 + r^2)^-0.45, double precision, one thread, best of many
calls. The error of each is that of its first rows against psi of SciPy's distances, relative to the largest sum.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from importlib.metadata import version
from time import perf_counter

import numpy as np
from scipy.spatial.distance import cdist

from mfstudy.forces import pairwise
from mfstudy.forces.pairwise import pair_sums, rational

SIGMA, BLOCK, ROWS, SECONDS = 0.45, 256, 200, 1.0


def psi(r2):
    return (1 + r2) ** -SIGMA


def blocked(x, strengths):
    """NumPy at its best: r^2 by a matrix product, blocks that stay in the cache."""
    squares, sums = (x * x).sum(axis=1), np.empty_like(strengths)
    for i in range(0, len(x), BLOCK):
        r2 = squares[i : i + BLOCK, None] + squares - 2 * x[i : i + BLOCK] @ x.T
        sums[i : i + BLOCK] = psi(r2) @ strengths
    return sums


def broadcast(x, strengths):
    """NumPy as it is first written, a hundred rows at a time."""
    return np.concatenate([psi(((x[i : i + 100, None] - x) ** 2).sum(-1)) @ strengths for i in range(0, len(x), 100)])


def keops(x, strengths):
    """KeOps, LazyTensor on the CPU: psi by exp and log, the fastest that it has for a power."""
    from pykeops.numpy import LazyTensor

    r2 = ((LazyTensor(x[:, None]) - LazyTensor(x[None])) ** 2).sum(-1)
    return ((-SIGMA * (1 + r2).log()).exp() * LazyTensor(strengths[None])).sum(1)


def best(function, *arguments):
    """Return the first time, the best time and the result."""
    start = perf_counter()
    result = function(*arguments)
    first, times = perf_counter() - start, []
    while sum(times) < SECONDS or len(times) < 3:
        start = perf_counter()
        function(*arguments)
        times.append(perf_counter() - start)
    return first, min(times), result


def row(d, n, name, settings, function, x, strengths):
    first, seconds, result = best(function, x, strengths)
    exact = psi(cdist(x[:ROWS], x, "sqeuclidean")) @ strengths
    error = np.abs(result[:ROWS] - exact).max() / np.abs(exact).max()
    print(f"{d:>2} {n:>6} {name:>10} {n * n / seconds / 1e6:>9.0f} {first:>8.2f} {error:>9.1e}  {settings}", flush=True)


def dimension(d, n):
    rng = np.random.default_rng(d)
    x = rng.uniform(-1, 1, (n, d))
    strengths = np.hstack([np.ones((n, 1)), rng.normal(size=(n, d))])
    start = perf_counter()
    profile = rational(psi, 4.0 * d)
    fit = 1e3 * (perf_counter() - start)
    ours = f"{len(profile.numerator)} coefficients, profile error {profile.error:.0e}, fitted in {fit:.0f} ms"
    row(d, n, "ours", ours, lambda x, s: pair_sums(x, x, s, profile), x, strengths)
    row(d, n, "blocked", f"numpy {np.__version__}, gemm, blocks of {BLOCK} rows", blocked, x, strengths)
    row(d, n, "broadcast", f"numpy {np.__version__}, blocks of 100 rows", broadcast, x, strengths)
    if importlib.util.find_spec("pykeops"):
        row(d, n, "KeOps", f"pykeops {version('pykeops')}, LazyTensor, exp(-s log u), float64", keops, x, strengths)


def main():
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 4096
    machine = platform.processor() or platform.machine()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        sys.exit("OMP_NUM_THREADS must be 1: all rows are of one thread")
    print(f"{machine}, numba {version('numba')}, SciPy {version('scipy')}, one thread, tile {pairwise.TILE}")
    print("first: seconds of the first call, with compilation or loading from the cache")
    print(f"{'d':>2} {'N':>6} {'':>10} {'Mpair/s':>9} {'first':>8} {'error':>9}  settings")
    for d in (1, 2, 3):
        dimension(d, n)


if __name__ == "__main__":
    main()
