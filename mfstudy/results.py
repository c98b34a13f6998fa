"""What a store says: numbers with their errors, reduced from the stored ones. Imports no component."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mfstudy.components import InputError
from mfstudy.ensemble import Floats
from mfstudy.fit import Fit, fit_rate
from mfstudy.meanfield import Euler
from mfstudy.observables import Status
from mfstudy.quantities import Quantity, find
from mfstudy.rates import RateLaw, reference_slopes
from mfstudy.stated import Stated
from mfstudy.statements import between
from mfstudy.systematics import half_widths, moved

if TYPE_CHECKING:
    import xarray as xr

#: Part of a size's replicates above which, if they failed, the size takes no part in a fit.
FAILED_FRACTION = 0.01
#: Relative standard error above which what is computed from all replicates takes no part in a fit.
RESOLVED = 0.5


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


class Results(Stated):
    """The numbers of a store, and what they say.

    Parameters
    ----------
    store : Store or str or Path
    """

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
        for i in self.store.status_fields:
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
        return find(self.quantities, self._attributes["observables"], observable, p)

    def excluded(self, quantity: Quantity, time: int = -1) -> list[int]:
        """Return the sizes that take no part in a fit.

        Those at which more than 1 % of the replicates failed: they fail where the value is unusual, so that a mean over
        the others is not the mean. Those at which a quantity that is computed from all replicates is not resolved, its
        standard error above half of it.
        """
        out = np.isin(self.sizes, self._failed(quantity, time))
        if quantity.raw:
            clear = ~(out | self._unresolved(quantity, time))
            out = ~clear if clear.sum() > 2 else out  # with fewer the fit says why there is no rate
        return [size for size, bad in zip(self.sizes, out, strict=True) if bad]

    def _failed(self, quantity: Quantity, time: int) -> list[int]:
        """Return the sizes at which more than 1 % of the replicates failed."""
        status = self.values(quantity, "status", time)
        done = (~np.isnan(status)).sum(axis=1)
        failed = (~np.isnan(status) & (status != Status.OK)).sum(axis=1)
        out = failed > FAILED_FRACTION * done
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
        off = self.systematic(quantity, time)
        return fit_rate(self.sizes, values, groups=self.groups(quantity), systematic=off, **self.sampling(quantity))

    def systematic(self, quantity: Quantity, time: int = -1) -> Floats:
        """Return bounds on what the means are off beside their statistical errors, (sizes,), in the quantity's unit.

        Half the width of the bracket, of transport and reference; for powers of distances without one what the error of
        the reference moves them; for distances to rho^t also what that of the particles' time step does. Copies in
        the mean field take the same steps as the particles, so that their errors cancel to leading order.
        """
        values = self.values(quantity, "estimate", time)
        off, reference = np.zeros(len(self.sizes)), 0.0
        if {"lower", "upper"} <= set(quantity.roles) and not quantity.raw:
            off = half_widths(self.values(quantity, "lower", time), self.values(quantity, "upper", time))
        elif self.reference_errors is not None:
            reference = float(self.reference_errors[time, :3].sum())
        if quantity.order is None:
            return off
        steps = self.step_errors(time) if quantity.p is not None else [None] * len(self.sizes)
        shift = np.array([reference + (error or 0.0) for error in steps])
        kept = np.isfinite(values)
        total, count = np.where(kept, values, 0.0).sum(axis=1), kept.sum(axis=1)
        return off + moved(total / np.maximum(count, 1), quantity.order, shift)

    def exclusions(self, quantity: Quantity, time: int, fit: Fit) -> dict[int, str]:
        """Return the sizes that take no part in a fit, and why."""
        early = self.excluded(quantity, time)
        failed = self._failed(quantity, time)
        found = {}
        for size in self.sizes:
            if size in fit.sizes and size not in early:
                continue
            if size in early:
                found[size] = "more than 1 % of the replicates failed" if size in failed else "not resolved"
            else:
                found[size] = "systematic terms above half the mean" if size in fit.dominated else "too few replicates"
        return found if fit.law is not None else {}

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
            "regular": law["regular"],
        }

    def slopes(self, quantity: Quantity) -> list[RateLaw]:
        """Return the laws to be drawn beside a quantity, of different shapes: of the sampling, and of its theorems."""
        laws = list(reference_slopes(**self.sampling(quantity))) if quantity.p is not None else []
        laws += [c.rate for c in self.claims for s in c.subjects if s.name == quantity.name and c.rate is not None]
        shapes: dict[tuple[float | None, float], RateLaw] = {}
        for law in laws:
            shapes.setdefault((law.exponent, law.log_power), law)
        return list(shapes.values())

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
                f"euler: no such fields in {self.store.place}; allowed: a store with a monokinetic law and the solved"
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
            "excluded_sizes": sorted({*self.excluded(quantity, time), *self.exclusions(quantity, time, fit)}),
            "mean": _numbers(fit.mean),
            "standard_error": _numbers(fit.standard_error),
            "step_error_w2": [self.step_errors(time)[row] for row in used],
            "reference_error_w2": None if errors is None else float(errors[time, :3].sum()),
            "bracket_half_width": [float(np.nanmean(row)) if np.isfinite(row).any() else None for row in bracket],
            "systematic": _numbers(fit.systematic),
            "mean_interval": None if fit.mean_interval is None else [_numbers(pair) for pair in fit.mean_interval],
            "estimator": fit.estimator,
            "effective_exponent": _number(fit.effective_exponent),
            "effective_exponent_interval": _numbers(fit.effective_exponent_interval),
            "effective_exponent_systematic": _number(fit.effective_exponent_systematic),
            "neighbours": None if fit.neighbours is None else [_numbers(pair) for pair in fit.neighbours],
            "without_largest": _number(fit.without_largest),
            "without_largest_interval": _numbers(fit.without_largest_interval),
            "law": fit.law,
            "exponent": _number(fit.exponent),
            "exponent_interval": _numbers(fit.exponent_interval),
            "exponent_systematic": _number(fit.exponent_systematic),
            "log_power": _number(fit.log_power),
            "weights": fit.weights,
            "constant": _number(fit.constant),
            "constant_interval": _numbers(fit.constant_interval),
            "constant_systematic": _number(fit.constant_systematic),
            "second_constant": _number(fit.second_constant),
            "p_value": _number(fit.p_value),
            "decisive_replicates": _number(fit.decisive_replicates),
            "decisive_size": _number(fit.decisive_size),
            "verdict": fit.verdict,
            "text": fit.text,
            **self._ends_table(quantity, time, used),
            "bracket_text": self.bracket_text(quantity, time),
            "bounds": [asdict(found) for found in self.bounds(quantity, time, fit)],
        }

    def _ends_table(self, quantity: Quantity, time: int, used: list[int]) -> dict[str, list[float | None]]:
        """Return the ends of a quantity's mean, and their standard errors, at the used sizes."""
        ends = self.ends(quantity, time)
        return {
            f"{name}{suffix}": [None if (end := ends[row][side]) is None else getattr(end, part) for row in used]
            for side, name in enumerate(("lower", "upper"))
            for suffix, part in (("", "value"), ("_standard_error", "standard_error"))
        }

    def bracket_text(self, quantity: Quantity, time: int = -1) -> str:
        """Return what the ends of a quantity that is computed from all replicates claim of its rate; may be empty."""
        return between(self.sizes, self.ends(quantity, time)) if "coupled" in quantity.raw else ""


def _codes() -> str:
    return ", ".join(f"{status.value} {status.name}" for status in Status) + ", -1 absent"


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _numbers(values: Any) -> list[float | None] | None:
    return None if values is None else [_number(value) for value in values]
