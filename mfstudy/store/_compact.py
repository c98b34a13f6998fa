"""A compacted copy of a store: few files, quick to read, by plain zarr and xarray too."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec
from zarr.errors import ZarrUserWarning

from mfstudy.components import InputError
from mfstudy.ensemble import Floats
from mfstudy.store._artefacts import Artefact
from mfstudy.store._disk import Disk, group_bytes
from mfstudy.store._places import DamagedError, Folder, place_of
from mfstudy.store._schema import sealed
from mfstudy.store._store import Store
from mfstudy.study import Point

if TYPE_CHECKING:
    from mfstudy.store._bucket import Bucket

#: Bytes of a chunk and of a shard, about: what is read at least, and what is one file.
CHUNK, SHARD = 2**20, 2**26


def compact(path: str | Path, out: str | Path) -> str:
    """Write a verified, sharded copy of a store, which is only read; it appears whole.

    `mfstudy.open`, `fit`, `status` and `report` read it as they read the store: the same numbers, bit for bit. Others
    read it too: `xarray.open_zarr(OUT, group="record")` has a variable for each point, as `size-100` of the dimensions
    (`replicate_size-100`, time, field), NaN where a block is absent, and `zarr.open_group(OUT)["record/size-100"][:]`
    is the same array. The attributes of the group `record` name the fields and the save times.

    Parameters
    ----------
    path : str or Path
        The store.
    out : str or Path
        Where the copy appears; nothing may be there.

    Returns
    -------
    str
        Where it is.

    Raises
    ------
    InputError
        If the store is a copy itself, or something is where the copy is to be.
    DamagedError
        If something in the store is damaged; no copy is made then.
    OSError
        If it cannot be written; no copy is left then.
    """
    store, at = Store(path), place_of(out)
    if store.original is not None:
        raise InputError(f"{store.place}: a compacted copy itself; allowed: its original, {store.original}")
    _refuse_taken(at)
    made: Any = at.beside()
    try:
        _write(store, Disk(made), store.address)
        at.appear(made)
    except Exception:
        made.remove()
        raise
    return at.place


def _refuse_taken(at: Folder | Bucket) -> None:
    """Refuse a place where something is; what a killed compaction has left there is removed."""
    try:
        if at.abandoned:
            at.remove()
        elif at.present:
            raise InputError(f"{at.place}: exists; allowed: a place where nothing is")
    except OSError as error:
        raise InputError(f"{at.place}: {error.strerror or error}; allowed: a place you may write to") from None


def _write(store: Store, disk: Disk, original: str) -> None:
    """Write all of a store, its root last."""
    points = store.points()
    fields = {"fields": store.fields, "save": store.attributes["save"]}
    disk.put("record/zarr.json", group_bytes(fields))
    for point in points:
        _write_point(store, disk, point)
    for key, _ in store.files():
        if key.startswith(("sweeps/", "artefacts/")) or key in ("notes/rounds.json", "notes/reference.json"):
            disk.put(key, store.raw(key))
    _verify_artefacts(disk, store)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)  # zarr says that consolidation is no part of its format yet
        zarr.consolidate_metadata(disk.at, path="record", zarr_format=3)
        disk.put("zarr.json", group_bytes(sealed({**store.attributes, "compacted": {"of": original}})))
        zarr.consolidate_metadata(disk.at, zarr_format=3)


def _write_point(store: Store, disk: Disk, point: Point) -> None:
    """Write the array of a point and its notes; read the array again."""
    key, values, length = f"record/{point.id}", store.read(point), store.length(point)
    row = max(values[:1].nbytes, 8 * math.prod(values.shape[1:]))
    rows = length * max(1, CHUNK // (row * length))
    chunk = min(rows, max(len(values), length))
    shards = min(math.ceil(max(len(values), 1) / chunk), max(1, SHARD // (row * chunk)))
    array = zarr.create_array(
        disk.at,
        name=key,
        shape=values.shape,
        chunks=(chunk, *values.shape[1:]),
        shards=(chunk * shards, *values.shape[1:]),
        dtype="float64",
        fill_value=np.nan,
        filters=None,
        compressors=[Crc32cCodec()],
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=(f"replicate_{point.id}", "time", "field"),
        attributes={"point": point.table, "problem": store.attributes["identity"], "block": length},
    )
    for start in range(0, len(values), chunk * shards):
        array[start : start + chunk * shards] = values[start : start + chunk * shards]
    if not _same(np.asarray(disk.array(key, "r")[:]), values):
        raise DamagedError(f"{disk.named(key)}: what was written is not what is read; compact again")
    disk.put(f"notes/{point.id}.json", _packed(store.notes(point)))


def _same(read: Floats, values: Floats) -> bool:
    """Return whether numbers are equal, bit for bit."""
    return read.shape == values.shape and read.tobytes() == values.tobytes()


def _packed(notes: Mapping[int, Mapping[str, Any]]) -> bytes:
    """Return the notes of a point as one file."""
    return json.dumps({str(index): note for index, note in notes.items()}, sort_keys=True).encode()


def _verify_artefacts(disk: Disk, store: Store) -> None:
    """Read every complete artefact of the copy; an incomplete one is what it was."""
    for key in store.artefacts():
        arrays = Artefact(disk, key, store.attributes["identity"]).read()
        for name in arrays or ():
            assert arrays is not None
            arrays[name]
