"""Words and formulas of figures and pages."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np

from mfstudy.rates import RateLaw
from mfstudy.wording import Interval

MINUS, DASH = "\u2212", "\u2013"
_LOW, _HIGH = r"_[A-Za-z0-9]+(?:\.[0-9]+)?", r"\^-?[A-Za-z0-9]+(?:[./][0-9]+)?"
_ITEM = rf"[A-Za-z]+(?:{_LOW})?(?:{_HIGH})?"
#: A symbol of a definition, such as W_2^2(mu_N^t, rho^t).
SYMBOL = re.compile(rf"\b[A-Za-z]+(?:{_LOW}(?:{_HIGH})?|{_HIGH})(?:\({_ITEM}(?:, {_ITEM})*\))?")
#: Names in symbols that stand for Greek letters.
GREEK = re.compile(r"(?<![A-Za-z])(mu|rho|phi|psi|eta)(?![A-Za-z])")


def decimals(value: float, interval: Interval) -> int:
    """Return how many decimals show an estimate and its interval: two digits of the shorter half."""
    half = min(value - interval[0], interval[1] - value)
    return int(np.clip(1 - np.floor(np.log10(half)), 0, 12)) if half > 0 else 3


def typeset(text: str) -> str:
    """Return text with its symbols as mathtext; a dollar sign stays one."""
    return SYMBOL.sub(mathtext, text.replace("$", r"\$"))


def mathtext(symbol: re.Match[str]) -> str:
    """Return a symbol that `SYMBOL` found as mathtext."""
    raised = re.sub(rf"({_LOW}|{_HIGH})", lambda m: f"{m[0][0]}{{{m[0][1:]}}}", symbol[0])
    return f"${GREEK.sub(lambda m: chr(92) + m[0], raised)}$"


def formula(law: RateLaw) -> str:
    """Return the law's shape as mathtext, an exponent as a fraction."""
    power = "a" if law.exponent is None else _fraction(law.exponent)
    log = r"\log N" if law.log_shift == 0 else rf"\log({law.log_shift}+N)"

    def logs(of: float) -> str:
        return {0.0: "", 1.0: rf"\,{log}"}.get(of, rf"\,({log})^{{{_fraction(of)}}}")

    if law.second is None:
        return rf"$N^{{{power}}}{logs(law.log_power)}$"
    fall, log_power = law.second
    decay = rf"\,N^{{{_fraction(-fall)}}}" if fall else ""
    return rf"$N^{{{power}}}\,({logs(law.log_power) or 1}+c{decay}{logs(log_power)})$"


def _fraction(number: float) -> str:
    near = Fraction(number).limit_denominator(60)
    return str(near) if abs(near - number) < 1e-9 else f"{number:.3g}"


def law_name(law: RateLaw) -> str:
    """Return a law's name as a label; the formula beside it says what a second term is, and the margin is narrow."""
    name = law.name if law.second is None else law.name.rpartition("-")[0]
    return name if law.exponent is None or " " in name else name.replace("-", DASH).title()
