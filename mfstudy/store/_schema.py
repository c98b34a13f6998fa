"""What a new store says of itself, and how replicates are cut into blocks. Frozen: a change needs another schema."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mfstudy.replicate import field_names
from mfstudy.store._disk import array_bytes
from mfstudy.study import CAPACITY, Block, Point, Study
from mfstudy.theory import claims

FORMAT = "mfstudy"
SCHEMA = 3


def block_length(size: int) -> int:
    """Return the number of replicates in a block at size N.

    16 up to N = 4096, then halved with each doubling of N: small blocks make retries cheap, long ones keep the
    number of files and of tasks low. Frozen with the store's schema; stored with each point.
    """
    return max(1, min(16, 2 ** int(math.log2(65536 / size)))) if size < 65536 else 1


def plan_blocks(replicates: Mapping[Point, int], lengths: Mapping[Point, int]) -> list[Block]:
    """Return the whole blocks that hold a number of replicates at each point, by point and index."""
    return [
        Block(point, index, lengths[point])
        for point, count in replicates.items()
        for index in range(math.ceil(count / lengths[point]))
    ]


def root_attributes(study: Study) -> dict[str, Any]:
    """Return all that reading needs, so that no component is imported then."""
    problem, law = study.problem, study.problem.initial
    return sealed(
        {
            "format": FORMAT,
            "schema": SCHEMA,
            "identity": problem.identity,
            "name": study.name,
            "problem": problem.canonical,
            "study": study.text,
            "force": problem.force,
            "save": list(problem.time.save),
            "fields": list(field_names(problem)),
            "observables": problem.tables,
            "theorems": [asdict(claim) for claim in claims(problem)],
            "law": {
                "support_dimension": law.support_dimension,
                "bounded": math.isfinite(law.support_radius),
                "regular": law.regular,
                "moment_order": law.moment_order if math.isfinite(law.moment_order) else None,
            },
        }
    )


def sealed(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes with the hash of all the others."""
    others = {key: value for key, value in attributes.items() if key != "sha256"}
    text = json.dumps(others, sort_keys=True, separators=(",", ":"))
    return {**others, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def is_intact(attributes: Mapping[str, Any]) -> bool:
    """Return whether attributes are what was sealed; stores of the first versions have no seal."""
    return "sha256" not in attributes or sealed(attributes) == attributes


def record_layout(point: Point, length: int, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the layout of a point's array, with blocks of a length, in a store with these root attributes."""
    times, fields = len(attributes["save"]), len(attributes["fields"])
    return {
        "shape": (CAPACITY, times, fields),
        "chunks": (length, times, fields),
        "dtype": "float64",
        "dimension_names": ("replicate", "time", "field"),
        "attributes": {"point": point.table, "problem": attributes["identity"], "block": length},
    }


def checked_length(point: Point, metadata: Mapping[str, Any], attributes: Mapping[str, Any]) -> int:
    """Return the block length that the metadata of a point's array say.

    Raises
    ------
    ValueError
        If they are not those of the point's array in a store with these root attributes.
    """
    try:
        length = metadata["attributes"]["block"]
        if isinstance(length, int) and 1 <= length <= CAPACITY:
            expected = json.loads(array_bytes(**record_layout(point, length, attributes)))
            if _comparable(expected) == _comparable(metadata):
                return length
    except (KeyError, TypeError, AttributeError):
        pass
    raise ValueError("not the array of its point")


def _comparable(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata without what versions of zarr write in one way or another."""
    codecs = [(codec["name"], codec.get("configuration") or {}) for codec in metadata["codecs"]]
    kept = {key: value for key, value in metadata.items() if key != "storage_transformers" or value}
    return {**kept, "codecs": codecs}


def point_of(table: Any) -> Point:
    """Return the point of a stored dict.

    Raises
    ------
    ValueError
        If it is none, or its name would lead out of the store.
    InputError
        If it has axes that this version does not know.
    """
    if not isinstance(table, dict):
        raise ValueError("a point that is no table")
    point = Point.of(table)
    if type(point.size) is not int or not 2 <= point.size <= 10**8:
        raise ValueError(f"a point of size {str(point.size)[:30]!r}; allowed: an integer from 2 to 100000000")
    return point


def request_of(table: Mapping[str, Any]) -> dict[Point, int]:
    """Return the replicates that a file of `sweeps` asks for at each point; errors as `point_of`."""
    asked = {}
    rows = table.get("points")
    for row in rows if isinstance(rows, list) else [None]:
        count = row.get("replicates") if isinstance(row, dict) else None
        if not isinstance(row, dict) or type(count) is not int or not 0 < count <= CAPACITY:
            raise ValueError(f"not a list of points, each with 1 to {CAPACITY} replicates")
        asked[point_of(row.get("point"))] = count
    return asked
