"""What a fit is given, checked: sizes, replicates, what they share, what their means are off. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfstudy.ensemble import Floats


def table_of(sizes: ArrayLike, values: ArrayLike | Sequence[ArrayLike]) -> tuple[Floats, Floats]:
    """Check and return the sizes and the (n, replicates) table, short rows filled with NaN."""
    grid = np.asarray(sizes, dtype=float)
    if grid.ndim != 1 or not np.all(np.isfinite(grid)) or np.any(np.diff(grid) <= 0) or np.any(grid < 2):
        raise ValueError("sizes: not a vector of increasing numbers, allowed are N >= 2, each larger than the last")
    whole: Any = values
    rows = [np.atleast_1d(np.asarray(row, dtype=float)) for row in whole]
    if len(rows) != len(grid) or any(row.ndim != 1 for row in rows):
        raise ValueError(f"values: shape does not fit, allowed is one row of replicates for each of {len(grid)} sizes")
    table = np.full((len(rows), max((len(row) for row in rows), default=0)), np.nan)
    for filled, row in zip(table, rows, strict=True):
        filled[: len(row)] = row
    return grid, table


def labels_of(groups: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return whole-number labels in the shape of the table; without groups each replicate has its own."""
    if groups is None:
        return np.arange(shape[0] * shape[1]).reshape(shape)
    given = np.asarray(groups)
    if given.shape not in (shape, shape[1:]):
        raise ValueError(f"groups: shape {given.shape}, allowed are {shape[1:]} and {shape}")
    unique = np.unique(given, return_inverse=True)[1].reshape(given.shape)
    return np.broadcast_to(unique, shape).astype(np.int64)


def covariance_of(covariance: ArrayLike, size: int) -> Floats:
    """Check and return the covariance of the means."""
    matrix = np.asarray(covariance, dtype=float)
    allowed = f"covariance: allowed is a symmetric positive definite matrix of shape ({size}, {size})"
    if matrix.shape != (size, size) or not np.all(np.isfinite(matrix)):
        raise ValueError(f"{allowed}, got shape {matrix.shape} or entries that are not finite")
    if np.abs(matrix - matrix.T).max() > 1e-10 * np.abs(matrix).max():
        raise ValueError(f"{allowed}, got one that is not symmetric")
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        raise ValueError(f"{allowed}, got one that is not positive definite") from None
    return matrix


def systematic_of(systematic: ArrayLike | None, size: int) -> Floats:
    """Check and return the bounds on what means are off."""
    bound = np.zeros(size) if systematic is None else np.asarray(systematic, dtype=float)
    if bound.shape != (size,) or not np.all(bound >= 0):
        raise ValueError(f"systematic: allowed is a vector of {size} bounds >= 0, in the unit of the values")
    return bound
