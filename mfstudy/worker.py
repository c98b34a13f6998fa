"""What runs on a worker: solve what blocks share, compute blocks, store them. Each loads a store once."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from functools import lru_cache, partial
from importlib.metadata import version
from typing import Any

from mfstudy.components import InputError
from mfstudy.meanfield import MeanField
from mfstudy.references import Shared
from mfstudy.replicate import run_block, solve, solve_pool
from mfstudy.store import POOLS, REFERENCE, DamagedError, Store
from mfstudy.study import Block, Point


@lru_cache(maxsize=4)
def _opened(path: str, identity: str) -> Store:
    """Open a store once per worker; the identity keeps a replaced store from being taken for the old one."""
    store = Store(path)
    if store.attributes["identity"] != identity:
        raise InputError(f"{path}: the store was replaced during the run")
    return store


def solve_task(path: str, identity: str) -> None:
    """Solve the reference and store it, unless another driver has meanwhile."""
    store = _opened(path, identity)
    if store.shared() is not None:
        return
    start = time.perf_counter()
    arrays = solve(store.problem)
    seconds = time.perf_counter() - start
    store.share(arrays)
    store.note_shared({"seconds": seconds, **provenance()})


def run_task(path: str, identity: str, blocks: tuple[Block, ...]) -> int:
    """Compute and store blocks; return how many were computed (others may have been stored meanwhile)."""
    store, computed = _opened(path, identity), 0
    for block in blocks:
        if store.holds(block):
            continue
        start = time.perf_counter()
        pools = partial(_pool, path, identity, block.point)
        record = run_block(store.problem, _solved(path, identity), block, pools)
        seconds = time.perf_counter() - start
        store.write(block, record.values)
        store.note(block, {"seconds": seconds, "messages": record.messages, **provenance()})
        computed += 1
    return computed


def pool_task(path: str, identity: str, point: Point, index: int) -> int:
    """Push a pool of copies and store its signal, unless another driver has meanwhile; no block is computed."""
    store = _opened(path, identity)
    if store.pool(point, index) is None:
        store.share_pool(point, index, solve_pool(store.problem, _solved(path, identity), point.size, index))
    return 0


@lru_cache(maxsize=40)
def _pool(path: str, identity: str, point: Point, index: int) -> Shared:
    """Load what the replicates of a pool share."""
    shared = _opened(path, identity).pool(point, index)
    if shared is None:
        raise DamagedError(f"{path}/{POOLS}/{point.id}-{index}: gone during the run; run the study again")
    return shared


@lru_cache(maxsize=4)
def _solved(path: str, identity: str) -> MeanField:
    """Load the solved reference once per worker."""
    store = _opened(path, identity)
    shared = store.shared()
    if shared is None:
        raise DamagedError(f"{store.place}/{REFERENCE}: gone during the run; run the study again")
    return store.problem.meanfield(shared)


@lru_cache(maxsize=1)
def provenance() -> dict[str, Any]:
    """Return where and with what a block was computed, or the reference solved."""
    packages = ("mfstudy", "numpy", "scipy", "numba", "finufft", "pot", "zarr")
    return {
        "host": platform.node(),
        "machine": platform.machine(),
        "cpu": _cpu(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "pid": os.getpid(),
    }


def _cpu() -> str:
    """Return the model of the processor: bytes are promised to be equal on one type."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
