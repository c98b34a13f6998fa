"""Numbers of the page: never more digits than the error supports."""

from __future__ import annotations

import numpy as np

from mfstudy.plot.words import DASH, MINUS, decimals
from mfstudy.wording import Interval


def plus_minus(value: float | None, error: float | None) -> str:
    """Return a value with its error to two digits, a common power of ten taken out; a dash for no value.

    Parameters
    ----------
    value, error : float or None
        In the same unit.
    """
    if value is None:
        return DASH
    if value == 0:
        return "0"
    if error is None or not 0 < error < np.inf:
        return f"{scientific(value, 4)} (no error)"
    power = int(np.floor(np.log10(max(abs(value), error))))
    power = power if power < -2 or power > 4 else 0
    digits = max(0, 1 - int(np.floor(np.log10(error))) + power)
    pair = f"{signed(value / 10.0**power, digits)} ± {error / 10.0**power:.{digits}f}"
    return f"({pair}){ten(power)}" if power else pair


def scientific(value: float, digits: int) -> str:
    """Return a number to some digits, a power of ten taken out where it is small or large."""
    mantissa, power = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}{ten(int(power))}" if not -4 < int(power) < 5 else f"{value:#.{digits}g}".rstrip(".")


def ten(power: int) -> str:
    return f" \u00d7 10{str(power).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def signed(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", MINUS)


def small(value: float | None) -> str:
    """Return a magnitude to two digits."""
    if value is None or not np.isfinite(value):
        return DASH
    return scientific(float(value), 2) if value else "0"


def rate_row(
    label: str, value: float | None, interval: Interval | None, systematic: float | None
) -> tuple[str, str, str, str] | None:
    """Return a row of the table of rates: label, estimate, interval, what systematic terms may add."""
    if value is None or interval is None:
        return None
    digits = decimals(value, interval)
    ends = " to ".join(signed(end, digits) for end in interval)
    return label, signed(value, digits), ends, small(systematic)
