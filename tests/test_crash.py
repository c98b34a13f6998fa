"""Crash points, enumerated: a write that ends before or after any of its operations loses nothing and says no lie."""

import contextlib
import errno
import subprocess
import sys
from pathlib import Path

import crash
import numpy as np
import pytest

import mfstudy
from conftest import contents, held
from mfstudy.components import InputError
from mfstudy.store import DamagedError, Inspection, Store
from mfstudy.study import parse
from mfstudy.sweep import DiskError

pytestmark = pytest.mark.waits

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """Folders from which works begin: with nothing, with a complete store, with a damaged one."""
    root = tmp_path_factory.mktemp("before")
    for name in ("nothing", "complete", "damaged"):
        (root / name).mkdir()
        if name != "nothing":
            crash.run(root / name)
    crash.damage(root / "damaged")
    return root


@pytest.fixture(scope="module")
def shallow(before):
    return contents(before / "complete/store")


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    return contents(mfstudy.run(parse(crash.DEEPER), tmp_path_factory.mktemp("deep") / "store", part=(1, 1)).store.path)


@pytest.fixture
def ends(before, tmp_path):
    """Do a work with an end before each of its operations; return the folders that are left, and what was said."""

    def of(work, start, *code):
        words = [sys.executable, str(HERE / "crash.py"), work, str(before / start), str(tmp_path), *map(str, code)]
        ended = subprocess.run(words, capture_output=True, text=True, timeout=600)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        folders = sorted(path for path in tmp_path.iterdir() if path.is_dir())
        assert len(folders) > 2, "no operation was seen"
        return folders, ended.stdout.splitlines()

    return of


def numbers(store):
    """Return every number of a store by point, NaN where there is none; nothing where it does not open yet."""
    try:
        held = Store(store)
    except InputError:
        return {}
    return {point: held.read(point) for point in held.points()}


def no_lies(store, bytes_):
    """Check that all numbers that are there are those of an undisturbed run."""
    for point, values in numbers(store).items():
        length = Store(store).length(point)
        for index in sorted(Store(store).done(point)):
            rows = values[index * length : (index + 1) * length]
            assert rows.astype("<f8").tobytes() == bytes_[f"record/{point.id}/c.{index}.0.0"][:-4]


@pytest.mark.parametrize(("work", "start"), [("run", "nothing"), ("deepen", "complete"), ("write", "complete")])
def test_a_run_that_dies_anywhere_is_finished_by_the_next(ends, shallow, deep, work, start):
    folders, _ = ends(work, start)
    study, bytes_ = (crash.STUDY, shallow) if work != "deepen" else (crash.DEEPER, deep)
    computed = set()
    for folder in folders:
        store, seen = folder / "store", []
        no_lies(store, bytes_)
        present = sum(len(Store(store).done(p)) for p in numbers(store))
        results = mfstudy.run(parse(study), store, part=(1, 1), progress=seen.append)
        assert results.complete
        assert contents(store) == bytes_
        assert seen[-1].computed == len([key for key in bytes_ if "/c." in key]) - present
        assert Inspection.of(store).damage == []
        computed.add(seen[-1].computed)
    assert 0 in computed
    assert len(computed) == {"run": 3, "deepen": 5, "write": 1}[work]  # it died with each number of blocks stored


def test_an_artefact_is_whole_or_not_there(ends):
    folders, _ = ends("share", "complete")
    left = []
    for folder in folders:
        read = crash.artefact(folder).read()
        left.append(read is None)
        crash.share(folder)
        read = crash.artefact(folder).read()
        assert {name: values.tobytes() for name, values in read.items()} == {
            name: np.ascontiguousarray(values).tobytes() for name, values in crash.ARRAYS.items()
        }
        assert contents(folder / "store") == contents(folders[-1] / "store")
    assert left == [True] * (len(left) - 1) + [False]


def test_a_compacted_copy_appears_whole(ends, shallow):
    folders, _ = ends("copy", "complete")
    whole = [(folder / "copy").exists() for folder in folders]
    assert whole == [False] * (len(whole) - 1) + [True]
    expected = mfstudy.open(folders[0] / "store").to_xarray()
    for folder, there in zip(folders, whole, strict=True):
        assert contents(folder / "store") == shallow
        if not there:
            crash.copy(folder)
        assert mfstudy.open(folder / "copy").to_xarray().identical(expected)


def test_setting_aside_loses_nothing(ends, shallow):
    folders, _ = ends("inspect", "damaged")
    for folder in folders:
        store = folder / "store"
        damage = Inspection.of(store).damage
        moved = list((store / "quarantine").rglob("c.0.0.0"))
        assert len(moved) == 1
        assert [row.key for row in damage] in ([], ["record/size-10/c.0.0.0"])
        mfstudy.run(parse(crash.STUDY), store, part=(1, 1))
        assert contents(store) == shallow


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(("work", "start"), [("run", "nothing"), ("share", "complete"), ("copy", "complete")])
def test_a_disk_that_fails_anywhere(ends, shallow, work, start, code):
    """Every later operation fails too. One line, and nothing is lost once the disk is mended."""
    folders, said = ends(work, start, code)
    assert len(said) == len(folders) - 1
    kinds = {line.partition(":")[0] for line in said}
    if work == "run":
        assert kinds <= {"DiskError", "InputError"}
        assert all("space" in line or "Input/output" in line for line in said)
    for folder in folders:
        if work == "run":
            no_lies(folder / "store", shallow)
            mfstudy.run(parse(crash.STUDY), folder / "store", part=(1, 1))
            assert contents(folder / "store") == shallow
        elif work == "copy":
            assert contents(folder / "store") == shallow
            assert (folder / "copy").exists() == (folder == folders[-1])
        else:
            crash.share(folder)
            assert crash.artefact(folder).read() is not None


class Died(BaseException):
    """The end of a driver: nothing of it takes it for a failure."""


@pytest.mark.parametrize(
    "error", [Died(), OSError(errno.EIO, "the object store does not answer")], ids=["dies", "fails"]
)
def test_a_run_in_a_bucket_that_ends_anywhere(bucket, tmp_path, monkeypatch, shallow, error):
    """An object is there or not: ending after one is ending before the next."""
    bucket_, writes, over = pytest.importorskip("mfstudy.store._bucket").Bucket, [], False
    put = bucket_.set

    async def until(self, key, value):
        if len(writes) >= number:
            raise error
        writes.append(key)
        await put(self, key, value)

    for number in range(100):
        path, seen = f"{bucket}/{tmp_path.name}/{number}", []
        writes.clear()
        monkeypatch.setattr(bucket_, "set", until)
        with contextlib.suppress(Died, DiskError, InputError):
            mfstudy.run(parse(crash.STUDY), path, part=(1, 1))
            over = True
        monkeypatch.setattr(bucket_, "set", put)
        no_lies(path, shallow)
        assert mfstudy.run(parse(crash.STUDY), path, part=(1, 1), progress=seen.append).complete
        assert held(path) == shallow
        assert seen[-1].computed == 2 - len([key for key in writes if "/c." in key])
        if over:
            break
    assert over
    assert number > 6  # root, groups, arrays, request, blocks


def test_damage_is_what_the_tests_take_it_for(before):
    """The negative control: a store that was damaged is not read."""
    with pytest.raises(DamagedError, match=r"c\.0\.0\.0: its checksum does not match"):
        numbers(before / "damaged/store")
