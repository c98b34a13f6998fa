"""Compute what a store lacks: what blocks share, then the blocks; go on past what fails."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from mfstudy.agenda import LONGEST, MOST_TRIES, Agenda, Task
from mfstudy.cluster import Workers
from mfstudy.components import InputError
from mfstudy.meanfield import UnreachableError
from mfstudy.rounds import Standing
from mfstudy.store import NO_ACCESS, NO_SPACE, DamagedError, Store
from mfstudy.study import Block, Point
from mfstudy.window import Ended, InterruptedRunError, Job, Take, What, here, there, was_lost
from mfstudy.worker import Outcome, pool_task, provenance, run_task, solve_task


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
    found : int
        Blocks that were stored when their turn came: by another driver, or by a worker lost before it could say so.
    seconds_left, seconds_spent : float
        Predicted core-seconds of what is left, and those that the computed blocks took.
    workers : int
    dashboard : str or None
        Link to the Dask dashboard on loopback.
    failures : dict
        Block, or what blocks share -> one line, for what was given up.
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
    found: int = 0
    seconds_left: float = 0.0
    seconds_spent: float = 0.0
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


@dataclass
class Drive:
    """One run over a store.

    Parameters
    ----------
    store : Store
    report : callable
        Called with the `Progress` after each job.
    state : Progress
    crew : Workers, optional
        None: everything is computed in this process.
    """

    store: Store
    report: Callable[[Progress], None]
    state: Progress = field(default_factory=Progress)
    crew: Workers | None = None

    def prepare(self, points: Iterable[Point]) -> set[Point]:
        """Solve the reference, then the pools; return the points whose blocks may start.

        Raises
        ------
        InputError, UnreachableError, DamagedError, DiskError, InterruptedRunError
            What ends a run; also by `compute`.
        """
        state, store, points = self.state, self.store, set(points)
        if store.shared() is None:
            state.preparing, state.prepared = "mean field", (0, 0)
            self._solve([Job("the mean field", partial(solve_task, *self._address))])
        self.report(state)
        if store.shared() is None:
            return set()
        if lacking := store.lacking_pools(sorted(points)):
            state.preparing, state.prepared = "pools of copies", (0, len(lacking))
            self._solve([Job(f"{p.id}, pool {i}", partial(pool_task, *self._address, p, i)) for p, i in lacking])
            self.report(state)
        return points - {point for point, _ in store.lacking_pools(sorted(points))}

    def compute(self, agenda: Agenda) -> None:
        """Compute the blocks of an agenda, but those that fail again and again, which are noted."""
        flying = 0.0

        def take() -> Job[Task] | None:
            nonlocal flying
            if (task := agenda.take()) is None:
                return None
            flying += task.seconds
            return Job(task, partial(run_task, *self._address, task.blocks, LONGEST))

        for job, result in self._run(take):
            flying -= job.what.seconds
            try:
                outcome = result()
            except Exception as error:
                self._failed(agenda, job.what, error)
            else:
                self._finished(agenda, job.what, outcome)
            self.state.seconds_left = flying + agenda.seconds_left
            self.report(self.state)

    @property
    def _address(self) -> tuple[str, str]:
        return self.store.address, self.store.attributes["identity"]

    def _run(self, take: Take[What]) -> Ended[What]:
        return here(take) if self.crew is None else there(self.crew, self.state.workers, take)

    def _solve(self, jobs: list[Job[str]]) -> None:
        """Run the jobs that make what blocks share; again where one has lost its worker."""
        waiting, tries = deque(jobs), Counter[str]()
        self.report(self.state)
        for job, result in self._run(lambda: waiting.popleft() if waiting else None):
            try:
                result()
            except Exception as error:
                line = self._line(error)
                tries[job.what] += 1
                if was_lost(error) and tries[job.what] < MOST_TRIES:
                    waiting.append(job)
                    continue
                self.state.failures[job.what] = line
            if self.state.prepared[1]:
                self.state.prepared = (self.state.prepared[0] + 1, self.state.prepared[1])
                self.report(self.state)
        self.state.preparing = ""

    def _finished(self, agenda: Agenda, task: Task, outcome: Outcome) -> None:
        """Take note of what a task has computed, and of what it took."""
        self.state.computed += outcome.computed
        self.state.found += outcome.dealt - outcome.computed
        lengths = {block.point: block.length for block in task.blocks}
        for point, (count, seconds) in outcome.timings.items():
            self.state.seconds_spent += seconds
            agenda.learn(point, seconds / count / lengths[point])
        agenda.finished(task, outcome.dealt)

    def _failed(self, agenda: Agenda, task: Task, error: Exception) -> None:
        """Hand back what a task that failed has not stored; note the block that is given up for it."""
        line = self._line(error)
        try:
            missing = [block for block in task.blocks if not self.store.holds(block)]
            self.state.computed += len(task.blocks) - len(missing)
            poisoned = agenda.failed(task, missing, lost=was_lost(error))
            if poisoned:
                self.state.failures[name(poisoned)] = line
                note = {"line": line, "attempts": agenda.attempts(poisoned), **provenance()}
                self.store.note_poisoned(poisoned, note)
        except OSError as refused:
            raise stopped(refused, self.store.place) from refused

    def _line(self, error: Exception) -> str:
        """Say in one line how a job failed by itself; raise what concerns the whole run."""
        if isinstance(error, InputError | UnreachableError | DamagedError | InterruptedRunError):
            raise error
        if isinstance(error, OSError) and error.errno in NO_SPACE | NO_ACCESS:
            raise stopped(error, self.store.place) from error
        if was_lost(error):
            return "killed its worker each time"
        return f"{type(error).__name__}: {error}".splitlines()[0]


def name(block: Block) -> str:
    """Return what messages call a block."""
    return f"{block.point.id}, block {block.index}"


def stopped(error: OSError, place: str) -> DiskError:
    """Say in one line why nothing more can be stored."""
    full = error.errno in NO_SPACE
    reason = "the disk is full; make space" if full else f"{error.strerror or error}; mend that"
    return DiskError(f"{place}: {reason} and run the same command again")
