"""Seconds, memory, width and residual of our transport beside its peers, one row a target.

    python tests/benchmarks/bench_transport.py [a b c d e f] [--long] [--figure FILE]

Rows: a = equal bias against POT, b = N x N exact, c = midpoint at k = 4, d = bracket of 2 %, e = replicates a second,
f = hard laws. --long adds the rows of minutes. Without rows, --figure draws only: seconds and bias against N.

Each number comes from a process of its own on one thread: its peak memory is its own (imports are about 200 MiB of it)
and compiled code is loaded before the clock starts. Seconds are the least of three runs, of fewer where they are long;
CPU seconds are less disturbed by other jobs of the machine, and ratios and rates are of these. Peers see the same
particles; POT runs with an iteration limit that it does not reach, and its time includes its cost matrix.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter, process_time
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from mfstudy.transport.wasserstein import wasserstein

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
LIMIT, FIGURE_LIMIT, LONG_LIMIT = 200, 400, 1800  # seconds for one process
ENOUGH = 6.0  # seconds after which a timing is not repeated
WARM = 300  # particles that load the compiled code
MEMORY = 8 * 2**30  # bytes that a problem may take: N = 1e6 needs more than the default
# Bias of the optimum over i.i.d. reference points at D = 6 is 24 % / k: 48 a particle for 0.5 %. In the same row k = 10
# is timed and extrapolated linearly where the whole does not end.
EQUAL_BIAS, SMALLER = 48, 10


# Laws: samplers, and what is done to their draws to make particles.


def cube(rng, n, d):
    return rng.random((n, d))


def gaussian(rng, n, d):
    return rng.standard_normal((n, d))


def student(rng, n, d):
    return rng.standard_t(3, (n, d))


def two(rng, n, d):
    y = rng.random((n, d))
    y[:, 0] += 3 * (rng.random(n) < 0.5)
    return y


def six(rng, n, d):
    y = rng.random((n, d))
    y[:, 0] += 3 * rng.integers(0, 3, n)
    y[:, 1] += 3 * rng.integers(0, 2, n)
    return y


def aniso(rng, n, d):
    return rng.random((n, d)) * np.where(np.arange(d) == 0, 100.0, 1.0)


def curve(rng, n, d):
    t = 6 * rng.random(n)
    return np.stack([np.cos(t), np.sin(t), np.cos(2 * t), t / 6], axis=1)


def plane(rng, n, d):
    return rng.random((n, 2)) @ np.array([[1, 0, 0.5, 0.2], [0, 1, -0.3, 0.7]])


def same(x):
    return x


def rotated(x, angle=0.5):
    """Turn the first two axes about the mean, and put the mean at (0.5, ..., 0.5)."""
    turned = x - x.mean(axis=0)
    c, s = math.cos(angle), math.sin(angle)
    turned[:, :2] = turned[:, :2] @ np.array([[c, s], [-s, c]])
    return turned + 0.5


def doubled(x):
    half = len(x) // 2
    return np.concatenate([x[:half], x[:half]])


class Case(NamedTuple):
    """A law of R^d, the particles made of its draws, and options of the distance."""

    dimension: int
    law: Callable[..., Any]
    moved: Callable[..., Any] = same
    options: Mapping[str, Any] = MappingProxyType({})

    def sample(self, rng, m):
        return self.law(rng, m, self.dimension)

    def particles(self, n, seed=1):
        return self.moved(self.sample(np.random.default_rng([n, seed]), n))


CASES = {f"cube{d}": Case(d, cube) for d in (2, 3, 4, 6)} | {
    "two2": Case(2, two),
    "six2": Case(2, six),
    "two4": Case(4, two),
    "gauss2": Case(2, gaussian),
    "gauss4": Case(4, gaussian),
    "gauss6": Case(6, gaussian),
    "t3_2": Case(2, student),
    "t3_4": Case(4, student),
    "shrunk2": Case(2, cube, lambda x: 0.8 * x),
    "shifted2": Case(2, cube, lambda x: x + 0.5),
    "rotated4": Case(4, cube, rotated),
    "doubled4": Case(4, cube, doubled),
    "lattice4": Case(4, cube, lambda x: np.round(8 * x) / 8),
    "curve4": Case(4, curve),
    "plane4": Case(4, plane),
    "diagonal4": Case(4, cube, lambda x: np.repeat(x[:, :1], 4, axis=1)),
    "aniso2": Case(2, aniso),
    "aniso4": Case(4, aniso),
    "cube2 p=1": Case(2, cube, same, {"p": 1}),
    "cube3 p=1": Case(3, cube, same, {"p": 1}),
    "cube6 p=1": Case(6, cube, same, {"p": 1}),
    "two2 p=1": Case(2, two, same, {"p": 1}),
    "torus2": Case(2, cube, same, {"period": 1.0}),
    "kinetic4 p=1": Case(4, cube, same, {"p": 1, "cost": "kinetic"}),
}


# What a process measures.


def best(function):
    """Return the value of a function and the least of its times, on the wall and of the processor."""
    walls: list[float] = []
    works: list[float] = []
    while not walls or (len(walls) < 3 and sum(walls) < ENOUGH):
        wall, work = perf_counter(), process_time()
        value = function()
        walls.append(perf_counter() - wall)
        works.append(process_time() - work)
    return value, {"seconds": min(walls), "cpu": min(works)}


def told(result, times):
    width = (result.upper - result.lower) / result.estimate
    return {"value": result.estimate, "width": width, "residual": result.residual, **times}


def bracketed(case, n, precision=None):
    law = CASES[case]

    def solved(x):
        return wasserstein(x, law.sample, **law.options, precision=precision, memory=MEMORY)

    solved(law.particles(WARM))
    x = law.particles(n)
    return told(*best(lambda: solved(x)))


def exact(case, n):
    law = CASES[case]
    wasserstein(law.particles(WARM), law.particles(WARM, 2))
    x, y = law.particles(n), law.particles(n, 2)
    return told(*best(lambda: wasserstein(x, y, memory=MEMORY)))


def replicates(case, n, precision=None):
    """Time 3 CPU seconds of replicates, each with its own particles and seed."""
    law, done = CASES[case], 0
    result = wasserstein(law.particles(n), law.sample, precision=precision)
    wall, work = perf_counter(), process_time()
    while process_time() - work < 3:
        done += 1
        result = wasserstein(law.particles(n, done), law.sample, precision=precision, seed=done)
    return told(result, {"seconds": (perf_counter() - wall) / done, "cpu": (process_time() - work) / done})


def emd2_value(x, y):
    import ot

    costs = ot.dist(x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # POT reports a solve that failed by a warning
        return float(ot.emd2(np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y)), costs, numItermax=10**9))


def emd2(case, n, k):
    law = CASES[case]
    x, y = law.particles(n), law.particles(k * n, 2)
    emd2_value(x[:10], y[:10])
    value, times = best(lambda: emd2_value(x, y))
    return {"value": value, **times}


def assignment_value(x, y):
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    costs = cdist(x, y, "sqeuclidean")
    return float(costs[linear_sum_assignment(costs)].mean())


def assignment(case, n, k):
    law = CASES[case]
    x, y = law.particles(n), law.particles(k * n, 2)
    value, times = best(lambda: assignment_value(x, y))
    return {"value": value, **times}


def geomloss_value(x, y):
    import geomloss
    import torch

    torch.set_num_threads(1)
    loss = geomloss.SamplesLoss("sinkhorn", p=2, blur=0.01, scaling=0.9, debias=False, backend="tensorized")
    return 2 * float(loss(torch.from_numpy(x), torch.from_numpy(y)))  # its cost is half of |x - y|^2


def ott_value(x, y):
    import jax

    jax.config.update("jax_enable_x64", True)
    from ott.geometry.pointcloud import PointCloud
    from ott.solvers import linear

    solved = linear.solve(PointCloud(x, y, epsilon=1e-3), max_iterations=20_000)
    if not bool(solved.converged):
        raise RuntimeError("OTT did not converge")
    return float(solved.primal_cost)


def ours_value(x, sample, seed, precision=None):
    return wasserstein(x, sample, seed=seed, precision=precision).estimate


def in_figure(method, case, n, k, count):
    """Values and seconds of ``count`` replicates; peers get k reference points a particle, drawn for each replicate."""
    law = CASES[case]

    def value(size, r):
        x = law.particles(size, r)
        if method == "truth":
            return ours_value(x, law.sample, 10**6 + r, 0.02)
        if method == "ours":
            return ours_value(x, law.sample, r)
        return globals()[f"{method}_value"](x, law.particles(k * size, 10**3 + r))

    value(n if method == "ott" else 50, 0)  # JAX compiles for each shape
    start = process_time()
    values = [value(n, r) for r in range(count)]
    return {"cpu": (process_time() - start) / count, "values": values}


# Processes and the table.


def apart(function, limit, **arguments):
    """Return what a function measures in a process of its own with its peak memory, or None past the limit."""
    command = [sys.executable, os.path.abspath(__file__), "--one", json.dumps([function.__name__, arguments])]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, env=os.environ | THREADS, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"failed": f"failed ({done.returncode}): {last}"}
    return json.loads(done.stdout)


def one(text):
    """Measure in this process and print the result as JSON."""
    name, arguments = json.loads(text)
    result = globals()[name](**arguments)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    result["MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(json.dumps(result))


def line(label, result, limit, target, note=""):
    head = f"{label:<28} {os.getloadavg()[0]:5.1f} "
    if result is None or "failed" in result:
        body = f"> {limit} s" if result is None else result["failed"]
    else:
        body = f"{result['seconds']:9.4g} {result['cpu']:9.4g} {result['MiB']:6.0f}"
        if "width" in result:
            body += f" {result['width']:8.2%} {result['residual']:9.1e}"
    print(f"{head}{body:<45}  {target:<20} {note}".rstrip(), flush=True)


def row(label, function, target="", limit=LIMIT, **arguments):
    result = apart(function, limit, **arguments)
    line(label, result, limit, target)
    return None if result is None or "failed" in result else result


def against(ours, peer, label, target="", limit=LIMIT, scale=1.0, **arguments):
    """Print a peer's row: how often our time goes into its, times ``scale``, and the difference of the values."""
    result, note = apart(peer, limit, **arguments), ""
    settings = f"POT {installed('POT')}, numItermax 1e9" if peer is emd2 else f"SciPy {installed('scipy')}, defaults"
    if ours and result and "value" in result:
        times = scale * result["cpu"] / ours["cpu"]
        note = f"{times:.0f}x our time, value/ours - 1 = {result['value'] / ours['value'] - 1:.1e}"
        note += f", extrapolated x {scale:g}" if scale != 1 else ""
    line(label, result, limit, target, f"{note}; {settings}" if note else settings)
    return result if note else None


def equal_bias(long):
    mine = row("a cube6 1e3 k=4", bracketed, case="cube6", n=1000)
    label = "a   POT emd2 k={}".format
    if against(mine, emd2, label(EQUAL_BIAS), ">= 30x", case="cube6", n=1000, k=EQUAL_BIAS) is None:
        scale = EQUAL_BIAS / SMALLER
        against(mine, emd2, label(SMALLER), ">= 30x", scale=scale, case="cube6", n=1000, k=SMALLER)


def discrete(long):
    for d in (2, 4, 6):
        case = f"cube{d}"
        mine = row(f"b {case} 1e4 x 1e4", exact, "< 400 MB", case=case, n=10_000)
        against(mine, emd2, "b   POT emd2", ">= 60x", case=case, n=10_000, k=1)
        if long:
            against(mine, assignment, "b   SciPy assignment", limit=LONG_LIMIT, case=case, n=10_000, k=1)
    for d in (2, 4):
        row(f"b cube{d} 1e5 x 1e5", exact, "<= 20 s", case=f"cube{d}", n=100_000)


def midpoint(long):
    goals = {2: ("1.2 s", "15 s"), 3: ("", "15 s"), 4: ("1.7 s", "15 s"), 6: ("3 s", "25 s")}
    for d, (middle, large) in goals.items():
        rows = [
            row(f"c cube{d} 1e{e} k=4", bracketed, goal, case=f"cube{d}", n=10**e)
            for e, goal in ((3, ""), (4, middle and f"<= {middle}"), (5, f"<= {large}, < 600 MB"))
        ]
        if rows[0] and rows[2]:
            exponent = math.log10(rows[2]["cpu"] / rows[0]["cpu"]) / 2
            print(f"c cube{d} exponent of N, 1e3 to 1e5: {exponent:.2f} (<= 1.15)", flush=True)
    if long:
        row("c cube2 1e6 k=4", bracketed, "<= 600 s, < 3 GB", LONG_LIMIT, case="cube2", n=10**6)


def two_percent(long):
    for d, seconds in {2: 8, 3: 6, 4: 5, 6: 8}.items():
        row(f"d cube{d} 1e4 2 %", bracketed, f"<= {seconds} s, < 600 MB", case=f"cube{d}", n=10_000, precision=0.02)


def throughput(long):
    for d in (2, 6):
        for name, precision, goal in (("2 %", 0.02, 50), ("k=4", None, 300)):
            result = apart(replicates, LIMIT, case=f"cube{d}", n=100, precision=precision)
            speed = f"{1 / result['cpu']:.0f} a second" if result and "cpu" in result else ""
            line(f"e cube{d} 100 {name}", result, LIMIT, f">= {goal} a second", speed)


def hard(long):
    for case in list(CASES)[4:]:
        seconds = 30 if case.startswith("t3") else 10
        row(f"f {case} 1e4 k=4", bracketed, f"<= {seconds} s", case=case, n=10_000)


ROWS = {"a": equal_bias, "b": discrete, "c": midpoint, "d": two_percent, "e": throughput, "f": hard}


# The figure.

FIGURE_CASE = "cube6"
FIGURE_SIZES = (100, 300, 1000, 3000, 10_000)
FAST, SLOW = (64, 40_000), (16, 5000)  # replicates of a size: at most the first, about the second over N, at least 3
# method: package, settings, reference points a particle, largest N, replicates
METHODS = {
    "ours": ("mfstudy", "midpoint, k = 4", 4, 10_000, FAST),
    "emd2": ("POT", "emd2, k = 4, numItermax 1e9", 4, 3000, SLOW),
    "assignment": ("scipy", "linear_sum_assignment, k = 1", 1, 3000, FAST),
    "geomloss": ("geomloss", "Sinkhorn, k = 4, blur 0.01, scaling 0.9, not debiased", 4, 1000, SLOW),
    "ott": ("ott-jax", "Sinkhorn, k = 4, epsilon 1e-3", 4, 1000, SLOW),
}


def replicated(method, n, k, replicates):
    most, total = replicates
    count = max(3, min(most, total // n))
    result = apart(in_figure, FIGURE_LIMIT, method=method, case=FIGURE_CASE, n=n, k=k, count=count)
    return {"failed": f"> {FIGURE_LIMIT} s"} if result is None else result


def curve_of(label, method, k, sizes, truth, replicates):
    """Return rows of sizes, seconds, relative bias and its standard error, until one fails."""
    found = []
    for n in sizes:
        result = replicated(method, n, k, replicates)
        failed = result.get("failed") or truth[n].get("failed")
        if failed:
            print(f"figure: {label}, N = {n}: {failed}", flush=True)
            break
        values = np.asarray(result["values"])
        bias = values / np.asarray(truth[n]["values"])[: len(values)] - 1
        error = bias.std(ddof=1) / math.sqrt(len(bias))
        found.append((n, result["cpu"], bias.mean(), error))
        print(f"figure: {label}, N = {n}: {result['cpu']:.3g} s, bias {bias.mean():+.2%} +- {error:.2%}", flush=True)
    return np.array(found).T


def curves():
    """Yield the label and the curve of each method that is installed."""
    truth = {n: replicated("truth", n, 0, FAST) for n in FIGURE_SIZES}
    for method, (package, settings, k, largest, replicates) in METHODS.items():
        label = f"{package} {installed(package)} {settings}"
        if installed(package) is None:
            print(f"figure: {package} is absent")
            continue
        sizes = [n for n in FIGURE_SIZES if n <= largest]
        curve = curve_of(label, method, k, sizes, truth, replicates)
        if curve.size:
            yield label, curve


def figure(path):
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    plots, (time, bias) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for marker, (label, (sizes, seconds, means, errors)) in zip("os^Dv", curves(), strict=False):
        time.loglog(sizes, seconds, f"{marker}-", label=label)
        bias.errorbar(sizes, 100 * means, 100 * errors, fmt=f"{marker}-", capsize=3)
    bias.axhline(0, color="0.6", lw=0.8, zorder=0)
    bias.set(xscale="log", xlabel="N, particles", ylabel="bias of $W_2^2$, %", yscale="symlog", ylim=(-1, 40))
    bias.set_title("mean over replicates, against our bracket of 2 %", fontsize=10)
    time.set(xlabel="N, particles", ylabel="CPU seconds a replicate")
    time.set_title(f"uniform law of $[0, 1]^6$, one thread, {machine()}", fontsize=10)
    time.legend(fontsize=8)
    plots.savefig(path, dpi=150)
    print(f"figure: {path}")


def machine():
    return platform.processor() or platform.machine()


def installed(package):
    """Return the version of an installed package, None if it is absent."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions():
    names = ("numpy", "scipy", "numba", "POT", "geomloss", "torch", "ott-jax", "jax")
    return ", ".join(f"{name} {installed(name) or 'absent'}" for name in names)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help=f"of {' '.join(ROWS)}; none is all, or none of them with --figure")
    parser.add_argument("--long", action="store_true", help="also the rows of minutes")
    parser.add_argument("--figure", metavar="FILE", help="draw seconds and bias against N")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        one(chosen.one)
        return
    if set(chosen.rows) - set(ROWS):
        parser.error(f"rows must be of {' '.join(ROWS)}, not {' '.join(chosen.rows)}")
    print(f"{machine()}, {os.cpu_count()} cores, one thread; Python {platform.python_version()}, {versions()}")
    for law in ("cube2", "cube2 p=1", "torus2", "kinetic4 p=1"):
        apart(bracketed, LIMIT, case=law, n=WARM)  # compiles what the cache lacks
    rows = chosen.rows or ([] if chosen.figure else list(ROWS))
    if rows:
        heads = f"{'seconds':>9} {'CPU s':>9} {'MiB':>6} {'width':>8} {'residual':>9}"
        print(f"{'row':<28} {'load':>5} {heads}  {'target':<20} notes")
    for name in rows:
        ROWS[name](chosen.long)
    if chosen.figure:
        figure(chosen.figure)


if __name__ == "__main__":
    main()
