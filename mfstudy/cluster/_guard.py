"""Which workers take part: each is asked before it runs a task, also those that come late."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from distributed import Worker, WorkerPlugin

from mfstudy.cluster._workers import EngineError, Workers, reason

_log = logging.getLogger("mfstudy")
#: How often the guard is handed to workers, one of which may be lost just then.
_TRIES = 5


class Guard(WorkerPlugin):  # type: ignore[misc]
    """Ends a worker that is not admitted. Dask sets plugins up before a worker takes its first task."""

    def __init__(self, admit: Callable[[], None], topic: str) -> None:
        self.admit = admit
        self.topic = topic

    async def setup(self, worker: Worker) -> None:
        """Ask, and tell the driver of a refusal."""
        try:
            self.admit()
        except Exception as error:
            worker.log_event(self.topic, f"worker {worker.address} is refused: {reason(error)}")
            await worker.close(nanny=True, reason="mfstudy-refused")


@contextmanager
def guarded(crew: Workers, admit: Callable[[], None]) -> Iterator[Workers]:
    """Refuse workers that are not admitted.

    Raises
    ------
    EngineError
        If a worker that is there is not admitted. One that comes later is ended, and the run goes on with the others.
    """
    for address, answer in crew.client.run(admit, on_error="return").items():
        if isinstance(answer, Exception) and not isinstance(answer, OSError):  # a worker that is lost is another matter
            raise EngineError(f"worker {address} is refused: {reason(answer)}")
    topic, refused = f"mfstudy-{uuid.uuid4().hex}", set[str]()

    def told(event: Any) -> None:
        refused.add(event[1])
        _log.warning(event[1])

    crew.client.subscribe_topic(topic, told)
    _register(crew, Guard(admit, topic))

    def alive() -> bool:
        if refused and crew.alive() and not crew.client.scheduler_info(n_workers=-1)["workers"]:
            raise EngineError(sorted(refused)[-1])
        return crew.alive()

    try:
        yield replace(crew, alive=alive)
    finally:
        if crew.alive():  # else this would wait for ever
            with contextlib.suppress(OSError, ValueError):
                crew.client.unregister_worker_plugin(topic)


def _register(crew: Workers, guard: Guard) -> None:
    for last in [False] * (_TRIES - 1) + [True]:
        try:
            crew.client.register_plugin(guard, name=guard.topic)
            return
        except OSError:
            if last:
                raise
