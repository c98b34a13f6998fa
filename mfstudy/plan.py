"""What a sweep still has to do, and what it will cost. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from mfstudy.integrate import marks
from mfstudy.liouville import COPIES, LIOUVILLE
from mfstudy.observables import accompanied, monitors
from mfstudy.replicate import field_names
from mfstudy.study import Block, Point, Problem
from mfstudy.systems import is_stepped


@dataclass(frozen=True)
class Forecast:
    """What finishing will take, at one point.

    Parameters
    ----------
    point : Point
    replicates : int
        Wanted, rounded up to whole blocks.
    done : int
        Of these, already in the store.
    seconds : float
        Predicted for the missing ones, on one core.
    memory : float
        Peak bytes of one worker.
    stored : float
        Bytes of the point's finished record.
    """

    point: Point
    replicates: int
    done: int
    seconds: float
    memory: float
    stored: float


def missing(wanted: Iterable[Block], done: Mapping[Point, set[int]]) -> list[Block]:
    """Return the wanted blocks that are not done, in the order of `wanted`."""
    return [block for block in wanted if block.index not in done.get(block.point, set())]


def share(blocks: list[Block], part: int, parts: int) -> list[Block]:
    """Return the part-th of `parts` shares (1-based) of the blocks.

    Dealt out like cards over *all* wanted blocks, so that the shares are disjoint, cover everything, weigh about the
    same, and do not depend on what is done.
    """
    return blocks[part - 1 :: parts]


def replicate_seconds(problem: Problem, timed: Mapping[Point, float]) -> Callable[[Point], float]:
    """Return the predicted seconds of one replicate at a point.

    The observables' own prediction gives the shape in N; the timed points (seconds of a replicate) give the level: at
    a timed point its own time, elsewhere that of the nearest size, scaled. Predictions follow `timed` when it changes.
    """

    @cache
    def prior(point: Point) -> float:
        phase, steps = problem.system.phase, marks(problem.system, problem.time)[-1] + 1
        measured = sum(
            o.budget(point.size, phase).seconds * (steps if monitors(o) else len(problem.time.save))
            for o in problem.observables
        )
        # Particles, tracers, two halves of a pool, and companions.
        runs = 2 + 2 * problem.needs(LIOUVILLE) + sum(o.runs(phase) for o in problem.observables if accompanied(o))
        return max(measured + runs * _run_seconds(problem, point), 1e-6)

    def predict(point: Point) -> float:
        if not timed:
            return prior(point)
        near = min(timed, key=lambda other: (abs(other.size - point.size), other.size))
        return timed[near] * prior(point) / prior(near)

    return predict


def _run_seconds(problem: Problem, point: Point) -> float:
    """Predict one run of the particles, with a start by Runge-Kutta steps."""
    steps = marks(problem.system, problem.time)[-1] + 31
    return steps * problem.system.budget(point.size).seconds if is_stepped(problem.system) else 0.0


def pool_seconds(problem: Problem, point: Point) -> float:
    """Return the predicted seconds of the pools of a point, on one core; 0 where none are needed."""
    copies = COPIES.get(problem.system.phase.position, 0)
    return problem.pools * 2 * copies * _run_seconds(problem, point)


def memory(problem: Problem, blocks: Iterable[Block]) -> float:
    """Return the peak bytes of a worker that computes the largest of the blocks."""
    return max((problem.memory(size) for size in {block.point.size for block in blocks}), default=0.0)


def forecast(
    problem: Problem,
    wanted: Iterable[Block],
    done: Mapping[Point, set[int]],
    seconds: Callable[[Point], float],
) -> list[Forecast]:
    """Predict, for each point, what finishing takes."""
    rows = []
    for point, group in itertools.groupby(wanted, key=lambda block: block.point):
        blocks = list(group)
        length = blocks[0].length
        left = len(missing(blocks, done))
        fields = len(field_names(problem))
        rows.append(
            Forecast(
                point=point,
                replicates=len(blocks) * length,
                done=(len(blocks) - left) * length,
                seconds=left * length * seconds(point),
                memory=memory(problem, blocks),
                stored=float(len(blocks) * (length * len(problem.time.save) * fields * 8 + 4)),
            )
        )
    return rows
