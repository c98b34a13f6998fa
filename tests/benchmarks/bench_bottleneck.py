"""Seconds of our bottleneck distance beside SciPy's matchings: python tests/benchmarks/bench_bottleneck.py [SIZE ...].

Each problem in a process of its own, compiled code loaded from its cache first, so that the peak memory is its own.
SciPy bisects the same candidate lengths with its Hopcroft-Karp matching, in a process that is stopped after 60 s.
Edges: of the lists, "tree" where there are none; matchings: calls of the solver, one of them for the certificate.
"""

from __future__ import annotations

import multiprocessing
import platform
import resource
import sys
from time import perf_counter

import numpy as np
import scipy
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import cKDTree

from mfstudy.transport import matching
from mfstudy.transport.bottleneck import bottleneck

LIMIT = 60  # seconds for SciPy


def cube(rng, n, d):
    return rng.random((n, d))


def gaussian(rng, n, d):
    return rng.normal(size=(n, d))


def gap(rng, n, d):
    x = rng.random((n, d))
    x[:, 0] += 20.0 * (rng.random(n) < 0.5)
    return x


PROBLEMS = [(cube, 2, 1), (cube, 3, 1), (cube, 6, 1), (cube, 2, 4), (cube, 3, 4), (gaussian, 2, 1), (gap, 2, 1)]


def clouds(law, n, d, k):
    rng = np.random.default_rng(1)
    return law(rng, n, d), law(rng, k * n, d)


def ours(law, n, d, k, answer):
    bottleneck(*clouds(cube, 50, 2, 1))
    bottleneck([[0, 0], [0, 0], [1, 0]], [[0, 0], [1, 0], [1, 0]])  # all neighbours at distance 0: takes the tree
    calls, extend = [], matching.extend

    def counted(lists, *arguments, **options):
        calls.append(lists)
        return extend(lists, *arguments, **options)

    matching.extend = counted
    x, y = clouds(law, n, d, k)
    start = perf_counter()
    distance = bottleneck(x, y).distance
    seconds = perf_counter() - start
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    edges = "tree" if calls[-1] is None else str(len(calls[-1].near))
    answer.put((distance, seconds, edges, len(calls), peak))


def peer(law, n, d, k, answer):
    """Grow the radius from the nearest neighbours' largest by 1.3 until a matching is complete, then bisect lengths."""
    x, y = clouds(law, n, d, k)
    start = perf_counter()
    trees = cKDTree(x), cKDTree(y)
    radius, copies, complete = trees[0].query(y)[0].max(), np.arange(k) * n, False
    while not complete:
        radius *= 1.3
        found = trees[0].sparse_distance_matrix(trees[1], radius, output_type="ndarray")

        def matched(length, found=found):
            near = found[found["v"] <= length]
            i, j = (near["i"][:, None] + copies).ravel(), np.repeat(near["j"], k)
            graph = coo_array((np.ones(len(i), np.int8), (i, j)), shape=(k * n, k * n)).tocsr()
            return maximum_bipartite_matching(graph).min() >= 0

        complete = matched(radius)
    levels = np.unique(found["v"])
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if matched(levels[middle]) else (middle + 1, high)
    answer.put((levels[low], perf_counter() - start))


def apart(function, problem, limit=None):
    """Return what a function puts into a queue in a process of its own, or None if it takes too long."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=function, args=(*problem, answer))
    process.start()
    process.join(limit)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    return answer.get(timeout=1) if process.exitcode == 0 else None


def main(sizes):
    machine = platform.processor() or platform.machine()
    print(f"{machine}, numpy {np.__version__}, SciPy {scipy.__version__}, W_infinity of N against kN points")
    print(
        f"{'law':>9} {'N':>7} {'D':>2} {'k':>2} {'seconds':>8} {'edges':>9} {'matchings':>9} {'MiB':>6} {'W_inf':>12} "
        f"{'SciPy':>8} {'SciPy/ours - 1':>15}"
    )
    for n in sizes:
        for law, d, k in PROBLEMS:
            distance, seconds, edges, matchings, peak = apart(ours, (law, n, d, k))
            row = f"{law.__name__:>9} {n:7d} {d:2d} {k:2d} {seconds:8.2f} {edges:>9} {matchings:9d} {peak:6.0f}"
            other = apart(peer, (law, n, d, k), LIMIT) if n <= 10_000 else None
            row += f" {distance:12.6g}"
            print(row, "       -" if other is None else f"{other[1]:8.2f} {other[0] / distance - 1:15.1e}", flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [1000, 10_000])
