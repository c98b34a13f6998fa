"""Verify a store: read everything, compute some of it again, set aside what is not what was written."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mfstudy.ensemble import Floats
from mfstudy.references import Shared
from mfstudy.replicate import run_block
from mfstudy.store import DamagedError, Inspection, Store
from mfstudy.study import Block, Point
from mfstudy.worker import provenance

#: Blocks that are computed again by default.
SAMPLE = 4
#: How far numbers of other versions or machines may be off: relative, and where they are about 0.
RELATIVE, ABSOLUTE = 1e-9, 1e-12

#: What of a block's note says that bytes are to be equal.
_SAME = ("versions", "python", "machine", "cpu")


@dataclass(frozen=True)
class Recomputed:
    """A block that was computed again.

    Parameters
    ----------
    block : str
        Its name.
    how : str
        "byte for byte" where versions and machine are those of its note, else to which tolerance.
    fault : str
        What is wrong; "" where it is what it should be.
    """

    block: str
    how: str
    fault: str = ""


@dataclass
class Verification:
    """What `verify` has read, computed again, and found.

    Parameters
    ----------
    inspection : Inspection
    recomputed : list of Recomputed
    passed : str
        Why nothing was computed again, where that was asked for; "" elsewhere.
    """

    inspection: Inspection
    recomputed: list[Recomputed] = field(default_factory=list)
    passed: str = ""

    @property
    def sound(self) -> bool:
        """Whether no damage was found."""
        return not self.inspection.damage and not any(row.fault for row in self.recomputed)

    @property
    def table(self) -> dict[str, Any]:
        """All of it as plain data."""
        found = self.inspection
        return {
            "store": found.disk.named(),
            "sound": self.sound,
            "files": found.files,
            "bytes": found.bytes,
            "blocks": found.blocks,
            "artefacts": found.artefacts,
            "damage": [asdict(damage) for damage in found.damage],
            "recomputed": [asdict(row) for row in self.recomputed],
            "not_recomputed": self.passed,
        }

    @property
    def lines(self) -> list[str]:
        """All of it in words: one line for each damage, then what was read and computed."""
        found = self.inspection
        lines = [
            f"damaged: {damage.key}: {damage.reason}{f'; moved to {damage.moved}' if damage.moved else ''}"
            for damage in found.damage
        ]
        lines.append(
            f"read {found.files} files, {found.bytes} bytes: {found.blocks} blocks, {found.artefacts} artefacts sound"
        )
        lines += [f"computed again: {row.block}: {row.fault or f'equal {row.how}'}" for row in self.recomputed]
        lines += [f"nothing computed again: {self.passed}"] if self.passed else []
        return [*lines, "sound" if self.sound else "damage was found; run the study again"]


def verify(path: str | Path, sample: int = SAMPLE, seed: int | None = None) -> Verification:
    """Read everything in a store, then compute a random sample of its blocks again.

    What is damaged is moved into `quarantine` in the store, never deleted; the next run computes it again.

    Parameters
    ----------
    path : str or Path
        The store.
    sample : int
        How many blocks are computed again, each at another point while there are more; 0 needs no component.
    seed : int, optional
        Chooses them; by default others each time.

    Raises
    ------
    InputError
        If there is no store, it cannot be read, or its components cannot be imported and blocks are to be computed.
    OSError
        If what is damaged cannot be moved.
    """
    if sample:
        with contextlib.suppress(DamagedError):  # which the inspection says
            Store(path).problem  # noqa: B018  -- what cannot be computed is refused before anything is moved
    inspection = Inspection.of(path)
    found = Verification(inspection)
    if any(damage.key == "zarr.json" for damage in inspection.damage) or not sample:
        return found
    store = Store(path)
    shared = store.shared()
    if shared is None or store.original is not None:
        found.passed = "the mean field is not solved" if shared is None else "a compacted copy; verify its original"
        return found
    for block in _sample(store, sample, random.Random(seed)):
        found.recomputed.append(_again(store, shared, block, inspection))
    return found


def _sample(store: Store, count: int, rng: random.Random) -> list[Block]:
    """Return some of the blocks that are there and have what they need, of as many points as possible."""
    ready = [point for point in store.points() if not store.lacking_pools([point])]
    stacks = []
    for point in ready:
        done = sorted(store.done(point))
        stacks.append([Block(point, index, store.length(point)) for index in rng.sample(done, min(count, len(done)))])
    rng.shuffle(stacks)
    return list(_dealt(stacks))[:count]


def _dealt(stacks: list[list[Block]]) -> Iterator[Block]:
    """Yield one of each stack in turn."""
    while stacks := [stack for stack in stacks if stack]:
        for stack in stacks:
            yield stack.pop()


def _again(store: Store, shared: Shared, block: Block, inspection: Inspection) -> Recomputed:
    """Compute a block again and compare; set it aside where bytes must be equal and are not."""
    name = f"{block.point.id}, block {block.index}"
    pools = partial(_pool, store, block.point)
    values = run_block(store.problem, store.problem.meanfield(shared), block, pools).values
    stored = store.read_block(block)
    if _is_here(store.notes(block.point, indices=[block.index]).get(block.index, {})):
        if stored.tobytes() == values.astype("<f8").tobytes():
            return Recomputed(name, "byte for byte")
        reason = "computed again it has other bytes, with the same versions on the same machine"
        inspection.set_aside_block(block, reason)
        return Recomputed(name, "byte for byte", reason)
    how = f"to {RELATIVE:g} relative or {ABSOLUTE:g}, by other versions or on another machine"
    if np.allclose(stored, values, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True):
        return Recomputed(name, how)
    return Recomputed(name, how, f"computed again it is off by {_off(stored, values)}; it stays where it is")


def _pool(store: Store, point: Point, index: int) -> Shared:
    pool = store.pool(point, index)
    assert pool is not None
    return pool


def _is_here(note: Mapping[str, Any]) -> bool:
    """Return whether a note says the versions and the machine that are here."""
    here = provenance()
    return all(note.get(key) == here[key] for key in _SAME)


def _off(stored: Floats, values: Floats) -> str:
    """Say how far numbers are off."""
    if (np.isnan(stored) != np.isnan(values)).any():
        return "numbers that are there in one alone"
    apart = np.abs(stored - values) / np.maximum(np.maximum(np.abs(stored), np.abs(values)), ABSOLUTE)
    return f"{np.nanmax(apart):.1e} relative"
