"""How busy workers and the scheduler are, up to 1000 workers: a simulation with the times of blocks of a real store.

    python -P tests/benchmarks/simulate_scheduler.py STORE [milliseconds that a task costs the scheduler]

The agenda is the package's own, and learns as in a run, from a prediction that is wrong by 100 at every size. Time is
simulated: a block takes what a note of the store says of one at its size, drawn at random; each submission and each end
passes the scheduler, one after the other, at the measured cost of a task; a worker has one task, and the window holds
as many more. The sweep has the store's sizes and as many replicates as keep the workers busy for ten minutes.

Seen with 2.8 ms a task: 1000 workers 87 % busy (blocks of 0.1 to 127 s, `iid-torus`) and 92 % (40 to 60 s), the rest
being the wait for the last long blocks; the scheduler 9 % and 5 % busy.
"""

from __future__ import annotations

import heapq
import random
import sys
import time

from distributed import Client, LocalCluster

from mfstudy.agenda import LONGEST, Agenda
from mfstudy.store import Store
from mfstudy.study import Block
from mfstudy.window import WINDOW

WORKERS = (1, 2, 10, 100, 1000)
SECONDS = 600.0
#: Blocks at most.
MOST = 1_000_000


def recorded(store):
    """Return the seconds of blocks at each point."""
    found = {
        p: [note["seconds"] for note in store.notes(p, limit=256).values() if "seconds" in note] for p in store.points()
    }
    return {point: seconds for point, seconds in found.items() if seconds}


def simulate(costs, lengths, workers, each):
    """Return (seconds of the run, core-seconds of blocks, seconds the scheduler was busy, seconds of each task)."""
    rng = random.Random(1)
    mean = {point: sum(seconds) / len(seconds) for point, seconds in costs.items()}
    count = max(1, min(round(SECONDS * workers / sum(mean.values())), MOST // len(costs)))
    blocks = [Block(point, index, lengths[point]) for point in costs for index in range(count)]
    timed = {}
    # Before anything is timed, the prediction is wrong by 100 at every size.
    agenda = Agenda(blocks, lambda p: timed.get(p, 100 * mean[p] / lengths[p]), timed, workers)
    clock, free, waiting, events = 0.0, workers, [], []
    flying = number = 0
    scheduler = work = 0.0
    spans = []

    def through(now):
        """The scheduler takes half of a task's cost for its submission, half for its end."""
        nonlocal scheduler, busy
        scheduler = max(scheduler, now) + each / 2
        busy += each / 2
        return scheduler

    busy = 0.0
    while True:
        while flying < WINDOW * workers and (task := agenda.take()) is not None:
            flying += 1
            waiting.append((through(clock), task))
        while free and waiting:
            at, task = waiting.pop(0)
            spent, dealt, timings = 0.0, 0, {}
            for block in task.blocks:
                if dealt and spent > LONGEST:
                    break
                seconds = rng.choice(costs[block.point])
                dealt, spent = dealt + 1, spent + seconds
                n, total = timings.get(block.point, (0, 0.0))
                timings[block.point] = (n + 1, total + seconds)
            free -= 1
            number += 1
            work += spent
            spans.append(spent)
            heapq.heappush(events, (max(at, clock) + spent, number, task, dealt, timings))
        if not events:
            return clock, work, busy, spans
        end, _, task, dealt, timings = heapq.heappop(events)
        clock = max(clock, end)
        through(end)
        free, flying = free + 1, flying - 1
        agenda.finished(task, dealt)
        for point, (n, total) in timings.items():
            agenda.learn(point, total / n / lengths[point])


def bench_tasks(count=1000):
    """Return the seconds that an empty task takes, two workers."""
    settings = {"processes": True, "n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(host="127.0.0.1", silence_logs=50, **settings) as cluster, Client(cluster) as client:
        client.submit(int).result()
        begun = time.perf_counter()
        client.gather([client.submit(int, i, key=("bench", i)) for i in range(count)])
        return (time.perf_counter() - begun) / count


def main():
    store = Store(sys.argv[1])
    costs, lengths = recorded(store), {point: store.length(point) for point in store.points()}
    each = float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else bench_tasks()
    print(f"a task costs the scheduler {each * 1000:.2f} ms")
    for point, seconds in costs.items():
        print(f"  {point.id}: {len(seconds)} notes, a block takes {sum(seconds) / len(seconds):.3g} s")
    columns = ("tasks", "median s", "longest s", "run s", "utilisation", "scheduler")
    print(f"{'workers':>8}", *(f"{column:>11}" for column in columns))
    for workers in WORKERS:
        run, work, busy, spans = simulate(costs, lengths, workers, each)
        numbers = (f"{len(spans)}", f"{sorted(spans)[len(spans) // 2]:.2f}", f"{max(spans):.1f}", f"{run:.1f}")
        shares = (f"{work / run / workers:.1%}", f"{busy / run:.1%}")
        print(f"{workers:8}", *(f"{number:>11}" for number in numbers + shares), flush=True)


if __name__ == "__main__":
    main()
