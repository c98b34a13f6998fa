"""No workers: the driver itself, without a scheduler."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

from mfstudy.cluster._workers import Workers


@dataclass(frozen=True)
class Sync:
    """Blocks one after the other in this process, as with `--part 1/1`; no Dask."""

    part: ClassVar[tuple[int, int] | None] = (1, 1)

    def check(self, insecure: bool) -> None:
        """Nothing leaves this process."""

    def capacity(self, memory: float) -> int:
        """One at a time."""
        del memory
        return 1

    def workers(self, count: int) -> AbstractContextManager[Workers]:
        """Refuse: there are none."""
        raise NotImplementedError(f"no {count} workers: this engine computes in the driver")
