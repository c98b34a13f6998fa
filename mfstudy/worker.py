"""What runs on a worker: solve what blocks share, compute blocks, store them. Each loads a store once."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import time
from functools import lru_cache, partial
from typing import Any, NamedTuple

from mfstudy.admission import versions
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


class Outcome(NamedTuple):
    """What a task has done.

    Parameters
    ----------
    dealt : int
        How many of its blocks, from the first, are stored now.
    computed : int
        Of these, computed by the task; the others were stored meanwhile.
    timings : dict
        Point -> (blocks computed, seconds they took).
    """

    dealt: int
    computed: int
    timings: dict[Point, tuple[int, float]]


def run_task(path: str, identity: str, blocks: tuple[Block, ...], longest: float = math.inf) -> Outcome:
    """Compute and store blocks, but those that were stored meanwhile; begin no other after `longest` seconds."""
    store, dealt = _opened(path, identity), 0
    timings: dict[Point, tuple[int, float]] = {}
    begun = time.perf_counter()
    for block in blocks:
        start = time.perf_counter()
        if dealt and start - begun > longest:
            break
        dealt += 1
        if store.holds(block):
            continue
        pools = partial(_pool, path, identity, block.point)
        record = run_block(store.problem, _solved(path, identity), block, pools)
        seconds = time.perf_counter() - start
        store.write(block, record.values)
        store.note(block, {"seconds": seconds, "messages": record.messages, **provenance()})
        count, spent = timings.get(block.point, (0, 0.0))
        timings[block.point] = (count + 1, spent + time.perf_counter() - start)
    return Outcome(dealt, sum(count for count, _ in timings.values()), timings)


def pool_task(path: str, identity: str, point: Point, index: int) -> None:
    """Push a pool of copies and store its signal, unless another driver has meanwhile."""
    store = _opened(path, identity)
    if store.pool(point, index) is None:
        store.share_pool(point, index, solve_pool(store.problem, _solved(path, identity), point.size, index))


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
    """Return where and with what something is computed: this machine, these versions."""
    return {
        "host": platform.node(),
        "machine": platform.machine(),
        "cpu": _cpu(),
        "python": platform.python_version(),
        "versions": versions(),
        "pid": os.getpid(),
    }


def _cpu() -> str:
    """Return the model of the processor: bytes are promised to be equal on one type."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
