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
import re
import time
from collections.abc import Mapping
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
from mfstudy.observables import stored_fields
from mfstudy.replicate import field_names
from mfstudy.study import CAPACITY, Block, Point, Problem, Study, parse

_CHUNK = re.compile(r"c\.(\d{1,9})\.0\.0")

FORMAT = "mfstudy"
SCHEMA = 1
#: Age from which an unfinished write cannot be in progress any more.
LITTER_SECONDS = 86400
#: What a full disk and a full quota say.
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
#: What a disk says that will take nothing more.
NO_ACCESS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO})


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
        self.attributes: dict[str, Any] = self._table("zarr.json").get("attributes", {})
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
        if parse(study.text).problem.identity != study.problem.identity:
            raise InputError("study: its text and its problem differ; allowed: a study from mfstudy.load")
        try:
            store = cls._made(path, study)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise
            reason = f"not writable: {error.strerror}"
            raise InputError(f"{str(path)[:100]}: {reason}; allowed: a directory you may write to") from None
        store.want(dict.fromkeys(study.sweep.points, study.sweep.replicates))
        return store

    @classmethod
    def _made(cls, path: Path, study: Study) -> Store:
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: is a file; allowed: a directory for the store")
        if not (path / "zarr.json").exists():
            others = path.exists() and any(not p.name.endswith(".partial") for p in path.iterdir())
            if others and not (path / "zarr.json").exists():  # looked at again: another driver may have made it
                raise InputError(f"{path}: a directory with other contents; allowed: a new or empty directory")
            _ensure_group(LocalStore(path), "", _root_attributes(study))
        store = cls(path)
        store.check_problem(study.problem)
        _ensure_group(store._zarr, "record", {})
        _ensure_group(store._zarr, "artefacts", {"required": []})
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

    def check_problem(self, problem: Problem) -> None:
        """Refuse a problem that is not the store's."""
        held = self.attributes["identity"]
        if held != problem.identity:
            raise InputError(
                f"{self.path}: holds another problem ({held[:12]}, study '{self.name}'), not {problem.identity[:12]};"
                " allowed: another --store"
            )

    # -- the points, and how far they are wanted and done --------------------------------------------------------

    def want(self, replicates: Mapping[Point, int]) -> None:
        """Ask for replicates at points, all in one write; the store wants the union of all that was ever asked."""
        for point in replicates:
            self._ensure_point(point)
        asked = [{"point": point.table, "replicates": count} for point, count in sorted(replicates.items())]
        request = json.dumps({"points": asked}, sort_keys=True)
        key = f"sweeps/{hashlib.sha256(request.encode()).hexdigest()[:16]}.json"
        if self._get(key) is None:
            self._put(key, request.encode())

    def requested(self) -> dict[Point, int]:
        """Return the number of replicates that was asked for at each point, by point."""
        replicates: dict[Point, int] = {}
        for key in self._list("sweeps"):
            for row in self._table(f"sweeps/{key}").get("points", ()):
                point = Point.of(row["point"])
                replicates[point] = max(replicates.get(point, 0), row["replicates"])
        return dict(sorted(replicates.items()))

    def wanted(self) -> list[Block]:
        """Return the blocks that are wanted, whole blocks, by point and index."""
        lengths = {point: self.length(point) for point in self.requested()}
        return plan_blocks(self.requested(), lengths)

    def points(self) -> list[Point]:
        """Return the points that have an array."""
        tables = [self._table(f"record/{name}/zarr.json") for name in self._list("record") if name != "zarr.json"]
        return sorted(Point.of(table["attributes"]["point"]) for table in tables if table)

    def length(self, point: Point) -> int:
        """Return the number of replicates in a block at a point."""
        table = self._table(f"record/{point.id}/zarr.json")
        if not table:
            raise DamagedError(f"{self.path}/record/{point.id}: the array is gone; run the study again")
        return int(table["attributes"]["block"])

    def done(self, point: Point) -> set[int]:
        """Return the indices of the blocks whose chunk exists."""
        chunks = (_CHUNK.fullmatch(name) for name in self._list(f"record/{point.id}"))
        return {int(chunk[1]) for chunk in chunks if chunk and int(chunk[1]) < CAPACITY}

    def holds(self, block: Block) -> bool:
        """Return whether a block is done."""
        return bool(sync(self._zarr.exists(f"record/{block.point.id}/c.{block.index}.0.0")))

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
        done, array = self.done(point), self._array(point)
        stop = array.chunks[0] * (max(done, default=-1) + 1)
        try:
            return np.asarray(array[:stop], dtype=np.float64)
        except ValueError:
            damaged = self._damaged(point, done)
            raise DamagedError(f"{damaged}: its checksum does not match; delete it and run the study again") from None

    def _damaged(self, point: Point, done: set[int]) -> Path:
        """Return the first chunk that cannot be read."""
        array, length = self._array(point), self.length(point)
        for index in sorted(done):
            try:
                array[index * length : (index + 1) * length]
            except ValueError:
                return self.path / "record" / point.id / f"c.{index}.0.0"
        return self.path / "record" / point.id

    # -- notes ---------------------------------------------------------------------------------------------------

    def note(self, block: Block, note: Mapping[str, Any]) -> None:
        """Write what depends on the run: lost without harm."""
        self._put(f"notes/{block.point.id}/{block.index}.json", json.dumps(note, sort_keys=True).encode())

    def notes(self, point: Point, limit: int | None = None) -> dict[int, dict[str, Any]]:
        """Return the notes of a point by block index; of some blocks only where a limit is given."""
        names = [n for n in self._list(f"notes/{point.id}") if n.endswith(".json")][:limit]
        found = {}
        for name in names:
            with contextlib.suppress(ValueError):  # a torn note is a lost note, no more
                note = json.loads(self._get(f"notes/{point.id}/{name}") or b"null")
                if isinstance(note, dict):
                    found[int(name.removesuffix(".json"))] = note
        return found

    def messages(self, limit: int) -> list[str]:
        """Return the first few lines that failed replicates left."""
        found = (
            f"{point.id}, {line}"
            for point in self.points()
            for _, note in sorted(self.notes(point).items())
            for line in note.get("messages", ())
        )
        return list(itertools.islice(found, limit))

    def restore(self) -> None:
        """Make the arrays again of points that were asked for and whose arrays are gone."""
        for point in self.requested():
            self._ensure_point(point)

    def tidy(self) -> None:
        """Remove what killed writes left behind a day ago or more; younger ones may be writes in progress."""
        for litter in self.path.rglob("*.partial"):
            with contextlib.suppress(OSError):
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

    def _table(self, key: str) -> dict[str, Any]:
        """Return a JSON object of the schema, empty where there is none."""
        raw = self._get(key)
        try:
            table = json.loads(raw) if raw is not None else {}
        except ValueError:
            raise DamagedError(f"{self.path / key}: not valid JSON; restore it from a copy") from None
        return table if isinstance(table, dict) else {}

    def _get(self, key: str) -> bytes | None:
        buffer = sync(self._zarr.get(key, prototype=default_buffer_prototype()))
        return None if buffer is None else buffer.to_bytes()

    def _put(self, key: str, data: bytes) -> None:
        sync(self._zarr.set(key, default_buffer_prototype().buffer.from_bytes(data)))

    def _list(self, prefix: str) -> list[str]:
        async def collect() -> list[str]:
            return [name async for name in self._zarr.list_dir(prefix) if not name.endswith(".partial")]

        return sorted(sync(collect()))


def plan_blocks(replicates: Mapping[Point, int], lengths: Mapping[Point, int]) -> list[Block]:
    """Return the whole blocks that hold a number of replicates at each point, by point and index."""
    return [
        Block(point, index, lengths[point])
        for point, count in replicates.items()
        for index in range(math.ceil(count / lengths[point]))
    ]


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
                "fields": [asdict(f) for f in stored_fields(o)],
            }
            for o in problem.observables
        ],
        "law": {
            "support_dimension": law.support_dimension,
            "bounded": math.isfinite(law.support_radius),
            "moment_order": law.moment_order if math.isfinite(law.moment_order) else None,
        },
    }


def _ensure_group(store: LocalStore, name: str, attributes: dict[str, Any]) -> None:
    try:
        zarr.create_group(store, path=name, attributes=attributes)
    except ContainsGroupError:  # made before, or by another driver with the same bytes
        return
