"""Disks that are full, read-only or broken, and what goes wrong with what is stored."""

import os
import subprocess
from contextlib import contextmanager

import pytest

import mfstudy
from conftest import contents
from faults.runs import TOTAL, driver, ended, settled
from lanes import chunks
from mfstudy.store import Store
from mfstudy.study import Block, Point

pytestmark = pytest.mark.waits


@contextmanager
def small_disk(folder, size):
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("NOT RUN: mounting a small tmpfs needs root")
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("options", [("--workers", "1"), ("--part", "1/1")], ids=["workers", "part"])
def test_the_disk_fills(study, undisturbed, tmp_path, options):
    with small_disk(tmp_path / "disk", "160k") as remount:
        store = tmp_path / "disk/store"
        with driver(study, store, *options) as process:
            _, line = ended(process, 1)
        assert line == f"mfstudy: {store}: the disk is full; make space and run the same command again"
        assert 0 < len(chunks(store)) < TOTAL
        remount("size=20m")
        settled(study, store, undisturbed)


def test_the_disk_becomes_read_only(study, undisturbed, tmp_path):
    with small_disk(tmp_path / "disk", "20m") as remount:
        store = tmp_path / "disk/store"
        with driver(study, store, "--part", "1/2") as process:
            ended(process)
        assert len(chunks(store)) == TOTAL / 2
        remount("ro")
        with pytest.raises(OSError, match="Read-only"):
            (store / "x").touch()
        with driver(study, store, "--part", "1/1") as process:
            _, line = ended(process, 1)
        assert line == f"mfstudy: {store}: Read-only file system; mend that and run the same command again"
        remount("rw")
        settled(study, store, undisturbed)


FAULTY_DISK = """
import errno, os
rename, count = os.replace, 0
def replace(source, target, *rest, **more):
    global count
    if "/c." in str(target) and "record" in str(target):
        count += 1
        if count > 5:
            open(os.environ["EIO_MARK"], "w").close()
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(target))
    return rename(source, target, *rest, **more)
os.replace = os.rename = replace
"""


@pytest.mark.parametrize("options", [("--workers", "1"), ("--part", "1/1")], ids=["workers", "part"])
def test_the_disk_fails(study, store, undisturbed, tmp_path, monkeypatch, options):
    """EIO from the fifth chunk on, in whichever process writes it."""
    (tmp_path / "faulty").mkdir()
    (tmp_path / "faulty/sitecustomize.py").write_text(FAULTY_DISK)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path / "faulty"), prepend=os.pathsep)
        patch.setenv("EIO_MARK", str(tmp_path / "mark"))
        with driver(study, store, *options) as process:
            _, line = ended(process, 1)
    assert (tmp_path / "mark").exists()
    assert line == f"mfstudy: {store}: Input/output error; mend that and run the same command again"
    assert len(chunks(store)) == 5
    settled(study, store, undisturbed)


def flip(chunk):
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)


@pytest.mark.parametrize(
    "damage", [flip, lambda chunk: os.truncate(chunk, 100)], ids=["a flipped bit", "a truncated chunk"]
)
def test_damage_is_reported_and_repaired(study, store, undisturbed, command, damage):
    mfstudy.run(study, store, part=(1, 1))
    chunk = store / "record/size-100/c.7.0.0"
    damage(chunk)
    assert contents(store) != undisturbed
    for verb, told in (("fit", "stderr"), ("verify", "stdout")):
        ended = command(verb, store)
        assert ended.returncode == 1
        assert "record/size-100/c.7.0.0" in getattr(ended, told)
    assert not chunk.exists()
    assert len(list((store / "quarantine").glob("*/record/size-100/c.7.0.0"))) == 1
    settled(study, store, undisturbed)


def test_a_chunk_is_gone(study, store, undisturbed, command):
    mfstudy.run(study, store, part=(1, 1))
    (store / "record/size-100/c.7.0.0").unlink()
    assert "not complete: 16 replicates are missing" in command("status", store).stdout
    settled(study, store, undisturbed)


def test_litter_of_killed_writes_is_no_block(study, store, undisturbed):
    """Young litter stays, for it may be a write in progress; old litter is swept by the next run."""
    mfstudy.run(study, store, part=(1, 1))
    chunk = store / "record/size-100/c.7.0.0"
    litter = [chunk.with_suffix(f".{i}.partial") for i in range(3)]
    for path in litter:
        path.write_bytes(chunk.read_bytes()[:100])
    os.utime(litter[0], (0, 0))
    chunk.unlink()
    assert not Store(store).holds(Block(Point(100), 7, 16))
    settled(study, store, undisturbed)
    assert [path.exists() for path in litter] == [False, True, True]
