"""A scheduler that somebody else runs."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

from distributed import Security

from mfstudy.cluster import _workers
from mfstudy.cluster._tls import Tls
from mfstudy.cluster._workers import Workers
from mfstudy.components import InputError

_ADDRESS = re.compile(r"(tls|tcp)://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+):(\d{1,5})")
#: Seconds to wait for a first worker there.
PATIENCE = 30


@dataclass(frozen=True)
class Address:
    """The workers of an existing scheduler; they must see the store, and have this machine's versions.

    Parameters
    ----------
    address : str
        tls://HOST:PORT; or tcp://HOST:PORT on loopback, and elsewhere with --insecure only: whoever reaches such a
        port runs code there.
    tls : table, optional
        ca, cert and key; by default what Dask's own configuration names.
    """

    part: ClassVar[tuple[int, int] | None] = None
    address: str
    tls: Tls | None = field(default=None, metadata={"table": Tls})

    def __post_init__(self) -> None:
        """Refuse what is no address."""
        if not (found := _ADDRESS.fullmatch(self.address)) or not 0 < int(found[3]) < 65536:
            raise ValueError(
                f"address: {self.address!r} is not allowed; allowed: tls://HOST:PORT, tcp://127.0.0.1:PORT"
            )

    def check(self, insecure: bool) -> None:
        """Refuse an address without TLS that is not on loopback, and TLS without certificates."""
        if self.address.startswith("tcp://"):
            if not (insecure or self._loopback):
                raise InputError(
                    f"{self.address}: without TLS whoever reaches the port runs code there; allowed: tls://, loopback,"
                    " or --insecure"
                )
        elif self.tls is None and not Security().tls_ca_file:
            raise InputError(
                f"{self.address}: no certificates; allowed: tls = {{ca = ..., cert = ..., key = ...}} beside address ="
                " ... in a table [engine.NAME], or Dask's distributed.comm.tls"
            )

    @property
    def _loopback(self) -> bool:
        host = _ADDRESS.fullmatch(self.address)[2].strip("[]")  # type: ignore[index]
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def capacity(self, memory: float) -> int:
        """Return the most: how many there are is known once connected."""
        del memory
        return 1024

    @contextmanager
    def workers(self, count: int) -> Iterator[Workers]:
        """Connect; the workers and the scheduler stay when the run leaves."""
        secure = self.address.startswith("tls://")
        security = (self.tls.security if self.tls else Security(require_encryption=True)) if secure else None
        with _workers.existing(self.address, security) as client:
            _workers.wait(client, lambda: None, PATIENCE)
            threads = sum(worker["nthreads"] for worker in client.scheduler_info(n_workers=-1)["workers"].values())
            yield Workers(client, _workers.Answering(client), max(1, min(threads, count)))
