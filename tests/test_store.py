"""The store: its schema on disk, what damage looks like, what it refuses."""

import json
import os
import shutil

import numpy as np
import pytest

import mfstudy
from conftest import TINY
from mfstudy.components import InputError
from mfstudy.observables import Status
from mfstudy.replicate import field_names, run_block
from mfstudy.store import DamagedError, Store, block_length
from mfstudy.store._places import Folder
from mfstudy.store._schema import sealed
from mfstudy.study import CAPACITY, Block, Point, parse
from mfstudy.sweep import deepen


def test_schema_on_disk(tiny_results, tiny):
    """A snapshot: a change here breaks people's stores and needs another schema number."""
    root = tiny_results.store.path
    attributes = json.loads((root / "zarr.json").read_text())["attributes"]
    assert set(attributes) == {
        "format", "schema", "identity", "name", "problem", "study", "force", "save", "fields", "observables",
        "theorems", "law", "sha256",
    }  # fmt: skip
    assert attributes["fields"] == [
        "status",
        "particles",
        "empirical_w2_sq_status",
        "empirical_w2_sq",
        "empirical_w2_sq_lower",
        "empirical_w2_sq_upper",
        "empirical_w2_sq_error",
        "empirical_w2_sq_residual",
        "empirical_w2_sq_reference_points",
    ]
    assert attributes["problem"] == tiny.problem.canonical
    array = json.loads((root / "record/size-100/zarr.json").read_text())
    assert array["shape"] == [CAPACITY, 1, 9]
    assert array["chunk_grid"]["configuration"]["chunk_shape"] == [16, 1, 9]
    assert [codec["name"] for codec in array["codecs"]] == ["bytes", "crc32c"]
    assert array["dimension_names"] == ["replicate", "time", "field"]
    assert array["attributes"] == {"point": {"size": 100}, "problem": tiny.problem.identity, "block": 16}
    chunks = sorted(path.name for path in (root / "record/size-100").iterdir())
    assert chunks == ["c.0.0.0", "c.1.0.0", "zarr.json"]
    assert (root / "record/size-100/c.0.0.0").stat().st_size == 16 * 9 * 8 + 4
    assert json.loads((root / "artefacts/zarr.json").read_text())["attributes"] == {"required": []}
    note = json.loads((root / "notes/size-100/0.json").read_text())
    assert {"seconds", "host", "versions", "messages"} <= set(note)


def test_a_chunk_is_what_run_block_returns(tiny_results, tiny):
    raw = (tiny_results.store.path / "record/size-30/c.1.0.0").read_bytes()[:-4]
    values = run_block(tiny.problem, tiny.problem.meanfield(), Block(Point(30), 1, 16)).values
    assert raw == values.astype("<f8").tobytes()
    assert len(field_names(tiny.problem)) == values.shape[2]
    assert (values[:, 0, 0] == Status.OK).all()
    assert (values[:, 0, 1] == 30).all()


def test_block_length_is_frozen():
    sizes = [2, 100, 4096, 4097, 8192, 8193, 20000, 32768, 40000, 65535, 65536, 10**8]
    assert [block_length(n) for n in sizes] == [16, 16, 16, 8, 8, 4, 2, 2, 1, 1, 1, 1]


def test_reading_imports_no_component(tiny_results, command):
    import subprocess
    import sys

    code = (
        "import sys, mfstudy; r = mfstudy.open(sys.argv[1]); r.fit('empirical'); r.to_xarray()\n"
        "assert r.counts[0].done == 32\n"
        "from mfstudy.components import FOLDERS\n"
        "loaded = [m for m in sys.modules for f in FOLDERS if m.startswith(f'mfstudy.{f}.')]\n"
        "assert loaded == [], loaded"
    )
    subprocess.run([sys.executable, "-c", code, str(tiny_results.store.path)], check=True)


@pytest.mark.parametrize("fault", ["flip", "truncate"])
def test_damage_is_found_and_named(tiny_results, fault):
    chunk = tiny_results.store.path / "record/size-30/c.1.0.0"
    data = bytearray(chunk.read_bytes())
    if fault == "flip":
        data[100] ^= 1
    else:
        del data[-9:]
    chunk.write_bytes(data)
    with pytest.raises(DamagedError, match=r"record/size-30/c\.1\.0\.0"):
        mfstudy.open(tiny_results.store.path).to_xarray()


def test_a_chunk_of_another_size_is_found(tiny_results):
    record = tiny_results.store.path / "record"
    (record / "size-10/c.0.0.0").write_bytes((record / "size-30/c.0.0.0").read_bytes())
    with pytest.raises(DamagedError, match="record/size-10: holds blocks of another size"):
        mfstudy.open(tiny_results.store.path).fit("empirical")


def test_torn_notes_are_lost_without_harm(tiny_results, tiny):
    notes = tiny_results.store.path / "notes/size-30"
    (notes / "0.json").write_text("")
    (notes / "1.json").write_text('{"seconds":')
    (notes / "2.json").write_text("[]")
    results = mfstudy.run(tiny, tiny_results.store.path, part=(1, 1))
    assert results.complete
    assert results.messages(limit=9) == []


@pytest.mark.parametrize("key", ["zarr.json", "record/size-30/zarr.json"])
def test_torn_metadata_is_damage(tiny_results, key):
    (tiny_results.store.path / key).write_text('{"attri')
    with pytest.raises(DamagedError, match="not valid JSON"):
        mfstudy.open(tiny_results.store.path).to_xarray()


def test_a_store_without_points_is_not_complete(tiny_results):
    shutil.rmtree(tiny_results.store.path / "record")
    shutil.rmtree(tiny_results.store.path / "sweeps")
    results = mfstudy.open(tiny_results.store.path)
    assert not results.complete
    assert results.fit("empirical").verdict == "not-measurable"


def test_an_array_that_is_gone_comes_back(tiny_results, tiny):
    """Also at a size that only a deepening asked for."""
    store = tiny_results.store
    deepen(store, sizes=(20,))
    mfstudy.run(tiny, store.path, part=(1, 1))
    shutil.rmtree(store.path / "record/size-20")
    with pytest.raises(DamagedError, match="size-20: the array is gone; run the study again"):
        mfstudy.open(store.path).complete  # noqa: B018
    assert mfstudy.run(tiny, store.path, part=(1, 1)).complete


def test_two_drivers_may_make_a_store_at_once(tiny, tmp_path, monkeypatch):
    """The other driver is done between this one's two looks at an empty directory."""
    path, listed = tmp_path / "store", Folder.names
    path.mkdir()

    def meanwhile(self, folder):
        monkeypatch.setattr(Folder, "names", listed)
        Store.create(path, tiny)
        return listed(self, folder)

    monkeypatch.setattr(Folder, "names", meanwhile)
    assert Store.create(path, tiny).requested() == {Point(n): 32 for n in (10, 30, 100, 300)}


def test_stray_files_are_no_blocks(tiny_results):
    for name in ("c.x.0.0", "c.99999999.0.0", "c.1.0", "notes.txt"):
        (tiny_results.store.path / "record/size-30" / name).write_text("")
    assert Store(tiny_results.store.path).done(Point(30)) == {0, 1}


def test_a_deleted_chunk_is_computed_again(tiny_results, tiny):
    chunk = tiny_results.store.path / "record/size-30/c.1.0.0"
    before = chunk.read_bytes()
    chunk.unlink()
    seen = []
    results = mfstudy.run(tiny, tiny_results.store.path, part=(1, 1), progress=seen.append)
    assert seen[-1].computed == 1
    assert chunk.read_bytes() == before
    assert results.complete


def test_litter_of_a_killed_write_is_not_a_block(tiny_results, tiny):
    point = tiny_results.store.path / "record/size-30"
    old, young = point / "c.2.0.0123.partial", point / "c.2.0.4567.partial"
    for litter in (old, young):
        litter.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert Store(tiny_results.store.path).done(Point(30)) == {0, 1}
    mfstudy.run(tiny, tiny_results.store.path, part=(1, 1))
    assert not old.exists()
    assert young.exists()  # another driver may be writing it


def test_absent_and_failed_replicates_are_not_numbers(tiny_results):
    (tiny_results.store.path / "record/size-30/c.0.0.0").unlink()
    results = mfstudy.open(tiny_results.store.path)
    data = results.to_xarray()
    assert (data.status.sel(size=30)[:16] == -1).all()
    assert np.isnan(data.empirical_w2_sq.sel(size=30)[:16]).all()
    assert not results.complete
    assert {row.size: row.done for row in results.counts} == {10: 32, 30: 16, 100: 32, 300: 32}


def test_reading_changes_nothing(tiny_results):
    """A fit leaves sizes out, and callers may write into what they are given; the results stay."""
    quantity = tiny_results.quantity("empirical")
    before = tiny_results.values(quantity)
    tiny_results.values(quantity)[:] = 0
    tiny_results.to_xarray().empirical_w2_sq[:] = 0
    tiny_results.fit("empirical")
    assert (tiny_results.values(quantity) == before).all()


def test_refusals(tmp_path, tiny, tiny_results):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        Store.create(tmp_path / "file", tiny)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thing").write_text("")
    with pytest.raises(InputError, match="other contents"):
        Store.create(tmp_path / "full", tiny)
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thing"]
    with pytest.raises(InputError, match="not writable"):
        Store.create("/proc/mfstudy", tiny)
    other = parse(TINY.replace("seed = 7", "seed = 8"))
    with pytest.raises(InputError, match="holds another problem"):
        Store.create(tiny_results.store.path, other)
    with pytest.raises(InputError, match="no such store"):
        mfstudy.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match="not an mfstudy store"):
        mfstudy.open(tmp_path / "full")
    root = tiny_results.store.path / "zarr.json"
    table = json.loads(root.read_text())
    root.write_text(json.dumps({**table, "attributes": sealed({**table["attributes"], "schema": 1})}))
    with pytest.raises(InputError, match="store schema 1 is another version; allowed: 3"):
        mfstudy.open(tiny_results.store.path)
