"""Seconds and memory that a store of many blocks costs the driver: planned, counted, listed, resumed, read, verified.

    OMP_NUM_THREADS=1 python -P tests/benchmarks/bench_load.py FOLDER [blocks] [verb ...]

-P keeps coverage.py beside this file from standing in for the package of that name, which numba imports.

The store is made in FOLDER, where it is not there, with ten sizes of points on a line: a block of each is computed, and
every other one is a hard link to it, as is its note, so that files cost what they cost. One block in a hundred is
absent. "resume" is all that a run does before its first task. Each verb is a process of its own; CPU seconds are
printed beside those of the clock, for a machine that does other things too. "nothing" resumes a store that holds none
of the blocks; alone, it needs no store, as for 10^6 blocks.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import mfstudy
from mfstudy.store import Store
from mfstudy.study import parse

STUDY = """
schema = 1
name = "load"
seed = 7
[system]
kind = "static"
dim = 1
[law]
kind = "box"
position_halfwidth = 0.5
[[observable]]
kind = "empirical"
p = 2
[sweep]
sizes = {sizes}
replicates = {replicates}
"""
LENGTH = 16

RESUME = """
import sys, mfstudy
def stop(state):
    print(f"  {state.present} of {state.wanted} blocks present", flush=True)
    sys.exit()
mfstudy.run(sys.argv[2], sys.argv[1], part=(1, 1), progress=stop)
"""
LIST = """
import sys
from mfstudy.store import Store
store = Store(sys.argv[1])
print(" ", sum(len(store.done(point)) for point in store.points()), "blocks listed")
"""
READ = """
import sys, mfstudy
print(" ", int((mfstudy.open(sys.argv[1]).to_xarray().status == 1).sum()), "replicates read")
"""


def study_of(blocks: int) -> str:
    """Return a study that wants so many blocks, at as many sizes as hold them."""
    points = max(10, -(-blocks * LENGTH // 2**20))
    return STUDY.format(sizes=[10 + 10 * i for i in range(points)], replicates=LENGTH * (blocks // points))


def make(folder: Path, blocks: int) -> None:
    """Make the store."""
    text = study_of(blocks)
    small = text.replace(f"replicates = {LENGTH * (blocks // len(parse(text).sweep.sizes))}", f"replicates = {LENGTH}")
    store = mfstudy.run(parse(small), folder / "store", part=(1, 1)).store
    Store.create(store.path, parse(text))
    for point in store.points():
        record, notes = store.path / "record" / point.id, store.path / "notes" / point.id
        for index in range(1, blocks // len(store.points())):
            if index % 100:
                os.link(record / "c.0.0.0", record / f"c.{index}.0.0")
                os.link(notes / "0.json", notes / f"{index}.json")


def timed(name: str, words: list[str]) -> None:
    """Run a process and print what it took."""
    start = perf_counter()
    process = subprocess.Popen([sys.executable, "-P", *words], stdout=subprocess.PIPE, text=True)
    said = process.stdout.read().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = f"{perf_counter() - start:6.1f} s, {usage.ru_utime + usage.ru_stime:6.1f} s of CPU"
    print(
        f"{name:8} {seconds}, {usage.ru_maxrss / 1024:6.0f} MiB, exit {os.waitstatus_to_exitcode(status)}: {said[-1:]}"
    )


def main() -> None:
    """Print the table."""
    folder, blocks = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text(study_of(blocks))
    if not (folder / "store").exists() and sys.argv[3:] != ["nothing"]:
        start = perf_counter()
        make(folder, blocks)
        print(f"{blocks} blocks made in {perf_counter() - start:.1f} s", flush=True)
    store, study = str(folder / "store"), str(folder / "study.toml")
    verbs = {
        "import": ["-c", "import mfstudy.cli"],
        "plan": ["-m", "mfstudy", "plan", study, "--store", store],
        "list": ["-c", LIST, store],
        "resume": ["-c", RESUME, store, study],
        "status": ["-m", "mfstudy", "status", store],
        "read": ["-c", READ, store],
        "verify": ["-m", "mfstudy", "verify", store, "--sample", "0"],
        "compact": ["-m", "mfstudy", "compact", store, str(folder / "copy")],
        "copy": ["-c", READ, str(folder / "copy")],
        "nothing": ["-c", RESUME, str(folder / "nothing"), study],
    }
    for name in sys.argv[3:] or verbs:
        timed(name, verbs[name])
        sys.stdout.flush()


if __name__ == "__main__":
    main()
