"""Threads of this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

from distributed import Client

from mfstudy.cluster import _workers
from mfstudy.cluster._tls import private
from mfstudy.cluster._workers import Workers


@dataclass(frozen=True)
class Threads:
    """Threads of this process; a task that kills its worker takes the driver with it.

    Parameters
    ----------
    count : int, optional
        How many; by default the cores, fewer where tasks need much memory.
    """

    part: ClassVar[tuple[int, int] | None] = None
    count: int | None = field(default=None, metadata={"minimum": 1, "maximum": 1024})

    def check(self, insecure: bool) -> None:
        """Nothing leaves this process."""

    def capacity(self, memory: float) -> int:
        """Return `count`, or what this machine carries."""
        return self.count or _workers.capacity(memory)

    @contextmanager
    def workers(self, count: int) -> Iterator[Workers]:
        """Give one worker of so many threads; ports are opened on loopback only, for dashboards."""
        with (
            private(None) as (scratch, _),
            _workers.scheduler(
                None,
                None,
                protocol="inproc://",
                n_workers=1,
                threads_per_worker=count,
                memory_limit=0,
                local_directory=str(scratch),
                worker_dashboard_address="127.0.0.1:0",
            ) as cluster,
            Client(cluster) as client,
        ):
            yield Workers(client, lambda: bool(client.status == "running"), count)
