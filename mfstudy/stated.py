"""What theorems claim of a store's numbers, and what these say of the theorems. Imports no component."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from mfstudy.constants import Growth, Needed, growth
from mfstudy.ensemble import Floats
from mfstudy.fit import Fit
from mfstudy.numbers import Numbers
from mfstudy.quantities import Quantity
from mfstudy.statements import Statement, by_bound, by_check, by_rate, constant_of
from mfstudy.theorems import Claim, Subject


class Stated(Numbers):
    """The numbers of a store beside the theorems that speak about them.

    Parameters
    ----------
    store : Store or str or Path
    """

    @cached_property
    def claims(self) -> list[Claim]:
        """What theorems claim, as it was when the store was made."""
        return [Claim.of(table) for table in self._attributes["theorems"]]

    def claims_on(self, name: str, time: int) -> list[tuple[Claim, Subject]]:
        """Return the claims that are about a variable at a save time."""
        index = time % len(self.times)
        return [
            (c, subject)
            for c in self.claims
            for subject in c.subjects
            if subject.name == name and index in subject.times
        ]

    def bounds(self, quantity: Quantity, time: int, fit: Fit) -> list[Statement]:
        """Return what the numbers of a quantity say of the theorems that bound it.

        Parameters
        ----------
        quantity : Quantity
        time : int
            Index of the save time.
        fit : Fit
            Of that quantity at that time.
        """
        sizes, mean, error = self._means(quantity, time, fit)
        found = []
        for claim, subject in self.claims_on(quantity.name, time):
            found.append(by_rate(claim, subject, fit))
            if fit.estimator == "mean":
                off = 0.0 if fit.systematic is None else fit.systematic
                found.append(by_bound(claim, subject, sizes, mean, error, off))
        return [statement for statement in found if statement is not None]

    def growths(self, fits: Sequence[tuple[Quantity, int, Fit]]) -> list[tuple[Quantity, Claim, Growth]]:
        """Return how the constants that rates need grow over the save times, where each is above 0 for sure.

        Parameters
        ----------
        fits : sequence of (Quantity, int, Fit)
            Of all quantities at all save times.
        """
        series: dict[tuple[str, str], list[tuple[Quantity, Claim, int, Needed]]] = {}
        for quantity, time, fit in fits:
            for claim, subject in self.claims_on(quantity.name, time):
                if not subject.about and (needed := constant_of(claim, fit)) is not None:
                    key = quantity.name, claim.title
                    series.setdefault(key, []).append((quantity, claim, time, needed))
        found = []
        for entries in series.values():
            grown = growth([self.times[entry[2]] for entry in entries], [entry[3] for entry in entries])
            if grown is not None and len(entries) > 1:
                found.append((entries[0][0], entries[0][1], grown))
        return found

    def _means(self, quantity: Quantity, time: int, fit: Fit) -> tuple[Floats, Floats, Floats]:
        """Return sizes, means and standard errors, (n,) each: those of a fit, of the replicates where it gives none."""
        values = self.values(quantity, "estimate", time)
        values = values[[self.sizes.index(int(size)) for size in fit.sizes]]
        count = np.isfinite(values).sum(axis=1)
        spread = np.nan_to_num(values - fit.mean[:, None]) ** 2
        error = np.sqrt(spread.sum(axis=1) / np.maximum(count * (count - 1.0), 1.0))
        error[count < 2] = np.nan
        return fit.sizes, fit.mean, np.where(np.isfinite(fit.standard_error), fit.standard_error, error)

    @cached_property
    def met(self) -> list[tuple[Claim, Subject, Statement]]:
        """What stored numbers without a rate say of the theorems that bound each of them."""
        found = []
        for claim in self.claims:
            for subject in claim.subjects:
                if subject.bound or subject.excess:
                    measured = self._logs(subject.name)
                    bound = self._logs(subject.bound) if subject.bound else None
                    excess = self._field(subject.excess) if subject.excess else None
                    statement = by_check(claim, subject, measured, bound, excess)
                    found += [(claim, subject, statement)] if statement is not None else []
        return found

    def _field(self, name: str) -> Floats:
        """Return a stored field over sizes, replicates and times, (n,)."""
        return self._cube[..., self.store.fields.index(name)].ravel()

    def _logs(self, name: str) -> Floats:
        """Return log10 of a stored field, NaN where it is absent or not above 0, (n,)."""
        values = self._field(name)
        if self._scales[name] == "log10":
            return values
        return np.log10(values, out=np.full(values.shape, np.nan), where=values > 0)

    @cached_property
    def _scales(self) -> dict[str, str]:
        tables = self._attributes["observables"]
        return {f"{table['label']}_{field['name']}": field["scale"] for table in tables for field in table["fields"]}
