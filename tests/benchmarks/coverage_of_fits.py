"""Coverage of the 95 % intervals of `fit_rate` on planted truths: the share of data sets whose interval holds it.

Run as `python tests/benchmarks/coverage_of_fits.py [sets]`; a row of 2000 sets has a standard error of 0.5 %.
Columns: effective exponent, exponent given the law, constant given the law, median width of the exponent's interval.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

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


def rows() -> Iterator[tuple[int, Row]]:
    """Every row of the table with its number of replicates."""
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
        fit = fit_rate(row.sizes, row.draw(rng), laws=[row.law], dim=row.dim, groups=groups)
        pairs = (
            (fit.effective_exponent_interval, effective),
            (fit.exponent_interval, row.exponent),
            (fit.constant_interval, row.constant),
        )
        hits += [interval is not None and interval[0] <= truth <= interval[1] for interval, truth in pairs]
        widths.append(np.diff(fit.exponent_interval or (np.nan, np.nan))[0])
    return hits / sets, float(np.median(widths))


def main() -> None:
    """Print the table."""
    sets = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(f"{'noise and law':44s} {'R':>4s} {'eff.':>6s} {'exp.':>6s} {'const':>6s} {'width':>7s} {'s':>6s}")
    for replicates, row in rows():
        start = time.perf_counter()
        hit, width = coverage(row, replicates, sets)
        seconds = time.perf_counter() - start
        percent = " ".join(f"{100 * share:6.1f}" for share in hit)
        print(f"{row.name:44s} {replicates:4d} {percent} {width:7.4f} {seconds:6.1f}", flush=True)


if __name__ == "__main__":
    main()
