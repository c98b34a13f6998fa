"""Where workers come from. Everything listens on loopback only."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster
from distributed.system import MEMORY_LIMIT

from mfstudy.components import InputError, nearest

ENGINES = ("local",)
#: Memory of a worker before it has a task.
WORKER_BYTES = 3e8

_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)

_SETTINGS = {
    # The driver decides what is tried again when a worker is lost; a worker has one task, and the scheduler the others.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.no-workers-timeout": "120s",
    "distributed.admin.low-level-log-length": 0,
}


class EngineError(RuntimeError):
    """Workers could not be had; nothing was computed."""


def check_engine(on: str) -> None:
    """Refuse an engine that does not exist, before anything is written."""
    if on not in ENGINES:
        raise InputError(f"--on: unknown engine '{on}'; allowed: {', '.join(ENGINES)}{nearest(on, ENGINES)}")


def capacity(memory: float) -> int:
    """Return how many workers this machine carries: its cores, or fewer where a task needs much memory (bytes)."""
    return max(1, min(int(CPU_COUNT), int(MEMORY_LIMIT // (WORKER_BYTES + memory))))


@dataclass(frozen=True)
class Workers:
    """What a sweep computes with.

    Parameters
    ----------
    client : distributed.Client
    alive : callable
        alive() -> bool: whether scheduler and workers are there.
    """

    client: Client
    alive: Callable[[], bool]


@contextmanager
def connect(on: str, workers: int) -> Iterator[Workers]:
    """Give a client with its workers, one process and one thread each; stop them on leaving.

    The scheduler lives in this process. Workers are started by their command line and not by multiprocessing, so
    that a plain script needs no main guard, and a notebook or a prompt works alike.

    Raises
    ------
    EngineError
        If no worker has come within a minute.
    """
    check_engine(on)
    with (
        dask.config.set(_SETTINGS),
        LocalCluster(
            n_workers=0,
            processes=False,
            protocol="tcp://",
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
        tempfile.TemporaryDirectory(prefix="mfstudy-") as scratch,
        Client(cluster) as client,
    ):
        process = _start_workers(cluster.scheduler_address, workers, Path(scratch))
        try:
            _wait(client, process, Path(scratch))
            yield Workers(client, lambda: client.status == "running" and process.poll() is None)
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start_workers(address: str, workers: int, scratch: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dask", "worker", address, "--nworkers", str(workers), "--nthreads", "1"]
    command += [
        "--memory-limit",
        "0",  # `capacity` has shared the memory out; a nanny would kill below what a task may need
        "--host",
        "127.0.0.1",
        "--no-dashboard",
        "--dashboard-address",
        "127.0.0.1:0",  # without a dashboard too, a worker serves its health there, by default to everybody
        "--local-directory",
        str(scratch),
        "--death-timeout",
        "60",
    ]
    # What this process can import (a dotted component beside the script) the workers can import too.
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    with (scratch / "workers.log").open("wb") as log:
        return subprocess.Popen(
            command,
            env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the driver alone, which then stops its workers in order
        )


def _wait(client: Client, process: subprocess.Popen[bytes], scratch: Path) -> None:
    """Wait for the first worker; the others join when they are up."""
    for _ in range(60):
        try:
            client.wait_for_workers(1, timeout=1)
            return
        except TimeoutError:
            if process.poll() is not None:
                break
    lines = (scratch / "workers.log").read_text(errors="replace").strip().splitlines() or ["no output"]
    raise EngineError(f"no worker started: {lines[-1]}")
