"""Checks of arguments: each raises one line that says what is wrong and what is allowed."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import TypeGuard

import numpy as np

from mfstudy.ensemble import Floats


def is_number(value: object) -> TypeGuard[float]:
    """Say whether a value is a finite real number (a bool is not a number)."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_number(name: str, value: object) -> None:
    """Raise a one-line ValueError unless a value is a finite number."""
    if not is_number(value):
        raise ValueError(f"{name}: {value!r}; allowed: a finite number")


def check_above(name: str, value: object) -> None:
    """Raise a one-line ValueError unless a value is a finite number > 0."""
    if not (is_number(value) and value > 0):
        raise ValueError(f"{name}: {value!r}; allowed: a finite number > 0")


def check_count(name: str, value: object) -> None:
    """Raise a one-line ValueError unless a value is an integer >= 1."""
    if not (isinstance(value, Integral) and is_number(value) and value >= 1):
        raise ValueError(f"{name}: {value!r}; allowed: an integer >= 1")


def check_probability(probability: object) -> None:
    """Raise a one-line ValueError unless a value is a number strictly between 0 and 1."""
    if not (is_number(probability) and 0 < probability < 1):
        raise ValueError(f"probability: {probability!r}; allowed: a number > 0 and < 1")


def as_probabilities(u: Floats, dimension: int) -> Floats:
    """Return the argument of a quantile function as an array; a one-line ValueError if D > 1 or u is none."""
    if dimension != 1:
        raise ValueError(f"quantile: D = {dimension}; allowed: D = 1")
    u = np.asarray(u, dtype=np.float64)
    if not np.all((u >= 0) & (u <= 1)):
        raise ValueError("u: not all in [0, 1]; allowed: probabilities")
    return u
