"""One block of replicates: a pure function of (problem, solved reference, block)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mfstudy import dictionary
from mfstudy.ensemble import Ensemble, Floats, State
from mfstudy.forces.fourier import OutOfDomainError
from mfstudy.integrate import Time, marks, moments, motion
from mfstudy.liouville import COPIES, LIOUVILLE, POOLS, Halves
from mfstudy.meanfield import MeanField, UnreachableError
from mfstudy.observables import Observable, Status, View, accompanied, monitors, stored_fields
from mfstudy.references import Shared
from mfstudy.streams import Purpose, stream
from mfstudy.study import Block, Problem
from mfstudy.systems import Dynamics, is_stepped
from mfstudy.transport.bracket import UncertifiedError

Pools = Callable[[int], Shared]
"""What the replicates of a pool share, by the pool's index."""


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
    """Return the names of the stored fields: of the run, then of every observable, prefixed by its label.

    Where the system is stepped, `step_error` is the root mean square distance of the particles to those of a run with
    half the step; measured for replicate 0 alone, NaN elsewhere.
    """
    names = [f"{o.label}_{f.name}" for o in problem.observables for f in stored_fields(o, problem.system.phase)]
    return ("status", "particles", *(("step_error",) if is_stepped(problem.system) else ()), *names)


def solve(problem: Problem) -> Shared:
    """Return what the blocks share, as they are computed: one BLAS thread; errors as `Problem.solve`."""
    with threadpool_limits(1):
        return problem.solve()


def solve_pool(problem: Problem, meanfield: MeanField, size: int, index: int) -> Shared:
    """Return what the two halves of a pool share with replicates, each of its own stream; one BLAS thread.

    Parameters
    ----------
    problem : Problem
    meanfield : MeanField
        The problem's solved reference.
    size : int
        Number of particles N.
    index : int
        Of the pool.

    Raises
    ------
    UnreachableError
        If a particle leaves its box.
    """
    driver, law = problem.liouville(meanfield, size), problem.initial
    shared: dict[str, NDArray[Any]] = {"controls": np.zeros(len(dictionary.powers(problem.system.phase.dimension)))}
    count = COPIES[problem.system.phase.position]
    with threadpool_limits(1):
        for half in range(2):
            draws = [stream(problem.seed, Purpose.LIOUVILLE, size, index, half, copy) for copy in range(count)]
            copies = [law.sample(rng, size) for rng in draws]
            try:
                found = driver.pool(copies)
            except OutOfDomainError as error:
                raise UnreachableError(f"pool {index} at N = {size}: {error}") from None
            shared |= {f"{name}_{half}": values for name, values in found.items()}
            shared["controls"] += sum(dictionary.controls(law, copy.points) for copy in copies) / (2 * count)
    return shared


def run_block(problem: Problem, meanfield: MeanField, block: Block, pools: Pools | None = None) -> BlockRecord:
    """Compute every number of a block.

    The same arguments give the same bytes, whatever runs beside it: one BLAS thread, addressed streams.

    Parameters
    ----------
    problem : Problem
    meanfield : MeanField
        The problem's solved reference.
    block : Block
    pools : callable, optional
        Index -> what `solve_pool` has returned, for observables that need (LV); solved here by default.
    """
    if pools is None:
        pools = lru_cache(partial(solve_pool, problem, meanfield, block.point.size))
    record = BlockRecord(np.full((block.length, len(problem.time.save), len(field_names(problem))), np.nan))
    with threadpool_limits(1):
        dynamics = problem.dynamics(block.point.size)
        for row in range(block.length):
            run = _Run(problem, meanfield, dynamics, block.point.size, block.first + row, record.messages, pools)
            for column, values in enumerate(run.rows()):
                record.values[row, column] = values
    return record


@dataclass(frozen=True, eq=False)
class _Run:
    """One replicate."""

    problem: Problem
    meanfield: MeanField
    dynamics: Dynamics | None
    size: int
    replicate: int
    messages: list[str]
    pools: Pools

    def rows(self) -> Iterator[list[float]]:
        """Yield the fields at each save time; once a particle has left its box, of a failed replicate."""
        done = 0
        try:
            for row in self._measured_rows():
                yield row
                done += 1
        except OutOfDomainError as error:
            self.messages.append(f"{self._where(done)}: {error}")
            for index in range(done, len(self.problem.time.save)):
                yield self._row(Status.OUT_OF_DOMAIN, index, np.nan, {})

    def _measured_rows(self) -> Iterator[list[float]]:
        problem, start = self.problem, self.problem.initial.sample(self._stream(Purpose.INITIAL), self.size)
        saved = {step: index for index, step in enumerate(marks(problem.system, problem.time))}
        errors = self._step_errors(start) if self.replicate == 0 and self.dynamics else [np.nan] * len(saved)
        peaks: dict[str, tuple[float, ...]] = {}
        courses = [self._companions(observable, start) for observable in problem.observables]
        for view in self._views(start, saved):
            views = {}
            for observable, course in zip(problem.observables, courses, strict=True):
                seen = replace(view, companions=tuple(next(states) for states in course))
                if monitors(observable):
                    new = observable.monitor(seen)
                    peaks[observable.label] = tuple(map(max, peaks.get(observable.label, new), new))
                views[observable.label] = replace(seen, peak=peaks.get(observable.label, ()))
            if view.time_index is not None:
                yield self._row(self._status(view), view.time_index, errors[view.time_index], views)

    def _companions(self, observable: Observable, start: Ensemble) -> list[Iterator[State]]:
        """Return the motions from an observable's other starts; each is advanced with the replicate."""
        others = observable.companions(start) if accompanied(observable) else ()
        return [motion(self.problem.system, self.dynamics, other, self.problem.time) for other in others]

    def _views(self, start: Ensemble, saved: Mapping[int, int]) -> Iterator[View]:
        """Yield what is to be seen after each step."""
        problem = self.problem
        states = motion(problem.system, self.dynamics, start, problem.time)
        tracers = self.meanfield.tracers(start) if problem.needs("tracers") else None
        liouville = self._liouville(start) if problem.needs(LIOUVILLE) else None
        first = None
        for step, (time, state) in enumerate(zip(moments(problem.system, problem.time), states, strict=True)):
            first = first or self._start(start)
            yield View(
                state=state,
                start=first,
                tracers=next(tracers).ensemble if tracers else None,
                liouville=next(liouville) if liouville else None,
                meanfield=self.meanfield,
                law=problem.initial,
                dynamics=self.dynamics,
                phase=problem.system.phase,
                time=time,
                step=step,
                time_index=saved.get(step),
                stream=self._stream,
            )

    def _liouville(self, start: Ensemble) -> Iterator[Halves]:
        """Yield the particles in the signals of the two halves of their pool."""
        driver = self.problem.liouville(self.meanfield, self.size)
        if driver.signals is None:  # (LV) is (P)
            none = np.zeros(len(dictionary.powers(self.problem.system.phase.dimension)))
            for state in motion(self.problem.system, self.dynamics, start, self.problem.time):
                yield Halves(state.ensemble, state.ensemble, none)
            return
        pool = self.pools(self.replicate % POOLS)
        halves = (driver.driven(start, pool[f"deviation_{half}"], pool[f"modes_{half}"]) for half in range(2))
        for one, other in zip(*halves, strict=True):
            yield Halves(one.ensemble, other.ensemble, pool["controls"])

    def _start(self, start: Ensemble) -> State:
        return State(start) if self.dynamics is None else self.dynamics.start(start)

    def _step_errors(self, start: Ensemble) -> list[float]:
        """Return the distances of runs with the whole and with half the step at the save times."""
        found = [self._saved(start, time) for time in (self.problem.time, self.problem.time.every(2))]
        errors = [math.sqrt(np.sum((a - b) ** 2) / len(a)) for a, b in zip(*found, strict=False)]
        return errors + [np.nan] * (len(self.problem.time.save) - len(errors))

    def _saved(self, start: Ensemble, time: Time) -> list[Floats]:
        """Return the points at the save times, as far as all particles stay in their box."""
        saved, marked = [], set(time.steps)
        with contextlib.suppress(OutOfDomainError):
            for step, state in enumerate(motion(self.problem.system, self.dynamics, start, time)):
                if step in marked:
                    saved.append(state.ensemble.points)
        return saved

    def _stream(self, purpose: Purpose, *sub: int) -> np.random.Generator:
        return stream(self.problem.seed, purpose, self.size, self.replicate, *sub)

    def _where(self, index: int) -> str:
        return f"replicate {self.replicate}, t = {self.problem.time.save[index]:g}"

    def _status(self, view: View) -> Status:
        if not np.isfinite(view.state.ensemble.points).all():
            self.messages.append(f"{self._where(view.time_index or 0)}: a particle is not finite")
            return Status.FAILED
        if view.time > self.meanfield.valid_until * (1 + 1e-12):
            self.messages.append(
                f"{self._where(view.time_index or 0)}: the reference is valid until t = {self.meanfield.valid_until:g}"
            )
            return Status.THEORY_STOPPED
        return Status.OK

    def _row(self, status: Status, index: int, step_error: float, views: Mapping[str, View]) -> list[float]:
        numbers = [float(status), float(self.size)]
        if is_stepped(self.problem.system):
            numbers.append(step_error)
        for observable in self.problem.observables:
            view = views[observable.label] if status is Status.OK else None
            fields = len(observable.fields(self.problem.system.phase))
            numbers.extend(_measured(observable, fields, view, status, self._where(index), self.messages))
        return numbers


def _measured(
    observable: Observable, fields: int, view: View | None, status: Status, where: str, messages: list[str]
) -> tuple[float, ...]:
    """Return status and numbers of one observable; where it fails, NaN under a status."""
    nothing = (np.nan,) * fields
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
