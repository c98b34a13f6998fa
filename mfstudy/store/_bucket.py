"""A prefix of an S3 bucket as the place of a store. The only module that knows obstore."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import itertools
import os
import re
from collections.abc import AsyncGenerator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest
from zarr.core.buffer import Buffer
from zarr.storage import ObjectStore

from mfstudy.components import InputError
from mfstudy.store._places import UNFINISHED

if TYPE_CHECKING:
    from obstore import GetOptions

#: Where obstore looks for an endpoint, first to last.
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
#: What servers say of credentials, where obstore does not.
_DENIED = frozenset({"AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"})
#: Object of a place in which something is being made.
_MARK = f"making{UNFINISHED}"
#: Tries of a request that the server may answer later, and seconds after which there are no more.
RETRIES, PATIENCE = 5, 30
#: Objects that are read at once.
TOGETHER = 16


def bucket(name: str, prefix: str) -> S3Store:
    """Return obstore's store; credentials, region and endpoint come from the AWS_* variables.

    Raises
    ------
    InputError
        If the endpoint would be spoken to in clear on a network.
    """
    return S3Store(
        name,
        prefix=prefix,
        client_options={"allow_http": _is_loopback(), "connect_timeout": "5s", "timeout": "60s"},
        retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=PATIENCE)},
    )


def _is_loopback() -> bool:
    """Return whether the endpoint is plain HTTP on this machine; refuse plain HTTP elsewhere."""
    variable = next((name for name in ENDPOINTS if os.environ.get(name)), None)
    if variable is None or not os.environ[variable].lower().startswith("http:"):
        return False
    host = urlsplit(os.environ[variable]).hostname or ""
    with contextlib.suppress(ValueError):
        if host == "localhost" or ipaddress.ip_address(host).is_loopback:
            return True
    raise InputError(f"{variable}: {os.environ[variable]!r} is not encrypted; allowed: https, or http on 127.0.0.1")


class Bucket(ObjectStore[S3Store]):
    """Objects below a prefix. Each is written whole; no conditional write is needed."""

    @property
    def place(self) -> str:
        """What messages call it, and what another process finds it by."""
        return f"s3://{self.store.config['bucket']}/{self.store.prefix}"

    @property
    def address(self) -> str:
        """What another process finds it by."""
        return self.place

    @property
    def taken(self) -> None:
        """Why no store can be made here: nothing is in the way of a prefix."""
        return

    @property
    def present(self) -> bool:
        """Whether there is anything; an error where there is no such bucket."""
        with _said():
            return any(True for batch in obstore.list(self.store, chunk_size=1) for _ in batch)

    # -- what zarr asks for: never obstore's own coroutines, which may still touch Python when it ends, and abort it --

    async def get(self, key: str, prototype: Any, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return the bytes of an object, or a part of them."""
        raw = await asyncio.to_thread(self._bytes, key, byte_range)
        return None if raw is None else prototype.buffer.from_bytes(raw)

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object."""
        await asyncio.to_thread(self._put, key, value.to_bytes())

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write an object, unless it is there; not all servers have conditional writes."""
        if not await self.exists(key):
            await self.set(key, value)

    async def exists(self, key: str) -> bool:
        """Return whether there is such an object."""
        return await asyncio.to_thread(self._exists, key)

    async def list_dir(self, prefix: str) -> AsyncGenerator[str, None]:
        """Yield the names in a folder."""
        for name in await asyncio.to_thread(lambda: list(self.names(prefix))):
            yield name

    async def list_prefix(self, prefix: str) -> AsyncGenerator[str, None]:
        """Yield the keys of every object below a folder."""
        for key, _ in await asyncio.to_thread(lambda: list(self.files(prefix.rstrip("/")))):
            yield key

    def _bytes(self, key: str, part: ByteRequest | None = None) -> bytes | None:
        with _said():
            try:
                return bytes(obstore.get(self.store, key, options=_options(part)).bytes())
            except FileNotFoundError:
                return None

    def _put(self, key: str, data: bytes) -> None:
        with _said():
            try:
                obstore.put(self.store, key, data)
            except FileNotFoundError:
                raise OSError(errno.EACCES, "no such bucket") from None

    def _exists(self, key: str) -> bool:
        with _said(), contextlib.suppress(FileNotFoundError):
            obstore.head(self.store, key)
            return True
        return False

    # -- what the schema asks for ----------------------------------------------------------------------------------

    def names(self, folder: str) -> Iterator[str]:
        """Yield what a folder holds, in any order."""
        with _said():
            found = obstore.list_with_delimiter(self.store, folder or None)
        keys = [*found["common_prefixes"], *(meta["path"] for meta in found["objects"])]
        return (key.rpartition("/")[2] for key in keys)

    def files(self, folder: str) -> Iterator[tuple[str, int]]:
        """Yield the key and the bytes of every object below a folder."""
        with _said():
            for batch in obstore.list(self.store, prefix=folder or None):
                yield from ((meta["path"], meta["size"]) for meta in batch)

    def read(self, keys: Iterable[str]) -> Iterator[bytes | None]:
        """Yield the bytes of objects, None where there is none, in order; some at once."""
        waiting = iter(keys)
        first = list(itertools.islice(waiting, 1))
        yield from map(self._bytes, first)
        with ThreadPoolExecutor(TOGETHER) as pool:  # a thread starts with the first object that it reads
            while some := list(itertools.islice(waiting, 16 * TOGETHER)):
                yield from pool.map(self._bytes, some)

    def set_aside(self, key: str, to: str) -> None:
        """Give an object another key: a copy, then a removal."""
        with _said():
            obstore.copy(self.store, key, to)
            obstore.delete(self.store, key)

    def tidy(self) -> None:
        """Do nothing: an object that is not finished is not seen, and the server's own rules remove it."""

    def remove(self) -> None:
        """Remove everything below the prefix."""
        with _said():
            for batch in obstore.list(self.store):
                obstore.delete(self.store, [meta["path"] for meta in batch])

    def beside(self) -> Bucket:
        """Return this place, marked: nothing here can be renamed at once, so that the root is written last."""
        self._put(_MARK, b"")
        return self

    def appear(self, made: Bucket) -> None:
        """Take the mark of `beside` away."""
        with _said():
            obstore.delete(made.store, _MARK)

    @property
    def abandoned(self) -> bool:
        """Whether this is what was made `beside` and did not appear."""
        return self._exists(_MARK)


def _options(part: ByteRequest | None) -> GetOptions | None:
    """Return which part of an object is meant, as obstore says it."""
    if isinstance(part, RangeByteRequest):
        return {"range": (part.start, part.end)}
    if isinstance(part, OffsetByteRequest):
        return {"range": {"offset": part.offset}}
    return None if part is None else {"range": {"suffix": part.suffix}}


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """Say what the server, or the way to it, refuses, as a disk would."""
    try:
        yield
    except BaseError as error:
        _refused(error)


def _refused(error: BaseError) -> NoReturn:
    text = str(error)
    code = re.search(r"<Code>(\w+)</Code>", text)
    first = text.splitlines()[0]
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or (code and code[1] in _DENIED):
        raise OSError(errno.EACCES, f"no permission ({code[1] if code else first})") from None
    if code and code[1] == "NoSuchBucket":
        raise OSError(errno.EACCES, "no such bucket") from None
    reason = code[1] if code else first.rpartition(" - ")[2].strip()
    raise OSError(errno.EIO, f"the object store does not answer as it should ({reason[:200]})") from None
