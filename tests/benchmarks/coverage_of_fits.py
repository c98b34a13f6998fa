"""Coverage of the 95 % intervals of `fit_rate` on planted truths: the share of data sets whose interval holds it.

Run as `python tests/benchmarks/coverage_of_fits.py [sets [STORE ...]]`; a row of 2000 sets has a standard error of
0.5 % and took 20 to 240 s on a busy core. Noise is planted, and drawn from the replicates of the stores that are
named (some thousand a size, or their own variances are no power of N), each relative to the mean of its size.
Columns: effective exponent, exponent given the law, constant given the law, median width of the exponent's interval.
Rows of a bound have means off by their systematic bound of 2 %, and count intervals widened by the systematic terms.

Then, how often a logarithm is named that is not there, and found where it is, by the law that is named and by a verdict
"rate"; coverage of the exponent by verdicts "rate", and their median width over that given the true law.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

import mfstudy
from mfstudy.ensemble import Floats
from mfstudy.fit import fit_rate

SIZES = np.array([100, 200, 500, 1000, 2000, 5000, 10_000, 20_000], dtype=float)
TERMS: dict[str, Callable[[Floats], Floats]] = {
    "power": np.ones_like,
    "power-log": np.log,
    "ajtai-komlos-tusnady": np.log,
    "ajtai-komlos-tusnady-constant": lambda sizes: np.log(sizes) + 5.65,
    "matching-boundary": lambda sizes: 1 + 1.15 * sizes**-0.25,
}
Noise = Callable[[np.random.Generator, tuple[int, ...]], Floats]


@dataclass(frozen=True)
class Row:
    """One planted truth: mean of the values at each size, their noise, and how they are fitted."""

    name: str
    sizes: Floats
    draw: Callable[[np.random.Generator], Floats]
    mean: Floats
    law: str
    exponent: float
    constant: float
    dim: int | None = None
    groups: bool = False
    bound: Floats | None = None


def lognormal(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Mean 1, CV 0.5."""
    return rng.lognormal(-np.log(1.25) / 2, np.sqrt(np.log(1.25)), shape)


def half_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Mean 1, CV 0.756: what a binomial imbalance gives."""
    return np.abs(rng.standard_normal(shape)) * np.sqrt(np.pi / 2)


def chi_square(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Mean 1, CV 1.41."""
    return rng.chisquare(1, shape)


def mixed(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Mean 1, a CV that falls from 0.9 to 0.3 along the sizes: no power of N fits the variance."""
    cv = (0.3 + 0.6 / (1 + np.exp(np.arange(shape[0]) - 2.0)))[:, None]
    spread = np.sqrt(np.log1p(cv**2))
    return np.exp(spread * rng.standard_normal(shape) - spread**2 / 2)


def shared(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Lognormal noise times a factor of CV 0.3 that 4 neighbouring replicates share at all sizes."""
    spread = np.sqrt(np.log1p(0.09))
    factor = np.repeat(rng.lognormal(-(spread**2) / 2, spread, shape[1] // 4), 4)
    return lognormal(rng, shape) * factor


def uniform_w2_sq(rng: np.random.Generator, sizes: Floats, replicates: int) -> Floats:
    """W_2^2 of N uniform points to the uniform law on [0, 1], exact; its mean is 1/(6N)."""
    rows = []
    for size in sizes.astype(int):
        points = np.sort(rng.random((replicates, size)), axis=1)
        middles = (np.arange(size) + 0.5) / size
        rows.append(((points - middles) ** 2).mean(axis=1) + 1 / (12 * size**2))
    return np.array(rows)


def planted(name: str, noise: Noise, replicates: int, law: str = "power", **more: object) -> Row:
    """A row of a law with C = 2, a = -1/2 (or the pinned power) and multiplicative noise of mean 1."""
    sizes = more.pop("sizes", SIZES)
    exponent = -1.0 if law.startswith("ajtai-komlos-tusnady") else -0.5
    mean = 2 * sizes**exponent * TERMS[law](sizes)
    shape = (len(sizes), replicates)
    return Row(
        f"{name} {law}",
        sizes,
        lambda rng: mean[:, None] * noise(rng, shape),
        mean,
        law,
        exponent,
        2.0,
        **more,
    )


def stored(path: str) -> Iterator[tuple[int, Row]]:
    """Rows whose noise is drawn from the replicates of a store, relative to the mean of their size."""
    results = mfstudy.open(path)
    quantity = results.quantities[0]
    table = results.values(quantity)
    pools = [row[np.isfinite(row)] / row[np.isfinite(row)].mean() for row in table]
    sizes = np.array(results.sizes, dtype=float)

    def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        return np.stack([rng.choice(pool, shape[1]) for pool in pools])

    for replicates in (16, 48, 200):
        yield replicates, planted(f"{results.name}: {quantity.name}", noise, replicates, sizes=sizes)


def off(pattern: Floats, name: str) -> tuple[int, Row]:
    """A row whose means are off by their systematic bound, with signs of this pattern."""
    row = planted(f"{name} bound, lognormal", lognormal, 48)
    bound = 0.02 * row.mean
    shift = 1 + 0.02 * pattern
    return 48, replace(row, draw=lambda rng: shift[:, None] * row.draw(rng), bound=bound)


def rows() -> Iterator[tuple[int, Row]]:
    """Every row of the table with its number of replicates."""
    signs = np.ones(len(SIZES))
    for pattern, name in ((signs, "+"), (-signs, "-"), ((-1.0) ** np.arange(len(SIZES)), "+-")):
        yield off(pattern, name)
    for noise in (lognormal, half_normal, chi_square):
        for replicates in (8, 16, 48, 200):
            yield replicates, planted(noise.__name__, noise, replicates)
        yield 16, planted(noise.__name__, noise, 16, "power-log")
        yield 16, planted(noise.__name__, noise, 16, "ajtai-komlos-tusnady", dim=2)
        yield 16, planted(f"{noise.__name__} 4 sizes", noise, 16, sizes=SIZES[::2])
    for replicates in (48, 2000):
        yield replicates, planted("lognormal", lognormal, replicates, "matching-boundary", dim=4)
        yield replicates, planted("lognormal", lognormal, replicates, "ajtai-komlos-tusnady-constant", dim=2)
    for replicates in (16, 200):
        yield replicates, planted("CV not a power", mixed, replicates)
    yield 96, planted("shared factor, groups", shared, 96, groups=True)
    small = SIZES[:4] / 10
    draw = lambda rng: uniform_w2_sq(rng, small, 16)  # noqa: E731
    yield 16, Row("true W_2^2 replicates, D = 1", small, draw, 1 / (6 * small), "power", -1.0, 1 / 6)


def coverage(row: Row, replicates: int, sets: int) -> tuple[Floats, float]:
    """Shares of sets whose intervals hold the truth (effective, exponent, constant), and the median width."""
    rng = np.random.default_rng(20261121)
    effective = np.polyfit(np.log(row.sizes), np.log(row.mean), 1)[0]
    groups = np.arange(replicates) // 4 if row.groups else None
    hits, widths = np.zeros(3), []
    for _ in range(sets):
        fit = fit_rate(row.sizes, row.draw(rng), laws=[row.law], dim=row.dim, groups=groups, systematic=row.bound)
        found = (
            (fit.effective_exponent_interval, fit.effective_exponent_systematic, effective),
            (fit.exponent_interval, fit.exponent_systematic, row.exponent),
            (fit.constant_interval, fit.constant_systematic, row.constant),
        )
        hits += [ends is not None and ends[0] - more <= truth <= ends[1] + more for ends, more, truth in found]
        widths.append(np.diff(fit.exponent_interval or (np.nan, np.nan))[0])
    return hits / sets, float(np.median(widths))


def logarithms(sets: int) -> None:
    """Print how often a logarithm is named, over 1e2 to 2.2e4 with these errors of a size."""
    sizes = np.geomspace(1e2, 2.2e4, 8)
    titles = ("error", "named: log", "rate, log", "rate, no log", "coverage", "width/oracle")
    print(f"\n{'truth, 8 sizes from 1e2 to 2.2e4':34s}" + "".join(f"{title:>14s}" for title in titles))
    for law, power in (("power", 0), ("power-log", 1)):
        for error in (0.026, 0.02, 0.01, 0.005):
            rng, counts, widths = np.random.default_rng(20261121), np.zeros(4), []
            mean = sizes**-0.5 * np.log(sizes) ** power
            for _ in range(sets):
                values = mean[:, None] * (1 + 10 * error * rng.standard_normal((8, 100)))
                fit, oracle = (fit_rate(sizes, values, laws=laws) for laws in (("power", "power-log"), (law,)))
                rate, (low, high) = fit.verdict == "rate", fit.exponent_interval
                counts += (
                    fit.law == "power-log",
                    rate and fit.log_power == 1,
                    rate and fit.log_power == 0,
                    rate and low <= -0.5 <= high,
                )
                if rate:
                    widths.append((high - low) / np.diff(oracle.exponent_interval)[0])
            shares = 100 * np.append(counts[:3] / sets, counts[3] / max(len(widths), 1))
            numbers = "".join(f"{share:14.1f}" for share in shares)
            print(f"{law:34s}{error:14.3f}{numbers}{np.median(widths):14.2f}", flush=True)


def main() -> None:
    """Print the tables."""
    sets = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(f"{'noise and law':44s} {'R':>4s} {'eff.':>6s} {'exp.':>6s} {'const':>6s} {'width':>7s} {'s':>6s}")
    for replicates, row in itertools.chain(rows(), *map(stored, sys.argv[2:])):
        start = time.perf_counter()
        hit, width = coverage(row, replicates, sets)
        seconds = time.perf_counter() - start
        percent = " ".join(f"{100 * share:6.1f}" for share in hit)
        print(f"{row.name:44s} {replicates:4d} {percent} {width:7.4f} {seconds:6.1f}", flush=True)
    logarithms(sets)


if __name__ == "__main__":
    main()
