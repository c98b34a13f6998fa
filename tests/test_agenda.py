"""The agenda: tasks of about equal cost whatever was predicted, and who is suspected of what."""

import random
from collections import deque

import pytest

from mfstudy import agenda as rules
from mfstudy.agenda import Agenda, Task
from mfstudy.study import Block, Point

SIZES = (10, 100, 1000)


def blocks(count=50, sizes=SIZES, length=16):
    return [Block(Point(size), index, length) for size in sizes for index in range(count)]


def made(todo, costs, known=(), workers=2, suspects=()):
    """An agenda that predicts nothing but one second a replicate, and knows the cost of some sizes."""
    timed = {Point(size): costs[size] for size in known}
    return Agenda(todo, lambda point: timed.get(point, 1.0), timed, workers, suspects)


def worked(agenda, costs, longest=rules.LONGEST):
    """Work an agenda off as one worker does; return the seconds and the blocks of each task."""
    tasks = []
    while task := agenda.take():
        spent, dealt = 0.0, 0
        for block in task.blocks:
            if dealt and spent > longest:
                break
            dealt, spent = dealt + 1, spent + costs[block.point.size] * block.length
            agenda.learn(block.point, costs[block.point.size])
        agenda.finished(task, dealt)
        tasks.append((spent, task.blocks[:dealt]))
    return tasks


def test_each_block_is_taken_once_and_the_dearest_first():
    costs = {10: 1e-3, 100: 1e-2, 1000: 0.1}
    tasks = worked(made(blocks(), costs, SIZES), costs)
    assert sorted(block for _, some in tasks for block in some) == blocks()
    taken = [block.point.size for _, some in tasks for block in some]
    assert taken == sorted(taken, reverse=True)


@pytest.mark.parametrize("known", [(), SIZES], ids=["first", "stored"])
def test_tasks_cost_about_the_same(known):
    costs = {10: 1e-4, 100: 2e-3, 1000: 0.1}
    seconds = [spent for spent, _ in worked(made(blocks(1000), costs, known), costs)]
    probes = 0 if known else 3
    assert sum(spent > 2 * rules.AIM for spent in seconds) == 0
    assert sum(spent < rules.LEAST / 2 for spent in seconds) <= probes + 1  # and what is left in the end


def test_a_points_few_blocks_are_packed_with_others():
    costs = dict.fromkeys(range(2, 100), 1e-4)
    many = [Block(Point(size), 0, 16) for size in costs]
    assert len(worked(made(many, costs, costs), costs)) == 1


@pytest.mark.parametrize("guess", [1e-6, 1e3])
def test_a_wrong_guess_does_not_last(guess):
    """It was measured once, a thousand times wrong."""
    costs = {100: 0.05}
    timed = {Point(100): guess}
    agenda = Agenda(blocks(500, (100,)), timed.__getitem__, timed)
    seconds = [spent for spent, _ in worked(agenda, costs)]
    assert max(seconds) <= rules.LONGEST + 1
    assert sum(spent < rules.LEAST / 2 for spent in seconds) <= rules.TIMINGS
    assert len(seconds) < 500 / 4


@pytest.mark.parametrize(("seeds", "least", "most"), [((None, None), 2.0, 2.0), ((1, 2), 1.0, 1.05)])
def test_two_drivers_share_the_work(seeds, least, most):
    """They go side by side and skip what is stored: in the same order all is computed twice, in their own little is."""
    todo, timed = blocks(400, (100, 300)), {Point(size): 0.05 for size in (100, 300)}
    left = []
    for seed in seeds:
        agenda = Agenda(todo, timed.__getitem__, timed, order=seed and random.Random(seed))
        left.append(deque(block for _, some in worked(agenda, {100: 0.05, 300: 0.05}) for block in some))
    stored, computed = set(), 0
    while any(left):
        at = []
        for one in left:
            while one and one[0] in stored:
                one.popleft()
            at += [one.popleft()] if one else []
        stored |= set(at)
        computed += len(at)
    assert stored == set(todo)
    assert least <= computed / len(todo) <= most


def test_what_is_compiled_in_first_blocks_is_not_taken_for_their_cost():
    agenda = made(blocks(500, (100,)), {})
    first = [agenda.take() for _ in range(4)]
    assert [len(task.blocks) for task in first] == [1] * 4
    for seconds in (3.0, 3.0, 0.01, 0.01):
        agenda.learn(Point(100), seconds)
    assert agenda.take().seconds == pytest.approx(rules.AIM, rel=0.1)


@pytest.mark.parametrize(("workers", "aim"), [(1, 4.0), (100, 4.0), (1000, 25.0)])
def test_many_workers_get_longer_tasks(workers, aim):
    costs = {100: aim / 5}
    assert made(blocks(20_000, (100,), 1), costs, (100,), workers).take().seconds == pytest.approx(aim, rel=0.3)


def test_the_last_tasks_are_short():
    costs = {100: 0.005}
    tasks = [spent for spent, _ in worked(made(blocks(500, (100,)), costs, (100,)), costs)]
    assert tasks[0] > 3
    assert tasks[-2] <= 2 * rules.LEAST
    assert sum(tasks) == pytest.approx(500 * 16 * 0.005)


def run(agenda, guilty, kill=lambda task: False, lost=True):
    """Work an agenda off where guilty blocks fail each time, and others by accident; return what is given up."""
    stored, given_up = [], []
    while task := agenda.take():
        dealt = 0
        while dealt < len(task.blocks) and task.blocks[dealt] not in guilty:
            dealt += 1
        if dealt == len(task.blocks) and not kill(task):
            agenda.finished(task, dealt)
            stored += task.blocks
            continue
        dealt = min(dealt, len(task.blocks) // 2 if dealt == len(task.blocks) else dealt)
        stored += task.blocks[:dealt]
        if block := agenda.failed(task, task.blocks[dealt:], lost):
            given_up.append(block)
    return stored, given_up


@pytest.mark.parametrize("lost", [True, False])
def test_only_the_guilty_block_is_given_up(lost):
    costs = {10: 1e-3, 100: 1e-3, 1000: 1e-3}
    guilty = {blocks()[7], blocks()[120]}
    agenda = made(blocks(), costs, SIZES)
    stored, given_up = run(agenda, guilty, lost=lost)
    assert set(given_up) == guilty
    assert len(given_up) == 2
    assert sorted(stored) == sorted(set(blocks()) - guilty)
    assert {agenda.attempts(block) for block in guilty} == {rules.TRIES if lost else rules.RAISES}


@pytest.mark.parametrize("seed", range(20))
def test_accidents_exhaust_no_budget(seed):
    """Half of all tasks lose their worker, to the end: nothing is given up but by chance, at most 2^-12 a block."""
    rng, costs = random.Random(seed), {10: 0.1, 100: 0.1, 1000: 0.1}
    guilty = {blocks()[33]}
    stored, given_up = run(made(blocks(), costs, SIZES), guilty, kill=lambda _: rng.random() < 0.5)
    assert set(given_up) == guilty
    assert sorted(stored) == sorted(set(blocks()) - guilty)


def test_suspects_of_an_earlier_run_come_last_and_alone():
    costs, suspect = {10: 1e-3, 100: 1e-3, 1000: 1e-3}, blocks()[120]
    tasks = worked(made(blocks(), costs, SIZES, suspects=[suspect]), costs)
    assert tasks[-1][1] == (suspect,)
    assert sorted(block for _, some in tasks for block in some) == blocks()


def test_a_failed_task_whose_blocks_are_all_stored_is_a_finished_one():
    agenda = made([], {})
    some = tuple(blocks(3, (10,)))
    assert agenda.failed(Task(some, 1.0), [], lost=True) is None
    assert agenda.take() is None
