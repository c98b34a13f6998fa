"""The zarr schema of a study's store. The only package that knows zarr.

Layout of one store, which holds one problem:

    zarr.json                 identity, canonical problem, fields, save times, the study's text
    record/<point>/zarr.json  the point's dict, the hash of its problem, its block length
    record/<point>/c.B.0.0    one block: (replicate, time, field) float64 with CRC-32C; written once, by one rename
    sweeps/<hash>.json        which points and how many replicates were asked for; the store wants their union
    artefacts/reference/      the solved reference, which blocks share: one array a name, and manifest.json, which is
                              written last and makes it complete; only where the attribute `required` names it
    artefacts/pools/<point>-<index>/  the signal of a pool of copies, likewise; only where `required` names "pools"
    notes/<point>/<block>.json, notes/reference.json  seconds, host, versions, messages: never part of a result
    notes/poisoned/<point>-<block>.json  a block that was given up: why, attempts, versions; void once the block is done
    notes/rounds.json         where a sweep that a precision drives stood when a run last looked; derived from records

Nothing is resized and every write is idempotent, so there is no lock: two drivers at worst compute a block twice,
to the same bytes. A block is done when its chunk exists.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mfstudy.components import InputError
from mfstudy.ensemble import Floats
from mfstudy.references import Shared
from mfstudy.store._artefacts import CHUNK_BYTES, Artefact
from mfstudy.store._disk import NO_ACCESS, NO_SPACE, DamagedError, Disk
from mfstudy.store._schema import FORMAT, SCHEMA, block_length, plan_blocks, root_attributes
from mfstudy.study import CAPACITY, Block, Point, Problem, Study, parse

__all__ = [
    "CHUNK_BYTES",
    "NO_ACCESS",
    "NO_SPACE",
    "POOLS",
    "REFERENCE",
    "DamagedError",
    "Store",
    "block_length",
    "plan_blocks",
]

_CHUNK = re.compile(r"c\.(\d{1,9})\.0\.0")

#: The artefact that holds the solved reference.
REFERENCE = "artefacts/reference"
#: Where the artefacts of the pools are.
POOLS = "artefacts/pools"


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
        self._disk = Disk(self.path)
        self.attributes: dict[str, Any] = self._disk.table("zarr.json").get("attributes", {})
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
        store.want(dict.fromkeys(study.sweep.points, study.sweep.start))
        return store

    @classmethod
    def _made(cls, path: Path, study: Study) -> Store:
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: is a file; allowed: a directory for the store")
        if not (path / "zarr.json").exists():
            others = path.exists() and any(not p.name.endswith(".partial") for p in path.iterdir())
            if others and not (path / "zarr.json").exists():  # looked at again: another driver may have made it
                raise InputError(f"{path}: a directory with other contents; allowed: a new or empty directory")
            Disk(path).ensure_group("", root_attributes(study))
        store = cls(path)
        store.check_problem(study.problem)
        store._ensure_groups()
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
        if self._disk.get(key) is None:
            self._disk.put(key, request.encode())

    def requested(self) -> dict[Point, int]:
        """Return the number of replicates that was asked for at each point, by point."""
        replicates: dict[Point, int] = {}
        for key in self._disk.names("sweeps"):
            for row in self._disk.table(f"sweeps/{key}").get("points", ()):
                point = Point.of(row["point"])
                replicates[point] = max(replicates.get(point, 0), row["replicates"])
        return dict(sorted(replicates.items()))

    def wanted(self) -> list[Block]:
        """Return the blocks that are wanted, whole blocks, by point and index."""
        lengths = {point: self.length(point) for point in self.requested()}
        return plan_blocks(self.requested(), lengths)

    def points(self) -> list[Point]:
        """Return the points that have an array."""
        tables = [
            self._disk.table(f"record/{name}/zarr.json") for name in self._disk.names("record") if name != "zarr.json"
        ]
        return sorted(Point.of(table["attributes"]["point"]) for table in tables if table)

    def length(self, point: Point) -> int:
        """Return the number of replicates in a block at a point."""
        table = self._disk.table(f"record/{point.id}/zarr.json")
        if not table:
            raise DamagedError(f"{self.path}/record/{point.id}: the array is gone; run the study again")
        return int(table["attributes"]["block"])

    def done(self, point: Point) -> set[int]:
        """Return the indices of the blocks whose chunk exists."""
        chunks = (_CHUNK.fullmatch(name) for name in self._disk.names(f"record/{point.id}"))
        return {int(chunk[1]) for chunk in chunks if chunk and int(chunk[1]) < CAPACITY}

    def holds(self, block: Block) -> bool:
        """Return whether a block is done."""
        return self._disk.has(f"record/{block.point.id}/c.{block.index}.0.0")

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

    def _array(self, point: Point) -> Any:
        return self._disk.array(f"record/{point.id}")

    # -- what blocks share ---------------------------------------------------------------------------------------

    @property
    def shares(self) -> bool:
        """Whether the blocks need the solved reference from the store."""
        return "reference" in self._disk.table("artefacts/zarr.json").get("attributes", {}).get("required", ())

    def shared(self) -> Shared | None:
        """Return what the blocks share: empty where they share nothing, None until it is complete.

        Each array is read, verified against the manifest's hash, and kept, when it is first asked for.

        Raises
        ------
        DamagedError
            If the manifest or an array is not what was written; the mapping raises it too.
        """
        if not self.shares:
            return {}
        return self._reference.read()

    def share(self, arrays: Shared) -> None:
        """Store what the blocks share, the manifest last; another driver that stores the same does no harm.

        Parameters
        ----------
        arrays : mapping of str to array
            float64 or complex128, of one dimension or more, by name.

        Raises
        ------
        ValueError
            If a name or an array cannot be stored.
        DamagedError
            If an unfinished artefact of another shape is in the way.
        """
        if self.shares:
            self._reference.write(arrays)

    @property
    def pools(self) -> int:
        """Number of pools of each size that the blocks need from the store."""
        return max((int(table["pools"]) for table in self.attributes["observables"]), default=0)

    def pool(self, point: Point, index: int) -> Shared | None:
        """Return what the replicates of a pool share, None until it is complete; errors as in `shared`."""
        return self._pool(point, index).read()

    def lacking_pools(self, points: Iterable[Point]) -> list[tuple[Point, int]]:
        """Return the pools of these points that are not complete."""
        return [(point, i) for point in points for i in range(self.pools) if self.pool(point, i) is None]

    def share_pool(self, point: Point, index: int, arrays: Shared) -> None:
        """Store what the replicates of a pool share; as `share`."""
        self._pool(point, index).write(arrays)

    def _pool(self, point: Point, index: int) -> Artefact:
        return Artefact(self._disk, f"{POOLS}/{point.id}-{index}", self.attributes["identity"])

    @property
    def _reference(self) -> Artefact:
        return Artefact(self._disk, REFERENCE, self.attributes["identity"])

    # -- notes ---------------------------------------------------------------------------------------------------

    def note(self, block: Block, note: Mapping[str, Any]) -> None:
        """Write what depends on the run: lost without harm."""
        self._disk.put(f"notes/{block.point.id}/{block.index}.json", json.dumps(note, sort_keys=True).encode())

    def note_shared(self, note: Mapping[str, Any]) -> None:
        """Write what depends on the run that solved the reference: lost without harm."""
        self._disk.put("notes/reference.json", json.dumps(note, sort_keys=True).encode())

    def note_poisoned(self, block: Block, note: Mapping[str, Any]) -> None:
        """Write why a block was given up: "line", "attempts", where and with what; a run tries it again, last."""
        table = {"point": block.point.table, "block": block.index, **note}
        key = f"notes/poisoned/{block.point.id}-{block.index}.json"
        self._disk.put(key, json.dumps(table, sort_keys=True).encode())

    def poisoned(self) -> dict[Block, dict[str, Any]]:
        """Return the blocks that were given up and are not done, each with what `note_poisoned` wrote."""
        found = {}
        for name in self._disk.names("notes/poisoned"):
            with contextlib.suppress(DamagedError, KeyError):  # a torn note is a lost note
                note = self._disk.table(f"notes/poisoned/{name}")
                point = Point.of(note["point"])
                found[Block(point, note["block"], self.length(point))] = note
        return {block: note for block, note in sorted(found.items()) if not self.holds(block)}

    def note_rounds(self, note: Mapping[str, Any]) -> None:
        """Write where a sweep that a precision drives stood when a run last looked: lost without harm."""
        self._disk.put("notes/rounds.json", json.dumps(note, sort_keys=True).encode())

    def noted_rounds(self) -> dict[str, Any]:
        """Return what `note_rounds` wrote last, empty where nothing was."""
        with contextlib.suppress(DamagedError):
            return self._disk.table("notes/rounds.json")
        return {}

    def notes(self, point: Point, limit: int | None = None) -> dict[int, dict[str, Any]]:
        """Return the notes of a point by block index; of some blocks only where a limit is given."""
        names = [n for n in self._disk.names(f"notes/{point.id}") if n.endswith(".json")][:limit]
        found = {}
        for name in names:
            with contextlib.suppress(ValueError):  # a torn note is a lost note, no more
                note = json.loads(self._disk.get(f"notes/{point.id}/{name}") or b"null")
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

    # -- making and tidying --------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Make the groups again, and the arrays of points that were asked for, where they are gone."""
        self._ensure_groups()
        for point in self.requested():
            self._ensure_point(point)

    def tidy(self) -> None:
        """Remove what killed writes left behind a day ago or more; younger ones may be writes in progress."""
        self._disk.tidy()

    def _ensure_groups(self) -> None:
        self._disk.ensure_group("record", {})
        needed = {"reference": self.problem.reference.shares, "pools": bool(self.pools)}
        self._disk.ensure_group("artefacts", {"required": [name for name, required in needed.items() if required]})
        if self.pools:
            self._disk.ensure_group(POOLS, {})

    def _ensure_point(self, point: Point) -> None:
        if self._disk.get(f"record/{point.id}/zarr.json") is not None:
            return
        times, length = len(self.attributes["save"]), block_length(point.size)
        attributes = {"point": point.table, "problem": self.attributes["identity"], "block": length}
        self._disk.ensure_array(
            f"record/{point.id}",
            shape=(CAPACITY, times, len(self.fields)),
            chunks=(length, times, len(self.fields)),
            dtype="float64",
            dimension_names=("replicate", "time", "field"),
            attributes=attributes,
        )
