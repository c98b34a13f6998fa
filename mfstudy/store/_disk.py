"""A directory of bytes, JSON objects and arrays, by key: all of zarr that the schema uses."""

from __future__ import annotations

import contextlib
import errno
import json
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.errors import ContainsArrayError, ContainsGroupError
from zarr.storage import LocalStore

#: Age from which an unfinished write cannot be in progress any more.
LITTER_SECONDS = 86400
#: What a full disk and a full quota say.
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
#: What a disk says that will take nothing more.
NO_ACCESS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO})


class DamagedError(RuntimeError):
    """A stored block or artefact is not what was written."""


class Disk:
    """Files under one directory. Each is written by one rename, and what exists is never made anew.

    Parameters
    ----------
    path : Path
        The directory; made with the first write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zarr = LocalStore(path)

    def get(self, key: str) -> bytes | None:
        """Return the bytes of a file, None where there is none."""
        buffer = sync(self._zarr.get(key, prototype=default_buffer_prototype()))
        return None if buffer is None else buffer.to_bytes()

    def put(self, key: str, data: bytes) -> None:
        """Write a file whole."""
        sync(self._zarr.set(key, default_buffer_prototype().buffer.from_bytes(data)))

    def has(self, key: str) -> bool:
        """Return whether there is such a file."""
        return bool(sync(self._zarr.exists(key)))

    def names(self, folder: str) -> list[str]:
        """Return what a folder holds, sorted, without what unfinished writes have left."""

        async def collect() -> list[str]:
            return [name async for name in self._zarr.list_dir(folder) if not name.endswith(".partial")]

        return sorted(sync(collect()))

    def tidy(self) -> None:
        """Remove what unfinished writes have left, but for what may still be in progress."""
        for litter in self.path.rglob("*.partial"):
            with contextlib.suppress(OSError):
                if time.time() - litter.stat().st_mtime > LITTER_SECONDS:
                    litter.unlink()

    def table(self, key: str) -> dict[str, Any]:
        """Return a JSON object of the schema, empty where there is none.

        Raises
        ------
        DamagedError
            If the file is not JSON.
        """
        raw = self.get(key)
        try:
            table = json.loads(raw) if raw is not None else {}
        except ValueError:
            raise DamagedError(f"{self.path / key}: not valid JSON; restore it from a copy") from None
        return table if isinstance(table, dict) else {}

    def ensure_group(self, key: str, attributes: dict[str, Any]) -> None:
        """Make a group, unless it is there."""
        with contextlib.suppress(ContainsGroupError):  # made before, or by another driver with the same bytes
            zarr.create_group(self._zarr, path=key, attributes=attributes)

    def ensure_array(self, key: str, **layout: Any) -> None:
        """Make an array whose chunks end with their checksum, unless it is there."""
        with contextlib.suppress(ContainsArrayError):  # made before, or by another driver with the same bytes
            zarr.create_array(
                self._zarr,
                name=key,
                fill_value=np.nan,
                filters=None,
                compressors=[Crc32cCodec()],
                chunk_key_encoding={"name": "default", "separator": "."},
                **layout,
            )

    def array(self, key: str, mode: Literal["r", "r+"] = "r+", every_chunk: bool = False) -> Any:
        """Open an array; with `every_chunk`, chunks of nothing but NaN are written too."""
        with zarr.config.set({"array.write_empty_chunks": every_chunk}):  # the array keeps what it was opened with
            return zarr.open_array(self._zarr, path=key, mode=mode)
