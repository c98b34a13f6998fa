"""Verify: all is read, what is damaged is set aside and said, the next run makes it again; copies hold the same."""

import json
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
import zarr

import mfstudy
from conftest import TINY, contents, disk_of, held
from mfstudy.components import InputError
from mfstudy.store import DamagedError, Inspection, Store, compact
from mfstudy.store._artefacts import Artefact
from mfstudy.study import Point, parse
from mfstudy.sweep import deepen
from mfstudy.verify import verify

CHUNK = "record/size-30/c.1.0.0"


def flipped(data):
    """Flip a bit somewhere."""
    place = random.randrange(8 * len(data))
    new = bytearray(data)
    new[place // 8] ^= 1 << place % 8
    return bytes(new)


@pytest.fixture
def whole(tiny, place):
    """A complete store, with something shared, and its bytes."""
    store = mfstudy.run(tiny, place("store"), part=(1, 1)).store
    shared = Artefact(disk_of(place("store")), "artefacts/reference", store.attributes["identity"])
    shared.write({"field": np.arange(6.0).reshape(3, 2), "nothing": np.zeros((0, 1))})
    return store, held(store.address)


def test_a_sound_store(whole):
    store, before = whole
    found = verify(store.address, sample=3)
    assert found.sound
    assert found.inspection.blocks == 8
    assert found.inspection.artefacts == 1
    assert found.inspection.files == len(disk_of(store.address).files())
    assert found.inspection.bytes == sum(size for _, size in disk_of(store.address).files())
    assert {row.how for row in found.recomputed} == {"byte for byte"}
    assert len({row.block.split(",")[0] for row in found.recomputed}) == 3  # of as many points
    assert held(store.address) == before


FAULTS = {
    "a flipped bit": (CHUNK, flipped, "checksum does not match"),
    "a cut chunk": (CHUNK, lambda data: data[:-9], "cut off"),
    "an empty chunk": (CHUNK, lambda data: b"", "cut off"),
    "a chunk of another size": (CHUNK, None, "of another size than N = 30"),
    "a flipped bit of an array's layout": ("record/size-30/zarr.json", flipped, ""),
    "a torn layout": ("record/size-30/zarr.json", lambda data: data[:99], "not valid JSON"),
    "a flipped bit of a request": ("sweeps/*", flipped, ""),
    "a flipped bit of a note": ("notes/size-30/1.json", lambda data: data.replace(b'"', b"!", 1), "not valid JSON"),
    "a flipped bit of a group": ("record/zarr.json", lambda data: data.replace(b"group", b"grout"), "not a group"),
    "a flipped bit of the root": ("zarr.json", flipped, ""),
    "a flipped bit of the mean field": ("artefacts/reference/field/c.0.0", flipped, "checksum does not match"),
    "a flipped bit of a manifest": ("artefacts/reference/manifest.json", flipped, ""),
    "a flipped bit of a shared layout": ("artefacts/reference/field/zarr.json", lambda d: d.replace(b"f", b"g", 1), ""),
    "a name of no block": ("record/size-30/c.01.0.0", lambda data: b"", "no file of a store"),
    "a name of no file": ("other/thing.txt", lambda data: b"", "no file of a store"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_damage_is_said_set_aside_and_mended(whole, tiny, fault):
    store, before = whole
    disk = disk_of(store.address)
    key, change, reason = FAULTS[fault]
    if key.endswith("*"):
        key = disk.files(key.removesuffix("/*"))[0][0]
    data = disk.get(key)
    damaged = change(data or b"") if change else disk.get("record/size-10/c.0.0.0")
    assert damaged != data
    disk.put(key, damaged)
    found = Inspection.of(store.address)
    (damage,) = found.damage
    assert damage.key == ("artefacts/reference" if key.startswith("artefacts/reference") else key)
    assert reason in damage.reason
    assert "\n" not in damage.reason
    moved = key if damage.key == key else f"{damage.key}{key.removeprefix(damage.key)}"
    assert disk.get(damage.moved.removesuffix(damage.key) + moved) == damaged  # never deleted
    assert disk.get(key) is None
    seen = []
    mfstudy.run(tiny, store.address, part=(1, 1), progress=seen.append)
    assert seen[-1].computed == (key == CHUNK)
    shared = Artefact(disk, "artefacts/reference", store.attributes["identity"])
    shared.write({"field": np.arange(6.0).reshape(3, 2), "nothing": np.zeros((0, 1))})
    assert held(store.address) == before
    assert Inspection.of(store.address).damage == []


def test_wrong_numbers_with_a_right_checksum_are_found_by_computing_again(tiny, tmp_path):
    store = mfstudy.run(tiny, tmp_path / "store", part=(1, 1)).store
    before = contents(store.path)
    for block in store.wanted():
        values = store.read_block(block).copy()
        values[3, 0, 3] *= 1 + 1e-12
        store.write(block, values)
    assert Inspection.of(store.path).damage == []
    found = verify(store.path, sample=99)
    assert not found.sound
    assert len(found.inspection.damage) == len(found.recomputed) == 8
    mfstudy.run(tiny, store.path, part=(1, 1))
    assert contents(store.path) == before


def test_other_versions_are_compared_to_a_tolerance(tiny, tmp_path):
    store = mfstudy.run(tiny, tmp_path / "store", part=(1, 1)).store
    for factor, sound in ((1 + 1e-12, True), (1 + 1e-6, False)):
        for block in store.wanted():
            values = store.read_block(block).copy()
            values[3, 0, 3] *= factor
            store.write(block, values)
            note = store.notes(block.point)[block.index]
            store.note(block, {**note, "versions": {**note["versions"], "numpy": "1.0"}})
        found = verify(store.path, sample=8)
        assert found.sound == sound
        assert all("1e-09 relative" in row.how for row in found.recomputed)
        assert found.inspection.damage == []  # it stays: who knows which of the two is right


def test_the_verb(command, tiny_file, tmp_path):
    assert command("run", tiny_file, "--part", "1/1").returncode == 0
    chunk = tmp_path / "tiny.mfstudy" / CHUNK
    before = chunk.read_bytes()
    assert command("verify", "tiny.mfstudy").returncode == 0
    chunk.write_bytes(before[:-1])
    assert command("fit", "tiny.mfstudy").returncode == 1
    ended = command("verify", "tiny.mfstudy", "--json")
    assert ended.returncode == 1
    table = json.loads(ended.stdout)
    assert not table["sound"]
    assert [row["key"] for row in table["damage"]] == [CHUNK]
    assert table["blocks"] == 7
    assert command("run", tiny_file, "--part", "1/1").returncode == 0
    assert chunk.read_bytes() == before
    chunk.write_bytes(b"")
    said = command("verify", "tiny.mfstudy", "--sample", "0").stdout.splitlines()
    assert said[0].startswith(f"damaged: {CHUNK}: it is cut off, or of another shape; moved to quarantine/")
    assert said[-1] == "damage was found; run the study again"
    assert command("verify", "nowhere").returncode == 2


def test_a_store_whose_components_are_gone(tmp_path, monkeypatch):
    """It is verified by its checksums; with a sample it is refused, and nothing is moved."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/__init__.py").write_text("")
    source = "from dataclasses import dataclass\nfrom mfstudy.laws.box import Box\n"
    (tmp_path / "lab/law.py").write_text(f"{source}@dataclass(frozen=True)\nclass Law(Box):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    store = mfstudy.run(parse(TINY.replace('"box"', '"lab.law"')), tmp_path / "store", part=(1, 1)).store
    words = ["-m", "mfstudy", "verify", "store"]
    (store.path / CHUNK).write_bytes(b"")
    shutil.move(tmp_path / "lab", tmp_path / "gone")
    ended = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "cannot import 'lab.law'" in ended.stderr
    assert (store.path / CHUNK).exists()
    ended = subprocess.run([sys.executable, *words, "--sample", "0"], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 1
    assert not (store.path / CHUNK).exists()


# -- what would leave the store, or run code -----------------------------------------------------------------------


def test_names_that_leave_the_store_are_refused(tiny, tmp_path):
    store = mfstudy.run(tiny, tmp_path / "store", part=(1, 1)).store
    secret = tmp_path / "secret"
    secret.write_bytes((store.path / CHUNK).read_bytes())
    for size in ("../../secret", "/etc", 1.5, True, -3, None, "30"):
        request = store.path / "sweeps/0000000000000000.json"
        request.write_text(json.dumps({"points": [{"point": {"size": size}, "replicates": 16}]}))
        with pytest.raises(DamagedError, match=r"sweeps/0000000000000000\.json: a point of size"):
            Store(store.path).requested()
        with pytest.raises(DamagedError):
            mfstudy.run(tiny, store.path, part=(1, 1))
        request.unlink()
    assert secret.exists()
    with pytest.raises(DamagedError, match="leads out of the store"):
        disk_of(store.path).put("record/../../up", b"")
    assert not (tmp_path / "up").exists()


def use(study, store):
    """Write, then read everything."""
    results = mfstudy.run(study, store, part=(1, 1))
    results.to_xarray()
    results.store.notes(Point(10))


@pytest.mark.parametrize("name", [CHUNK, "record/size-30", "record", "zarr.json", "notes"])
def test_links_are_not_followed(tiny, tmp_path, name):
    """A link of the same contents elsewhere: neither read nor written through."""
    store = mfstudy.run(tiny, tmp_path / "store", part=(1, 1)).store
    shutil.move(store.path / name, tmp_path / "elsewhere")
    (store.path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedError, match="leads out of the store; remove it"):
        use(tiny, store.path)
    assert (tmp_path / "elsewhere").exists()


def test_a_manifest_with_names_that_leave_is_refused(tiny, tmp_path):
    store = mfstudy.run(tiny, tmp_path / "store", part=(1, 1)).store
    shared = Artefact(disk_of(store.path), "artefacts/reference", store.attributes["identity"])
    shared.write({"field": np.zeros(3)})
    manifest = store.path / "artefacts/reference/manifest.json"
    table = json.loads(manifest.read_text())
    table["arrays"]["../../record/size-30"] = table["arrays"]["field"]
    manifest.write_text(json.dumps(table))
    with pytest.raises(DamagedError, match="not a valid manifest"):
        shared.read()


@pytest.mark.parametrize(
    "change",
    [
        {"data_type": "object"},
        {"data_type": {"name": "variable_length_bytes"}},
        {"codecs": [{"name": "numcodecs.pickle", "configuration": {}}]},
        {"codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "gzip"}]},
        {"shape": [16, 1, 9]},
        {"storage_transformers": [{"name": "x"}]},
    ],
)
def test_objects_and_foreign_filters_are_not_decoded(tiny, tmp_path, change, monkeypatch):
    store = mfstudy.run(tiny, tmp_path / "store", part=(1, 1)).store
    shared = Artefact(disk_of(store.path), "artefacts/reference", store.attributes["identity"])
    shared.write({"field": np.zeros(3)})
    monkeypatch.setattr(zarr, "open_array", lambda *_, **__: pytest.fail("it was opened"))
    for key in ("record/size-30/zarr.json", "artefacts/reference/field/zarr.json"):
        metadata = store.path / key
        metadata.write_text(json.dumps({**json.loads(metadata.read_text()), **change}))
    with pytest.raises(DamagedError, match=r"size-30/zarr\.json: not the array of its point"):
        store.read(Point(30))
    if "shape" not in change:
        with pytest.raises(DamagedError, match="the array is gone or not readable"):
            shared.read()


def test_a_read_only_store(tiny_file, command, tmp_path):
    """On a file system that is read-only: reading works, running says one line and loses nothing."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "none", str(disk)], capture_output=True).returncode:
        pytest.skip("NOT RUN: mounting needs root")
    try:
        assert command("run", tiny_file, "--store", disk / "store", "--part", "1/1").returncode == 0
        (disk / "store" / CHUNK).unlink()
        before = contents(disk / "store")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert json.loads(command("status", disk / "store", "--json").stdout)["points"][1]["done"] == 16
        assert command("fit", disk / "store").returncode == 0
        ended = command("run", tiny_file, "--store", disk / "store", "--part", "1/1")
        assert ended.returncode == 1
        assert ended.stderr.splitlines()[-1].endswith("Read-only file system; mend that and run the same command again")
        ended = command("deepen", disk / "store", "--sizes", "50", "--part", "1/1")
        assert ended.returncode in (1, 2)
        assert ended.stderr.count("\n") == 1
        assert contents(disk / "store") == before
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# -- compacted copies ----------------------------------------------------------------------------------------------


def test_a_compacted_copy_says_the_same(tiny, place, command, tmp_path):
    import xarray

    store = mfstudy.run(tiny, place("store"), part=(1, 1)).store
    deepen(store, replicates=64)
    disk_of(store.address).put("record/size-30/c.3.0.0", disk_of(store.address).get("record/size-30/c.1.0.0"))
    original, out = mfstudy.open(store.address), place("copy")
    assert compact(store.address, out) == out
    copy = mfstudy.open(out)
    assert copy.to_xarray().identical(original.to_xarray())
    assert copy.store.done(Point(30)) == {0, 1, 3}
    assert copy.counts == original.counts
    assert copy.fit("empirical").text == original.fit("empirical").text
    assert copy.store.notes(Point(30)) == original.store.notes(Point(30))
    assert not copy.complete
    with pytest.raises(InputError, match="only to be read; allowed: its original"):
        mfstudy.run(tiny, out, part=(1, 1))
    with pytest.raises(InputError, match="exists"):
        compact(store.address, out)
    assert Inspection.of(out).damage == []
    at = disk_of(out).at
    read = xarray.open_zarr(at, group="record", chunks=None)
    assert np.array_equal(read["size-30"].values, original.store.read(Point(30)), equal_nan=True)
    assert read.attrs["fields"] == store.fields
    assert zarr.open_group(at, mode="r").metadata.consolidated_metadata is not None


def test_damage_is_not_compacted(tiny_results, tmp_path):
    chunk = tiny_results.store.path / CHUNK
    chunk.write_bytes(flipped(chunk.read_bytes()))
    with pytest.raises(DamagedError, match="checksum"):
        compact(tiny_results.store.path, tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.mfstudy"]


def test_damage_of_a_copy_is_found(tiny_results, tmp_path):
    compact(tiny_results.store.path, tmp_path / "copy")
    (shard,) = (tmp_path / "copy/record/size-30").glob("c.*")
    shard.write_bytes(flipped(shard.read_bytes()))
    with pytest.raises(DamagedError, match="size-30"):
        mfstudy.open(tmp_path / "copy").to_xarray()
    (damage,) = Inspection.of(tmp_path / "copy").damage
    assert damage.key == "record/size-30"
    assert damage.moved is None
