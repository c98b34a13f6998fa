"""Which nodes stand for rho_in, coarse to fine, how many of them a task holds, and what a refusal says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mfstudy.ensemble import Ensemble, Floats
from mfstudy.integrate import ORDERS, Time
from mfstudy.laws import InitialLaw

#: Sobol rules begin with 2^10 points, below which their error is not yet algebraic.
_FIRST = 10
#: Rules, in the order in which they are tried.
KINDS = ("tensor", "sobol")
#: Part of the tolerance that the nodes may use up.
PART = 0.4
#: Bytes of a node in D dimensions, over D: while it moves, and for each save time (four arrays of points).
_MOVING, _SAVED = 150, 32


@dataclass(frozen=True)
class Limit:
    """What bounds a rule.

    Parameters
    ----------
    nodes : float
        Most nodes, by time.
    memory : float
        Bytes of a task.
    each : int
        Predicted bytes of a node.
    """

    nodes: float
    memory: float
    each: int

    @classmethod
    def of(cls, nodes: float, memory: float, dimension: int, saves: int) -> Limit:
        """Return the limit for nodes in R^dimension that are kept at `saves` times."""
        return cls(nodes, memory, dimension * (_MOVING + _SAVED * saves))

    def allows(self, count: int) -> bool:
        """Whether a rule of so many nodes may be pushed."""
        return count <= self.nodes and count * self.each <= self.memory

    def refusal(self, count: int) -> str:
        """Say how large a rule would be, and what is allowed."""
        return (
            f"{count} nodes, {count * self.each / 2**30:.1g} GiB; allowed: {self.nodes:g} nodes and"
            f" {self.memory / 2**30:.1f} GiB a task"
        )


def tensor_rules(law: InitialLaw, levels: Sequence[tuple[int, int]]) -> Iterator[Ensemble]:
    """Yield the law's own rules, tensor products of Gauss rules, coarse to fine."""
    return (law.nodes(*level) for level in levels)


def sobol_rules(law: InitialLaw) -> Iterator[Ensemble]:
    """Yield Sobol points, each time twice as many.

    Scrambled independently of each other: points of one net in the next have errors in common, which their distance
    does not see.
    """
    for level in range(_FIRST, 31):
        yield law.quasi(np.random.default_rng(level), level)


def certified(kind: str, apart: Floats, before: Floats) -> Floats:
    """Return a bound on the error of a rule from its distance to the next, and that `before`, inf where there is none.

    Of Gauss rules, the finer is far more exact, and the distance is the error of the coarser. Two Sobol rules miss by
    about as much, each in its own direction: they may be close by chance, but not twice, and the error falls about
    like 1/n. Measured: the coarser's error is up to 1.4 of the distance where it was not chance.
    """
    return apart if kind == "tensor" else 1.5 * np.maximum(apart, before / 2)


def inside(law: InitialLaw, nodes: Ensemble) -> Ensemble:
    """Return a rule without nodes outside the box, whose weights vanish."""
    box = law.box(1e-24)
    return nodes.taken(np.all((nodes.points >= box[:, 0]) & (nodes.points <= box[:, 1]), axis=1))


@dataclass(frozen=True)
class Tried:
    """How far one kind of rule has come.

    Parameters
    ----------
    kind : str
    count : int
        Nodes of the finest that was pushed; 0 where not even two were.
    error : (T,) array
        Its error at the save times.
    over : int
        Nodes of the first one over the limit; 0 where there was none.
    """

    kind: str
    count: int
    error: Floats
    over: int

    def words(self, limit: Limit) -> str:
        """Return what was measured, and why it ended there."""
        reached = f"{self.count} {self.kind} nodes: {self.error.max():.1e}" if self.count else f"{self.kind}: none"
        return f"{reached}, the next rule has {limit.refusal(self.over)}" if self.over else reached


def nodes_refusal(tried: Sequence[Tried], limit: Limit, time: Time, tolerance: float) -> str:
    """Say why no rule does: up to when the best of them did, and what would do."""
    pushed = [one for one in tried if one.count]
    words = "; ".join(one.words(limit) for one in tried)
    if not pushed:
        offer = "" if len(tried) > 1 or tried[0].kind == "sobol" else ', or rule = "sobol"'
        return f"reference: there are not two rules ({words}); allowed: fewer save times or dimensions{offer}"
    best = min(pushed, key=lambda one: float(one.error.max()))
    bad = best.error > PART * tolerance
    looser, first = rounded_up(1.05 / PART * float(best.error.max())), int(np.argmax(bad))
    if first == 0 or time.save[first - 1] == 0:
        return (
            f"reference: with {best.count} nodes its error is {best.error.max():.1e}, too much for the tolerance"
            f" {tolerance:.1e} ({words}); a tolerance of {looser} or an earlier last save time would do"
        )
    last = time.save[first - 1]
    return (
        f"reference: with {best.count} nodes its error exceeds {PART:g} of the tolerance {tolerance:g} after"
        f" t = {last:g} ({best.error[first]:.1e} at t = {time.save[first]:g}: rho^t has become filaments finer than the"
        f" nodes; {words}); allowed: a last save time of {last:g}, or a tolerance of {looser}"
    )


def smaller_step(time: Time, factor: float) -> str:
    """Return a step that lowers the error by a factor."""
    assert time.step is not None
    # One order less than in theory: a signal that starts from 0 has an initial layer.
    return time.divisor(time.step / factor ** (1 / (ORDERS[time.stepper] - 1)))


def rounded_up(number: float) -> str:
    """Return a number to one digit, not less than it."""
    power = math.floor(math.log10(number))
    digit = math.ceil(number / 10.0**power * (1 - 1e-12))
    return f"{digit}e{power:+03d}" if digit < 10 else f"1e{power + 1:+03d}"
