"""The zarr schema of a study's store. The only module that knows zarr.

Layout of one store, which holds one problem:

    zarr.json                 identity, canonical problem, fields, save times, the study's text
    record/<point>/zarr.json  the point's dict, the hash of its problem, its block length
    record/<point>/c.B.0.0    one block: (replicate, time, field) float64 with CRC-32C; written once, by one rename
    sweeps/<hash>.json        which points and how many replicates were asked for; the store wants their union
    artefacts/                what blocks share; complete when its manifest is there
    notes/<point>/<block>.json  seconds, host, versions, messages: never part of a result

Nothing is resized and every write is idempotent, so there is no lock: two drivers at worst compute a block twice,
to the same bytes. A block is done when its chunk exists.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.errors import ContainsArrayError, ContainsGroupError
from zarr.storage import LocalStore

from mfstudy.components import InputError
from mfstudy.ensemble import Floats
from mfstudy.replicate import field_names
from mfstudy.study import CAPACITY, Block, Point, Problem, Study, parse

FORMAT = "mfstudy"
SCHEMA = 1
#: Age from which an unfinished write cannot be in progress any more.
LITTER_SECONDS = 86400


class DamagedError(RuntimeError):
    """A stored block does not pass its checksum."""


def block_length(size: int) -> int:
    """Return the number of replicates in a block at size N.

    16 up to N = 4096, then halved with each doubling of N: small blocks make retries cheap, long ones keep the
    number of files and of tasks low. Frozen with the store's schema; stored with each point.
    """
    return max(1, min(16, 2 ** int(math.log2(65536 / size)))) if size < 65536 else 1


class Store:
    """One study's store, open for reading or writing.

    Parameters
    ----------
    path : str or Path
        Directory of an existing store.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise InputError(f"{path}: no such store; allowed: a directory made by 'mfstudy run'")
        self._zarr = LocalStore(self.path)
        raw = self._get("zarr.json")
        self.attributes: dict[str, Any] = json.loads(raw)["attributes"] if raw else {}
        if self.attributes.get("format") != FORMAT:
            raise InputError(f"{path}: not an mfstudy store; allowed: a directory made by 'mfstudy run'")
        if self.attributes["schema"] != SCHEMA:
            raise InputError(f"{path}: store schema {self.attributes['schema']} is another version; allowed: {SCHEMA}")

    @classmethod
    def create(cls, path: str | Path, study: Study) -> Store:
        """Open the study's store, making it first if it is not there, and add the study's sweep to what it wants.

        Raises
        ------
        InputError
            If the path is taken by something else, holds another problem, or is not writable.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: is a file; allowed: a directory for the store")
        if not (path / "zarr.json").exists():
            if path.exists() and any(not p.name.endswith(".partial") for p in path.iterdir()):
                raise InputError(f"{path}: a directory with other contents; allowed: a new or empty directory")
            try:
                _ensure_group(LocalStore(path), "", _root_attributes(study))
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    raise
                raise InputError(
                    f"{path}: not writable: {error.strerror}; allowed: a directory you may write to"
                ) from None
        store = cls(path)
        held = store.attributes["identity"]
        if held != study.problem.identity:
            raise InputError(
                f"{path}: holds another problem ({held[:12]}, study '{store.name}'), not {study.problem.identity[:12]};"
                " allowed: another --store"
            )
        _ensure_group(store._zarr, "record", {})
        _ensure_group(store._zarr, "artefacts", {"required": []})
        store.want(study.sweep.points, study.sweep.replicates)
        return store

    # -- what the store is about ---------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the study that made the store."""
        return str(self.attributes["name"])

    @property
    def fields(self) -> list[str]:
        """Names of the stored fields, in order."""
        return list(self.attributes["fields"])

    @cached_property
    def problem(self) -> Problem:
        """The problem, with its components; only computing needs them, reading does not."""
        problem = parse(self.attributes["study"], f"{self.path}/zarr.json").problem
        if problem.identity != self.attributes["identity"]:
            raise InputError(
                f"{self.path}: made by another version of the numerics; allowed: read it, or compute in a new store"
            )
        return problem

    # -- the points, and how far they are wanted and done --------------------------------------------------------

    def want(self, points: Iterable[Point], replicates: int) -> None:
        """Ask for a number of replicates at each point; the store wants the union of all that was ever asked."""
        points = list(points)
        for point in points:
            self._ensure_point(point)
        request = json.dumps({"points": [p.table for p in points], "replicates": replicates}, sort_keys=True)
        key = f"sweeps/{hashlib.sha256(request.encode()).hexdigest()[:16]}.json"
        if self._get(key) is None:
            self._put(key, request.encode())

    def requested(self) -> dict[Point, int]:
        """Return the number of replicates that was asked for at each point, by point."""
        replicates: dict[Point, int] = {}
        for key in self._list("sweeps"):
            request = json.loads(self._get(f"sweeps/{key}") or b"{}")
            for table in request["points"]:
                point = Point(**table)
                replicates[point] = max(replicates.get(point, 0), request["replicates"])
        return dict(sorted(replicates.items()))

    def wanted(self) -> list[Block]:
        """Return the blocks that are wanted, whole blocks, by point and index."""
        return [
            Block(point, index, self.length(point))
            for point, count in self.requested().items()
            for index in range(math.ceil(count / self.length(point)))
        ]

    def points(self) -> list[Point]:
        """Return the points that have an array."""
        names = self._list("record")
        tables = [json.loads(self._get(f"record/{n}/zarr.json") or b"{}") for n in names if n != "zarr.json"]
        return sorted(Point(**table["attributes"]["point"]) for table in tables if table)

    def length(self, point: Point) -> int:
        """Return the number of replicates in a block at a point."""
        table = json.loads(self._get(f"record/{point.id}/zarr.json") or b"{}")
        return int(table["attributes"]["block"])

    def done(self, point: Point) -> set[int]:
        """Return the indices of the blocks whose chunk exists."""
        names = self._list(f"record/{point.id}")
        return {int(n.split(".")[1]) for n in names if n.startswith("c.") and not n.endswith(".partial")}

    # -- numbers -------------------------------------------------------------------------------------------------

    def write(self, block: Block, values: Floats) -> None:
        """Commit a block: one chunk, one rename."""
        self._array(block.point)[block.first : block.first + block.length] = values

    def read(self, point: Point) -> Floats:
        """Return the (replicates, times, fields) numbers of a point, NaN where a block is not done.

        Raises
        ------
        DamagedError
            If a block does not pass its checksum.
        """
        done, length = self.done(point), self.length(point)
        array = self._array(point)
        values = np.full((length * (max(done, default=-1) + 1), *array.shape[1:]), np.nan)
        for index in sorted(done):
            rows = slice(index * length, (index + 1) * length)
            try:
                values[rows] = array[rows]
            except ValueError as error:
                chunk = self.path / "record" / point.id / f"c.{index}.0.0"
                raise DamagedError(f"{chunk}: {error}; delete the file and run the study again") from None
        return values

    # -- notes ---------------------------------------------------------------------------------------------------

    def note(self, block: Block, note: Mapping[str, Any]) -> None:
        """Write what depends on the run: lost without harm."""
        self._put(f"notes/{block.point.id}/{block.index}.json", json.dumps(note, sort_keys=True).encode())

    def notes(self, point: Point) -> dict[int, dict[str, Any]]:
        """Return the notes of a point by block index."""
        names = [n for n in self._list(f"notes/{point.id}") if n.endswith(".json")]
        return {
            int(name.removesuffix(".json")): json.loads(self._get(f"notes/{point.id}/{name}") or b"{}")
            for name in names
        }

    def messages(self, limit: int) -> list[str]:
        """Return the first few lines that failed replicates left."""
        found = (
            f"{point.id}, {line}"
            for point in self.points()
            for _, note in sorted(self.notes(point).items())
            for line in note["messages"]
        )
        return list(itertools.islice(found, limit))

    def tidy(self) -> None:
        """Remove what killed writes left behind a day ago or more; younger ones may be writes in progress."""
        for litter in self.path.rglob("*.partial"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - litter.stat().st_mtime > LITTER_SECONDS:
                    litter.unlink()

    # -- zarr ----------------------------------------------------------------------------------------------------

    def _array(self, point: Point) -> Any:
        return zarr.open_array(self._zarr, path=f"record/{point.id}", mode="r+")

    def _ensure_point(self, point: Point) -> None:
        if self._get(f"record/{point.id}/zarr.json") is not None:
            return
        times, length = len(self.attributes["save"]), block_length(point.size)
        attributes = {"point": point.table, "problem": self.attributes["identity"], "block": length}
        try:
            zarr.create_array(
                self._zarr,
                name=f"record/{point.id}",
                shape=(CAPACITY, times, len(self.fields)),
                chunks=(length, times, len(self.fields)),
                dtype="float64",
                fill_value=np.nan,
                filters=None,
                compressors=[Crc32cCodec()],
                chunk_key_encoding={"name": "default", "separator": "."},
                dimension_names=("replicate", "time", "field"),
                attributes=attributes,
            )
        except ContainsArrayError:  # another driver was first, with the same bytes
            return

    def _get(self, key: str) -> bytes | None:
        buffer = sync(self._zarr.get(key, prototype=default_buffer_prototype()))
        return None if buffer is None else buffer.to_bytes()

    def _put(self, key: str, data: bytes) -> None:
        sync(self._zarr.set(key, default_buffer_prototype().buffer.from_bytes(data)))

    def _list(self, prefix: str) -> list[str]:
        async def collect() -> list[str]:
            return [name async for name in self._zarr.list_dir(prefix) if not name.endswith(".partial")]

        return sorted(sync(collect()))


def _root_attributes(study: Study) -> dict[str, Any]:
    """Return all that reading needs, so that no component is imported then."""
    problem, law = study.problem, study.problem.initial
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "identity": problem.identity,
        "name": study.name,
        "problem": problem.canonical,
        "study": study.text,
        "save": list(problem.time.save),
        "fields": list(field_names(problem)),
        "observables": [
            {
                "label": o.label,
                "kind": type(o).__module__.rsplit(".", 1)[-1],
                "p": o.p,
                "fields": [asdict(f) for f in o.fields],
            }
            for o in problem.observables
        ],
        "law": {
            "support_dimension": law.support_dimension,
            "moment_order": law.moment_order if math.isfinite(law.moment_order) else None,
        },
    }


def _ensure_group(store: LocalStore, name: str, attributes: dict[str, Any]) -> None:
    try:
        zarr.create_group(store, path=name, attributes=attributes)
    except ContainsGroupError:  # made before, or by another driver with the same bytes
        return
