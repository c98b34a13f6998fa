"""What a store has numbers of: its attributes, read as quantities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mfstudy.components import InputError, nearest

#: Roles of what a quantity is computed from, over all replicates.
RAW = ("difference", "total", "control", "pool_control", "moment", "test", "coupled", "particle", "copy")


@dataclass(frozen=True)
class Quantity:
    """One quantity of an observable, stored or computed from stored numbers of all replicates.

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
    raw : dict
        Role -> names of the variables that it is computed from; empty for a stored quantity.
    per_run : bool
        Whether there is one number for the whole run, stored with each save time.
    laws : tuple of str
        Names of the candidate laws; empty = those of the sampling of a measure.
    order : float or None
        p where it is W^p, W a distance in phase space.
    pools : int
        Number of pools that replicates share, replicate r the pool r mod `pools`; 0 = nothing is shared.
    copies : int
        Of the particles, in each half of a pool.
    """

    observable: str
    name: str
    p: float | None
    definition: str
    unit: str
    roles: dict[str, str]
    raw: dict[str, tuple[str, ...]]
    per_run: bool
    laws: tuple[str, ...] = ()
    order: float | None = None
    pools: int = 0
    copies: int = 0


def quantities(observables: list[dict[str, Any]]) -> list[Quantity]:
    """Return what was measured, in the study's order, from the store's tables of observables."""
    found = []
    for table in observables:
        stored = [field for field in table["fields"] if field["role"] == "estimate"]
        estimates = [*stored, *table["reduced"]]
        for estimate in estimates:
            found.append(_quantity(table, estimate, estimate is estimates[0], estimate not in stored))
    return found


def find(
    quantities: Sequence[Quantity], observables: Sequence[Mapping[str, Any]], observable: str, p: float | None = None
) -> Quantity:
    """Return a quantity by its observable's label (told by p where that is not enough) or by its own name.

    Raises
    ------
    InputError
        If there is none, or more than one.
    """
    known = list(dict.fromkeys(word for q in quantities for word in (q.observable, q.name)))
    named = [q for q in quantities if observable in (q.observable, q.name)]
    found = [q for q in named if p in (None, q.p)]
    if not named and any(observable == table["label"] for table in observables):
        raise InputError(f"observable: '{observable}' has checks and no rate; allowed: {', '.join(known)}")
    if not named:
        raise InputError(f"observable: unknown '{observable}'; allowed: {', '.join(known)}{nearest(observable, known)}")
    if not found:
        orders = ", ".join(f"{q.p:g}" for q in named if q.p is not None)
        raise InputError(f"p: {p} of '{observable}' was not measured; allowed: {orders or 'None'}")
    if len(found) > 1:
        several = ", ".join(q.name for q in named)
        raise InputError(f"p: {p} does not tell which '{observable}'; allowed: a p, or one of {several}")
    return found[0]


def _quantity(table: Mapping[str, Any], estimate: Mapping[str, Any], first: bool, reduced: bool) -> Quantity:
    label, fields = table["label"], table["fields"]
    own = [f for f in fields if f["quantity"] == estimate["quantity"]]
    whole = [f for f in fields if f["quantity"] in ("", estimate["quantity"])]
    return Quantity(
        observable=label if first else f"{label}_{estimate['name']}",
        name=f"{label}_{estimate['name']}",
        p=table["p"],
        definition=estimate["definition"],
        unit=estimate["unit"],
        roles={f["role"]: f"{label}_{f['name']}" for f in fields if (f in own and f["role"] not in RAW) or _ended(f)},
        raw={role: names for role in RAW if (names := _named(whole, role, label))} if reduced else {},
        per_run=estimate["per"] == "run",
        laws=tuple(estimate["laws"]),
        order=estimate["order"],
        pools=table["pools"],
        copies=table["copies"],
    )


def _named(fields: list[Mapping[str, Any]], role: str, label: str) -> tuple[str, ...]:
    return tuple(f"{label}_{f['name']}" for f in fields if f["role"] == role)


def _ended(field: Mapping[str, Any]) -> bool:
    return bool(field["role"] == "status")
