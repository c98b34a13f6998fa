"""What is left of a sweep, cut into tasks as they are asked for, by what blocks have taken so far. Pure.

A task is cut when a worker is about to need it, so that one wrong guess spoils the tasks in flight at most. The dearest
blocks go first, cheap ones are packed, across points too. A block that was being computed when its task failed is
suspected: it is tried again by itself, after all others, and given up when it fails again and again.
"""

from __future__ import annotations

import random
import statistics
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mfstudy.study import Block, Point

#: Seconds that a task is to take: far above the 2-3 ms that it costs the scheduler, far below a working day.
AIM = 4.0
#: More of them for each worker, so that a scheduler of many is a tenth busy.
AIM_PER_WORKER = 0.025
#: Seconds of a task towards the end, where workers would wait for the last one.
LEAST = 0.5
#: Seconds after which a task ends with the block that it is at, whatever was predicted.
LONGEST = 60.0
#: Tasks for each worker that what is left is cut into at least.
SHARES = 4
#: Times that a block may raise.
RAISES = 2
#: Times that a block may lose its worker. Each loss of one that was computed later, which was an accident, allows one
#: more, up to the second number.
TRIES, MOST_TRIES = 3, 12
#: Latest timings of a point that are kept; their median disregards the compiling in a worker's first block.
TIMINGS = 9


@dataclass(frozen=True)
class Task:
    """Blocks that are computed in one go.

    Parameters
    ----------
    blocks : tuple of Block
    seconds : float
        Predicted, on one core.
    """

    blocks: tuple[Block, ...]
    seconds: float


class Agenda:
    """The blocks that are still to be computed, and those that were given up.

    Parameters
    ----------
    blocks : iterable of Block
        Those that are missing.
    seconds : callable
        Point -> predicted seconds of a replicate; asked again after each timing, with `timed` changed.
    timed : dict
        Point -> measured seconds of a replicate. Where a point is absent, blocks go out one by one until the first is
        back.
    workers : int
        How many work at the same time.
    suspects : collection of Block
        Those among the blocks that an earlier run has given up.
    order : random.Random, optional
        Shuffles the blocks of each point. Two drivers that go through a store in the same order stay side by side and
        compute everything twice; each in its own, they share the work.
    """

    def __init__(
        self,
        blocks: Iterable[Block],
        seconds: Callable[[Point], float],
        timed: dict[Point, float],
        workers: int = 1,
        suspects: Iterable[Block] = (),
        order: random.Random | None = None,
    ) -> None:
        self._seconds, self._timed, self._workers = seconds, timed, workers
        self._timings = {point: deque([value], TIMINGS) for point, value in timed.items()}
        self._failures: Counter[Block] = Counter()
        self._accidents = 0
        self._left: dict[Point, deque[Block]] = {}
        suspected = frozenset(suspects)
        self._last: deque[Block] = deque()
        for block in blocks:
            if block in suspected:
                self._last.append(block)
            else:
                self._left.setdefault(block.point, deque()).append(block)
        if order:
            for run in self._left.values():
                order.shuffle(run)

    @property
    def seconds_left(self) -> float:
        """Predicted core-seconds of what was not taken yet."""
        waiting = sum(len(blocks) * self._each(blocks[0]) for blocks in self._left.values() if blocks)
        return waiting + sum(map(self._each, self._last))

    def take(self) -> Task | None:
        """Return the next task; None where all that is left was taken, though some of it may come back."""
        blocks: list[Block] = []
        seconds, aim = 0.0, self._aim()
        waiting = [run for run in self._left.values() if run]
        for run in sorted(waiting, key=lambda run: (-self._each(run[0]), run[0])):
            each, timed = self._each(run[0]), run[0].point in self._timed
            if blocks and (seconds + each > aim or not timed):
                break
            count = min(len(run), max(1, int((aim - seconds) / each))) if timed else 1
            blocks += [run.popleft() for _ in range(count)]
            seconds += count * each
            if run:
                break
        if not blocks and self._last:
            blocks = [self._last.popleft()]
            seconds = self._each(blocks[0])
        return Task(tuple(blocks), seconds) if blocks else None

    def finished(self, task: Task, dealt: int) -> None:
        """Take note that the first `dealt` blocks of a task are stored; the others are left."""
        self._stored(task.blocks[:dealt])
        self._back(task.blocks[dealt:])

    def failed(self, task: Task, missing: Sequence[Block], lost: bool) -> Block | None:
        """Take note that a task failed at the first of its missing blocks; return that block if it is given up.

        Parameters
        ----------
        task : Task
        missing : sequence of Block
            Those of its blocks that are not stored, in order.
        lost : bool
            Whether its worker was lost, and not by its own error.
        """
        self._stored(frozenset(task.blocks).difference(missing))
        if not missing:
            return None
        suspect, *others = missing
        self._back(others)
        self._failures[suspect] += 1
        allowed = min(TRIES + self._accidents, MOST_TRIES) if lost else RAISES
        if len(task.blocks) == 1 and self._failures[suspect] >= allowed:
            return suspect
        self._last.append(suspect)
        return None

    def attempts(self, block: Block) -> int:
        """Return how often a block was being computed when its task failed."""
        return self._failures[block]

    def learn(self, point: Point, seconds: float) -> None:
        """Take note of what a replicate at a point took in one task, on average."""
        timings = self._timings.setdefault(point, deque(maxlen=TIMINGS))
        timings.append(max(seconds, 1e-6))
        self._timed[point] = statistics.median_low(timings)

    def _stored(self, blocks: Iterable[Block]) -> None:
        self._accidents += sum(self._failures.pop(block, 0) for block in blocks)

    def _back(self, blocks: Sequence[Block]) -> None:
        for block in reversed(blocks):
            self._left.setdefault(block.point, deque()).appendleft(block)

    def _each(self, block: Block) -> float:
        return self._seconds(block.point) * block.length

    def _aim(self) -> float:
        most = min(max(AIM, AIM_PER_WORKER * self._workers), LONGEST)
        return min(most, max(LEAST, self.seconds_left / (SHARES * self._workers)))
