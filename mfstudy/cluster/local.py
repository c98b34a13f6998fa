"""Processes on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from distributed import Client

from mfstudy.cluster import _workers
from mfstudy.cluster._tls import Tls, private
from mfstudy.cluster._workers import Workers

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Local:
    """Processes on this machine, one thread each. Everything listens on loopback, with TLS: a machine has other users.

    Parameters
    ----------
    count : int, optional
        How many; by default the cores, fewer where tasks need much memory.
    """

    part: ClassVar[tuple[int, int] | None] = None
    count: int | None = field(default=None, metadata={"minimum": 1, "maximum": 1024})

    def check(self, insecure: bool) -> None:
        """Nothing leaves this machine."""

    def capacity(self, memory: float) -> int:
        """Return `count`, or what this machine carries."""
        return self.count or _workers.capacity(memory)

    @contextmanager
    def workers(self, count: int) -> Iterator[Workers]:
        """Start workers by their command line and not by multiprocessing.

        A plain script needs no main guard then, and a notebook or a prompt works alike.
        """
        with (
            private(None) as (scratch, tls),
            _workers.scheduler(tls.security, LOOPBACK) as cluster,
            Client(cluster) as client,
        ):
            process = _started(cluster.scheduler_address, count, scratch, tls)
            try:
                log = scratch / "workers.log"
                _workers.wait(client, lambda: None if process.poll() is None else _workers.last_line(log), 60)
                yield Workers(client, lambda: client.status == "running" and process.poll() is None, count)
            finally:
                process.terminate()
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _started(address: str, count: int, scratch: Path, tls: Tls) -> subprocess.Popen[bytes]:
    words = _workers.worker_words(sys.executable, address, str(scratch), tls.words)
    # `capacity` has shared the memory out; a nanny would kill below what a task may need.
    words += ["--nworkers", str(count), "--memory-limit", "0", "--host", LOOPBACK]
    with (scratch / "workers.log").open("wb") as log:
        return subprocess.Popen(
            words,
            env={**os.environ, **_workers.ONE_THREAD, "PYTHONPATH": _workers.import_path()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the driver alone, which then stops its workers in order
        )
