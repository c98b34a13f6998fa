"""Where a store is: a local directory, or a prefix of a bucket (`_bucket`). What both can do, and how they refuse."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from mfstudy.components import InputError

if TYPE_CHECKING:
    from mfstudy.store._bucket import Bucket

#: Age from which an unfinished write cannot be in progress any more.
LITTER_SECONDS = 86400
#: What a write that is not finished is called at its end.
UNFINISHED = ".partial"
#: What a full disk and a full quota say.
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
#: What a disk says that will take nothing more.
NO_ACCESS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO})

_ADDRESS = re.compile(r"s3:/{1,2}([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(.+?)/?")


class DamagedError(RuntimeError):
    """A stored block or artefact is not what was written."""


def address_of(path: str | Path) -> tuple[str, str] | None:
    """Return bucket and prefix of an address, None for a local path; a `Path` has lost one of the slashes.

    Raises
    ------
    InputError
        If it begins like an address and is none.
    """
    if not str(path).startswith("s3:/"):
        return None
    found = _ADDRESS.fullmatch(str(path))
    if found is None or not set(found[2].split("/")).isdisjoint({"", ".", ".."}):
        raise InputError(f"{str(path)[:100]}: not an address; allowed: s3://BUCKET/PREFIX, or a local directory")
    return found[1], found[2]


def place_of(path: str | Path) -> Folder | Bucket:
    """Return the place of a store, without looking at it.

    Raises
    ------
    InputError
        If it is no address, or its endpoint or a missing package does not allow it.
    """
    address = address_of(path)
    if address is None:
        return Folder(Path(path))
    try:
        from mfstudy.store._bucket import Bucket, bucket
    except ImportError:
        raise InputError(f"{path}: object stores need obstore; allowed: pip install 'mfstudy[s3]'") from None
    return Bucket(bucket(*address))


class Folder(LocalStore):
    """A local directory. No link below it is followed, and no key leads out of it."""

    @property
    def place(self) -> str:
        """What messages call it."""
        return str(self.root)

    @property
    def address(self) -> str:
        """What another process finds it by."""
        return str(self.root.absolute())

    @property
    def taken(self) -> str | None:
        """Why no store can be made here, None where one can."""
        return "is a file; allowed: a directory for the store" if os.path.isfile(self.root) else None

    @property
    def present(self) -> bool:
        """Whether there is anything; False, and no error, for names too long for a file."""
        return os.path.exists(self.root)

    # -- what zarr asks for ----------------------------------------------------------------------------------------

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Buffer | None:
        """Return the bytes of a file, or a part of them."""
        self._checked(key)
        return await super().get(key, prototype, byte_range)

    async def set(self, key: str, value: Buffer) -> None:
        """Write a file by one rename."""
        self._checked(key)
        await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write a file, unless it is there."""
        self._checked(key)
        await super().set_if_not_exists(key, value)

    async def exists(self, key: str) -> bool:
        """Return whether there is such a file."""
        self._checked(key)
        return await super().exists(key)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names in a folder."""
        for name in self.names(prefix):
            yield name

    # -- what the schema asks for ----------------------------------------------------------------------------------

    def names(self, folder: str) -> Iterator[str]:
        """Yield what a folder holds, in any order."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._checked(folder)) as entries:
            for entry in entries:
                yield entry.name

    def files(self, folder: str) -> Iterator[tuple[str, int]]:
        """Yield the key and the bytes of every file below a folder; a link is a file."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._checked(folder)) as entries:
            for entry in entries:
                key = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    yield from self.files(key)
                else:
                    yield key, entry.stat(follow_symlinks=False).st_size

    def read(self, keys: Iterable[str]) -> Iterator[bytes | None]:
        """Yield the bytes of files, None where there is none, in order."""
        checked = None
        for key in keys:
            folder, _, name = key.rpartition("/")
            if folder != checked:
                base, checked = self._checked(folder), folder
            try:
                yield _bytes(os.path.join(base, name))
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise self._leaves(key) from None
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
                    raise
                yield None

    def set_aside(self, key: str, to: str) -> None:
        """Give a file another key."""
        target = self._checked(to)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        folder, _, name = key.rpartition("/")
        os.rename(os.path.join(self._checked(folder), name), target)  # a link itself, not what it leads to

    def tidy(self) -> None:
        """Remove what unfinished writes have left, but for what may still be in progress."""
        for litter in self.root.rglob(f"*{UNFINISHED}"):
            with contextlib.suppress(OSError):
                if time.time() - litter.stat().st_mtime > LITTER_SECONDS:
                    litter.unlink()

    def remove(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.root, ignore_errors=True)

    def beside(self) -> Folder:
        """Return a place for what `appear` moves here once it is whole."""
        return Folder(self.root.with_name(f"{self.root.name}.{uuid.uuid4().hex[:8]}{UNFINISHED}"))

    def appear(self, made: Folder) -> None:
        """Take over the whole of what was made `beside`."""
        os.rename(made.root, self.root)

    @property
    def abandoned(self) -> bool:
        """Whether this is what was made `beside` and did not appear: that has a name of its own."""
        return False

    def _checked(self, key: str) -> str:
        """Return the path of a key that stays in the directory, without following links."""
        path = str(self.root)
        for part in key.split("/") if key else ():
            path = os.path.join(path, part)
            if part in ("", ".", "..") or "\0" in part or os.path.islink(path):
                raise self._leaves(key)
        return path

    def _leaves(self, key: str) -> DamagedError:
        return DamagedError(f"{self.place}: {key!r} leads out of the store; remove it; allowed: what is below it")


def _bytes(path: str) -> bytes:
    """Read a file that is no link."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(handle, "rb", buffering=0) as file:
        return file.read()
