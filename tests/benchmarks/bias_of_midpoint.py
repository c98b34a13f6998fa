"""Bias of the midpoint of the bracket at k reference points per particle: python tests/benchmarks/bias_of_midpoint.py.

About 15 minutes on one core; an argument scales the number of clouds. Truth is a long run on the same particles,
k = 64. Each value has psi*, the transform of weights fixed beforehand on other points, taken off its reference points:
(psi_A + psi_B)/2 of a short run is close to it, so what is left is the bias and noise of second order, while the
expectation of psi* is the same for all k and falls out of the differences.

Columns: bias of the midpoint at k = 1, 2, 4, 8 with its standard error over the clouds, and the relative width of the
bracket, in per cent of the mean W_2^2. Then, at k = 4, the standard deviation over reference samples with the particles
held fixed, in per cent: of the plain estimate and of the estimate with exact moments as control variates.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mfstudy.ensemble import Floats, Phase
from mfstudy.laws import InitialLaw
from mfstudy.laws.box import Box
from mfstudy.laws.clusters import Clusters
from mfstudy.transport.cost import Cost
from mfstudy.transport.multiscale import Assignment, assign
from mfstudy.transport.sampling import Sampler, spread
from mfstudy.transport.semidiscrete import bracket

SIZE, SHORT, LONG = 300, (1, 2, 4, 8), 64
COST = Cost(2)
SQUARES = Clusters(((-1.5, 0.0), (1.5, 0.0)), 0.5)  # unit squares, a gap of 2


@dataclass(frozen=True)
class Row:
    """A law, the way its reference points are drawn, the number of clouds, and of runs at k = 8 on each cloud."""

    name: str
    law: InitialLaw
    reference: Callable[[Sampler], Sampler]
    clouds: int
    repeats: int

    def draw(self, rng: np.random.Generator, m: int) -> Floats:
        """Draw points (m, D)."""
        return self.law.sample(rng, m).points


def spread_evenly(draw: Sampler) -> Sampler:
    """As `bracket` does it."""
    return lambda rng, m: spread(draw, rng, m)


def independent(draw: Sampler) -> Sampler:
    """Switch the spreading off."""
    return draw


def rows(scale: float) -> list[Row]:
    """Cubes in D = 2, 3, 4, 6 and two squares; independent points need more clouds for the same error."""
    result = []
    for dimension, even, other in ((2, 16, 48), (3, 16, 24), (4, 12, 16), (6, 8, 12)):
        law = Box(0.5).on(Phase(dimension, 0))
        result.append(Row(f"cube D = {dimension}, evenly spread", law, spread_evenly, round(scale * even), 4))
        result.append(Row(f"cube D = {dimension}, i.i.d.", law, independent, round(scale * other), 4))
    squares = SQUARES.on(Phase(2, 0))
    ways = (("evenly spread", spread_evenly), ("i.i.d.", independent), ("exact masses", lambda _: squares.stratified))
    for name, way in ways:
        result.append(Row(f"two squares, {name}", squares, way, round(scale * 24), 1))
    return result


def solved(points: Floats, sample: Floats) -> Assignment:
    """Transport between N particles and kN reference points."""
    return assign(points, np.full(len(points), len(sample) // len(points)), sample, COST)


def ends(points: Floats, samples: list[Floats]) -> tuple[float, float]:
    """Lower and upper end of the cross-fitted bracket, also for k = 1, which `bracket` refuses."""
    optima = [solved(points, sample) for sample in samples]
    upper = np.mean([optimum.cost for optimum in optima])
    crossed = [optima[1 - own].potential.transform(samples[own])[0].mean() for own in (0, 1)]
    lower = np.mean([optimum.potential.values.mean() for optimum in optima]) + np.mean(crossed)
    return float(lower), float(upper)


def corrected(points: Floats, samples: list[Floats], fixed: Assignment) -> tuple[float, float, float]:
    """Midpoint without the noise of psi*, width, and the midpoint itself."""
    lower, upper = ends(points, samples)
    noise = np.mean([fixed.potential.transform(sample)[0].mean() for sample in samples])
    return 0.5 * (lower + upper) - float(noise), upper - lower, 0.5 * (lower + upper)


def biases(row: Row, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Deviations from the long run and widths at each k, (clouds, k), and the long run's values, (clouds,)."""
    draw = row.draw
    short = row.reference(draw)
    even = spread_evenly(getattr(row.law, "stratified", draw))
    bias, width, value = [], [], []
    for _ in range(row.clouds):
        points = draw(rng, SIZE)
        fixed = solved(points, even(rng, LONG * SIZE))
        truth, _, long = corrected(points, [even(rng, LONG * SIZE) for _ in range(2)], fixed)
        found = np.array(
            [
                np.mean(
                    [
                        corrected(points, [short(rng, k * SIZE) for _ in range(2)], fixed)[:2]
                        for _ in range(row.repeats * SHORT[-1] // k)
                    ],
                    axis=0,
                )
                for k in SHORT
            ]
        )
        bias.append(found[:, 0] - truth)
        width.append(found[:, 1])
        value.append(long)
    return np.array(bias), np.array(width), np.array(value)


def deviations(row: Row, rng: np.random.Generator, clouds: int = 6, repeats: int = 16) -> Floats:
    """Root mean square over clouds of the relative standard deviation at k = 4: plain, with moments; and as told."""
    draw = row.draw
    short, found = row.reference(draw), []
    for _ in range(clouds):
        points = draw(rng, SIZE)
        for moments in ((None, None), (row.law.mean, row.law.covariance)):
            results = [bracket(points, draw, COST, 4, rng, None, *moments, None, short) for _ in range(repeats)]
            estimates = np.array([result.estimate for result in results])
            told = np.mean([result.standard_error**2 for result in results])
            found.append([estimates.var(ddof=1), told, estimates.mean()])
    table = np.array(found).reshape(clouds, 2, 3)
    return np.sqrt(table[:, :, :2].mean(axis=0)) / table[:, :, 2].mean(axis=0)[:, None]


def line(row: Row, seed: int) -> str:
    """One row of the table."""
    start = time.perf_counter()
    bias, width, value = biases(row, np.random.default_rng([seed, 0]))
    mean, error = bias.mean(axis=0) / value.mean(), bias.std(axis=0, ddof=1) / np.sqrt(len(bias)) / value.mean()
    columns = "".join(
        f" {100 * m:+6.2f} +-{100 * e:5.2f} {100 * w:6.1f}"
        for m, e, w in zip(mean, error, width.mean(axis=0) / value.mean(), strict=True)
    )
    (plain, told), (helped, told_helped) = 100 * deviations(row, np.random.default_rng([seed, 1]))
    spreads = f" {plain:6.2f} {told:6.2f} {helped:6.2f} {told_helped:6.2f}"
    return f"{row.name:28s}{columns}{spreads} {time.perf_counter() - start:6.0f}"


def main() -> None:
    """Print the table."""
    points = np.random.default_rng(0).random((SIZE, 2))
    samples = [np.random.default_rng(seed).random((4 * SIZE, 2)) for seed in (1, 2)]
    given = iter(samples)
    same = bracket(points, lambda rng, m: next(given), COST, 4, np.random.default_rng(), evenly=lambda *_: next(given))
    np.testing.assert_allclose(ends(points, samples), (same.lower, same.upper), rtol=1e-12)
    heading = "".join(f" {f'k = {k}: bias':>16s} {'width':>6s}" for k in SHORT)
    print(f"{f'N = {SIZE}, per cent':28s}{heading} {'sd':>6s} {'told':>6s} {'with':>6s} {'told':>6s} {'s':>6s}")
    for seed, row in enumerate(rows(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)):
        print(line(row, seed), flush=True)


if __name__ == "__main__":
    main()
