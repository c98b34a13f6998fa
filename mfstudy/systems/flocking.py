"""Alignment and chemotaxis: the hybrid Cucker-Smale system."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from mfstudy.ensemble import Floats
from mfstudy.external import External
from mfstudy.forces.chemical import Signal
from mfstudy.systems._pairwise import Pairwise, PairwiseSystem


@dataclass(frozen=True)
class Flocking(PairwiseSystem):
    """Cells that align and follow a signal which they emit.

    R. Natalini and T. Paul, "The mean-field limit for hybrid models of collective motions with chemotaxis", (1):

        dx_i = v_i,
        dv_i = (beta/N) sum_j (1 + |x_i - x_j|^2/R^2)^-sigma (v_j - v_i) + eta grad phi(x_i) + F(x_i),
        d_t phi = D Laplace(phi) - kappa phi + (1/N) sum_j chi(x - x_j).

    With gamma(y, w) = psi(y) w the paper's (4) repels, and (13) has the other sign: the signs of (1) are meant here.

    Parameters
    ----------
    dim : int
        1, 2 or 3.
    beta : float
        Strength of the alignment, >= 0; 1/time.
    R : float
        Its range, > 0; length.
    sigma : float
        Its decay, >= 0; at 0 all align equally, and the system is linear.
    eta : float
        Sensitivity to the signal, >= 0; D, kappa and chi_radius are needed when it is > 0. With them and eta = 0 the
        signal is emitted and not felt.
    D, kappa : float
        Diffusion and decay of the signal, >= 0; length^2/time and 1/time.
    chi_radius : float
        Radius of the source of a cell, > 0; length.
    chi_power : float
        m >= 2 in chi = c (1 - |x|^2/chi_radius^2)^m_+, of integral 1.
    signal_amplitude, signal_width, signal_centre : float, float, tuple of float
        phi(0) = signal_amplitude exp(-|x - signal_centre|^2/(2 signal_width^2)); 0 by default.
    external : table
        External force F, a component of `mfstudy.external`; none by default.
    """

    scheme: ClassVar[int] = 1

    dim: int = field(metadata={"minimum": 1, "maximum": 3, "unit": "dimensionless"})
    beta: float = field(default=1.0, metadata={"minimum": 0, "unit": "dimensionless"})
    R: float = field(default=1.0, metadata={"above": 0, "unit": "dimensionless"})
    sigma: float = field(default=0.45, metadata={"minimum": 0, "unit": "dimensionless"})
    eta: float = field(default=0.0, metadata={"minimum": 0, "unit": "dimensionless"})
    D: float | None = field(default=None, metadata={"minimum": 0, "unit": "dimensionless"})
    kappa: float | None = field(default=None, metadata={"minimum": 0, "unit": "dimensionless"})
    chi_radius: float | None = field(default=None, metadata={"above": 0, "unit": "dimensionless"})
    chi_power: float = field(default=4.0, metadata={"minimum": 2, "maximum": 20, "unit": "dimensionless"})
    signal_amplitude: float = field(default=0.0, metadata={"unit": "dimensionless"})
    signal_width: float = field(default=1.0, metadata={"above": 0, "unit": "dimensionless"})
    signal_centre: tuple[float, ...] | None = field(default=None, metadata={"unit": "dimensionless"})
    external: External | None = field(default=None, metadata={"component": "external"})

    def __post_init__(self) -> None:
        """Refuse half a signal."""
        given = {key: getattr(self, key) for key in ("D", "kappa", "chi_radius")}
        missing = [key for key, value in given.items() if value is None]
        if missing and (self.eta > 0 or self.signal_amplitude or len(missing) < len(given)):
            raise ValueError(f"{missing[0]}: missing; allowed: a number, needed with {self._needs()}")
        if self.signal_centre is not None and len(self.signal_centre) != self.dim:
            raise ValueError(f"signal_centre: {len(self.signal_centre)} entries; allowed: {self.dim}")

    def _needs(self) -> str:
        for key in ("eta", "signal_amplitude", "D", "kappa", "chi_radius"):
            if getattr(self, key):
                return f"{key} = {getattr(self, key):g}"
        return "the other keys of the signal"

    @property
    def roles(self) -> frozenset[str]:
        """Return "liouville", and "signal" where there is one."""
        return super().roles | {"liouville"}

    @cached_property
    def _pairs(self) -> Pairwise:
        return Pairwise(
            profile=_Alignment(self.beta, self.R, self.sigma),
            constant=self.beta if self.sigma == 0 or self.beta == 0 else None,
            of="velocity",
            external=self.external,
            eta=self.eta,
            signal=self._signal,
        )

    @property
    def _signal(self) -> Signal | None:
        if self.D is None or self.kappa is None or self.chi_radius is None:
            return None
        return Signal(
            self.D,
            self.kappa,
            self.chi_radius,
            self.chi_power,
            self.signal_amplitude,
            self.signal_width,
            self.signal_centre or (0.0,) * self.dim,
        )


@dataclass(frozen=True)
class _Alignment:
    """psi as a function of r^2."""

    beta: float
    R: float
    sigma: float

    def __call__(self, r2: Floats) -> Floats:
        return self.beta * (1 + r2 / self.R**2) ** -self.sigma

    def lipschitz(self, distance: float, apart: float) -> float:
        """Return sup (psi(r)^2 + psi'(r)^2 apart^2)^(1/2) over r <= distance.

        That is the largest operator norm of the derivative (psi' w y^T/r, psi I) of psi(|y|) w. With u = r^2/R^2 and
        k = 4 sigma^2 apart^2/R^2 its square is beta^2 ((1 + u)^(-2 sigma) + k u (1 + u)^(-2 sigma - 2)), which rises
        until 2 sigma u^2 + (4 sigma + k + 2 sigma k) u = k - 2 sigma, from u = 0 if k > 2 sigma, and falls from there.
        """
        s, k = self.sigma, (2 * self.sigma * apart / self.R) ** 2
        if k <= 2 * s:
            return self.beta
        b = 4 * s + k + 2 * s * k
        top = 2 * (k - 2 * s) / (b + math.sqrt(b * b + 8 * s * (k - 2 * s)))
        u = min(top, (distance / self.R) ** 2)
        return self.beta * math.sqrt((1 + u) ** (-2 * s) + k * u * (1 + u) ** (-2 * s - 2))
