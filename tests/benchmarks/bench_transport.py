"""Seconds of our transport beside SciPy's and POT's on the same problem: python tests/benchmarks/bench_transport.py.

The problem of the bracket: N particles of mass 1/N against kN reference points. SciPy's assignment needs it expanded
to kN x kN. All three values must be equal; one thread; POT with an iteration limit that it does not reach.
"""

from __future__ import annotations

import platform
from time import perf_counter

import numpy as np
import ot
import scipy
from scipy.optimize import linear_sum_assignment

from mfstudy.transport.discrete import cost_matrix, solve
from mfstudy.transport.wasserstein import wasserstein

SIZE, K = 1000, 4


class Interval:
    """Uniform law on [0, 1]."""

    def quantile(self, u):
        return u

    def sample(self, rng, m):
        return rng.random((m, 1))


def timed(function, *arguments):
    start = perf_counter()
    return function(*arguments), perf_counter() - start


def ours(costs, a, b):
    return solve(costs, a, b, central=True).cost


def simplex(costs, a, b):
    return ot.emd2(a, b, costs, numItermax=10**9)


def assignment(costs, a, b):
    expanded = np.repeat(costs, len(b) // len(a), axis=0)
    return float(expanded[linear_sum_assignment(expanded)].mean())


def heading():
    machine = platform.processor() or platform.machine()
    print(f"{machine}, numpy {np.__version__}, SciPy {scipy.__version__}, POT {ot.__version__}")
    print(f"W_2^2, uniform cube, N = {SIZE}, k = {K}, one solve with its certificate (ours), seconds")
    print(f"{'D':>3} {'ours':>8} {'emd2':>8} {'LSA':>8} {'W_2^2':>14} {'emd2/ours - 1':>14} {'LSA/ours - 1':>14}")


def one_solve(dimension):
    rng = np.random.default_rng(dimension)
    costs = cost_matrix(rng.random((SIZE, dimension)), rng.random((K * SIZE, dimension)), 2)
    a, b = np.full(SIZE, 1 / SIZE), np.full(K * SIZE, 1 / (K * SIZE))
    (value, t), (pot, t_pot), (lsa, t_lsa) = (timed(f, costs, a, b) for f in (ours, simplex, assignment))
    errors = f"{pot / value - 1:14.1e} {lsa / value - 1:14.1e}"
    print(f"{dimension:3d} {t:8.2f} {t_pot:8.2f} {t_lsa:8.2f} {value:14.10f} {errors}")


def line(p):
    points = np.random.default_rng(1).random(10**6)
    result, seconds = timed(wasserstein, points, Interval(), p)
    told = f"{result.estimate:.6e}, relative error {result.residual:.1e}"
    print(f"  1 {seconds:8.2f}  N = 1e6 against the quantile, p = {p}: {told}")


def whole_bracket(dimension):
    points = np.random.default_rng(2).random((SIZE, dimension))
    start = perf_counter()
    result = wasserstein(points, lambda rng, m: rng.random((m, dimension)), precision=None)
    told = f"{result.estimate:.6f} +- {result.standard_error:.6f} in [{result.lower:.6f}, {result.upper:.6f}]"
    print(f"{dimension:3d} {perf_counter() - start:8.2f}  the whole bracket, N = {SIZE}, k = {K}: {told}")


def main():
    heading()
    for dimension in (2, 4, 6):
        one_solve(dimension)
    for p in (1, 2):
        line(p)
    whole_bracket(4)


if __name__ == "__main__":
    main()
