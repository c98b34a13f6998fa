"""Products of Hermite polynomials, as test functions of a law: their means, gradients and bounds of their curvature.

The polynomials are taken at y = (z - mean) / scale as far as |y| <= EDGE; beyond, y saturates, so that the functions
are bounded, their gradients are Lipschitz, and a bound of their curvature holds in the whole space.
"""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
from numpy.polynomial import hermite_e

from mfstudy.ensemble import Floats
from mfstudy.laws import InitialLaw

#: Largest degree, and most functions: in high dimensions the degree is lower.
DEGREE, MOST = 4, 40
#: Where y begins to saturate, and the length over which its slope falls from 1 to 0.
EDGE, FALL = 2.5, 1.0
#: Level of the Gauss rule behind expectations under the initial law.
_LEVEL = {1: 64, 2: 32, 3: 12, 4: 8}


@cache
def powers(dimension: int) -> tuple[tuple[int, ...], ...]:
    """Return the degrees along each axis of every function, by total degree; the constant is not among them."""
    found: list[tuple[int, ...]] = []
    for degree in range(1, DEGREE + 1):
        rows = [row for row in itertools.product(range(degree, -1, -1), repeat=dimension) if sum(row) == degree]
        if degree > 2 and len(found) + len(rows) > MOST:
            break
        found += rows
    return tuple(found)


def names(dimension: int) -> list[tuple[str, str]]:
    """Return a key and a formula of every function; y is z less a mean, over a standard deviation, by axis."""
    found = []
    for row in powers(dimension):
        factors = [f"He_{k}(y_{axis + 1})" for axis, k in enumerate(row) if k]
        found.append(("he" + "".join(map(str, row)), " ".join(factors)))
    return found


def _saturated(y: Floats) -> tuple[Floats, Floats]:
    """Return s(y), of slope 1 up to the edge and 0 from FALL beyond it, and its slope."""
    beyond = np.clip(np.abs(y) - EDGE, 0.0, FALL)
    return np.sign(y) * (np.minimum(np.abs(y), EDGE) + beyond - beyond**2 / (2 * FALL)), 1 - beyond / FALL


def _hermite(y: Floats, derivative: int = 0) -> Floats:
    """Return He_k or a derivative for every k, (DEGREE + 1, ...)."""
    rows = [hermite_e.hermeder(np.eye(DEGREE + 1)[k], derivative) for k in range(DEGREE + 1)]
    return np.stack([hermite_e.hermeval(y, row) for row in rows])


def _product(factors: Floats, row: tuple[int, ...]) -> Floats:
    """Return the product over axes of He_k, (n,)."""
    return np.asarray(np.prod([factors[k, :, axis] for axis, k in enumerate(row) if k] or [np.ones(1)], axis=0))


def means(points: Floats, mean: Floats, scale: Floats, weights: Floats | None = None) -> Floats:
    """Return the means of the functions over points.

    Parameters
    ----------
    points : (n, D) array
    mean, scale : (D,) arrays
        What coordinates are taken relative to, scale > 0.
    weights : (n,) array, optional
        None = 1/n each.

    Returns
    -------
    (F,) array
        In the order of `powers`; dimensionless.
    """
    factors = _hermite(_saturated((points - mean) / scale)[0])
    values = [_product(factors, row) for row in powers(points.shape[1])]
    return np.asarray([v.mean() if weights is None else weights @ v for v in values])


def gradients(points: Floats, mean: Floats, scale: Floats) -> Floats:
    """Return the gradients by z at points, (F, n, D); arguments as in `means`."""
    y, fall = _saturated((points - mean) / scale)
    plain, slope = _hermite(y), _hermite(y, 1) * fall
    n, dimension = points.shape
    found = np.zeros((len(powers(dimension)), n, dimension))
    for values, row in zip(found, powers(dimension), strict=True):
        for axis, k in enumerate(row):
            if k:
                others = tuple(0 if other == axis else power for other, power in enumerate(row))
                values[:, axis] = slope[k, :, axis] * _product(plain, others) / scale[axis]
    return found


def curvatures(scale: Floats) -> Floats:
    """Bound the operator norm of the Hessian by z of each function, wherever it exists.

    Parameters
    ----------
    scale : (D,) array

    Returns
    -------
    (F,) array
        The Frobenius norm of entry-wise suprema, each a product of those along the axes.
    """
    largest, dimension = _largest(), len(scale)
    found = []
    for row in powers(dimension):
        square = 0.0
        for a, b in itertools.product(range(dimension), repeat=2):
            orders = [int(axis == a) + int(axis == b) for axis in range(dimension)]
            entry = math.prod(largest[order, k] for order, k in zip(orders, row, strict=True))
            square += (entry / (scale[a] * scale[b])) ** 2
        found.append(square**0.5)
    return np.asarray(found)


@cache
def _largest() -> Floats:
    """Return the suprema of He_k(s(y)) and of its first and second derivatives by y, (3, DEGREE + 1).

    On a grid of 1e-4, and 1e-3 more than there: the third derivatives are below 400.
    """
    y = np.linspace(0, EDGE + FALL, int(1e4 * (EDGE + FALL)) + 1)
    s, slope = _saturated(y)
    first, second = _hermite(s, 1), _hermite(s, 2)
    bent = np.where(y >= EDGE, 1 / FALL, 0.0)
    values = (_hermite(s), first * slope, np.abs(second) * slope**2 + np.abs(first) * bent)
    return np.stack([1.001 * np.abs(v).max(axis=1) for v in values])


def controls(law: InitialLaw, points: Floats) -> Floats:
    """Return the means of the functions over points less their expectations under the initial law, (F,)."""
    return means(points, law.mean, scale_of(law.covariance)) - _expectations(law)


@cache
def _expectations(law: InitialLaw) -> Floats:
    nodes = law.nodes(_LEVEL.get(len(law.mean), 4))
    return means(nodes.points, law.mean, scale_of(law.covariance), nodes.weights)


def scale_of(covariance: Floats) -> Floats:
    """Return the standard deviation of each coordinate, (D,), 1 where it does not vary."""
    deviation = np.sqrt(np.diag(covariance))
    return np.where(deviation > 0, deviation, 1.0)
