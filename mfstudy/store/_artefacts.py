"""What blocks share: arrays by name, written once, each verified before it is used."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mfstudy.references import Shared
from mfstudy.store._disk import Disk
from mfstudy.store._places import DamagedError

#: Bytes of a chunk of a shared array, about: one step of a trajectory can be read without the others.
CHUNK_BYTES = 4 * 2**20

_NAME = re.compile(r"[a-z][a-z0-9_]{0,49}")


@dataclass(frozen=True)
class Artefact:
    """A folder of arrays and a manifest with their hashes, which is written last and makes it complete.

    Parameters
    ----------
    disk : Disk
    key : str
        The folder; its last part is the artefact's name in messages.
    problem : str
        Identity of the problem that it belongs to.
    """

    disk: Disk
    key: str
    problem: str

    def read(self) -> Shared | None:
        """Return the arrays, None until they are complete.

        Each array is read, verified against the manifest's hash, and kept, when it is first asked for.

        Raises
        ------
        DamagedError
            If the manifest or an array is not what was written; the mapping raises it too.
        """
        raw = self.disk.get(f"{self.key}/manifest.json")
        if raw is None:
            return None
        hashes = self._hashes(raw)
        return _Arrays(hashes, lambda name: self._verified(name, hashes[name]))

    def write(self, arrays: Shared) -> None:
        """Store the arrays, unless they are complete; another driver that stores the same does no harm.

        Parameters
        ----------
        arrays : mapping of str to array
            float64 or complex128, of one dimension or more, by name.

        Raises
        ------
        ValueError
            If a name or an array cannot be stored.
        DamagedError
            If an unfinished artefact of another shape is in the way, or a complete one is damaged.
        """
        if self.read() is not None:
            return
        self.disk.ensure_group(self.key, {})
        table = {name: self._put(name, values) for name, values in arrays.items()}
        manifest = {"problem": self.problem, "arrays": table}
        self.disk.put(f"{self.key}/manifest.json", json.dumps(manifest, sort_keys=True, indent=1).encode())

    def _put(self, name: str, values: NDArray[Any]) -> dict[str, Any]:
        """Write one array and return what the manifest says of it."""
        self._check(name, values)
        values = np.ascontiguousarray(values)
        length = min(len(values), CHUNK_BYTES * len(values) // max(values.nbytes, 1))
        chunks = tuple(max(n, 1) for n in (length, *values.shape[1:]))
        self.disk.ensure_array(f"{self.key}/{name}", shape=values.shape, chunks=chunks, dtype=str(values.dtype))
        array = self._opened(name, "r+")
        if _description(array) != _description(values):
            raise self._broken(name, "left unfinished with another shape")
        for rows in _chunk_rows(array):
            array[rows] = values[rows]
        return {**_description(values), "sha256": _sha256(values)}

    def _check(self, name: str, values: NDArray[Any]) -> None:
        """Refuse what cannot be stored."""
        label = self.key.rpartition("/")[2]
        if not _NAME.fullmatch(name):
            raise ValueError(f"{label}: the name {name!r} of an array is not allowed; allowed: lower-case, '_', 0-9")
        if values.dtype not in (np.float64, np.complex128) or values.ndim == 0:
            raise ValueError(
                f"{label}: the array {name!r} is {values.ndim}-dimensional {values.dtype}; allowed: float64 or"
                " complex128 of one dimension or more"
            )

    def _hashes(self, raw: bytes) -> dict[str, str]:
        """Return the hash of each array, by name; refuse a manifest that does not describe what is there."""
        try:
            manifest = json.loads(raw)
            problem, table = manifest["problem"], manifest["arrays"]
            hashes = {name: str(entry.pop("sha256")) for name, entry in table.items()}
            if not all(map(_NAME.fullmatch, hashes)):
                raise ValueError("a name that is none of an array")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._broken("manifest.json", "not a valid manifest") from None
        if problem != self.problem:
            raise self._broken("manifest.json", "belongs to another problem")
        for name, entry in table.items():
            array = self._opened(name, "r")
            if _description(array) != entry:
                raise self._broken(name, "is not the array that its manifest describes")
            if array.nchunks_initialized < array.nchunks:
                raise self._broken(name, "a chunk is missing")
        return hashes

    def _verified(self, name: str, sha256: str) -> NDArray[Any]:
        """Return an array that is what was written, every byte of it."""
        array = self._opened(name, "r")
        values = np.empty(array.shape, array.dtype)
        for index, rows in enumerate(_chunk_rows(array)):
            try:
                values[rows] = array[rows]
            except ValueError:
                chunk = ".".join(["c", str(index), *["0"] * (array.ndim - 1)])
                raise self._broken(f"{name}/{chunk}", "its checksum does not match") from None
        if _sha256(values) != sha256:
            raise self._broken(name, "its contents do not match the manifest's hash")
        return values

    def _opened(self, name: str, mode: Literal["r", "r+"]) -> Any:
        """Open an array whose chunks are all written, whatever they hold: an absent one is damage."""
        try:
            return self.disk.array(f"{self.key}/{name}", mode, every_chunk=True)
        except (
            DamagedError,
            FileNotFoundError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
        ):  # by torn ones
            raise self._broken(name, "the array is gone or not readable") from None

    def _broken(self, name: str, reason: str) -> DamagedError:
        folder = self.disk.named(self.key)
        return DamagedError(f"{folder}/{name}: {reason}; delete {folder} and run the study again")


class _Arrays(Mapping[str, NDArray[Any]]):
    """Arrays by name, each read when it is first asked for, and kept."""

    def __init__(self, names: Iterable[str], read: Callable[[str], NDArray[Any]]) -> None:
        self._names, self._read = tuple(sorted(names)), cache(read)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _chunk_rows(array: Any) -> list[slice]:
    """Return the rows of each chunk: one at a time, a failure leaves no other read or write behind."""
    return [slice(start, start + array.chunks[0]) for start in range(0, array.shape[0], array.chunks[0])]


def _description(array: Any) -> dict[str, Any]:
    """Return what a manifest says of an array, besides its hash."""
    return {"shape": list(array.shape), "dtype": str(array.dtype)}


def _sha256(values: NDArray[Any]) -> str:
    """Return the SHA-256 of an array's bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data).hexdigest()
