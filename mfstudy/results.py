"""What a store says: numbers with their errors, reduced from the stored ones. Imports no component."""

from __future__ import annotations

import collections
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mfstudy.components import InputError, nearest
from mfstudy.ensemble import Floats
from mfstudy.fit import Fit, fit_rate
from mfstudy.gelbrich import values_over_replicates
from mfstudy.meanfield import Euler
from mfstudy.observables import Status
from mfstudy.rates import RateLaw, reference_slopes
from mfstudy.store import DamagedError, Store
from mfstudy.study import Block, Point

if TYPE_CHECKING:
    import xarray as xr

#: Roles of what a quantity is computed from, over all replicates: difference, control variate, known moment.
RAW = ("difference", "control", "moment")
#: Part of a size's replicates above which, if they failed, the size takes no part in a fit.
FAILED_FRACTION = 0.01


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


@dataclass(frozen=True)
class Quantity:
    """One stored quantity of an observable.

    Parameters
    ----------
    observable : str
        Label of the observable; for a further quantity of the same observable its name.
    name : str
        Name of the variable in `Results.to_xarray`.
    p : float or None
        Order of the power W_p^p.
    definition, unit : str
    roles : dict
        Role -> name of the variable: "estimate", "lower", "upper", "standard_error", "status", ...
    per_run : bool
        Whether there is one number for the whole run, stored with each save time.
    """

    observable: str
    name: str
    p: float | None
    definition: str
    unit: str
    roles: dict[str, str]
    per_run: bool


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

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.store.name

    @property
    def times(self) -> Floats:
        """The save times, (T,)."""
        return np.asarray(self._attributes["save"], dtype=float)

    @property
    def quantities(self) -> list[Quantity]:
        """What was measured, in the study's order."""
        return [
            Quantity(
                observable=table["label"] if estimate is first else f"{table['label']}_{estimate['name']}",
                name=f"{table['label']}_{estimate['name']}",
                p=table["p"],
                definition=estimate["definition"],
                unit=estimate["unit"],
                roles={
                    f["role"]: f"{table['label']}_{f['name']}"
                    for f in table["fields"]
                    if (f["quantity"] == estimate["quantity"] and f["role"] not in RAW) or f["role"] == "status"
                },
                per_run=estimate["per"] == "run",
            )
            for table in self._attributes["observables"]
            for estimates in [
                [
                    *([table["reduced"]] if "reduced" in table else ()),
                    *(f for f in table["fields"] if f["role"] == "estimate"),
                ]
            ]
            for first in estimates[:1]
            for estimate in estimates
        ]

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
        the quantity, and they vary as single replicates of it would.
        """
        if role == "estimate" and role not in quantity.roles:
            return self._reduced(quantity, time)
        return self._cube[:, :, time, self.store.fields.index(quantity.roles[role])].copy()

    def _reduced(self, quantity: Quantity, time: int) -> Floats:
        table = self._table_of(quantity)
        differences, controls, known = (
            self._cube[:, :, time, [self.store.fields.index(f"{table['label']}_{f['name']}") for f in fields]]
            for fields in ([f for f in table["fields"] if f["role"] == r] for r in RAW)
        )
        found = np.full(self._cube.shape[:2], np.nan)
        for row, d, c, k in zip(found, differences, controls, known, strict=True):
            kept = np.isfinite(d).all(axis=1)
            if kept.any():
                row[kept] = values_over_replicates(d[kept], c[kept], k[kept][0])
        return found

    @property
    def sizes(self) -> list[int]:
        """The sizes N, increasing."""
        return [point.size for point in self._records]

    def excluded(self, quantity: Quantity, time: int = -1) -> list[int]:
        """Return the sizes at which more than 1 % of the replicates failed: they take no part in a fit.

        Replicates fail where the value is unusual, so that a mean over the others is not the mean.
        """
        status = self.values(quantity, "status", time)
        done = (~np.isnan(status)).sum(axis=1)
        failed = (~np.isnan(status) & (status != Status.OK)).sum(axis=1)
        return [size for size, n, bad in zip(self.sizes, done, failed, strict=True) if bad > FAILED_FRACTION * n]

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
        return fit_rate(self.sizes, values, **self.sampling(quantity))

    def sampling(self, quantity: Quantity) -> dict[str, Any]:
        """Return what decides which laws are candidates, as keywords of `mfstudy.fit_rate`.

        Names of laws where the observable has them; what is known of the sampling for a transport cost; else nothing.
        """
        if laws := self._table_of(quantity).get("laws"):
            return {"laws": laws}
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
        if stated := self._table_of(quantity).get("slopes"):
            return [RateLaw(**law) for law in stated]
        return list(reference_slopes(**self.sampling(quantity))) if quantity.p is not None else []

    def _table_of(self, quantity: Quantity) -> dict[str, Any]:
        tables = self._attributes["observables"]
        return next(
            t
            for t in tables
            if quantity.name
            in {f"{t['label']}_{f['name']}" for f in (*t["fields"], *([t["reduced"]] if "reduced" in t else ()))}
        )

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
        """Whether every quantity has a rate, or is zero."""
        return all(fit.verdict != "not-measurable" for _, _, fit in self.fits)

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
            "bounds": [],
        }


def _codes() -> str:
    return ", ".join(f"{status.value} {status.name}" for status in Status) + ", -1 absent"


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _numbers(values: Any) -> list[float | None] | None:
    return None if values is None else [_number(value) for value in values]
