"""Particles that feel the gradient of a pair potential: the Vlasov equation."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

from mfstudy.ensemble import Floats
from mfstudy.external import External
from mfstudy.kernels import Kernel
from mfstudy.systems._pairwise import Pairwise, PairwiseSystem


@dataclass(frozen=True)
class Vlasov(PairwiseSystem):
    """dx_i = v_i, dv_i = -(1/N) sum_j grad K(x_i - x_j) + F(x_i).

    R. L. Dobrushin, Funct. Anal. Appl. 13 (1979); M. Iacobelli, "Kinetic Wasserstein distances", (1.1).

    Parameters
    ----------
    dim : int
        1, 2 or 3.
    kernel : table
        The potential K, a component of `mfstudy.kernels`.
    external : table
        External force F, a component of `mfstudy.external`; none by default.
    """

    scheme: ClassVar[int] = 1

    dim: int = field(metadata={"minimum": 1, "maximum": 3, "unit": "dimensionless"})
    kernel: Kernel = field(metadata={"component": "kernels"})
    external: External | None = field(default=None, metadata={"component": "external"})

    @cached_property
    def _pairs(self) -> Pairwise:
        slope = float(self.kernel.slope(np.zeros(1))[0])
        return Pairwise(
            profile=_Slope(self.kernel),
            constant=slope if self.kernel.constant else None,
            of="position",
            growth=self.kernel.growth,
            potential=_Potential(self.kernel),
            external=self.external,
        )


@dataclass(frozen=True)
class _Potential:
    """A kernel as a hashable function of r^2."""

    kernel: Kernel

    def __call__(self, r2: Floats) -> Floats:
        return self.kernel.at(r2)


@dataclass(frozen=True)
class _Slope:
    """The slope of a kernel as a hashable function of r^2."""

    kernel: Kernel

    def __call__(self, r2: Floats) -> Floats:
        return self.kernel.slope(r2)

    def lipschitz(self, distance: float, apart: float) -> float:
        del distance, apart
        return self.kernel.lipschitz
