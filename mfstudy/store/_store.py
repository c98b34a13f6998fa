"""One study's store: which blocks are wanted, which are done, their numbers."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mfstudy.components import InputError
from mfstudy.ensemble import Floats
from mfstudy.store._blocks import chunk_indices, decode, encode, key_of
from mfstudy.store._disk import Disk
from mfstudy.store._notes import Notes
from mfstudy.store._places import NO_SPACE, DamagedError, Folder, place_of
from mfstudy.store._schema import (
    FORMAT,
    SCHEMA,
    block_length,
    checked_length,
    is_intact,
    plan_blocks,
    point_of,
    record_layout,
    request_of,
    root_attributes,
)
from mfstudy.store._shared import POOLS, Sharing
from mfstudy.study import Block, Point, Problem, Study, parse

#: What a store holds beside its root; a store whose root is gone is known by it.
_OWN = frozenset({"record", "sweeps", "artefacts", "notes", "quarantine", "report"})
#: How a damaged file is got rid of.
_MEND = "set it aside with 'mfstudy verify' and run the study again"


class Store(Sharing, Notes):
    """One study's store, open for reading or writing.

    Parameters
    ----------
    path : str or Path
        Directory of an existing store, or its s3://BUCKET/PREFIX.

    Raises
    ------
    InputError
        If there is none, or it cannot be reached.
    DamagedError
        If its root is not what was written.
    """

    def __init__(self, path: str | Path) -> None:
        self._disk = Disk(place_of(path))
        try:
            root = self._disk.table("zarr.json")
            if not root and not self._disk.at.present:
                raise InputError(f"{self.place}: no such store; allowed: what 'mfstudy run' has made")
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{self.place}: cannot be read: {reason}; allowed: a store you may read") from None
        found = root.get("attributes")
        self.attributes: dict[str, Any] = found if isinstance(found, dict) else {}
        if not is_intact(self.attributes):
            raise DamagedError(f"{self._disk.named('zarr.json')}: its checksum does not match; {_MEND}")
        if self.attributes.get("format") != FORMAT:
            raise InputError(f"{self.place}: not an mfstudy store; allowed: what 'mfstudy run' has made")
        if self.attributes.get("schema") != SCHEMA:
            held = self.attributes.get("schema")
            raise InputError(f"{self.place}: store schema {held} is another version; allowed: {SCHEMA}")

    @property
    def place(self) -> str:
        """Where the store is, as messages say it."""
        return self._disk.named()

    @property
    def address(self) -> str:
        """Where the store is, for another process."""
        return self._disk.at.address

    @property
    def path(self) -> Path:
        """Directory of a local store.

        Raises
        ------
        InputError
            If the store is in an object store.
        """
        if not isinstance(self._disk.at, Folder):
            raise InputError(f"{self.place}: not on this machine; allowed: a local store")
        return self._disk.at.root

    @staticmethod
    def exists(path: str | Path) -> bool:
        """Return whether there is anything at a place.

        Raises
        ------
        InputError
            If it is no place, or cannot be reached.
        """
        place = place_of(path)
        try:
            return place.present
        except OSError as error:
            raise InputError(f"{place.place}: {error.strerror or error}; allowed: a place you may read") from None

    @classmethod
    def create(cls, path: str | Path, study: Study) -> Store:
        """Open the study's store, making it first if it is not there, and add the study's sweep to what it wants.

        Raises
        ------
        InputError
            If the path is taken by something else, holds another problem, or is not writable.
        """
        if parse(study.text).problem.identity != study.problem.identity:
            raise InputError("study: its text and its problem differ; allowed: a study from mfstudy.load")
        try:
            store = cls._made(path, study)
            store.want(dict.fromkeys(study.sweep.points, study.sweep.start))
        except OSError as error:
            if error.errno in NO_SPACE:
                raise
            reason = f"not writable: {error.strerror}"
            raise InputError(f"{str(path)[:100]}: {reason}; allowed: a directory you may write to") from None
        return store

    @classmethod
    def _made(cls, path: str | Path, study: Study) -> Store:
        disk = Disk(place_of(path))
        if disk.at.taken:
            raise InputError(f"{path}: {disk.at.taken}")
        if not disk.has("zarr.json"):
            names = set(disk.names(""))
            foreign = names - _OWN or (names and "record" not in names)
            if foreign and not disk.has("zarr.json"):  # looked at again: another driver may have made it
                raise InputError(f"{path}: a directory with other contents; allowed: a new or empty directory")
            for name in disk.names("record"):
                held = disk.table(f"record/{name}/zarr.json").get("attributes", {}).get("problem")
                if held not in (None, study.problem.identity):
                    raise InputError(f"{path}: holds another problem ({held[:12]}); allowed: another --store")
            disk.ensure_group("", root_attributes(study))
        store = cls(path)
        store.check_problem(study.problem)
        store._ensure_groups()
        return store

    def remove(self) -> None:
        """Remove the store and all that it holds."""
        self._disk.at.remove()

    # -- what the store is about ---------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the study that made the store."""
        return str(self.attributes["name"])

    @property
    def fields(self) -> list[str]:
        """Names of the stored fields, in order."""
        return list(self.attributes["fields"])

    @property
    def status_fields(self) -> list[int]:
        """Which of the fields say how a run ended, or a measurement."""
        tables = self.attributes["observables"]
        own = {f"{t['label']}_{f['name']}" for t in tables for f in t["fields"] if f["role"] == "status"}
        return [i for i, name in enumerate(self.fields) if name == "status" or name in own]

    @property
    def original(self) -> str | None:
        """Where the store is of which this is a compacted copy, None where it is none."""
        return self.attributes["compacted"]["of"] if "compacted" in self.attributes else None

    @cached_property
    def problem(self) -> Problem:
        """The problem, with its components; only computing needs them, reading does not."""
        problem = parse(self.attributes["study"], f"{self.place}/zarr.json").problem
        if problem.identity != self.attributes["identity"]:
            raise InputError(
                f"{self.place}: made by another version of the numerics; allowed: read it, or compute in a new store"
            )
        return problem

    def check_problem(self, problem: Problem) -> None:
        """Refuse a problem that is not the store's."""
        held = self.attributes["identity"]
        if held != problem.identity:
            raise InputError(
                f"{self.place}: holds another problem ({held[:12]}, study '{self.name}'), not {problem.identity[:12]};"
                " allowed: another --store"
            )

    # -- the points, and how far they are wanted and done --------------------------------------------------------

    def want(self, replicates: Mapping[Point, int]) -> None:
        """Ask for replicates at points, all in one write; the store wants the union of all that was ever asked."""
        self._refuse_compacted()
        for point in replicates:
            self._ensure_point(point)
        asked = [{"point": point.table, "replicates": count} for point, count in sorted(replicates.items())]
        request = json.dumps({"points": asked}, sort_keys=True)
        key = f"sweeps/{hashlib.sha256(request.encode()).hexdigest()[:16]}.json"
        if self._disk.get(key) is None:
            self._disk.put(key, request.encode())

    def requested(self) -> dict[Point, int]:
        """Return the number of replicates that was asked for at each point, by point.

        Raises
        ------
        DamagedError
            If a request is not what was written.
        """
        replicates: dict[Point, int] = {}
        for name in self._disk.names("sweeps"):
            key = f"sweeps/{name}"
            try:
                asked = request_of(self._disk.table(key))
            except InputError:
                raise
            except ValueError as error:
                raise DamagedError(f"{self._disk.named(key)}: {error}; {_MEND}") from None
            for point, count in asked.items():
                replicates[point] = max(replicates.get(point, 0), count)
        return dict(sorted(replicates.items()))

    def wanted(self) -> list[Block]:
        """Return the blocks that are wanted, whole blocks, by point and index."""
        requested = self.requested()
        return plan_blocks(requested, {point: self.length(point) for point in requested})

    def points(self) -> list[Point]:
        """Return the points that have an array."""
        found = []
        for name in self._disk.names("record"):
            metadata = self._disk.table(f"record/{name}/zarr.json") if name != "zarr.json" else {}
            if metadata:
                found.append(self._point(name, metadata))
        return sorted(found)

    def length(self, point: Point) -> int:
        """Return the number of replicates in a block at a point."""
        metadata = self._disk.table(f"record/{point.id}/zarr.json")
        if not metadata:
            raise DamagedError(f"{self._disk.named(f'record/{point.id}')}: the array is gone; run the study again")
        if self.original is not None:
            return int(metadata["attributes"]["block"])
        try:
            return checked_length(point, metadata, self.attributes)
        except ValueError as error:
            raise DamagedError(f"{self._disk.named(f'record/{point.id}/zarr.json')}: {error}; {_MEND}") from None

    def _point(self, name: str, metadata: Mapping[str, Any]) -> Point:
        """Return the point whose array has a name."""
        try:
            point = point_of(metadata["attributes"]["point"])
            if point.id == name:
                return point
            reason = f"is of {point.id}"
        except InputError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            reason = str(error)
        raise DamagedError(f"{self._disk.named(f'record/{name}/zarr.json')}: {reason}; {_MEND}")

    def done(self, point: Point) -> set[int]:
        """Return the indices of the blocks whose chunk exists."""
        length = self.length(point)
        if self.original is None:
            return set(chunk_indices(self._disk.at.names(f"record/{point.id}"), length))
        present = ~np.isnan(self.read(point)[::length, 0, self.fields.index("status")])
        return set(np.flatnonzero(present).tolist())

    def holds(self, block: Block) -> bool:
        """Return whether a block is done."""
        return self._disk.has(key_of(block.point, block.index))

    def poisoned(self) -> dict[Block, dict[str, Any]]:
        """Return the blocks that were given up and are not done, each with what `note_poisoned` wrote."""
        found = {}
        for name in self._disk.names("notes/poisoned"):
            with contextlib.suppress(DamagedError, KeyError):  # a torn note is a lost note
                note = self._disk.table(f"notes/poisoned/{name}")
                point = Point.of(note["point"])
                found[Block(point, note["block"], self.length(point))] = note
        return {block: note for block, note in sorted(found.items()) if not self.holds(block)}

    # -- numbers -------------------------------------------------------------------------------------------------

    def write(self, block: Block, values: Floats) -> None:
        """Commit a block: one chunk, one rename.

        Raises
        ------
        ValueError
            If the numbers are not those of a block of the store.
        """
        self._refuse_compacted()
        if values.shape != (block.length, *self._shape):
            raise ValueError(f"a block of shape {values.shape}; allowed: {(block.length, *self._shape)}")
        self._disk.put(key_of(block.point, block.index), encode(values))

    def read(self, point: Point) -> Floats:
        """Return the (replicates, times, fields) numbers of a point, NaN where a block is not done.

        Raises
        ------
        DamagedError
            If a block does not pass its checksum.
        """
        if self.original is not None:
            return self._read_compacted(point)
        length, done = self.length(point), sorted(self.done(point))
        values = np.full(((done[-1] + 1) * length if done else 0, *self._shape), np.nan)
        raws = self._disk.read(key_of(point, index) for index in done)
        for index, raw in zip(done, raws, strict=True):
            if raw is not None:  # else removed while it was read
                values[index * length : (index + 1) * length] = self._decoded(point, index, raw, length)
        return values

    def read_block(self, block: Block) -> Floats:
        """Return the numbers of a block that is done; errors as `read`."""
        raw = self._disk.get(key_of(block.point, block.index))
        if raw is None:
            raise DamagedError(f"{self._disk.named(key_of(block.point, block.index))}: gone; run the study again")
        return self._decoded(block.point, block.index, raw, block.length)

    @property
    def _shape(self) -> tuple[int, int]:
        """Save times and fields."""
        return len(self.attributes["save"]), len(self.attributes["fields"])

    def _decoded(self, point: Point, index: int, raw: bytes, length: int) -> Floats:
        try:
            return decode(raw, (length, *self._shape))
        except ValueError as error:
            raise DamagedError(f"{self._disk.named(key_of(point, index))}: {error}; {_MEND}") from None

    def _read_compacted(self, point: Point) -> Floats:
        key = f"record/{point.id}"
        try:
            return np.asarray(self._disk.array(key, "r")[:], dtype=np.float64)
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            raise DamagedError(f"{self._disk.named(key)}: its checksum does not match; compact again") from None

    # -- files, as they are --------------------------------------------------------------------------------------

    def files(self) -> list[tuple[str, int]]:
        """Return key and bytes of every file, sorted."""
        return self._disk.files()

    def raw(self, key: str) -> bytes:
        """Return the bytes of a file."""
        raw = self._disk.get(key)
        if raw is None:
            raise DamagedError(f"{self._disk.named(key)}: gone while it was read; try again")
        return raw

    # -- making and tidying --------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Make the groups again, and the arrays of points that were asked for, where they are gone."""
        self._ensure_groups()
        for point in self.requested():
            self._ensure_point(point)

    def tidy(self) -> None:
        """Remove what killed writes left behind a day ago or more; younger ones may be writes in progress."""
        self._disk.at.tidy()

    def publish(self, files: Mapping[str, bytes]) -> list[Path | str]:
        """Write files that are read outside, by key, each whole; return where they are."""
        for key, data in files.items():
            self._disk.put(key, data)
        local = isinstance(self._disk.at, Folder)
        return [self.path / key if local else self._disk.named(key) for key in files]

    def _refuse_compacted(self) -> None:
        if self.original is not None:
            raise InputError(f"{self.place}: a compacted copy, only to be read; allowed: its original, {self.original}")

    def _ensure_groups(self) -> None:
        self._refuse_compacted()
        self._disk.ensure_group("record", {})
        needed = {"reference": self.problem.reference.shares, "pools": bool(self.pools)}
        self._disk.ensure_group("artefacts", {"required": [name for name, required in needed.items() if required]})
        if self.pools:
            self._disk.ensure_group(POOLS, {})

    def _ensure_point(self, point: Point) -> None:
        layout = record_layout(point, block_length(point.size), self.attributes)
        self._disk.ensure_array(f"record/{point.id}", **layout)
