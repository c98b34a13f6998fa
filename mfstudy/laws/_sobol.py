"""Sobol points, where the tensor product of Gauss rules has too many nodes."""

from __future__ import annotations

import numpy as np

from mfstudy.checks import check_count
from mfstudy.ensemble import Floats

#: Binary digits of a coordinate.
_BITS = 30


def sobol(rng: np.random.Generator, dimension: int, level: int) -> Floats:
    """Return 2^level scrambled Sobol points of (0, 1)^d, (2^level, d): a digital net of base 2.

    Sobol (1967) with the direction numbers of Joe and Kuo; scrambled after Matousek, so that each point is uniform.

    Raises
    ------
    ValueError
        If level is not an integer >= 1.
    """
    from scipy.stats import qmc  # a third of a second that reading a store does not need

    check_count("level", level)
    # SciPy gives the lower ends of cells of 2^-30, and 0 is one of them: their middles have finite quantiles.
    return np.asarray(qmc.Sobol(dimension, scramble=True, bits=_BITS, rng=rng).random_base2(level) + 0.5 ** (_BITS + 1))
