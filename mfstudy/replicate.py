"""One block of replicates: a pure function of (problem, block)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from mfstudy.ensemble import Ensemble, Floats
from mfstudy.meanfield import MeanField
from mfstudy.observables import Observable, Status, View
from mfstudy.streams import Purpose, stream
from mfstudy.study import Block, Problem
from mfstudy.transport.bracket import UncertifiedError


@dataclass(frozen=True)
class BlockRecord:
    """The numbers of a block, and what is worth a note.

    Parameters
    ----------
    values : (replicates, times, fields) array
        In the order of `field_names`; NaN where a replicate did not end with Status.OK.
    messages : list of str
        One line for each replicate and time that failed.
    """

    values: Floats
    messages: list[str] = field(default_factory=list)


def field_names(problem: Problem) -> tuple[str, ...]:
    """Return the names of the stored fields: status, particle count, then every observable's, prefixed by its label."""
    names = [f"{o.label}_{f.name}" for o in problem.observables for f in o.fields]
    return ("status", "particles", *names)


def run_block(problem: Problem, block: Block) -> BlockRecord:
    """Compute every number of a block.

    The same arguments give the same bytes, whatever runs beside it: one BLAS thread, addressed streams.
    """
    meanfield = problem.reference.solve(problem.system, problem.initial)
    record = BlockRecord(np.full((block.length, len(problem.time.save), len(field_names(problem))), np.nan))
    with threadpool_limits(1):
        for row, replicate in enumerate(range(block.first, block.first + block.length)):
            for column, values in enumerate(_replicate(problem, meanfield, block, replicate, record.messages)):
                record.values[row, column] = values
    return record


def _replicate(
    problem: Problem, meanfield: MeanField, block: Block, replicate: int, messages: list[str]
) -> Iterator[list[float]]:
    """Yield the fields at each save time of one replicate."""
    streams = partial(_stream, problem.seed, block.point.size, replicate)
    state = problem.initial.sample(streams(Purpose.INITIAL), block.point.size)
    now = 0.0
    for index, time in enumerate(problem.time.save):
        state, now = problem.system.advance(state, now, time - now), time
        view = View(state.measure(problem.system.phase), meanfield.at(time), index, streams)
        yield _fields(problem.observables, view, state, f"replicate {replicate}, t = {time:g}", messages)


def _stream(seed: int, size: int, replicate: int, purpose: Purpose, *sub: int) -> np.random.Generator:
    return stream(seed, purpose, size, replicate, *sub)


def _fields(
    observables: tuple[Observable, ...], view: View, state: Ensemble, where: str, messages: list[str]
) -> list[float]:
    """Return status, particle count and the observables' numbers; one that fails leaves NaN and a status."""
    status = Status.OK
    numbers: list[float] = []
    for observable in observables:
        try:
            if not np.isfinite(view.particles.points).all():
                raise UncertifiedError("a particle is not finite")
            values = observable.measure(view)
            if not np.isfinite(values).all():
                raise UncertifiedError("a value is not finite")
        except UncertifiedError as error:
            status = Status.FAILED
            messages.append(f"{where}: {observable.label}: {error}")
            values = (np.nan,) * len(observable.fields)
        numbers.extend(values)
    return [float(status), float(state.size), *numbers]
