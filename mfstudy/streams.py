"""Where randomness starts: every stream is addressed, none is handed on.

A stream is a pure function of (seed, purpose, size, replicate, ...), so that a number can be computed anywhere,
in any order, alone or in a batch, with the same bytes. The problem is not in the address: problems that differ
only in observables or in a parameter of the system see the same draws.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is for. Frozen: numbers are never reused or changed, new ones go to the end."""

    INITIAL = 0  # the particles of a replicate at time 0
    REFERENCE = 1  # draws of the reference rho^t for a distance
    NOISE = 2  # the noise of a stochastic system
    POOL = 3  # pools of rho^t shared by the replicates of a block
    LIOUVILLE = 4  # copies that make the (LV) field
    BOOTSTRAP = 5  # resampling in the inference


def stream(seed: int, purpose: Purpose, size: int, replicate: int, *sub: int) -> np.random.Generator:
    """Return the generator at an address.

    Parameters
    ----------
    seed : int
        The study's seed, >= 0.
    purpose : Purpose
    size : int
        Number of particles N.
    replicate : int
    *sub : int
        Further address parts, for example the index of the save time.

    Returns
    -------
    numpy.random.Generator
        On a Philox bit generator (Salmon et al., SC 2011).
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(int(purpose), size, replicate, *sub))
    return np.random.Generator(np.random.Philox(sequence))
