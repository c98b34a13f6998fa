"""Processes on machines that ssh reaches."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from distributed import Client
from distributed.utils import get_ip

from mfstudy.cluster import _workers
from mfstudy.cluster._tls import Tls, private
from mfstudy.cluster._workers import Workers

#: Seconds that a host has to answer.
ANSWER = 15
#: Seconds between a host's loss and the next attempt.
RETRY = 2.0

#: The keys come by standard input, into a directory that only this user may enter, and go when the workers have ended.
_REMOTE = """umask 077; d=$(mktemp -d) || exit 1
trap 'cd /; rm -rf "$d"' EXIT; trap 'exit 1' HUP INT TERM
cd "$d" && cat > tls.pem && {exports} {worker}"""


@dataclass(frozen=True)
class Ssh:
    """The scheduler in this process, workers on other machines, over TLS by keys made for the run; lost ones restart.

    All machines see the store under one path, and have the driver's versions.

    Parameters
    ----------
    hosts : list of str
        Names or addresses, as in ~/.ssh/config, which holds here too.
    workers_per_host : int
    address : str, optional
        Of this machine, as the hosts reach it; the scheduler listens there alone. By default its outward address.
    interface : str, optional
        Network interface on which workers listen, as "eth0"; by default all of a host's.
    python : str, optional
        On the hosts; by default the path of this one, which then imports what this one can.
    username, known_hosts, client_key : str, optional
    port : int, optional
        By default what ssh takes.
    tls : table, optional
        ca, cert and key in place of the keys made for the run.
    """

    part: ClassVar[tuple[int, int] | None] = None
    hosts: tuple[str, ...]
    workers_per_host: int = field(default=1, metadata={"minimum": 1, "maximum": 1024})
    address: str | None = None
    interface: str | None = None
    python: str | None = None
    username: str | None = None
    known_hosts: str | None = None
    client_key: str | None = None
    port: int | None = field(default=None, metadata={"minimum": 1, "maximum": 65535})
    tls: Tls | None = field(default=None, metadata={"table": Tls})

    def __post_init__(self) -> None:
        """Refuse a list of no hosts."""
        if not self.hosts:
            raise ValueError("hosts: empty; allowed: a list of names or addresses")

    def check(self, insecure: bool) -> None:
        """Refuse to go on without asyncssh."""
        _workers.need("asyncssh", "ssh")

    def capacity(self, memory: float) -> int:
        """Return the workers of all hosts."""
        del memory
        return len(self.hosts) * self.workers_per_host

    @contextmanager
    def workers(self, count: int) -> Iterator[Workers]:
        """Start workers on the hosts, wait until the first one is up; they end with the scheduler."""
        with (
            private(self.tls) as (_, tls),
            _workers.scheduler(tls.security, self.address or get_ip()) as cluster,
            Client(cluster) as client,
        ):
            share = [count * (i + 1) // len(self.hosts) - count * i // len(self.hosts) for i in range(len(self.hosts))]
            hosts = _Hosts(
                self._options(), b"".join(Path(tls.path(name)).read_bytes() for name in ("cert", "key", "ca"))
            )
            watches = [
                asyncio.run_coroutine_threadsafe(
                    hosts.keep(host, self._command(cluster.scheduler_address, workers)), cluster.loop.asyncio_loop
                )
                for host, workers in zip(self.hosts, share, strict=True)
                if workers
            ]
            try:
                _workers.wait(client, lambda: hosts.failed(len(watches)), 4 * ANSWER)
                yield Workers(client, lambda: client.status == "running" and bool(hosts.up), count)
            finally:
                if client.status == "running":
                    client.retire_workers()
                for watch in watches:
                    watch.cancel()

    def _options(self) -> dict[str, Any]:
        """Return asyncssh's options; what is not said here comes from the user's own settings of ssh."""
        given: dict[str, Any] = {"username": self.username, "port": self.port, "known_hosts": self.known_hosts}
        given["client_keys"] = [self.client_key] if self.client_key else None
        return {key: value for key, value in given.items() if value is not None}

    def _command(self, address: str, workers: int) -> str:
        exports = _workers.ONE_THREAD | ({} if self.python else {"PYTHONPATH": _workers.import_path()})
        tls = dict.fromkeys(("ca-file", "cert", "key"), "tls.pem")
        words = _workers.worker_words(self.python or sys.executable, address, ".", tls)
        words += ["--nworkers", str(workers)] + (["--interface", self.interface] if self.interface else [])
        pairs = [f"{key}={value}" for key, value in exports.items()]
        return _REMOTE.format(exports=shlex.join(["env", *pairs]), worker=shlex.join(words))


class _Hosts:
    """The connections, kept by tasks of the scheduler's loop."""

    def __init__(self, options: dict[str, Any], keys: bytes) -> None:
        self.options = options
        self.keys = keys
        self.up: set[str] = set()
        #: Host -> the last line that it has said.
        self.lines: dict[str, str] = {}
        self.ended: set[str] = set()

    def failed(self, count: int) -> str | None:
        """Return why no worker will come: every host has ended."""
        if len(self.ended) < count:
            return None
        return "; ".join(f"{host}: {self.lines.get(host, 'ended at once')}" for host in sorted(self.ended))

    async def keep(self, host: str, command: str) -> None:
        """Keep a host's workers running."""
        import asyncssh

        while True:
            try:
                await self._session(asyncssh, host, command)
            except (OSError, asyncssh.Error, TimeoutError) as error:
                self.lines[host] = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.up.discard(host)
            self.ended.add(host)
            await asyncio.sleep(RETRY)

    async def _session(self, asyncssh: Any, host: str, command: str) -> None:
        answer = {"connect_timeout": ANSWER, "login_timeout": ANSWER, "keepalive_interval": 5}
        async with asyncssh.connect(host, **answer, **self.options) as connection:
            process = await connection.create_process(command, stderr=asyncssh.STDOUT, encoding=None)
            process.stdin.write(self.keys)
            process.stdin.write_eof()
            self.up.add(host)
            async for line in process.stdout:
                self.lines[host] = line.decode(errors="replace").strip() or self.lines.get(host, "")
