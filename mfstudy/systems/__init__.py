"""Equations of motion, one system per file."""

from __future__ import annotations

from typing import ClassVar, Protocol

from mfstudy.ensemble import Ensemble, Phase


class System(Protocol):
    """What every system offers: its variables and the exact step that carries an ensemble from t to t + h."""

    scheme: ClassVar[int]
    stationary: ClassVar[bool]
    """Whether rho^t = rho_in for every law, so that exact functions of rho_in hold at all times."""

    @property
    def phase(self) -> Phase:
        """The variables of one particle."""
        ...

    def advance(self, state: Ensemble, t: float, h: float) -> Ensemble:
        """Return the state at t + h from the state at t."""
        ...
