"""Drive a sweep: submit what is missing, watch, go on past what fails. Together with `cluster`, the only Dask."""

from __future__ import annotations

import math
import queue
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from distributed import CancelledError, Future, KilledWorker
from distributed.comm import CommClosedError
from distributed.scheduler import NoWorkerError

from mfstudy import cluster, plan
from mfstudy.components import InputError
from mfstudy.meanfield import UnreachableError
from mfstudy.plan import Task
from mfstudy.results import Results
from mfstudy.rounds import Standing
from mfstudy.standing import standing_of
from mfstudy.store import NO_ACCESS, NO_SPACE, DamagedError, Store
from mfstudy.study import CAPACITY, Point, Study, Sweep, check_sizes, load
from mfstudy.worker import pool_task, run_task, solve_task

#: Tasks in flight for each worker: enough that none waits, few enough that the scheduler stays small.
WINDOW = 4
#: Seconds without a scheduler after which the run gives up, to be run again.
PATIENCE = 8.0
#: Worker processes that one machine is asked for at most.
MOST_WORKERS = 1024


class InterruptedRunError(RuntimeError):
    """The run was ended from outside; running the same command again finishes it."""


class DiskError(RuntimeError):
    """The store's disk is full, or refuses; what is stored stays valid."""


@dataclass
class Progress:
    """How far a run is; handed to the callback after each task.

    Parameters
    ----------
    wanted, present : int
        Blocks of this run's share, and those that were already stored when it began.
    computed : int
        Blocks computed by this run.
    seconds_left : float
        Predicted core-seconds of what is left.
    workers : int
    dashboard : str or None
        Link to the Dask dashboard on loopback.
    failures : dict
        Task -> one line, for tasks that ended with an error of their own.
    preparing : str
        What blocks share and is being solved, before the first block: "mean field", "pools of copies"; "" when done.
    prepared : (int, int)
        How many pools are done, of how many.
    standing : Standing or None
        Where a sweep that a precision drives is among its rounds; None for others.
    """

    wanted: int = 0
    present: int = 0
    computed: int = 0
    seconds_left: float = 0.0
    workers: int = 1
    dashboard: str | None = None
    failures: dict[str, str] = field(default_factory=dict)
    preparing: str = ""
    prepared: tuple[int, int] = (0, 0)
    standing: Standing | None = None

    @property
    def solving(self) -> bool:
        """Whether what blocks share is being solved."""
        return bool(self.preparing)


Report = Callable[[Progress], None]
Solve = Callable[[Callable[[], None]], None]


def run(
    study: Study | str | Path,
    store: str | Path | None = None,
    on: str = "local",
    *,
    workers: int | None = None,
    part: tuple[int, int] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Results:
    """Compute what a study wants and its store lacks.

    Parameters
    ----------
    study : Study or str or Path
        A study, or what `load` takes.
    store : str or Path, optional
        Directory of the store, or its s3://BUCKET/PREFIX; by default "./<name>.mfstudy".
    on : str
        Engine: "local" (worker processes on this machine).
    workers : int, optional
        Number of worker processes; by default the number of cores.
    part : (int, int), optional
        (K, M): compute the K-th of M shares in this process, without Dask.
    progress : callable, optional
        Called with a `Progress` when the run starts, when the mean field is solved, and after each task.

    Returns
    -------
    Results
        What the store says after the run.

    Raises
    ------
    InputError
        On bad input; nothing is written then.
    UnreachableError
        If the reference does not reach its tolerance; no block is computed then.
    DamagedError
        If the stored reference is damaged; the message says what to delete.
    DiskError, InterruptedRunError
        When the disk is full or fails, or the workers are lost; running again finishes the study.
    """
    check(on, workers, part)
    study = study if isinstance(study, Study) else load(study)
    path = str(store or f"{study.name}.mfstudy")
    fresh = not Store.exists(path)
    try:
        target = Store.create(path, study)
    except OSError as error:
        raise _stopped(error, path) from error
    try:
        finish(target, on, workers=workers, part=part, progress=progress, sweep=study.sweep)
    except UnreachableError:
        if fresh:  # it holds nothing, and would be in the way of the study with another tolerance
            target.remove()
        raise
    return Results(target)


def finish(
    store: Store,
    on: str = "local",
    *,
    workers: int | None = None,
    part: tuple[int, int] | None = None,
    progress: Callable[[Progress], None] | None = None,
    sweep: Sweep | None = None,
) -> Progress:
    """Compute the blocks that a store wants and lacks; as `run`, for a store that exists.

    A sweep that a precision drives goes on round by round, until no round follows or one is not complete: it waits for
    other parts then, or for failed tasks to be run again.
    """
    check(on, workers, part)
    store.tidy()
    store.restore()
    state = Progress()
    complete = partial(_complete, store, on, workers, part, state, progress or (lambda _: None))
    if sweep is None or sweep.precision is None:
        complete()
    else:
        _go_on(store, sweep, state, complete)
    return state


def _go_on(store: Store, sweep: Sweep, state: Progress, complete: Callable[[], None]) -> None:
    """Complete round after round, until one is over or stays incomplete."""
    before, state.standing = None, standing_of(store.problem, sweep, store)
    while state.standing != before:
        before = state.standing
        try:
            store.want(dict(zip(sweep.points, before.replicates, strict=True)))
            store.note_rounds(before.table)
        except OSError as error:
            raise _stopped(error, store.place) from error
        complete()
        state.standing = standing_of(store.problem, sweep, store)


def _complete(
    store: Store, on: str, workers: int | None, part: tuple[int, int] | None, state: Progress, report: Report
) -> None:
    """Compute the blocks that a store wants now and lacks."""
    wanted = store.wanted() if part is None else plan.share(store.wanted(), *part)
    todo = plan.missing(wanted, {point: store.done(point) for point in store.points()})
    seconds = plan.replicate_seconds(store.problem, timed(store))
    tasks = plan.tasks(todo, seconds)
    if not state.wanted:
        state.present = len(wanted) - len(todo)
    state.wanted = state.present + state.computed + len(todo)
    state.seconds_left = sum(task.seconds for task in tasks)
    if not tasks and store.shared() is not None:
        report(state)
    elif part is not None:
        _all(store, tasks, state, report, lambda solve: solve(), lambda jobs: _here(store, jobs, state, report))
    else:
        count = min(workers or cluster.capacity(plan.memory(store.problem, todo)), max(len(tasks), 1))
        with cluster.connect(on, count) as crew:
            state.workers, state.dashboard = count, crew.client.dashboard_link
            there = partial(_there, crew, store, state=state, report=report)
            _all(store, tasks, state, report, partial(_solve_there, crew), there)


def deepen(store: Store, replicates: int | None = None, more: int = 0, sizes: tuple[int, ...] = ()) -> None:
    """Ask a store for more; computing is left to `finish`.

    Parameters
    ----------
    store : Store
    replicates : int, optional
        Replicates of every size; by default the largest number asked for so far.
    more : int
        Replicates on top of those asked for so far. Only once nothing is missing: asked again after an interrupted
        run, the store finishes what it wanted before.
    sizes : tuple of int
        Sizes to add.

    Raises
    ------
    InputError
        If a size needs too much memory, or the replicates exceed what a store can hold; nothing is written then.
    """
    check_sizes(store.problem, sizes, "--sizes")
    requested = store.requested()
    store.restore()
    asked = {point: max(replicates or 0, count) for point, count in requested.items()}
    if more and not plan.missing(store.wanted(), {point: store.done(point) for point in requested}):
        lengths = {point: store.length(point) for point in requested}
        asked = {p: math.ceil(count / lengths[p]) * lengths[p] + more for p, count in requested.items()}
    asked |= {Point(size): max(asked.values()) for size in sizes}
    if max(asked.values()) > CAPACITY:
        raise InputError(f"--replicates: {max(asked.values())} is not allowed; allowed: at most {CAPACITY}")
    try:
        store.want(asked)
    except OSError as error:
        raise _stopped(error, store.place) from error


def timed(store: Store) -> dict[Point, float]:
    """Return the measured seconds of one replicate at each point that has notes."""
    seconds = {}
    for point in store.points():
        notes = [note["seconds"] for note in store.notes(point, limit=64).values() if "seconds" in note]
        if notes:
            seconds[point] = max(sum(notes) / len(notes) / store.length(point), 1e-6)
    return seconds


def check(on: str, workers: int | None, part: tuple[int, int] | None) -> None:
    """Refuse options that mean nothing, before anything is written."""
    cluster.check_engine(on)
    if workers is not None and not (isinstance(workers, int) and 1 <= workers <= MOST_WORKERS):
        raise InputError(f"--workers: {workers} is not allowed; allowed: an integer from 1 to {MOST_WORKERS}")
    if workers is not None and part is not None:
        raise InputError("--workers: not allowed with --part, which computes in one process")
    if part is not None and not 1 <= part[0] <= part[1]:
        raise InputError(f"--part: {part[0]}/{part[1]} is not allowed; allowed: K/M with 1 <= K <= M")


@dataclass(frozen=True)
class _Job:
    """What is computed in one go: a name for messages, predicted seconds, a call that returns the blocks computed."""

    name: str
    seconds: float
    call: Callable[[], int]


Execute = Callable[[list[_Job]], None]


def _all(store: Store, tasks: list[Task], state: Progress, report: Report, solve: Solve, execute: Execute) -> None:
    """Solve the reference, then the pools, then compute the blocks; what lacks what it needs is not started."""
    path, identity = store.address, store.attributes["identity"]
    if not _ready(partial(solve, partial(solve_task, path, identity)), store, state, report):
        return
    points, short = sorted({task.point for task in tasks}), set()
    if lacking := store.lacking_pools(points):
        state.preparing, state.prepared = "pools of copies", (0, len(lacking))
        report(state)
        execute([_Job(f"{p.id}, pool {i}", 0.0, partial(pool_task, path, identity, p, i)) for p, i in lacking])
        state.preparing = ""
        report(state)
        short = {point for point, _ in store.lacking_pools(points)}
    execute(
        [
            _Job(_name(task), task.seconds, partial(run_task, path, identity, task.blocks))
            for task in tasks
            if task.point not in short
        ]
    )


def _here(store: Store, jobs: list[_Job], state: Progress, report: Report) -> None:
    """Run jobs in this process."""
    for job in jobs:
        _ended_one(job, job.call, store, state, report)


def _there(crew: cluster.Workers, store: Store, jobs: list[_Job], state: Progress, report: Report) -> None:
    """Run jobs on workers through a bounded window of futures."""
    ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
    waiting, flying = iter(jobs), {}

    def submit(count: int) -> None:
        for _, job in zip(range(count), waiting, strict=False):
            future = crew.client.submit(job.call, pure=False)
            flying[future.key] = (job, future)
            future.add_done_callback(ended.put)

    submit(WINDOW * state.workers)
    for future in _ended(crew, ended, flying):
        job, _ = flying.pop(future.key)
        submit(1)
        _ended_one(job, partial(future.result, timeout=10), store, state, report)


def _ended_one(job: _Job, result: Callable[[], int], store: Store, state: Progress, report: Report) -> None:
    """Take note of what a job has computed, or of how it failed."""
    try:
        state.computed += result()
    except Exception as error:
        _failed(job.name, error, state, store)
    state.seconds_left -= job.seconds
    if state.preparing:
        state.prepared = (state.prepared[0] + 1, state.prepared[1])
    report(state)


def _ready(solve: Callable[[], None], store: Store, state: Progress, report: Report) -> bool:
    """Solve the reference if the store lacks it; return whether the blocks may start."""
    if store.shared() is None:
        state.preparing = "mean field"
        report(state)
        try:
            solve()
        except Exception as error:
            _failed("the mean field", error, state, store)
        state.preparing = ""
    report(state)
    return store.shared() is not None


def _solve_there(crew: cluster.Workers, solve: Callable[[], None]) -> None:
    """Solve the reference on a worker."""
    ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
    future = crew.client.submit(solve, pure=False)
    future.add_done_callback(ended.put)
    next(_ended(crew, ended, {future.key: future})).result(timeout=10)


def _ended(crew: cluster.Workers, ended: queue.SimpleQueue[Future], flying: Mapping[str, Any]) -> Iterator[Future]:
    """Yield futures as they end; notice lost workers or a lost scheduler, on which waiting could hang for ever."""
    lost = 0.0
    while flying:
        try:
            yield ended.get(timeout=0.5)
        except queue.Empty:
            lost = 0.0 if crew.alive() else lost + 0.5
            if lost >= PATIENCE:
                raise InterruptedRunError("the Dask workers were lost; run the same command again") from None


def _failed(task: str, error: Exception, state: Progress, store: Store) -> None:
    """Pass over a task that failed by itself; stop on what concerns the whole run."""
    if isinstance(error, InputError | UnreachableError | DamagedError):
        raise error
    if isinstance(error, CancelledError | CommClosedError | NoWorkerError | TimeoutError):
        raise InterruptedRunError("the Dask workers were lost; run the same command again") from error
    if isinstance(error, OSError) and error.errno in NO_SPACE | NO_ACCESS:
        raise _stopped(error, store.place) from error
    line = "killed its worker each time" if isinstance(error, KilledWorker) else f"{type(error).__name__}: {error}"
    state.failures[task] = line.splitlines()[0]


def _name(task: Task) -> str:
    """Return what messages call a task."""
    return f"{task.point.id}, blocks {task.blocks[0].index} to {task.blocks[-1].index}"


def _stopped(error: OSError, place: str) -> DiskError:
    """Say in one line why nothing more can be stored."""
    full = error.errno in NO_SPACE
    reason = "the disk is full; make space" if full else f"{error.strerror or error}; mend that"
    return DiskError(f"{place}: {reason} and run the same command again")
