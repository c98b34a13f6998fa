"""One block of replicates: a pure function of (problem, solved reference, block)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from mfstudy.ensemble import Floats
from mfstudy.meanfield import MeanField
from mfstudy.observables import Observable, Status, View, stored_fields
from mfstudy.streams import Purpose, stream
from mfstudy.study import Block, Problem
from mfstudy.transport.bracket import UncertifiedError


@dataclass(frozen=True)
class BlockRecord:
    """The numbers of a block, and what is worth a note.

    Parameters
    ----------
    values : (replicates, times, fields) array
        In the order of `field_names`; an observable that did not end with Status.OK has NaN in its own fields.
    messages : list of str
        One line for each failure.
    """

    values: Floats
    messages: list[str] = field(default_factory=list)


def field_names(problem: Problem) -> tuple[str, ...]:
    """Return the names of the stored fields: of the run, then of every observable, prefixed by its label."""
    names = [f"{o.label}_{f.name}" for o in problem.observables for f in stored_fields(o)]
    return ("status", "particles", *names)


def run_block(problem: Problem, meanfield: MeanField, block: Block) -> BlockRecord:
    """Compute every number of a block.

    The same arguments give the same bytes, whatever runs beside it: one BLAS thread, addressed streams.

    Parameters
    ----------
    problem : Problem
    meanfield : MeanField
        The problem's solved reference.
    block : Block
    """
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
        where = f"replicate {replicate}, t = {time:g}"
        status = Status.OK
        if not np.isfinite(state.points).all():
            status = Status.FAILED
            messages.append(f"{where}: a particle is not finite")
        elif time > meanfield.valid_until:
            status = Status.THEORY_STOPPED
            messages.append(f"{where}: the reference is valid until t = {meanfield.valid_until:g}")
        numbers = [float(status), float(state.size)]
        view = None
        if status is Status.OK:
            view = View(state.measure(problem.system.phase), meanfield.at(time), index, streams)
        for observable in problem.observables:
            numbers.extend(_measured(observable, view, status, where, messages))
        yield numbers


def _stream(seed: int, size: int, replicate: int, purpose: Purpose, *sub: int) -> np.random.Generator:
    return stream(seed, purpose, size, replicate, *sub)


def _measured(
    observable: Observable, view: View | None, status: Status, where: str, messages: list[str]
) -> tuple[float, ...]:
    """Return status and numbers of one observable; where it fails, NaN under a status."""
    nothing = (np.nan,) * len(observable.fields)
    if view is None:
        return (float(status), *nothing)
    try:
        values = observable.measure(view)
        if len(values) != len(nothing):
            raise ValueError(f"{observable.label}: measured {len(values)} numbers for {len(nothing)} fields")
        if not np.isfinite(values).all():
            raise UncertifiedError("a value is not finite")
    except UncertifiedError as error:
        messages.append(f"{where}: {observable.label}: {error}")
        return (float(Status.FAILED), *nothing)
    return (float(Status.OK), *values)
