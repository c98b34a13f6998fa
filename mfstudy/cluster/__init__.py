"""Where workers come from: one engine a file, file name = `kind` of its table in the user's file of engines.

An engine is a frozen dataclass whose fields are its settings. Whatever leaves this process speaks TLS; an existing
scheduler may be met without it on loopback only, or where the user says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mfstudy.cluster._guard import guarded
from mfstudy.cluster._settings import Engine, find
from mfstudy.cluster._workers import EngineError, Workers

__all__ = ["Engine", "EngineError", "Workers", "connect", "find"]


@contextmanager
def connect(engine: Engine, count: int, admit: Callable[[], None]) -> Iterator[Workers]:
    """Give workers of an engine, none of which runs a task before it is admitted; stop them on leaving.

    Parameters
    ----------
    engine : Engine
    count : int
        How many workers are wanted.
    admit : callable
        Called on each worker, those that come later too; raises where a worker must not take part.

    Raises
    ------
    EngineError
        One line: workers could not be had, or were refused.
    """
    with engine.workers(count) as crew, guarded(crew, admit) as admitted:
        yield admitted
