"""Coordinates in which two clouds have the same mean and covariance, for quadratic costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mfstudy.ensemble import Floats, Indices

DEGENERATE = 1e-6  # part of the variance added along each axis before clouds are compared


@dataclass(frozen=True)
class Frame:
    """Coordinates x' = S (x - m), y' = S^-1 (y - m'): |x - y|^2 is |x' - y'|^2 plus a function of x and one of y.

    S is symmetric and gives both clouds the same covariance: the optimal map is then near the identity and searches
    stay local, however far, turned or shrunk one cloud is.

    Parameters
    ----------
    matrix, inverse : (D, D) arrays
        S and its inverse.
    mean, other_mean : (D,) arrays
        m and m'.
    """

    matrix: Floats
    inverse: Floats
    mean: Floats
    other_mean: Floats

    def points(self, x: Floats) -> tuple[Floats, Floats]:
        """Return x' (N, D) and the function of x (N,)."""
        centred, shift = x - self.mean, self.mean - self.other_mean
        inner = np.einsum("nd,de->ne", centred, self.matrix)  # no BLAS: its threads may change the bytes
        return inner, np.sum((centred + shift) ** 2, axis=1) - np.sum(inner**2, axis=1)

    def reference(self, y: Floats) -> tuple[Floats, Floats]:
        """Return y' (M, D) and the function of y (M,)."""
        centred, shift = y - self.other_mean, self.mean - self.other_mean
        inner = np.einsum("nd,de->ne", centred, self.inverse)
        return inner, np.sum(centred * (centred - 2 * shift), axis=1) - np.sum(inner**2, axis=1)


def frame(points: Floats, places: Indices, reference: Floats) -> Frame:
    """Return the frame of particles (N, D) with masses in proportion to places (N,), and reference points (M, D)."""
    mass = places / places.sum()
    mean, other_mean = np.einsum("n,nd->d", mass, points), reference.mean(axis=0)
    x, y = points - mean, reference - other_mean
    first = np.einsum("n,nd,ne->de", mass, x, x)
    second = np.einsum("nd,ne->de", y, y) / len(y)
    size = float(np.trace(first) + np.trace(second)) / len(mean) or 1.0
    first, second = first / size + DEGENERATE * np.eye(len(mean)), second / size + DEGENERATE * np.eye(len(mean))
    # The map between Gaussians of these covariances (Gelbrich) is A = B (B second B)^... ; S is its square root.
    root = _function(first, np.sqrt)
    inverse = _function(first, lambda e: e**-0.5)
    map_ = inverse @ _function(root @ second @ root, np.sqrt) @ inverse
    return Frame(_function(map_, np.sqrt), _function(map_, lambda e: e**-0.5), mean, other_mean)


def _function(matrix: Floats, function: Callable[[Floats], Floats]) -> Floats:
    """Apply a function to a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    return np.asarray((vectors * function(values)) @ vectors.T)
