"""Milliseconds of one right-hand side of flocking: Fourier sums beside direct sums and NumPy.

    OMP_NUM_THREADS=1 python -P tests/benchmarks/bench_forces.py [largest N]

-P keeps coverage.py beside this file from standing in for the package of that name, which numba imports.

psi = (1 + r^2)^-0.45, law box(1, 0.5), horizon 1, double precision, one thread, best of many calls. With a signal
(D 0.2, kappa 0.5, chi_radius 0.4) the modes of phi ride along. Errors are those of the first rows against the exact psi
on SciPy's distances, and for the signal's slope against plain sums over the same modes, relative to the largest
acceleration; the momentum is that of the forces over (1/N) sum |v_i|, without the signal. Beyond `WHOLE` particles sums
over pairs are timed on `SOME` targets and scaled (marked ~), which leaves no momentum.
"""

from __future__ import annotations

import math
import os
import platform
import sys
from importlib.metadata import version
from itertools import pairwise as neighbours
from time import perf_counter

import numpy as np
from scipy.spatial.distance import cdist

from mfstudy.ensemble import Ensemble, State
from mfstudy.forces.pairwise import rational
from mfstudy.forces.sums import TOLERANCE, DirectSum
from mfstudy.laws.box import Box
from mfstudy.systems.flocking import Flocking

SIZES = (100, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000, 10_000, 30_000, 100_000)
SIGMA, CELLS, ROWS, SOME, WHOLE, SECONDS = 0.45, 2**15, 100, 2000, 10_000, 0.3
SIGNAL = {"eta": 0.5, "D": 0.2, "kappa": 0.5, "chi_radius": 0.4}


def psi(r2):
    return (1 + r2) ** -SIGMA


def blocked(targets, x, strengths):
    """NumPy at its best: r^2 by a matrix product, blocks that stay in the cache."""
    squares, sums = (x * x).sum(axis=1), np.empty((len(targets), strengths.shape[1]))
    rows = max(1, CELLS // len(x))
    for i in range(0, len(targets), rows):
        some = targets[i : i + rows]
        sums[i : i + rows] = psi((some * some).sum(axis=1)[:, None] + squares - 2 * some @ x.T) @ strengths
    return sums


def plain_slope(lattice, modes, points):
    """Return the gradient of the signal by sums over its modes, as matrix products of one axis at a time."""
    out = np.empty(points.shape)
    waves = [
        np.exp(1j * np.outer(points[:, a] - lattice.centre[a], k.ravel())) for a, k in enumerate(lattice.wavenumbers)
    ]
    for a, k in enumerate(lattice.wavenumbers):
        left = waves[0] @ (1j * k * modes).reshape(lattice.shape[0], -1)
        for wave in waves[1:]:
            left = np.einsum("nm,nmk->nk", wave, left.reshape(len(points), wave.shape[1], -1))
        out[:, a] = left[:, 0].real
    return out


def exact(state, lattice, eta):
    """Return the acceleration of the first particles."""
    x, v = state.ensemble.position, state.ensemble.velocity
    weights = psi(cdist(x[:ROWS], x, "sqeuclidean")) / len(x)
    force = weights @ v - weights.sum(axis=1)[:, None] * v[:ROWS]
    if state.memory is not None:
        force += eta * plain_slope(lattice, state.memory, x[:ROWS])
    return force


def best(function):
    """Return the best time and the result, after one call that compiles and plans."""
    result, times = function(), []
    while sum(times) < SECONDS or len(times) < 3:
        start = perf_counter()
        function()
        times.append(perf_counter() - start)
        if times[0] > 5:
            break
    return min(times), result


def start(d, n):
    rng = np.random.default_rng(n + d)
    return Ensemble(rng.uniform(-1, 1, (n, d)), rng.uniform(-0.5, 0.5, (n, d)))


def row(d, n, name, settings, seconds, force, right, whole=True):
    """Print a row; force may be that of the first targets only."""
    error = np.abs(force[:ROWS] - right).max() / np.abs(right).max()
    drift = f"{np.linalg.norm(force.mean(axis=0)) / 0.25:>9.0e}" if whole and "signal" not in name else f"{'':>9}"
    print(f"{d:>2} {n:>7} {name:>15} {1e3 * seconds:>11.3f}{' ' if whole else '~'} {error:>8.1e} {drift}  {settings}")
    sys.stdout.flush()
    return seconds


def on_pairs(ensemble, sums):
    """Return time, force of some or all targets, and whether all: the alignment by a function sums(targets)."""
    n, v = ensemble.size, ensemble.velocity
    count = n if n <= WHOLE else SOME

    def force():
        s = sums(ensemble.position[:count])
        return (s[:, 1:] - v[:count] * s[:, :1]) / n

    seconds, value = best(force)
    return seconds * n / count, value, count == n


def rates(dynamics, state):
    def force():
        return dynamics.rates(state, dynamics.source(state)).ensemble.velocity

    return best(force)


def measured(d, n, bound, signalling, direct, loose):
    """Print the rows of one size, and return the times of the package's own two ways, without a signal."""
    ensemble = start(d, n)
    state, strengths = State(ensemble), np.concatenate([np.ones((n, 1)), ensemble.velocity], axis=1)
    right, times = exact(state, None, 0.0), {}
    seconds, force = rates(bound, state)
    transform = bound.sums.transform
    settings = (
        f"{transform.lattice.shape} modes, declared {bound.sums.spectrum.error:.0e}, finufft {transform.tolerance:g}"
    )
    times["fourier"] = row(d, n, "Fourier", settings, seconds, force, right)
    for name, sums in (("direct", direct), ("direct, loose", loose)):
        seconds, force, whole = on_pairs(
            ensemble, lambda targets, sums=sums: sums.at(targets, sums.source(ensemble.position, strengths), d + 1)
        )
        words = f"numba, {len(sums.profile.numerator)} coefficients, profile error {sums.profile.error:.0e}"
        times[name] = row(d, n, name, words, seconds, force, right, whole)
    seconds, force, whole = on_pairs(ensemble, lambda targets: blocked(targets, ensemble.position, strengths))
    row(d, n, "NumPy blocked", f"gemm, blocks of {8 * CELLS // 1024} kB", seconds, force, right, whole)
    state = signalling.start(ensemble)
    # A signal that has been fed by these particles for a time 1.
    state = State(ensemble, signalling.source(state).feed * -np.expm1(-signalling.decay) / signalling.decay)
    seconds, force = rates(signalling, state)
    settings = f"{signalling.lattice.shape} modes, finufft {signalling.sums.transform.tolerance:g}"
    right = exact(state, signalling.lattice, SIGNAL["eta"])
    row(d, n, "Fourier, signal", settings, seconds, force, right)
    return times


def crossover(sizes, times, name):
    """Return the size from which Fourier sums are faster, by interpolation of logarithms."""
    ratio = [math.log(t[name] / t["fourier"]) for t in times]
    for (a, b), (n, m) in zip(neighbours(ratio), neighbours(sizes), strict=True):
        if a < 0 <= b:
            return round(math.exp(math.log(n) + math.log(m / n) * -a / (b - a)))
    return None


def dimension(d, sizes):
    law = Box(1.0, 0.5).on(Flocking(d).phase)
    began = perf_counter()
    bound = Flocking(d).dynamics(law, 1.0, None)
    planned = perf_counter() - began
    signalling = Flocking(d, **SIGNAL).dynamics(law, 1.0, None)
    print(f"   d = {d}: kernel in {planned:.2f} s, with the signal in {perf_counter() - began - planned:.2f} s")
    region = bound.sums.region
    upper = float(np.sum(region.lengths**2))
    direct, loose = (DirectSum(rational(psi, upper, tolerance), region) for tolerance in (1e-12, TOLERANCE[d]))
    times = [measured(d, n, bound, signalling, direct, loose) for n in sizes]
    for name in ("direct", "direct, loose"):
        print(f"   d = {d}: Fourier sums are faster than '{name}' from N = {crossover(sizes, times, name)}")


def main():
    largest = int(sys.argv[1]) if len(sys.argv) > 1 else SIZES[-1]
    if os.environ.get("OMP_NUM_THREADS") != "1":
        sys.exit("OMP_NUM_THREADS must be 1: all rows are of one thread")
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "numba", "finufft"))
    print(f"{platform.processor() or platform.machine()}, {libraries}, one thread, tolerances {TOLERANCE}")
    print(f"{'d':>2} {'N':>7} {'':>15} {'ms':>11}  {'error':>8} {'momentum':>9}  settings; 'loose': to the tolerance")
    for d in (1, 2, 3):
        dimension(d, [n for n in SIZES if n <= largest])


if __name__ == "__main__":
    main()
