"""Which theorems speak about a problem."""

from __future__ import annotations

from mfstudy.components import classes
from mfstudy.study import Problem
from mfstudy.theorems import Claim, Setting


def claims(problem: Problem) -> list[Claim]:
    """Return what the theorems of the package claim of a problem's numbers, by file name; computes no number."""
    setting = Setting(problem.system, problem.initial, problem.time.save, problem.observables)
    every = [claim for theorem in classes("theorems") for claim in theorem().claims(setting)]
    return [claim for claim in every if claim.subjects]
