"""Run jobs in this process, or on workers through a bounded window of futures. With `cluster`, the only Dask."""

from __future__ import annotations

import itertools
import logging
import queue
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar
from uuid import uuid4

from distributed import CancelledError, Future, KilledWorker
from distributed.client import AllExit
from distributed.comm import CommClosedError
from distributed.scheduler import NoWorkerError

from mfstudy.cluster import Workers

#: Jobs in flight for each worker: one that runs, one that waits; the scheduler and the driver stay small.
WINDOW = 2
#: Seconds without a scheduler, or without workers, after which the run gives up, to be run again.
PATIENCE = 7.0

What = TypeVar("What")


class InterruptedRunError(RuntimeError):
    """The run was ended from outside; running the same command again finishes it."""

    def __init__(self) -> None:
        super().__init__("the Dask workers were lost; run the same command again")


@dataclass(frozen=True)
class Job(Generic[What]):
    """What is run in one go.

    Parameters
    ----------
    what : any
        What it is about; stays with the driver.
    call : callable
        Sent to a worker.
    """

    what: What
    call: Callable[[], Any]


Take = Callable[[], Job[What] | None]
"""Returns the next job, None where there is none now; asked again once another has ended."""
Ended = Iterator[tuple[Job[What], Callable[[], Any]]]
"""Jobs as they end, each with a call that returns its result, or raises what it has raised."""


def here(take: Take[What]) -> Ended[What]:
    """Run jobs in this process, one after the other."""
    while (job := take()) is not None:
        yield job, job.call


def there(crew: Workers, workers: int, take: Take[What]) -> Ended[What]:
    """Run jobs on workers; none is lost from sight.

    Raises
    ------
    InterruptedRunError
        If the scheduler or all workers are lost.
    """
    logging.getLogger("asyncio").addFilter(_is_news)
    ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
    flying: dict[Any, tuple[Job[What], Future]] = {}
    # One group of keys: the scheduler then keeps what no worker is free for, and a lost worker takes one job with it.
    group, number = f"mfstudy-{uuid4().hex}", itertools.count()

    def submit() -> None:
        while len(flying) < WINDOW * workers and (job := take()) is not None:
            future = crew.client.submit(job.call, key=(group, next(number)), pure=False)
            flying[future.key] = (job, future)
            future.add_done_callback(ended.put)

    submit()
    for future in _watched(crew, ended, flying):
        job, _ = flying.pop(future.key)
        yield job, partial(_result, future)
        submit()


def was_lost(error: Exception) -> bool:
    """Return whether a job has ended because its worker did."""
    return isinstance(error, KilledWorker)


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether a record is no trace of a result that was lost with its worker, which Dask lets go unretrieved."""
    return not (record.exc_info and isinstance(record.exc_info[1], AllExit))


def _result(future: Future) -> Any:
    """Return a result that a worker holds; one that is lost with its worker in this moment raises TimeoutError."""
    try:
        return future.result(timeout=10)
    except (CancelledError, CommClosedError, NoWorkerError) as error:
        raise InterruptedRunError from error


def _watched(crew: Workers, ended: queue.SimpleQueue[Future], flying: Mapping[Any, Any]) -> Iterator[Future]:
    """Yield futures as they end; notice lost workers or a lost scheduler, on which waiting could hang for ever."""
    lost = 0.0
    while flying:
        try:
            yield ended.get(timeout=0.5)
        except queue.Empty:
            lost = 0.0 if crew.alive() else lost + 0.5
            if lost >= PATIENCE:
                raise InterruptedRunError from None
