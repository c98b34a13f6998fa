"""What engines share: the scheduler in this process, its clients, how workers are started and waited for."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster, Security
from distributed.system import MEMORY_LIMIT
from distributed.utils import silence_logging_cmgr
from distributed.versions import VersionMismatchWarning

from mfstudy.components import InputError

#: Memory of a worker before it has a task.
WORKER_BYTES = 3e8
#: Set before Python starts on a worker: one thread per task, on which the bytes depend.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
#: Seconds that a worker looks for its scheduler.
DEATH_TIMEOUT = 60
#: Seconds that an existing scheduler has to answer at first, and between two questions later.
ANSWER, PROBE = 15, 1.0

_SETTINGS = {
    # The driver decides what is tried again when a worker is lost; a worker has one task, and the scheduler the others.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.no-workers-timeout": "120s",
    "distributed.admin.low-level-log-length": 0,
}
#: For engines whose workers wait in somebody's queue.
QUEUED = {"distributed.scheduler.no-workers-timeout": None}


class EngineError(RuntimeError):
    """Workers could not be had, or were refused; what is stored stays."""


@dataclass(frozen=True)
class Workers:
    """What a sweep computes with.

    Parameters
    ----------
    client : distributed.Client
    alive : callable
        alive() -> bool: whether scheduler and workers are there.
    count : int
        How many workers there will be.
    """

    client: Client
    alive: Callable[[], bool]
    count: int


def need(module: str, extra: str) -> None:
    """Refuse to go on without a library that only some engines need."""
    if find_spec(module) is None:
        raise InputError(f"{extra}: needs {module}, which is not installed; allowed: pip install 'mfstudy[{extra}]'")


def capacity(memory: float) -> int:
    """Return how many workers this machine carries: its cores, or fewer where a task needs much memory (bytes)."""
    return max(1, min(int(CPU_COUNT), int(MEMORY_LIMIT // (WORKER_BYTES + memory))))


@contextmanager
def settings(**changed: object) -> Iterator[None]:
    """Set what schedulers and clients of a sweep need; the log of lost connections is not for users."""
    with dask.config.set({**_SETTINGS, **changed}), silence_logging_cmgr(level=50):
        yield


@contextmanager
def scheduler(
    security: Security | None, host: str | None, protocol: str = "tls://", **worker: object
) -> Iterator[LocalCluster]:
    """Run a scheduler in this process; its dashboard listens on loopback.

    Raises
    ------
    EngineError
        If it cannot listen on the host's address.
    """
    options = {"n_workers": 0, "dashboard_address": "127.0.0.1:0", "silence_logs": 50, **worker}
    with settings():
        try:
            cluster = LocalCluster(processes=False, protocol=protocol, security=security, host=host, **options)
        except (OSError, RuntimeError) as error:
            raise EngineError(f"the scheduler cannot listen on {host}: {reason(error)}") from error
        with cluster:
            yield cluster


class Answering:
    """Whether the scheduler of a client answers; a connection to one that is cut off or stands still looks open."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.asked = time.monotonic()
        self.answer: Future[Any] | None = None

    def __call__(self) -> bool:
        """Ask again every `PROBE` seconds; return whether it is not overdue."""
        if self.client.status != "running":
            return False
        if self.answer is not None and not self.answer.done():
            return time.monotonic() - self.asked < PROBE
        fine = self.answer is None or self.answer.exception() is None
        if time.monotonic() - self.asked >= PROBE:
            question = self.client.scheduler.identity(n_workers=0)
            self.answer = asyncio.run_coroutine_threadsafe(question, self.client.loop.asyncio_loop)
            self.asked = time.monotonic()
        return fine


@contextmanager
def existing(address: str, security: Security | None) -> Iterator[Client]:
    """Give a client of a scheduler that somebody else runs.

    Raises
    ------
    EngineError
        If it does not answer in time, or refuses.
    """
    with settings():
        try:
            with warnings.catch_warnings():  # Dask's table of versions: admission says in one line what differs
                warnings.simplefilter("ignore", VersionMismatchWarning)
                client = Client(address, security=security, timeout=ANSWER)
        except (OSError, ValueError, RuntimeError) as error:
            raise EngineError(f"{address}: {reason(error)}") from error
        with client:
            yield client


def wait(client: Client, failed: Callable[[], str | None], patience: float) -> None:
    """Wait for the first worker; the others join when they are up.

    Raises
    ------
    EngineError
        If `failed` says why none will come, or none has come after `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            client.wait_for_workers(1, timeout=1)
            return
        except TimeoutError:
            if line := failed():
                raise EngineError(f"no worker started: {line}") from None
        except (OSError, RuntimeError) as error:
            raise EngineError(f"the scheduler was lost before a worker came: {reason(error)}") from error
    raise EngineError(f"no worker has come within {patience:g} s")


def worker_words(python: str, address: str, scratch: str, tls: dict[str, str]) -> list[str]:
    """Return the command line that starts workers of one thread each, as one process tree."""
    words = [python, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
    # Without a dashboard too, a worker serves its health there, by default to everybody.
    words += ["--dashboard-address", "127.0.0.1:0", "--local-directory", scratch]
    words += ["--death-timeout", str(DEATH_TIMEOUT)]
    return words + [word for name, path in tls.items() for word in (f"--tls-{name}", path)]


def import_path() -> str:
    """Return a PYTHONPATH by which workers import what this process can, as a dotted component beside a script."""
    own = [os.path.join(os.path.realpath(prefix), "") for prefix in (sys.prefix, sys.base_prefix)]
    entries = [os.path.abspath(entry or os.getcwd()) for entry in sys.path]
    return os.pathsep.join(e for e in entries if not os.path.realpath(e).startswith(tuple(own)))


def reason(error: BaseException) -> str:
    """Return the innermost message of an error, one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def last_line(path: Path) -> str:
    """Return the last line of a log."""
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines else "no output"
