"""Bytes, JSON objects and arrays by key, in whatever place: all of zarr that the schema uses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from mfstudy.store._places import UNFINISHED, DamagedError, Folder

if TYPE_CHECKING:
    from mfstudy.store._bucket import Bucket

#: All that arrays of a store are made of; other types and filters can hold code, and are not looked at.
_TYPES, _CODECS = frozenset({"float64", "complex128"}), frozenset({"bytes", "crc32c", "sharding_indexed"})


class Disk:
    """Files of one store. Each is written whole, and what exists is never made anew.

    Parameters
    ----------
    at : Folder or Bucket
        Where they are; made with the first write.
    """

    def __init__(self, at: Folder | Bucket) -> None:
        self.at = at

    def named(self, key: str = "") -> str:
        """Return what messages call a file."""
        return f"{self.at.place}/{key}" if key else self.at.place

    def get(self, key: str) -> bytes | None:
        """Return the bytes of a file, None where there is none."""
        return next(self.at.read([key]))

    def read(self, keys: Iterable[str]) -> Iterator[bytes | None]:
        """Yield the bytes of many files, None where there is none."""
        return self.at.read(keys)

    def put(self, key: str, data: bytes) -> None:
        """Write a file whole."""
        sync(self.at.set(key, default_buffer_prototype().buffer.from_bytes(data)))

    def has(self, key: str) -> bool:
        """Return whether there is such a file."""
        return bool(sync(self.at.exists(key)))

    def names(self, folder: str) -> list[str]:
        """Return what a folder holds, sorted, without what unfinished writes have left."""
        return sorted(name for name in self.at.names(folder) if not name.endswith(UNFINISHED))

    def files(self, folder: str = "") -> list[tuple[str, int]]:
        """Return key and bytes of every file below a folder, sorted, without what unfinished writes have left."""
        return sorted(entry for entry in self.at.files(folder) if not entry[0].endswith(UNFINISHED))

    def table(self, key: str) -> dict[str, Any]:
        """Return a JSON object of the schema, empty where there is none.

        Raises
        ------
        DamagedError
            If the file is not a JSON object.
        """
        raw = self.get(key)
        if raw is None:
            return {}
        try:
            table = json.loads(raw)
        except ValueError:
            table = None
        if not isinstance(table, dict):
            raise DamagedError(f"{self.named(key)}: not valid JSON; restore it from a copy, or set it aside (verify)")
        return table

    def ensure_group(self, key: str, attributes: dict[str, Any]) -> None:
        """Make a group, unless it is there."""
        self._ensure(f"{key}/zarr.json".lstrip("/"), group_bytes(attributes))

    def ensure_array(self, key: str, **layout: Any) -> None:
        """Make an array whose chunks end with their checksum, unless it is there."""
        self._ensure(f"{key}/zarr.json", array_bytes(**layout))

    def _ensure(self, key: str, data: bytes) -> None:
        """Write a file, unless it is there: another driver writes the same bytes."""
        if self.get(key) is None:
            self.put(key, data)

    def array(self, key: str, mode: Literal["r", "r+"] = "r+", every_chunk: bool = False) -> Any:
        """Open an array; with `every_chunk`, chunks of nothing but NaN are written too.

        Raises
        ------
        FileNotFoundError, ValueError, KeyError, TypeError, AttributeError
            If it is gone, or its metadata are not those of an array.
        DamagedError
            If it is made of what no store holds.
        """
        _refuse_foreign(self.table(f"{key}/zarr.json"), self.named(key))
        with zarr.config.set({"array.write_empty_chunks": every_chunk}):  # the array keeps what it was opened with
            return zarr.open_array(self.at, path=key, mode=mode, zarr_format=3)


def group_bytes(attributes: dict[str, Any]) -> bytes:
    """Return the metadata of a group."""
    memory = MemoryStore()
    zarr.create_group(memory, attributes=attributes)
    return _metadata(memory)


def array_bytes(**layout: Any) -> bytes:
    """Return the metadata of an array of numbers whose chunks end with their checksum."""
    memory = MemoryStore()
    zarr.create_array(
        memory,
        fill_value=np.nan,
        filters=None,
        compressors=[Crc32cCodec()],
        chunk_key_encoding={"name": "default", "separator": "."},
        **layout,
    )
    return _metadata(memory)


def _metadata(memory: MemoryStore) -> bytes:
    buffer = sync(memory.get("zarr.json", default_buffer_prototype()))
    assert buffer is not None
    return buffer.to_bytes()


def _refuse_foreign(metadata: dict[str, Any], name: str) -> None:
    """Refuse types and filters that no array of a store has: some decode by running what they hold."""
    if not metadata:
        return
    codecs, found = list(metadata["codecs"]), set()
    for codec in codecs:
        found.add(codec["name"])
        inner = codec.get("configuration") or {}
        codecs += [*inner.get("codecs", ()), *inner.get("index_codecs", ())]
    if str(metadata["data_type"]) not in _TYPES or not found <= _CODECS or metadata.get("storage_transformers"):
        raise DamagedError(f"{name}/zarr.json: not an array of a store, not read; allowed: numbers with checksums")
