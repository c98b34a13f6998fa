"""Jobs of a Slurm cluster."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from distributed import Client
from distributed.utils import get_ip, get_ip_interface

from mfstudy.cluster import _workers
from mfstudy.cluster._tls import Tls, private
from mfstudy.cluster._workers import EngineError, Workers
from mfstudy.components import InputError

if TYPE_CHECKING:
    from dask_jobqueue import SLURMCluster

#: Seconds for one command of Slurm, and for a first job to be accepted.
COMMAND = 25
#: Seconds between two looks at the queue.
LOOK = 15.0


@dataclass(frozen=True)
class Slurm:
    """One job a worker, one core each, with TLS by keys made for the run; lost and expired jobs are replaced.

    Parameters
    ----------
    partition, account : str, optional
        By default the cluster's.
    walltime : float
        Minutes of a job; its worker leaves in order before that, at 0.7 to 0.9 of it.
    memory : str
        Of a job.
    minimum, maximum : int
        Jobs: as few and as many as the work asks for.
    interface : str, optional
        Network interface on which scheduler and workers talk, as "ib0"; by default the scheduler listens on this
        machine's outward address.
    directory : str, optional
        Where keys and logs of a run lie, private to the user; all nodes must see it. By default in the home directory.
    python : str, optional
        On the nodes; by default this one.
    prologue : list of str
        Lines of shell before Python starts, as "module load gcc".
    directives : list of str
        More options of sbatch, as "--qos=long".
    tls : table, optional
        ca, cert and key in place of the keys made for the run.
    """

    part: ClassVar[tuple[int, int] | None] = None
    partition: str | None = None
    account: str | None = None
    walltime: float = field(default=60.0, metadata={"above": 0})
    memory: str = "2GB"
    minimum: int = field(default=1, metadata={"minimum": 1})
    maximum: int = field(default=16, metadata={"minimum": 1, "maximum": 1024})
    interface: str | None = None
    directory: str | None = None
    python: str | None = None
    prologue: tuple[str, ...] = ()
    directives: tuple[str, ...] = ()
    tls: Tls | None = field(default=None, metadata={"table": Tls})

    def __post_init__(self) -> None:
        """Refuse an interface that this machine has not."""
        if self.interface is not None:
            try:
                get_ip_interface(self.interface)
            except ValueError as error:
                raise ValueError(f"interface: {_workers.reason(error)}") from None

    def check(self, insecure: bool) -> None:
        """Refuse to go on where dask-jobqueue or Slurm's commands are missing."""
        _workers.need("dask_jobqueue", "slurm")
        if shutil.which("sbatch") is None:
            raise InputError("slurm: no sbatch here; allowed: a machine from which jobs are submitted")

    def capacity(self, memory: float) -> int:
        """Return `maximum`."""
        del memory
        return self.maximum

    @contextmanager
    def workers(self, count: int) -> Iterator[Workers]:
        """Submit jobs, wait until the first one runs, replace those that end; cancel them on leaving."""
        parent = os.path.expanduser(self.directory or "~/.local/state/mfstudy")
        try:
            os.makedirs(parent, mode=0o700, exist_ok=True)
            with private(self.tls, parent) as (scratch, tls), self._cluster(scratch, tls) as cluster:
                _test(cluster.job_script())
                cluster.adapt(minimum=min(self.minimum, count), maximum=count, interval="1s", wait_count=60)
                with Client(cluster) as client:
                    _workers.wait(client, _Queue(cluster, scratch).failed, math.inf)
                    yield Workers(client, _Queue(cluster, scratch).alive(client), count)
        except OSError as error:
            raise EngineError(f"slurm: directory {parent}: {error.strerror or error}") from error

    @contextmanager
    def _cluster(self, scratch: Path, tls: Tls) -> Iterator[SLURMCluster]:
        from dask_jobqueue import SLURMCluster

        lifetime = 60 * self.walltime
        host = get_ip_interface(self.interface) if self.interface else get_ip()
        exports = {**_workers.ONE_THREAD, "PYTHONPATH": _workers.import_path()}
        words = ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        words += ["--lifetime", f"{0.8 * lifetime:.0f}s", "--lifetime-stagger", f"{0.1 * lifetime:.0f}s"]
        with (
            _workers.settings(**_workers.QUEUED),
            SLURMCluster(
                cores=1,
                processes=1,
                memory=self.memory,
                walltime=str(math.ceil(self.walltime)),
                queue=self.partition,
                account=self.account,
                interface=self.interface,
                python=self.python or sys.executable,
                log_directory=str(scratch),
                death_timeout=_workers.DEATH_TIMEOUT,
                job_script_prologue=[*(f"export {k}='{v}'" for k, v in exports.items()), *self.prologue],
                job_extra_directives=list(self.directives),
                worker_extra_args=words,
                protocol="tls://",
                security=tls.security,
                scheduler_options={"host": host, "port": 0, "dashboard_address": "127.0.0.1:0"},
                silence_logs=50,
            ) as cluster,
        ):
            yield cluster


def _test(script: str) -> None:
    """Have Slurm judge a job without submitting it: a wrong partition is found at once."""
    try:
        words = ["sbatch", "--test-only"]
        tried = subprocess.run(words, input=script, capture_output=True, text=True, timeout=COMMAND, check=False)
    except subprocess.TimeoutExpired:
        raise EngineError(f"slurm: sbatch has not answered within {COMMAND} s") from None
    if tried.returncode:
        # After a wrong option comes a hint of how to ask for help, without sbatch's name before it.
        lines = [line for line in tried.stderr.splitlines() if line.startswith("sbatch:")]
        lines = lines or [f"sbatch ended with {tried.returncode}"]
        raise EngineError(f"slurm: {lines[-1].strip()}")


class _Queue:
    """What Slurm says of a cluster's jobs."""

    def __init__(self, cluster: SLURMCluster, scratch: Path) -> None:
        self.cluster = cluster
        self.scratch = scratch
        self.start = self.looked = time.monotonic()

    def _gone(self) -> dict[str, bool] | None:
        """Return, for each worker's job, whether Slurm has it no more; None if Slurm does not say."""
        jobs = {name: job.job_id for name, job in list(self.cluster.workers.items()) if job.job_id}
        words = ["squeue", "-h", "-o", "%A", "-u", str(os.getuid())]
        try:
            shown = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND, check=False)
        except subprocess.TimeoutExpired:
            return None
        held = set(shown.stdout.split())
        return None if shown.returncode else {name: job not in held for name, job in jobs.items()}

    def failed(self) -> str | None:
        """Return why no worker will come, or None while jobs wait or start."""
        gone = self._gone()
        if gone == {} and time.monotonic() - self.start > COMMAND:
            return f"Slurm has accepted no job within {COMMAND} s"
        if not gone or not all(gone.values()):
            return None
        logs = sorted(self.scratch.glob("*.err"), key=lambda path: path.stat().st_mtime)
        return f"the jobs ended at once: {_workers.last_line(logs[-1]) if logs else 'they wrote no log'}"

    def alive(self, client: Client) -> Callable[[], bool]:
        """Return a watch that also replaces jobs which ended before their worker came, as Dask does not."""

        def look() -> bool:
            if time.monotonic() - self.looked > LOOK:
                self.looked = time.monotonic()
                here = {worker["name"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()}
                gone = [name for name, ended in (self._gone() or {}).items() if ended and name not in here]
                self.cluster.loop.add_callback(self._replace, gone)
            return bool(client.status == "running")

        return look

    def _replace(self, names: list[str]) -> None:
        for name in names:
            self.cluster.workers.pop(name, None)
        if names:
            self.cluster._correct_state()
