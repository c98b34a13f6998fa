"""Blocks that fail each time: by an error, a crash, and memory."""

import json
import threading
from contextlib import suppress

import psutil
import pytest

import mfstudy
from conftest import contents
from faults.runs import TEXT, TOTAL
from mfstudy.store import Store
from mfstudy.streams import Purpose, stream
from mfstudy.study import Block, Point, parse

pytestmark = pytest.mark.waits
GUILTY = {"raises": (300, 40), "crashes": (100, 70), "memory-error": (30, 100), "hoards": (100, 200)}
LINES = {
    "raises": "ZeroDivisionError: no distance today",
    "crashes": "killed its worker each time",
    "memory-error": "MemoryError: ",
    "hoards": "killed its worker each time",
}


def block_of(fault):
    size, replicate = GUILTY[fault]
    return Block(Point(size), replicate // 16, 16)


def killer(stop, killed, limit=6e8):
    """End processes that hoard memory, as a system that runs out of it does."""
    while not stop.wait(0.05):
        for one in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if one.memory_info().rss > limit:
                    one.kill()
                    killed.append(one.pid)


@pytest.fixture(scope="module")
def poisoned(outside, undisturbed, tmp_path_factory):
    """A run in which one block for each fault fails each time; (store, progress, seen by the killer)."""
    problem, told = parse(TEXT).problem, {}
    for fault, (size, replicate) in GUILTY.items():
        rng = stream(problem.seed, Purpose.INITIAL, size, replicate)
        told[repr(float(problem.initial.sample(rng, size).points[0, 0]))] = fault
    (outside / "faults.json").write_text(json.dumps(told))
    path, seen, killed, stop = tmp_path_factory.mktemp("poisoned") / "store", [], [], threading.Event()
    system = threading.Thread(target=killer, args=(stop, killed))
    system.start()
    try:
        mfstudy.run(parse(TEXT), path, workers=2, progress=seen.append)
    finally:
        stop.set()
        system.join()
        (outside / "faults.json").unlink()
    return path, seen[-1], killed


@pytest.mark.parametrize("fault", GUILTY)
def test_a_poisoned_block_is_passed_over(outside, poisoned, fault):
    path, state, killed = poisoned
    block, store = block_of(fault), Store(path)
    marks = list(outside.glob(f"{fault}-*.mark"))
    assert len(marks) >= 2  # it has happened, and was tried again
    if LINES[fault].startswith("killed"):
        assert len({mark.name.split("-")[-2] for mark in marks}) == len(marks)  # each time in another process
    if fault == "hoards":
        assert len(killed) == len(marks)
    assert not store.holds(block)
    note = store.poisoned()[block]
    assert note["line"].startswith(LINES[fault])
    assert note["attempts"] == len(marks)
    assert note["versions"]["mfstudy"]
    assert state.failures[f"{block.point.id}, block {block.index}"].startswith(LINES[fault])


def test_the_others_finish_and_a_run_tries_it_again_last(poisoned, undisturbed, command, study):
    path, state, _ = poisoned
    store, guilty = Store(path), {block_of(fault) for fault in GUILTY}
    assert (state.computed, state.present, state.found) == (TOTAL - 4, 0, 0)
    assert set(store.poisoned()) == guilty
    bad = {f"record/{block.point.id}/c.{block.index}.0.0" for block in guilty}
    assert contents(path) == {key: data for key, data in undisturbed.items() if key not in bad}
    status = command("status", path)
    assert status.returncode == 1
    assert status.stdout.count("given up: ") == 4
    assert "given up: size-100, block 4: killed its worker each time (" in status.stdout
    (path / "record/size-10/c.0.0.0").unlink()  # before the suspects comes what was never tried
    order = []
    results = mfstudy.run(study, path, part=(1, 1), progress=lambda state: order.append(set(Store(path).poisoned())))
    assert results.complete
    assert order[0] == order[1] == guilty
    assert [len(some) for some in order] == [4, 4, 3, 2, 1, 0]
    assert contents(path) == undisturbed
    status = command("status", path)
    assert (status.returncode, "given up" in status.stdout) == (0, False)
