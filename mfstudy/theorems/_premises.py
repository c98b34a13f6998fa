"""Premises that several theorems share, in numbers."""

from __future__ import annotations

import math

from mfstudy.theorems import Premise, Setting

#: Where constants of an unbounded law are taken.
_BOX = "on a box that a particle leaves with probability 1e-24 (the support is unbounded)"


def compact_support(setting: Setting) -> Premise:
    """Return whether rho_in has a compact support, with its radius about the mean."""
    radius = setting.law.support_radius
    if not math.isfinite(radius):
        return Premise("compact support", None, "length", False, "the support of rho_in is not compact")
    text = f"the support of rho_in is compact, of radius {radius:.3g} about its mean"
    return Premise("compact support", radius, "length", True, text)


def lipschitz(setting: Setting, signal: bool = True) -> tuple[Premise, ...]:
    """Return the constants of the forces on the support up to the horizon, those that are there.

    Parameters
    ----------
    setting : Setting
        Of a system whose constants are known.
    signal : bool
        Whether the constants of the signal are among them.
    """
    constants = setting.constants
    assert constants is not None
    holds = True if setting.bounded else None
    where = f"{'on the support' if setting.bounded else _BOX} up to t = {setting.horizon:g}"

    def number(name: str, value: float, unit: str, words: str = "") -> Premise:
        return Premise(name, value, unit, holds, f"{name} = {value:.3g}{words}")

    found = [number("Lip gamma", constants.interaction, "1/time", f" {where}")]
    if constants.external:
        found.append(number("Lip F_ext", constants.external, "1/time^2"))
    if signal and constants.eta:
        found += [
            number("Lip chi", constants.source_slope, "1/length^(d+1)"),
            number("Lip grad chi", constants.source_curvature, "1/length^(d+2)", f", eta = {constants.eta:g}"),
        ]
    return tuple(found)


def dimension(value: int, name: str, words: str) -> Premise:
    """Return a dimension, which only decides the case."""
    return Premise(f"dimension {name}", float(value), "1", True, f"{name} = {value}{words}")
