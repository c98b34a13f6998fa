"""Numbers in words: never more digits than the error supports."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mfstudy.ensemble import Floats

Interval = tuple[float, float]


def sweep_range(sizes: Floats, count: NDArray[np.int64]) -> str:
    """Return the sweep in words."""
    if len(sizes) == 0:
        return "no sizes"
    each = f"{count.min()}" if count.min() == count.max() else f"{count.min()} to {count.max()}"
    return f"N = {sizes[0]:g} to {sizes[-1]:g} ({len(sizes)} sizes, replicates per size: {each})"


def cite(value: float | None, interval: Interval | None, relative: bool = False) -> str:
    """Return value [low, high] to two digits of the half-width, taken on the log scale where relative."""
    if value is None or interval is None:
        return "not known"
    low, high = interval
    if relative:
        half = np.log(high / low) / 2
        return f"{_number(value, value * half)} [{_number(low, low * half)}, {_number(high, high * half)}]"
    half = (high - low) / 2
    return f"{_number(value, half)} [{_number(low, half)}, {_number(high, half)}]"


def _number(value: float, error: float) -> str:
    """Print a number to two digits of its error, at least one digit of its own."""
    if value == 0 or not 0 < error < np.inf:
        return f"{value:.3g}"
    digits = int(np.floor(np.log10(abs(value))) - np.floor(np.log10(error))) + 2
    return f"{value:#.{min(max(digits, 1), 15)}g}".replace(".e", "e").rstrip(".")
