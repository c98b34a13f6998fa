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
    quarantine/               damaged files that `verify` has set aside, under the keys they had

The place is a local directory or s3://BUCKET/PREFIX: the same keys, the same bytes. A compacted copy (`compact`) has
the attribute `compacted`, one sharded array a point, trimmed, and the notes of a point in one file.

Nothing is resized and every write is idempotent, so there is no lock: two drivers at worst compute a block twice,
to the same bytes. A block is done when its chunk exists.
"""

from __future__ import annotations

from mfstudy.store._artefacts import CHUNK_BYTES
from mfstudy.store._compact import compact
from mfstudy.store._inspect import Damage, Inspection
from mfstudy.store._places import NO_ACCESS, NO_SPACE, DamagedError
from mfstudy.store._schema import block_length, plan_blocks
from mfstudy.store._shared import POOLS, REFERENCE
from mfstudy.store._store import Store

__all__ = [
    "CHUNK_BYTES",
    "NO_ACCESS",
    "NO_SPACE",
    "POOLS",
    "REFERENCE",
    "Damage",
    "DamagedError",
    "Inspection",
    "Store",
    "block_length",
    "compact",
    "plan_blocks",
]
