"""Read everything that a store holds, and set aside what is not what was written."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mfstudy.components import InputError
from mfstudy.ensemble import Floats
from mfstudy.observables import Status
from mfstudy.store._artefacts import Artefact
from mfstudy.store._blocks import chunk_indices, decode, key_of
from mfstudy.store._disk import Disk, group_bytes
from mfstudy.store._places import DamagedError, place_of
from mfstudy.store._schema import block_length, request_of
from mfstudy.store._store import Store
from mfstudy.study import Block, Point

#: Files that say nothing of numbers: pages, and what was set aside before.
_PASSED = ("quarantine/", "report/")
#: All that is neither of a point nor of an artefact.
_KNOWN = re.compile(
    r"(record/|artefacts/|artefacts/pools/)?zarr\.json|sweeps/[0-9a-f]{16}\.json|notes/([\w.-]+/\d+|[\w.-]+)\.json"
)
_STRAY = "no file of a store has such a name"


@dataclass(frozen=True)
class Damage:
    """A file that is not what was written, or an artefact.

    Parameters
    ----------
    key : str
        Its place in the store.
    reason : str
    moved : str or None
        Where it was set aside, None where it stays.
    """

    key: str
    reason: str
    moved: str | None


@dataclass
class Inspection:
    """What was read of a store.

    Parameters
    ----------
    disk : Disk
    files, bytes : int
        All that were read.
    blocks, artefacts : int
        Of these, what holds numbers, and is sound.
    damage : list of Damage
    """

    disk: Disk = field(repr=False)
    files: int = 0
    bytes: int = 0
    blocks: int = 0
    artefacts: int = 0
    damage: list[Damage] = field(default_factory=list)

    @classmethod
    def of(cls, path: str | Path) -> Inspection:
        """Read everything in a store; what is damaged is moved into its `quarantine`, never deleted.

        Raises
        ------
        InputError
            If there is no store, or it cannot be read.
        """
        disk = Disk(place_of(path))
        found = cls(disk)
        try:
            store = Store(path)
            fault = _root_fault(store, disk.table("zarr.json"))
        except DamagedError as error:
            store, fault = None, str(error)
        except InputError:
            if not {"record", "zarr.json"} <= set(disk.names("")):
                raise
            store, fault = None, "not the root of a store"
        if fault:
            found.set_aside("zarr.json", ["zarr.json"], f"{fault}; run the study again to make it again")
        if store is None or fault:
            return found
        _Reader(store, disk, found).read()
        return found

    def set_aside_block(self, block: Block, reason: str) -> None:
        """Set aside a block whose file is sound and whose numbers are wrong."""
        key = key_of(block.point, block.index)
        self.set_aside(key, [key], reason)

    def set_aside(self, key: str, files: list[str], reason: str) -> None:
        """Move files to where nobody takes them for what they were; say why in one line."""
        folder = f"quarantine/{uuid.uuid4().hex[:12]}"
        for name in files:
            self.disk.at.set_aside(name, f"{folder}/{name}")
        self.damage.append(Damage(key, " ".join(reason.split()), f"{folder}/{key}" if files else None))


@dataclass(frozen=True)
class _Reader:
    """Reads one store: every file as what its name says it is."""

    store: Store
    disk: Disk
    found: Inspection

    def read(self) -> None:
        """Read every file, and set aside what is not what was written."""
        files = [entry for entry in self.disk.files() if not entry[0].startswith(_PASSED)]
        self.found.files, self.found.bytes = len(files), sum(size for _, size in files)
        folders: dict[str, list[str]] = defaultdict(list)
        artefacts = self.store.artefacts()
        for key, _ in files:
            folders[_folder(key, artefacts)].append(key)
        for folder, keys in sorted(folders.items()):
            kind, _, name = folder.partition("/")
            if kind == "artefacts" and name:
                self._artefact(folder, keys)
            elif kind == "record" and name and self.store.original is not None:
                self._compacted(name, keys)
            elif kind == "record" and name:
                self._record(name, keys)
            else:
                self._others(keys)

    def _fault(self, key: str, files: list[str], reason: str) -> None:
        moves = files if self.store.original is None else []
        self.found.set_aside(key, moves, reason)

    def _others(self, keys: list[str]) -> None:
        """Read what is neither a block nor an artefact."""
        for key, raw in self._each(keys):
            try:
                _check_plain(key, _sound(raw))
            except (ValueError, DamagedError) as error:
                self._fault(key, [key], str(error))

    def _each(self, keys: list[str]) -> Iterator[tuple[str, bytes | DamagedError]]:
        """Yield keys with their bytes, or with what keeps them from being read."""
        while keys:
            read = 0
            try:
                for raw in self.disk.read(keys):
                    read += 1
                    yield keys[read - 1], raw or b""
            except DamagedError as error:
                yield keys[read], error
            keys = keys[read + 1 :]

    def _artefact(self, folder: str, keys: list[str]) -> None:
        """Read an artefact, as a whole: without one of its parts it is made anew."""
        try:
            arrays = Artefact(self.disk, folder, self.store.attributes["identity"]).read()
            for name in arrays or ():
                assert arrays is not None
                arrays[name]
            self._strays(folder, keys, arrays)
        except DamagedError as error:
            self._fault(folder, keys, str(error).removeprefix(f"{self.disk.named(folder)}/"))
            return
        self.found.artefacts += arrays is not None

    def _strays(self, folder: str, keys: list[str], arrays: Mapping[str, Any] | None) -> None:
        """Set aside what does not belong to a complete artefact."""
        known = "|".join(map(re.escape, arrays)) if arrays is not None else r"\w+"
        belongs = re.compile(rf"zarr\.json|manifest\.json|({known})/(zarr\.json|c(\.\d+)+)")
        for key in keys:
            if not belongs.fullmatch(key.removeprefix(f"{folder}/")):
                self._fault(key, [key], _STRAY)

    def _record(self, name: str, keys: list[str]) -> None:
        """Read the blocks of a point."""
        folder, size = f"record/{name}", re.fullmatch(r"size-([1-9]\d{0,8})", name)
        point = Point(int(size[1])) if size else None
        if point is None:
            for key in keys:
                self._fault(key, [key], _STRAY)
            return
        length = self._length(point, keys)
        names = [key.removeprefix(f"{folder}/") for key in keys]
        for key in (
            {f"{folder}/{name}" for name in names}
            - {f"{folder}/zarr.json"}
            - {key_of(point, index) for index in chunk_indices(names, length)}
        ):
            self._fault(key, [key], _STRAY)
        chunks = [key_of(point, index) for index in sorted(chunk_indices(names, length))]
        for key, raw in self._each(chunks):
            self._block(key, raw, point, length)

    def _length(self, point: Point, keys: list[str]) -> int:
        """Return the block length of a point; where its array is damaged, that of a new one, which it will be."""
        key = f"record/{point.id}/zarr.json"
        try:
            if key in keys:
                return self.store.length(point)
        except DamagedError as error:
            self._fault(key, [key], str(error).removeprefix(f"{self.disk.named(key)}: "))
        return block_length(point.size)

    def _block(self, key: str, raw: bytes | DamagedError, point: Point, length: int) -> None:
        try:
            shape = (length, len(self.store.attributes["save"]), len(self.store.fields))
            self._check_numbers(decode(_sound(raw), shape), point)
            self.found.blocks += 1
        except (ValueError, DamagedError) as error:
            self._fault(key, [key], str(error))

    def _check_numbers(self, values: Floats, point: Point) -> None:
        """Refuse numbers that no block of a point holds, although they are what was written."""
        fields, present = self.store.fields, values[~np.isnan(values[:, 0, 0])]
        codes = present[:, :, self.store.status_fields]
        if not np.isin(codes, list(Status)).all():
            raise ValueError("a status that is unknown")
        if not (present[:, :, fields.index("particles")] == point.size).all():
            raise ValueError(f"it is of another size than N = {point.size}")
        if self.store.original is None and len(present) < len(values):
            raise ValueError("a replicate without a status")

    def _compacted(self, name: str, keys: list[str]) -> None:
        """Read a point of a compacted copy, which is made anew where it is damaged."""
        try:
            point = next(point for point in self.store.points() if point.id == name)
            self._check_numbers(self.store.read(point), point)
            self.found.blocks += len(self.store.done(point))
        except (ValueError, DamagedError, StopIteration) as error:
            self._fault(f"record/{name}", keys, str(error) or _STRAY)


def _folder(key: str, artefacts: list[str]) -> str:
    """Return what a file is judged with: its artefact, its point, or the others of its kind."""
    parts = key.split("/")
    if parts[0] == "record" and len(parts) > 2:
        return "/".join(parts[:2])
    return next((name for name in artefacts if key.startswith(f"{name}/")), parts[0])


def _sound(raw: bytes | DamagedError) -> bytes:
    """Return bytes, or raise what keeps them from being read."""
    if isinstance(raw, DamagedError):
        raise raw
    return raw


def _check_plain(key: str, raw: bytes) -> None:
    """Refuse a file that is not what its name says.

    Raises
    ------
    ValueError
        With the reason.
    """
    if not _KNOWN.fullmatch(key):
        raise ValueError(_STRAY)
    try:
        table = json.loads(raw)
    except ValueError:
        raise ValueError("not valid JSON") from None
    if not isinstance(table, dict):
        raise ValueError("not a JSON object")
    if key.startswith("sweeps/"):
        if key != f"sweeps/{hashlib.sha256(raw).hexdigest()[:16]}.json":
            raise ValueError("not what was asked for, by its hash; what a deepening asked for is to be asked for again")
        request_of(table)
    elif key.endswith("zarr.json") and not _is_group(table):
        raise ValueError("not a group")


def _is_group(table: Mapping[str, Any]) -> bool:
    """Return whether metadata are those of a group of the schema."""
    attributes = table.get("attributes")
    if not isinstance(attributes, dict):
        return False
    required = attributes.get("required", [])
    if not isinstance(required, list) or not set(map(str, required)) <= {"reference", "pools"}:
        return False
    plain = {name: value for name, value in table.items() if name != "consolidated_metadata"}
    return bool(plain == json.loads(group_bytes(attributes)))


def _root_fault(store: Store, root: Mapping[str, Any]) -> str:
    """Say what is wrong with the root of a store that opens; "" where nothing is."""
    if not all(re.fullmatch(r"[a-z]+|sha256", key) for key in store.attributes):
        return "its attributes have other names"
    text = json.dumps(store.attributes["problem"], sort_keys=True, separators=(",", ":"))
    if hashlib.sha256(text.encode()).hexdigest() != store.attributes["identity"]:
        return "the problem is not the one of its identity"
    return "" if _is_group(root) else "not the root of a store"
