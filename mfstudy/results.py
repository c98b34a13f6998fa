"""What a store says: numbers with their errors, reduced from the stored ones. Imports no component."""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mfstudy.components import InputError, nearest
from mfstudy.ensemble import Floats
from mfstudy.fit import Fit, fit_rate
from mfstudy.marginals import End, Grams, law_ends, law_values, pool_correlation, pool_effect
from mfstudy.meanfield import Euler
from mfstudy.observables import Status
from mfstudy.quantities import Quantity, quantities
from mfstudy.rates import RateLaw, reference_slopes
from mfstudy.statements import Statement, statement
from mfstudy.store import DamagedError, Store
from mfstudy.study import Block, Point

if TYPE_CHECKING:
    import xarray as xr

#: Part of a size's replicates above which, if they failed, the size takes no part in a fit.
FAILED_FRACTION = 0.01
#: Relative standard error above which what is computed from all replicates takes no part in a fit.
RESOLVED = 0.5


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


@dataclass(frozen=True, eq=False)
class Check:
    """A stored number that theory bounds.

    Parameters
    ----------
    name, definition : str
    largest : (sizes,) array
        Its largest magnitude over replicates and save times; -1 where there is none.
    """

    name: str
    definition: str
    largest: Floats


class Results:
    """The numbers of a store, read once.

    Parameters
    ----------
    store : Store or str or Path
    """

    def __init__(self, store: Store | str | Path) -> None:
        self.store = store if isinstance(store, Store) else Store(store)
        self._attributes = self.store.attributes
        self._known_grams: dict[int, Grams | None] = {}

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
                raise DamagedError(f"{self.store.path}/record/{point.id}: holds blocks of another size")
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
            status = record[:, :, self._status_fields]
            done = ~np.isnan(status).any(axis=(1, 2))
            failed = done & (status != Status.OK).any(axis=(1, 2))
            rows.append(
                Counts(point.size, wanted[point] * self.store.length(point), int(done.sum()), int(failed.sum()))
            )
        return rows

    @property
    def _status_fields(self) -> list[int]:
        tables = self._attributes["observables"]
        own = {f"{t['label']}_{f['name']}" for t in tables for f in t["fields"] if f["role"] == "status"}
        return [i for i, name in enumerate(self.store.fields) if name == "status" or name in own]

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

    def to_xarray(self) -> xr.Dataset:
        """Return all stored numbers.

        Returns
        -------
        xarray.Dataset
            Dimensions (size, replicate, time). A status is -1 where a replicate is not there; an observable's numbers
            are NaN there and where its own status is not 1. Attributes say definition and unit.
        """
        import xarray as xr  # a third of a second that the command line does not need

        dims = ("size", "replicate", "time")
        fields = enumerate(self.store.fields)
        variables: dict[str, Any] = {
            name: (dims, self._cube[..., i].copy(), self._describe(name)) for i, name in fields
        }
        for i in self._status_fields:
            codes = np.nan_to_num(self._cube[..., i], nan=-1).astype(np.int16)
            variables[self.store.fields[i]] = (dims, codes, {"long_name": "how it ended", "codes": _codes()})
        return xr.Dataset(
            variables,
            coords={"size": self.sizes, "replicate": np.arange(self._cube.shape[1]), "time": self.times},
            attrs={"study": self.name, "problem": self._attributes["identity"]},
        )

    def _describe(self, name: str) -> dict[str, str]:
        for table in self._attributes["observables"]:
            for field in table["fields"]:
                if name == f"{table['label']}_{field['name']}":
                    return {"long_name": field["definition"], "units": field["unit"], "role": field["role"]}
        if name == "step_error":
            what = "root mean square distance to a run with half the step, replicate 0"
            return {"long_name": what, "units": "dimensionless"}
        return {"long_name": "number of particles", "units": "1"}

    def quantity(self, observable: str, p: float | None = None) -> Quantity:
        """Return a quantity by its observable's label (told by p where that is not enough) or by its own name.

        Raises
        ------
        InputError
            If there is none, or more than one.
        """
        known = list(dict.fromkeys(word for q in self.quantities for word in (q.observable, q.name)))
        named = [q for q in self.quantities if observable in (q.observable, q.name)]
        found = [q for q in named if p in (None, q.p)]
        if not named and any(observable == table["label"] for table in self._attributes["observables"]):
            raise InputError(f"observable: '{observable}' has checks and no rate; allowed: {', '.join(known)}")
        if not named:
            raise InputError(
                f"observable: unknown '{observable}'; allowed: {', '.join(known)}{nearest(observable, known)}"
            )
        if not found:
            orders = ", ".join(f"{q.p:g}" for q in named if q.p is not None)
            raise InputError(f"p: {p} of '{observable}' was not measured; allowed: {orders or 'None'}")
        if len(found) > 1:
            several = ", ".join(q.name for q in named)
            raise InputError(f"p: {p} does not tell which '{observable}'; allowed: a p, or one of {several}")
        return found[0]

    def values(self, quantity: Quantity, role: str = "estimate", time: int = -1) -> Floats:
        """Return the (sizes, replicates) numbers of a role of a quantity; NaN where absent or failed.

        Of a quantity that is a function of means over replicates, the estimates are jackknife values: their mean is
        the quantity, and they vary as single replicates of it would; where replicates share pools, one for each pool.
        """
        if role == "estimate" and role not in quantity.roles:
            return self._reduced(quantity, time)
        return self._cube[:, :, time, self.store.fields.index(quantity.roles[role])].copy()

    def _reduced(self, quantity: Quantity, time: int) -> Floats:
        """Return the jackknife values of each size, over its pools where replicates share some."""
        found = np.full(self._cube.shape[:2], np.nan)
        grams = self._grams(time) if "test" in quantity.raw else None
        for row, (kept, raw) in zip(found, self._raw(quantity, time), strict=True):
            if kept.any():
                groups = np.flatnonzero(kept) % quantity.pools if quantity.pools else None
                values = law_values(raw, groups, grams)
                row[np.flatnonzero(kept)[: len(values)]] = values
        return found

    def _grams(self, time: int) -> Grams | None:
        """Return the Gram matrices of test functions under rho^t, None where its nodes are not stored."""
        time %= len(self.times)
        if time not in self._known_grams:
            shared = self.store.shared() or {}
            known = Grams.of(shared["points"][time], shared["weights"]) if "points" in shared else None
            self._known_grams[time] = known
        return self._known_grams[time]

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
        if not quantity.raw:
            return [self._mean_ends(quantity, row, time) for row in range(len(self.sizes))]
        grams = self._grams(time) if "coupled" in quantity.raw else None
        if grams is None:
            return [(None, None)] * len(self.sizes)
        dimension = round(math.sqrt(2 * len(quantity.raw["difference"]) + 2.25) - 1.5)
        found = self._raw(quantity, time)
        return [law_ends(raw, grams, dimension) if kept.any() else (None, None) for kept, raw in found]

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

    def excluded(self, quantity: Quantity, time: int = -1) -> list[int]:
        """Return the sizes that take no part in a fit.

        Those at which more than 1 % of the replicates failed: they fail where the value is unusual, so that a mean over
        the others is not the mean. Those at which a quantity that is computed from all replicates is not resolved, its
        standard error above half of it.
        """
        status = self.values(quantity, "status", time)
        done = (~np.isnan(status)).sum(axis=1)
        failed = (~np.isnan(status) & (status != Status.OK)).sum(axis=1)
        out = failed > FAILED_FRACTION * done
        if quantity.raw:
            out |= self._unresolved(quantity, time)
        return [size for size, bad in zip(self.sizes, out, strict=True) if bad]

    def _unresolved(self, quantity: Quantity, time: int) -> NDArray[np.bool_]:
        rows = [row[np.isfinite(row)] for row in self.values(quantity, "estimate", time)]
        return np.array([len(r) > 1 and r.std(ddof=1) > RESOLVED * r.mean() * math.sqrt(len(r)) for r in rows])

    def fit(self, observable: str, time: int = -1, *, p: float | None = None) -> Fit:
        """Infer the rate of an observable's mean over the sweep.

        Parameters
        ----------
        observable : str
            Label of the observable.
        time : int
            Index of the save time.
        p : float, optional
            Which one, where several orders are measured under one label.

        Returns
        -------
        Fit

        Raises
        ------
        InputError
            If the observable or the time does not exist.
        """
        return self.fit_of(self.quantity(observable, p), time)

    def fit_of(self, quantity: Quantity, time: int = -1) -> Fit:
        """Infer the rate of a quantity; as `fit`."""
        if not isinstance(time, int) or not -len(self.times) <= time < len(self.times):
            raise InputError(f"time: index {time} is not allowed; allowed: 0 to {len(self.times) - 1}, or -1")
        values = self.values(quantity, "estimate", time)
        values[np.isin(self.sizes, self.excluded(quantity, time))] = np.nan
        return fit_rate(self.sizes, values, groups=self.groups(quantity), **self.sampling(quantity))

    def groups(self, quantity: Quantity) -> NDArray[np.int64] | None:
        """Return labels (sizes, replicates) of what replicates share, None where they share nothing.

        Of a quantity that is computed over pools each value is of another pool.
        """
        if not quantity.pools or quantity.raw:
            return None
        sizes, replicates = self._cube.shape[:2]
        pools = np.arange(replicates, dtype=np.int64) % quantity.pools
        return quantity.pools * np.arange(sizes, dtype=np.int64)[:, None] + pools

    def sampling(self, quantity: Quantity) -> dict[str, Any]:
        """Return what decides which laws are candidates, as keywords of `mfstudy.fit_rate`.

        Names of laws where the quantity has them; what is known of the sampling for a transport cost; else nothing.
        """
        if quantity.laws:
            return {"laws": quantity.laws}
        if quantity.p is None:
            return {}
        law = self._attributes["law"]
        return {
            "dim": law["support_dimension"],
            "moment": law["moment_order"],
            "p": quantity.p,
            "bounded": law["bounded"],
        }

    def slopes(self, quantity: Quantity) -> list[RateLaw]:
        """Return the laws to be drawn beside a quantity: those of its theorems, or of the sampling of a measure."""
        if quantity.slopes:
            return list(quantity.slopes)
        return list(reference_slopes(**self.sampling(quantity))) if quantity.p is not None else []

    @cached_property
    def checks(self) -> list[Check]:
        """The stored numbers that theory bounds and that have no rate."""
        return [
            Check(
                f"{table['label']}_{field['name']}",
                field["definition"],
                self._largest(f"{table['label']}_{field['name']}"),
            )
            for table in self._attributes["observables"]
            for field in table["fields"]
            if field["role"] == "check"
        ]

    def _largest(self, name: str) -> Floats:
        """Return the largest magnitude of a field over replicates and times, (sizes,); NaN where there is none."""
        values = np.abs(self._cube[..., self.store.fields.index(name)])
        return np.asarray(np.where(np.isnan(values), -1.0, values).max(axis=(1, 2), initial=-1.0))

    def step_errors(self, time: int = -1) -> list[float | None]:
        """Return the root mean square error of the time step at each size, from replicate 0; None where unknown."""
        if "step_error" not in self.store.fields:
            return [None] * len(self.sizes)
        if not self._cube.shape[1]:
            return [None] * len(self.sizes)
        return [_number(v) for v in self._cube[:, 0, time, self.store.fields.index("step_error")]]

    @cached_property
    def reference_errors(self) -> Floats | None:
        """What the solved reference says of its own error, (times, `mfstudy.references.ERRORS`); None = exact."""
        shared = self.store.shared()
        return np.asarray(shared["errors"], dtype=float) if shared and "errors" in shared else None

    def euler(self, time: int = -1, *, probes: bool = False) -> Euler:
        """Return density and velocity of monokinetic data at a save time, from the stored reference alone.

        Parameters
        ----------
        time : int
            Index of the save time.
        probes : bool
            At the probes between the nodes, of which there are many where few nodes are enough, for figures.

        Raises
        ------
        InputError
            If the store has none.
        """
        shared = self.store.shared()
        if not shared or "det_dx" not in shared:
            raise InputError(
                f"euler: no such fields in {self.store.path}; allowed: a store with a monokinetic law and the solved"
                " reference characteristics"
            )
        return Euler.of(shared, float(self.times[time]), time, probes)

    @cached_property
    def fits(self) -> list[tuple[Quantity, int, Fit]]:
        """The fit of every quantity at every save time, made once."""
        last = len(self.times) - 1
        return [
            (quantity, time, self.fit_of(quantity, time))
            for quantity in self.quantities
            for time in ([last] if quantity.per_run else range(len(self.times)))
        ]

    @property
    def measurable(self) -> bool:
        """Whether the first quantity of every observable has a rate, or is zero, at every save time."""
        first = {table["label"] for table in self._attributes["observables"]}
        return all(fit.verdict != "not-measurable" for quantity, _, fit in self.fits if quantity.observable in first)

    def table(self, quantity: Quantity, time: int, fit: Fit) -> dict[str, Any]:
        """Return one entry of `mfstudy fit --json`: plain data, null where a number does not exist."""
        used = [self.sizes.index(int(size)) for size in fit.sizes]
        bracket = np.full((len(used), 1), np.nan)
        if {"lower", "upper"} <= set(quantity.roles):
            bracket = (self.values(quantity, "upper", time) - self.values(quantity, "lower", time))[used] / 2
        errors = self.reference_errors
        return {
            "observable": quantity.observable,
            "quantity": quantity.name,
            "time": float(self.times[time]),
            "p": quantity.p,
            "sizes": [int(size) for size in fit.sizes],
            "replicates": [int(count) for count in fit.replicates],
            "excluded_sizes": self.excluded(quantity, time),
            "mean": _numbers(fit.mean),
            "standard_error": _numbers(fit.standard_error),
            "step_error_w2": [self.step_errors(time)[row] for row in used],
            "reference_error_w2": None if errors is None else float(errors[time, :3].sum()),
            "bracket_half_width": [float(np.nanmean(row)) if np.isfinite(row).any() else None for row in bracket],
            "estimator": fit.estimator,
            "effective_exponent": _number(fit.effective_exponent),
            "effective_exponent_interval": _numbers(fit.effective_exponent_interval),
            "law": fit.law,
            "exponent": _number(fit.exponent),
            "exponent_interval": _numbers(fit.exponent_interval),
            "log_power": _number(fit.log_power),
            "weights": fit.weights,
            "constant": _number(fit.constant),
            "constant_interval": _numbers(fit.constant_interval),
            "second_constant": _number(fit.second_constant),
            "p_value": _number(fit.p_value),
            "verdict": fit.verdict,
            "text": fit.text,
            **self._ends_table(quantity, time, used),
            "bounds": [asdict(found) for found in self.statements(quantity, fit)],
        }

    def _ends_table(self, quantity: Quantity, time: int, used: list[int]) -> dict[str, list[float | None]]:
        """Return the ends of a quantity's mean, and their standard errors, at the used sizes."""
        ends = self.ends(quantity, time)
        return {
            f"{name}{suffix}": [None if (end := ends[row][side]) is None else getattr(end, part) for row in used]
            for side, name in enumerate(("lower", "upper"))
            for suffix, part in (("", "value"), ("_standard_error", "standard_error"))
        }

    def statements(self, quantity: Quantity, fit: Fit) -> list[Statement]:
        """Return what a fit says of the rates that theorems state for a quantity."""
        return [found for law in quantity.slopes if (found := statement(law, fit)) is not None]

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


def _codes() -> str:
    return ", ".join(f"{status.value} {status.name}" for status in Status) + ", -1 absent"


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _numbers(values: Any) -> list[float | None] | None:
    return None if values is None else [_number(value) for value in values]
