"""What a quantity may be off beside its statistical error: the transport's bracket, the reference, the step. Pure."""

from __future__ import annotations

import numpy as np

from mfstudy.ensemble import Floats


def moved(mean: Floats, p: float, shift: Floats) -> Floats:
    """Return by how much a power of a distance moves at most when both measures together move by `shift`.

    (W + shift)^p - W^p by the triangle inequality, with W^p the mean: for single replicates it is less, as a
    function that is concave in W^p.

    Parameters
    ----------
    mean : (n,) array
        Of W^p, NaN where there is none.
    p : float
        >= 1; dimensionless.
    shift : (n,) array
        Distance; in the unit of W.

    Returns
    -------
    (n,) array
        In the unit of W^p, 0 where there is no mean.
    """
    distance = np.maximum(np.nan_to_num(mean), 0.0) ** (1 / p)
    return np.asarray(np.where(np.nan_to_num(mean) > 0, (distance + shift) ** p - distance**p, 0.0))


def half_widths(lower: Floats, upper: Floats) -> Floats:
    """Return half the mean width of brackets, (n,), from the ends of the replicates, (n, replicates).

    The means of the ends are bounds of the mean, up to their statistical errors; 0 where there is no bracket.
    """
    width = (upper - lower) / 2
    kept = np.isfinite(width)
    total, count = np.where(kept, width, 0.0).sum(axis=1), kept.sum(axis=1)
    return np.asarray(np.divide(total, count, out=np.zeros(len(width)), where=count > 0))
