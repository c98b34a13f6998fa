"""The numbers of a store, read once, and what is computed from those of all replicates. Imports no component."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mfstudy.ensemble import Floats
from mfstudy.marginals import End, law_ends, law_values, pool_correlation, pool_effect
from mfstudy.observables import Status
from mfstudy.quantities import Quantity, quantities
from mfstudy.store import DamagedError, Store
from mfstudy.study import Block, Point


@dataclass(frozen=True)
class Counts:
    """How many replicates a point has.

    Parameters
    ----------
    size : int
    wanted : int
        In whole blocks.
    done : int
        Stored, however they ended.
    failed : int
        Of these, not ended with Status.OK in every observable at every save time.
    """

    size: int
    wanted: int
    done: int
    failed: int


class Numbers:
    """The numbers of a store, read once.

    Parameters
    ----------
    store : Store or str or Path
    """

    def __init__(self, store: Store | str | Path) -> None:
        self.store = store if isinstance(store, Store) else Store(store)
        self._attributes = self.store.attributes
        self._known_values: dict[tuple[str, int], Floats] = {}
        self._known_ends: dict[tuple[str, int], list[tuple[End | None, End | None]]] = {}

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.store.name

    @property
    def times(self) -> Floats:
        """The save times, (T,)."""
        return np.asarray(self._attributes["save"], dtype=float)

    @cached_property
    def quantities(self) -> list[Quantity]:
        """What was measured, in the study's order."""
        return quantities(self._attributes["observables"])

    @cached_property
    def _records(self) -> dict[Point, Floats]:
        records = {point: self.store.read(point) for point in self.store.points()}
        for point, record in records.items():
            sizes = record[:, :, self.store.fields.index("particles")]
            if not np.all(np.isnan(sizes) | (sizes == point.size)):
                raise DamagedError(f"{self.store.place}/record/{point.id}: holds blocks of another size")
        return records

    @cached_property
    def _wanted(self) -> list[Block]:
        return self.store.wanted()

    @cached_property
    def counts(self) -> list[Counts]:
        """Replicates wanted, done and failed at each size."""
        wanted = collections.Counter(block.point for block in self._wanted)
        rows = []
        for point, record in self._records.items():
            status = record[:, :, self.store.status_fields]
            done = ~np.isnan(status).any(axis=(1, 2))
            failed = done & (status != Status.OK).any(axis=(1, 2))
            rows.append(
                Counts(point.size, wanted[point] * self.store.length(point), int(done.sum()), int(failed.sum()))
            )
        return rows

    def messages(self, limit: int) -> list[str]:
        """Return the first few lines that failed replicates left; notes of blocks without one are not read."""
        found = (
            f"{point.id}, {line}"
            for point, record in self._records.items()
            for _, note in sorted(self.store.notes(point, indices=self._failing(point, record)).items())
            for line in note.get("messages", ())
        )
        return list(itertools.islice(found, limit))

    def _failing(self, point: Point, record: Floats) -> list[int]:
        """Return the blocks with a replicate that failed."""
        status = record[:, :, self.store.status_fields]
        failed = (~np.isnan(status) & (status != Status.OK)).any(axis=(1, 2))
        return sorted(set((np.flatnonzero(failed) // self.store.length(point)).tolist()))

    @property
    def complete(self) -> bool:
        """Whether something is wanted, and all of it is stored."""
        done = {point: self.store.done(point) for point in self._records}
        return bool(self._wanted) and all(b.index in done.get(b.point, ()) for b in self._wanted)

    @property
    def failed(self) -> int:
        """Number of stored replicates that did not end with Status.OK."""
        return sum(row.failed for row in self.counts)

    @cached_property
    def _cube(self) -> Floats:
        """Every stored number, (sizes, replicates, times, fields), NaN where a block is not there."""
        depth = max((len(record) for record in self._records.values()), default=0)
        cube = np.full((len(self._records), depth, len(self.times), len(self.store.fields)), np.nan)
        for row, record in zip(cube, self._records.values(), strict=True):
            row[: len(record)] = record
        return cube

    def values(self, quantity: Quantity, role: str = "estimate", time: int = -1) -> Floats:
        """Return the (sizes, replicates) numbers of a role of a quantity; NaN where absent or failed.

        Of a quantity that is a function of means over replicates, the estimates are jackknife values: their mean is
        the quantity, and they vary as single replicates of it would; where replicates share pools, one for each pool.
        """
        if role == "estimate" and role not in quantity.roles:
            key = quantity.name, time % len(self.times)
            if key not in self._known_values:
                self._known_values[key] = self._reduced(quantity, time)
            return self._known_values[key].copy()
        return self._cube[:, :, time, self.store.fields.index(quantity.roles[role])].copy()

    def _reduced(self, quantity: Quantity, time: int) -> Floats:
        """Return the jackknife values of each size, over its pools where replicates share some."""
        found = np.full(self._cube.shape[:2], np.nan)
        for row, (kept, raw) in zip(found, self._raw(quantity, time), strict=True):
            if kept.any():
                groups = np.flatnonzero(kept) % quantity.pools if quantity.pools else None
                values = law_values(raw, groups)
                row[np.flatnonzero(kept)[: len(values)]] = values
        return found

    def _raw(self, quantity: Quantity, time: int) -> Iterator[tuple[NDArray[np.bool_], dict[str, Floats]]]:
        """Yield, for each size, which replicates are there, and what a quantity is computed from: role -> (R, k)."""
        columns = {role: self._columns(names, time) for role, names in quantity.raw.items()}
        for index in range(len(self.sizes)):
            kept = np.isfinite(columns["difference"][index]).all(axis=1)
            yield kept, {role: values[index][kept] for role, values in columns.items()}

    def ends(self, quantity: Quantity, time: int = -1) -> list[tuple[End | None, End | None]]:
        """Return the ends around a quantity's mean at each size, None where there is none.

        Of what is computed from all replicates see `mfstudy.marginals`; else the means of the replicates' own ends.
        """
        key = quantity.name, time % len(self.times)
        if key not in self._known_ends:
            found = self._law_ends(quantity, time) if quantity.raw else None
            self._known_ends[key] = found or [self._mean_ends(quantity, row, time) for row in range(len(self.sizes))]
        return self._known_ends[key]

    def _law_ends(self, quantity: Quantity, time: int) -> list[tuple[End | None, End | None]]:
        """Return the ends of what is computed from all replicates."""
        if "coupled" not in quantity.raw:
            return [(None, None)] * len(self.sizes)
        return [law_ends(raw) if kept.any() else (None, None) for kept, raw in self._raw(quantity, time)]

    def _mean_ends(self, quantity: Quantity, row: int, time: int) -> tuple[End | None, End | None]:
        """Return the means over replicates of their own ends."""

        def end(role: str) -> End | None:
            values = self.values(quantity, role, time)[row] if role in quantity.roles else np.zeros(0)
            kept = values[np.isfinite(values)]
            error = float(kept.std(ddof=1) / np.sqrt(len(kept))) if len(kept) > 1 else 0.0
            return End(float(kept.mean()), error) if len(kept) else None

        return end("lower"), end("upper")

    def _columns(self, names: Iterable[str], time: int) -> Floats:
        """Return stored numbers at a time, (sizes, replicates, names)."""
        return self._cube[:, :, time, [self.store.fields.index(name) for name in names]]

    @property
    def sizes(self) -> list[int]:
        """The sizes N, increasing."""
        return [point.size for point in self._records]

    def pool_effect(self, quantity: Quantity, time: int = -1) -> list[End | None]:
        """Return K (mean with pools of K copies / estimate - 1) at each size, None where it is not known.

        What is left of the size of the pools, extrapolated to infinitely many copies: 1 to leading order for the
        distance of the particles to (LV). Errors are taken over pools.
        """
        if "pool" not in quantity.roles:
            return [None] * len(self.sizes)
        rows = zip(*(self.values(quantity, role, time) for role in ("estimate", "pool")), strict=True)
        labels = np.arange(self._cube.shape[1]) % max(quantity.pools, 1)
        return [pool_effect(estimate, pool, labels, quantity.copies) for estimate, pool in rows]

    def pool_correlation(self, quantity: Quantity, time: int = -1) -> list[End | None]:
        """Return the mean correlation of replicates and their pools at each size, None where nothing is shared.

        0 within its error where pools have streams of their own; about (2 K)^-1/2 were each replicate among the copies
        of its pool.
        """
        if "pool_control" not in quantity.raw or not quantity.pools:
            return [None] * len(self.sizes)
        return [pool_correlation(raw["control"], raw["pool_control"]) for _, raw in self._raw(quantity, time)]
