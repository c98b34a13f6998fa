"""Blocks as bytes: little-endian numbers and their CRC-32C, which is what zarr's codecs make of one chunk."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import google_crc32c
import numpy as np

from mfstudy.ensemble import Floats
from mfstudy.study import CAPACITY, Point

_CHUNK = re.compile(r"c\.(0|[1-9]\d{0,8})\.0\.0")


def key_of(point: Point, index: int) -> str:
    """Return the key of a block."""
    return f"record/{point.id}/c.{index}.0.0"


def chunk_indices(names: Iterable[str], length: int) -> Iterator[int]:
    """Yield the indices of the names that are those of blocks of a length."""
    for name in names:
        found = _CHUNK.fullmatch(name)
        if found and int(found[1]) * length < CAPACITY:
            yield int(found[1])


def encode(values: Floats) -> bytes:
    """Return the bytes of a block."""
    numbers = np.ascontiguousarray(values, dtype="<f8").tobytes()
    return b"".join((numbers, google_crc32c.value(numbers).to_bytes(4, "little")))


def decode(raw: bytes, shape: tuple[int, ...]) -> Floats:
    """Return the numbers of a block.

    Raises
    ------
    ValueError
        If the bytes are not those of a block of that shape, or not what was written.
    """
    if len(raw) != 8 * int(np.prod(shape)) + 4:
        raise ValueError("it is cut off, or of another shape")
    if google_crc32c.value(raw[:-4]) != int.from_bytes(raw[-4:], "little"):
        raise ValueError("its checksum does not match")
    return np.frombuffer(raw[:-4], dtype="<f8").reshape(shape)
