"""Run a study: find what its store lacks, round after round, and have it computed."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from mfstudy import cluster, plan
from mfstudy.admission import admit, mine
from mfstudy.agenda import Agenda
from mfstudy.components import InputError
from mfstudy.drive import DiskError, Drive, Progress, stopped
from mfstudy.meanfield import UnreachableError
from mfstudy.results import Results
from mfstudy.standing import standing_of
from mfstudy.store import Store
from mfstudy.study import CAPACITY, Block, Point, Study, Sweep, check_sizes, load
from mfstudy.window import InterruptedRunError

__all__ = ["DiskError", "InterruptedRunError", "Progress", "check", "deepen", "finish", "run", "timed"]

#: Worker processes that one machine is asked for at most.
MOST_WORKERS = 1024


def run(
    study: Study | str | Path,
    store: str | Path | None = None,
    on: str = "local",
    *,
    workers: int | None = None,
    part: tuple[int, int] | None = None,
    progress: Callable[[Progress], None] | None = None,
    insecure: bool = False,
) -> Results:
    """Compute what a study wants and its store lacks.

    Parameters
    ----------
    study : Study or str or Path
        A study, or what `load` takes.
    store : str or Path, optional
        Directory of the store, or its s3://BUCKET/PREFIX; by default "./<name>.mfstudy".
    on : str
        Engine: "local" (worker processes on this machine), another kind, the name of a table of the user's file of
        engines, or the address of a scheduler.
    workers : int, optional
        Number of worker processes; by default the number of cores.
    part : (int, int), optional
        (K, M): compute the K-th of M shares in this process, without Dask.
    progress : callable, optional
        Called with a `Progress` when the run starts, when the mean field is solved, and after each task.
    insecure : bool
        Whether a scheduler's address without TLS that is not on loopback is allowed.

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
    EngineError
        If workers cannot be had, or are refused.
    DiskError, InterruptedRunError
        When the disk is full or fails, or the workers are lost; running again finishes the study.
    """
    check(on, workers, part, insecure)
    study = study if isinstance(study, Study) else load(study)
    path = str(store or f"{study.name}.mfstudy")
    fresh = not Store.exists(path)
    try:
        target = Store.create(path, study)
    except OSError as error:
        raise stopped(error, path) from error
    try:
        finish(target, on, workers=workers, part=part, progress=progress, sweep=study.sweep, insecure=insecure)
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
    insecure: bool = False,
) -> Progress:
    """Compute the blocks that a store wants and lacks; as `run`, for a store that exists.

    A sweep that a precision drives goes on round by round, until no round follows or one is not complete: it waits for
    other parts then, or for failed tasks to be run again.
    """
    engine = check(on, workers, part, insecure)
    store.tidy()
    store.restore()
    drive = Drive(store, progress or (lambda _: None))
    with ExitStack() as stack:
        part = part or engine.part
        hire = None if part else partial(_hire, drive, stack, engine, workers, sweep)
        complete = partial(_complete, drive, part, hire)
        if sweep is None or sweep.precision is None:
            complete()
        else:
            _go_on(store, sweep, drive.state, complete)
    return drive.state


def _go_on(store: Store, sweep: Sweep, state: Progress, complete: Callable[[], None]) -> None:
    """Complete round after round, until one is over or stays incomplete."""
    before, state.standing = None, standing_of(store.problem, sweep, store)
    while state.standing != before:
        before = state.standing
        try:
            store.want(dict(zip(sweep.points, before.replicates, strict=True)))
            store.note_rounds(before.table)
        except OSError as error:
            raise stopped(error, store.place) from error
        complete()
        state.standing = standing_of(store.problem, sweep, store)


def _complete(drive: Drive, part: tuple[int, int] | None, hire: Callable[[list[Block]], None] | None) -> None:
    """Compute the blocks that a store wants now and lacks."""
    agenda = _agenda(drive, part, hire)  # alone holds the blocks, and lets go of them one by one
    if agenda:
        drive.compute(agenda)


def _agenda(drive: Drive, part: tuple[int, int] | None, hire: Callable[[list[Block]], None] | None) -> Agenda | None:
    """Find what is missing, and have what it needs; None where nothing is."""
    store, state = drive.store, drive.state
    wanted = store.wanted() if part is None else plan.share(store.wanted(), *part)
    todo = plan.missing(wanted, {point: store.done(point) for point in store.points()})
    known = timed(store)
    seconds = plan.replicate_seconds(store.problem, known)
    if not state.wanted:
        state.present = len(wanted) - len(todo)
    state.wanted = state.present + state.computed + state.found + len(todo)
    state.seconds_left = sum(block.length * seconds(block.point) for block in todo)
    if not todo and store.shared() is not None:
        drive.report(state)
        return None
    if hire:
        hire(todo)
    ready = drive.prepare({block.point for block in todo})
    blocks = (block for block in todo if block.point in ready)
    order = random.Random() if part is None else None  # parts have nothing in common that they could do twice
    return Agenda(blocks, seconds, known, state.workers, store.poisoned(), order)


def _hire(
    drive: Drive,
    stack: ExitStack,
    engine: cluster.Engine,
    workers: int | None,
    sweep: Sweep | None,
    todo: list[Block],
) -> None:
    """Have workers, unless they are there from an earlier round: no more than there are blocks, if no more follow."""
    store, state = drive.store, drive.state
    if drive.crew is None:
        count = workers or engine.capacity(plan.memory(store.problem, todo))
        if sweep is None or sweep.precision is None:
            count = min(count, max(len(todo), 1))
        admitted = partial(admit, store.address, store.attributes["identity"], mine())
        drive.crew = stack.enter_context(cluster.connect(engine, count, admitted))
        state.workers, state.dashboard = drive.crew.count, drive.crew.client.dashboard_link


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
        raise stopped(error, store.place) from error


def timed(store: Store) -> dict[Point, float]:
    """Return the measured seconds of one replicate at each point that has notes: medians, for first blocks compile."""
    seconds = {}
    for point in store.points():
        notes = [note["seconds"] for note in store.notes(point, limit=64).values() if "seconds" in note]
        if notes:
            seconds[point] = max(statistics.median_low(notes) / store.length(point), 1e-6)
    return seconds


def check(on: str, workers: int | None, part: tuple[int, int] | None, insecure: bool = False) -> cluster.Engine:
    """Return the engine; refuse options that mean nothing, before anything is written."""
    engine = cluster.find(on, insecure)
    if workers is not None and not (isinstance(workers, int) and 1 <= workers <= MOST_WORKERS):
        raise InputError(f"--workers: {workers} is not allowed; allowed: an integer from 1 to {MOST_WORKERS}")
    if workers is not None and part is not None:
        raise InputError("--workers: not allowed with --part, which computes in one process")
    if part is not None and not 1 <= part[0] <= part[1]:
        raise InputError(f"--part: {part[0]}/{part[1]} is not allowed; allowed: K/M with 1 <= K <= M")
    return engine
