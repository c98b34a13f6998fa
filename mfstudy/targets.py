"""What the precision of a sweep is about: a target of a study file, and the measured quantity that it means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mfstudy.components import InputError
from mfstudy.quantities import Quantity, find


@dataclass(frozen=True)
class Target:
    """What a precision is about, as a study file says it.

    Parameters
    ----------
    observable : str, optional
        Label of an observable, or name of a quantity; by default the first that more replicates make precise.
    p : float, optional
        Which one, where several orders are measured under one label.
    time : float, optional
        A save time; by default the last.
    quantity : str
        "exponent": the effective exponent, absolute; "mean": the mean at every size, relative.
    """

    observable: str | None = None
    p: float | None = None
    time: float | None = None
    quantity: str = field(default="exponent", metadata={"choices": ("exponent", "mean")})


@dataclass(frozen=True)
class Goal:
    """What a target means in one study.

    Parameters
    ----------
    quantity : Quantity
    time : int
        Index of the save time.
    kind : str
        "exponent" or "mean".
    text : str
        In words.
    """

    quantity: Quantity
    time: int
    kind: str
    text: str


def goal_of(
    target: Target, quantities: Sequence[Quantity], observables: Sequence[Mapping[str, Any]], times: Sequence[float]
) -> Goal:
    """Return what a target means.

    Parameters
    ----------
    target : Target
    quantities : sequence of Quantity
        What is measured, in the study's order.
    observables : sequence of dict
        The tables that the quantities come from.
    times : (T,) sequence of float
        The save times.

    Raises
    ------
    InputError
        If there is no such quantity or time, or more replicates do not make it precise.
    """
    allowed = [quantity for quantity in quantities if not _obstacle(quantity)]
    names = ", ".join(quantity.name for quantity in allowed)
    if not allowed:
        raise InputError("observable: none becomes precise by replicates alone; allowed: replicates, not precision")
    if target.observable is None and target.p is None:
        found = allowed[0]
    else:
        found = find(quantities, observables, target.observable or allowed[0].observable, target.p)
    if obstacle := _obstacle(found):
        raise InputError(f"observable: '{found.observable}' {obstacle}; allowed: {names}")
    time = times[-1] if target.time is None else target.time
    if time not in times:
        raise InputError(f"time: {time:g} is no save time; allowed: {', '.join(f'{t:g}' for t in times)}")
    what = "effective exponent" if target.quantity == "exponent" else "means"
    return Goal(found, list(times).index(time), target.quantity, f"{what} of {found.name} at t = {time:g}")


def _obstacle(quantity: Quantity) -> str:
    """Say why the variance of an estimate does not fall with replicates alone; "" where it does."""
    if quantity.raw:
        return "is a function of all replicates and no mean of theirs"
    if quantity.pools:
        return f"has replicates that share {quantity.pools} pools, whose error stays"
    return ""
