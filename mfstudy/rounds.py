"""Rounds of a sweep that a precision drives: what the next one wants, from the records of complete ones. Pure.

A pilot fixes how the replicates vary; one second stage is planned from it, and at most two more follow where it falls
short. Each of these is judged once it is complete. Of what is stored a round sees its own first replicates alone, so
that every driver derives the same rounds, whatever else has been computed. Two stages are Stein's (1945). Judging
running intervals instead, at every replicate, loses coverage: it stops where the replicates happen to vary little.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfstudy.ensemble import Floats
from mfstudy.intervals import LEVEL, student_quantile
from mfstudy.means import Spread, spread_of
from mfstudy.observables import Status
from mfstudy.results import FAILED_FRACTION
from mfstudy.study import CAPACITY, PILOT
from mfstudy.tails import infinite_variance

#: Replicates of each size that a sweep ends with at least: means of fewer are not Gaussian enough.
LEAST = 100
#: How often intervals are judged at most; their misses share what a 95 % interval may miss (Bonferroni).
LOOKS = 3
LOOK_LEVEL = 1 - (1 - LEVEL) / LOOKS
#: The pilot and what is judged.
ROUNDS = 1 + LOOKS
#: What the variation that a round has seen is multiplied by in planning the next: it is not known any better.
MARGIN = 1.15
#: What is assumed of the standard deviation of a replicate over its mean before there is a pilot.
ROUGH = 0.5


@dataclass(frozen=True)
class Design:
    """What rounds depend on, other than records.

    Parameters
    ----------
    sizes : tuple of int
        The study's sizes N.
    lengths : tuple of int
        Replicates in a block at each size.
    costs : tuple of float
        Predicted cost of a replicate at each size; only ratios matter, and never a measured one.
    precision : float
        Half-width to be reached, dimensionless.
    kind : str
        "exponent": of the effective exponent; "mean": of each mean, relative to it.
    moment : float, optional
        Order of the highest finite moment of the law that is sampled, None = all; of values W_p^p.
    p : float
    what : str
        What is to be precise, in words.
    """

    sizes: tuple[int, ...]
    lengths: tuple[int, ...]
    costs: tuple[float, ...]
    precision: float
    kind: str = "exponent"
    moment: float | None = None
    p: float = 2.0
    what: str = "estimate"


@dataclass(frozen=True)
class Standing:
    """Where a sweep is among its rounds.

    Parameters
    ----------
    round : int
        From 1, the pilot, to `ROUNDS`.
    replicates : tuple of int
        Replicates of each size that the round wants, in whole blocks.
    over : bool
        Whether its records are complete and no round follows.
    reached : bool
        Whether that is because the precision is reached.
    half_width : float or None
        Of the 95 % interval, from the last complete round; None where there is none.
    text : str
        A line.
    """

    round: int
    replicates: tuple[int, ...]
    over: bool = False
    reached: bool = False
    half_width: float | None = None
    text: str = ""

    @property
    def title(self) -> str:
        """The round in words."""
        return f"round {self.round} of at most {ROUNDS}"

    @property
    def table(self) -> dict[str, Any]:
        """All of it as plain data, with "of", the most rounds there are."""
        return {**asdict(self), "of": ROUNDS}


def follow(design: Design, values: Floats, status: Floats) -> Standing:
    """Return the first round whose records are not complete, or the last one.

    Parameters
    ----------
    design : Design
    values : (sizes, replicates) array
        The numbers that are to be precise; NaN where absent or failed.
    status : (sizes, replicates) array
        How each replicate ended, a `Status` code; NaN where it is not stored.
    """
    counts = _blocks(design, np.full(len(design.sizes), PILOT))
    standing = Standing(1, counts, text=f"the pilot, from which the replicates for the {design.what} are planned")
    while _complete(status, standing.replicates) and not standing.over:
        standing = decide(design, standing, values, status)
    return standing


def _complete(status: Floats, counts: tuple[int, ...]) -> bool:
    """Return whether the first replicates of each size are stored."""
    return all(count <= len(row) and not np.isnan(row[:count]).any() for row, count in zip(status, counts, strict=True))


def decide(design: Design, standing: Standing, values: Floats, status: Floats) -> Standing:
    """Return what follows a complete round: the next one, or the same, which is over.

    Parameters
    ----------
    design : Design
    standing : Standing
        The complete round.
    values, status : (sizes, replicates) array
        As in `follow`; replicates beyond those of the round are not looked at.
    """
    counts = np.array(standing.replicates)
    most = counts.max()  # cut off, for sums of another length are rounded otherwise
    seen = np.arange(most) < counts[:, None]
    table = np.where(seen, values[:, :most], np.nan)
    failed = (seen & (status[:, :most] != Status.OK)).sum(axis=1)
    present = ~np.isnan(table)
    over = replace(standing, over=True, half_width=None)
    if present.any() and not table[present].any():
        return replace(over, reached=True, text=f"identically zero: enough after {standing.title}")
    # Of a pilot's 32 replicates one is more than 1 %: a size is given up on once there are enough to tell.
    kept, note = _kept(design, table, np.where(counts < LEAST, 0.0, failed / counts))
    if kept.sum() < (3 if design.kind == "exponent" else 1):
        return replace(over, text=f"{kept.sum()} of {len(kept)} sizes can be used{note}: no further round")
    spread = spread_of(np.array(design.sizes)[kept], table[kept])
    if heavy := infinite_variance(table[kept], spread.mean, design.moment, design.p):
        return replace(over, text=f"{heavy}{note}: no further round")
    return _judged(design, over, kept, spread, note)


def _kept(design: Design, table: Floats, failed: Floats) -> tuple[NDArray[np.bool_], str]:
    """Return which sizes take part, and the others in words."""
    present = ~np.isnan(table)
    failing = failed > FAILED_FRACTION
    positive = np.where(present, table, 0.0).sum(axis=1) > 0
    kept = ~failing & positive & (present.sum(axis=1) > 1)
    reasons = {True: f"more than {FAILED_FRACTION:.0%} of the replicates failed", False: "no positive mean"}
    words = [
        f"N = {size} ({reasons[bool(fails)]})"
        for size, fails, good in zip(design.sizes, failing, kept, strict=True)
        if not good
    ]
    return kept, f"; left out: {', '.join(words)}" if words else ""


def _judged(design: Design, over: Standing, kept: NDArray[np.bool_], spread: Spread, note: str) -> Standing:
    """Return the next round, or why there is none, from how the replicates of a complete one vary."""
    counts = np.array(over.replicates)
    error = _error(design.kind, np.log(design.sizes)[kept], spread.relative / counts[kept])
    half, judged = (error * student_quantile(spread.degrees, level) for level in (LEVEL, LOOK_LEVEL))
    over = replace(over, half_width=half)
    found = f"half-width {half:.2g} at 95 %, {judged:.2g} at the {LOOK_LEVEL:.1%} of a look, of the {design.what}"
    if over.round > 1 and judged <= design.precision:
        text = f"{found}: {design.precision:g} is reached after {over.title}{note}"
        return replace(over, reached=True, text=text)
    if over.round == ROUNDS:
        return replace(over, text=f"{found}: {design.precision:g} is not reached after {LOOKS} looks{note}")
    wanted = allocate(design, kept, spread.relative, spread.degrees, over.replicates)
    text = f"{found} so far; {design.precision:g} is wanted{note}"
    return replace(over, round=over.round + 1, replicates=wanted, over=False, text=text)


def _error(kind: str, log_sizes: Floats, variance: Floats) -> float:
    """Return the standard error that is to be small, from the relative variances of the means.

    Of the effective exponent: that of the slope of log E on log N by least squares with these variances.
    """
    if kind == "mean" or not variance.all():
        return float(np.sqrt(variance.max()))
    information = 1 / variance
    apart = log_sizes - np.average(log_sizes, weights=information)
    return float((information @ apart**2) ** -0.5)


def rough(design: Design) -> tuple[int, ...]:
    """Return the replicates of each size that the second round would want if the relative deviation were `ROUGH`."""
    every = np.ones(len(design.sizes), dtype=bool)
    return allocate(design, every, np.full(len(every), ROUGH**2), np.inf, (0,) * len(every))


def allocate(
    design: Design, kept: NDArray[np.bool_], relative: Floats, degrees: float, present: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the replicates of each size that reach a precision at about the least cost.

    Neyman (1934): sum c_i R_i is least, given sum w_i^2 v_i / R_i, where R_i goes like |w_i| (v_i / c_i)^1/2; w are
    the weights of the unweighted slope, which keep sizes at both ends and between.

    Parameters
    ----------
    design : Design
    kept : (sizes,) array of bool
        Which sizes take part; the others stay as they are.
    relative : (k,) array
        Variances of a replicate / mean^2 at those, dimensionless.
    degrees : float
        Of freedom in them.
    present : tuple of int
        Replicates that there are.
    """
    reach = design.precision / (MARGIN * student_quantile(degrees, LOOK_LEVEL))
    if design.kind == "mean":
        return _at_least(design, kept, relative / reach**2, present)
    log_sizes = np.log(design.sizes)[kept]
    weights = np.abs(log_sizes - log_sizes.mean()) / ((log_sizes - log_sizes.mean()) ** 2).sum()
    deviation, root_cost = np.sqrt(relative), np.sqrt(np.array(design.costs)[kept])
    shape = weights * deviation / root_cost
    # Enough for the unweighted slope; weighting and the floor leave room, which bisection finds.
    low, high = 0.0, float(weights @ (deviation * root_cost)) / reach**2
    for _ in range(60):
        scale = (low + high) / 2
        counts = _at_least(design, kept, scale * shape, present)
        enough = _error("exponent", log_sizes, relative / np.array(counts)[kept]) <= reach
        low, high = (low, scale) if enough else (scale, high)
    return _at_least(design, kept, high * shape, present)


def _at_least(design: Design, kept: NDArray[np.bool_], counts: Floats, present: tuple[int, ...]) -> tuple[int, ...]:
    """Return whole blocks of the replicates where sizes take part, `LEAST` or more and no fewer than there are."""
    wanted = np.zeros(len(kept))
    wanted[kept] = np.maximum(counts, LEAST)
    return _blocks(design, np.maximum(np.minimum(wanted, CAPACITY), present))


def _blocks(design: Design, counts: NDArray[np.float64] | NDArray[np.int64]) -> tuple[int, ...]:
    """Round up to whole blocks."""
    return tuple(math.ceil(count / length) * length for count, length in zip(counts, design.lengths, strict=True))
