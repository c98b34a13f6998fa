"""Exact transport between discrete measures: POT's network simplex, closed by our own certificate."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mfstudy.ensemble import Floats
from mfstudy.transport.bracket import MEMORY, UncertifiedError

CERTIFICATE = 1e-9  # largest relative residual that still counts as solved
ITERATIONS = 10**9  # of the network simplex; its default of 1e5 stops short without an error
FLOOR = 1e-5  # part of the largest pair cost below which double precision cannot certify a cost to 1e-9
SWEEPS = 16  # of dual centring: measured, the midpoint moves by less than 0.03 % after them
BYTES = 52  # per pair; measured peak of a solve 49 (POT's graph and plan, the costs twice)
LARGE = 20  # binary exponent of the largest cost given to the simplex

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Plan:
    """The optimum of a discrete problem.

    Parameters
    ----------
    cost : float
        Primal value, in units of the pair cost.
    dual_a, dual_b : (N,), (M,) arrays
        Potentials with dual_a_i + dual_b_j <= c_ij for all pairs, up to round-off, so that a . dual_a +
        b . dual_b is a lower bound of the optimum.
    residual : float
        Certificate, dimensionless: the larger of the marginal errors and of the duality gap relative to
        max(cost, 1e-5 of the largest pair cost).
    """

    cost: float
    dual_a: Floats
    dual_b: Floats
    residual: float


def dense_memory(rows: int, columns: int) -> int:
    """Return the peak memory of a dense problem of ``rows`` x ``columns`` pairs, in bytes."""
    return BYTES * rows * columns


def check_memory(
    rows: int, columns: int, memory: float | None, remedy: Callable[[float], str] = lambda _: "fewer points"
) -> None:
    """Refuse a dense problem of ``rows`` x ``columns`` pairs above a budget, before allocating.

    Parameters
    ----------
    rows, columns : int
    memory : float or None
        Budget in bytes; None = 2 GiB.
    remedy : callable, optional
        ``remedy(pairs)`` says what a caller with that many pairs at most may use instead.

    Raises
    ------
    ValueError
        Naming the need, the budget and what to do.
    """
    budget = MEMORY if memory is None else memory
    need = dense_memory(rows, columns)
    if need > budget:
        raise ValueError(
            f"a transport problem of {rows} x {columns} points needs about {need / 2**30:.3g} GiB, "
            f"memory allows {budget / 2**30:.3g}: use {remedy(budget / BYTES)}, or memory={need}"
        )


def solve(costs: Floats, a: Floats, b: Floats, *, central: bool = False) -> Plan:
    """Solve min <P, costs> over the couplings P of two discrete measures.

    Parameters
    ----------
    costs : (N, M) array
        Pair costs, >= 0.
    a, b : (N,), (M,) arrays
        Masses, >= 0, summing to 1.
    central : bool, optional
        Move the dual from the vertex of the simplex towards the middle of the optimal face (it is not unique
        when masses are commensurable, as with 1/N against 1/(kN)).

    Returns
    -------
    Plan

    Raises
    ------
    UncertifiedError
        If the solver stops early or the residual is above 1e-9.

    Notes
    -----
    Network simplex of Bonneel et al. (SIGGRAPH Asia 2011) as in POT; ``dual_b`` is the c-transform of
    ``dual_a``.
    """
    rows, columns = a > 0, b > 0
    if not (rows.all() and columns.all()):
        return _without_empty(costs, a, b, rows, columns, central)
    coupling, dual_a, status = _simplex(costs, a, b)
    if central:
        dual_a = dual_a + _centre(costs, coupling, dual_a, b)
    dual_b = _transform(costs, dual_a)  # prices all pairs: the solver's own dual_b is feasible to 1e-12 only
    cost = float(np.sum(coupling * costs))
    residual = _residual(coupling, cost, float(costs.max()), (a, b), (dual_a, dual_b))
    if status or not residual <= CERTIFICATE:
        raise UncertifiedError(
            f"transport solve not certified: residual {residual:.1e}, allowed {CERTIFICATE:.0e}, "
            f"solver status {status or 'optimal'}"
        )
    return Plan(cost, dual_a, dual_b, residual)


def _simplex(costs: Floats, a: Floats, b: Floats) -> tuple[Floats, Floats, str | None]:
    """Coupling (N, M), potentials (N,) of the rows, and the solver's complaint if it has one."""
    import ot  # half a second that reading a store does not need

    count = len(b)
    masses = [count * a, count * b]
    wholes = [np.rint(mass) for mass in masses]
    # Commensurable masses as whole numbers: flows are then exact and the simplex meets no spurious ties.
    if all(np.all(np.abs(mass - whole) < 1e-12 * mass) for mass, whole in zip(masses, wholes, strict=True)):
        masses = wholes
    # The simplex stops at an absolute tolerance, lost on costs of size 1e-6; a power of two scales without rounding.
    scale = 2.0 ** (LARGE - np.frexp(costs.max())[1])
    with warnings.catch_warnings():  # the status is read from the log, and becomes an error
        warnings.simplefilter("ignore")
        coupling, log = ot.emd(*masses, costs * scale, numItermax=ITERATIONS, log=True, center_dual=False)
    coupling /= count
    dual: Floats = log["u"] / scale
    return coupling, dual, log["warning"]


def _transform(costs: Floats, dual: Floats) -> Floats:
    return np.asarray((costs - dual[:, None]).min(axis=0))


def _residual(
    coupling: Floats, cost: float, largest: float, masses: tuple[Floats, Floats], duals: tuple[Floats, Floats]
) -> float:
    marginal = max(float(np.sum(np.abs(coupling.sum(axis=1 - axis) - mass))) for axis, mass in enumerate(masses))
    gap = abs(cost - sum(float(np.sum(mass * dual)) for mass, dual in zip(masses, duals, strict=True)))
    scale = max(cost, FLOOR * largest)
    return max(marginal, gap / scale) if scale > 0 else marginal


def _without_empty(costs: Floats, a: Floats, b: Floats, rows: Flags, columns: Flags, central: bool) -> Plan:
    """Solve without the points of zero mass, then give those the largest feasible potentials."""
    plan = solve(np.ascontiguousarray(costs[np.ix_(rows, columns)]), a[rows], b[columns], central=central)
    dual_a = np.empty(len(a))
    dual_a[rows] = plan.dual_a
    dual_b = _transform(costs[rows], plan.dual_a)
    dual_a[~rows] = (costs[~rows] - dual_b).min(axis=1)
    return Plan(plan.cost, dual_a, dual_b, plan.residual)


def _centre(costs: Floats, coupling: Floats, dual_a: Floats, b: Floats) -> Floats:
    """Return the shift (N,) that moves each potential to the middle of the interval the others leave it.

    A shift d keeps complementary slackness iff d_j - d_i <= slack_ji, the least reduced cost of (j, y) over
    the y served by i. Replacing all d at once by the middles of [max_i d_i - slack_ij, min_i d_i + slack_ji]
    stays feasible: the two halves of the bound add to 2 slack_ji.
    """
    count = len(dual_a)
    source, target = np.nonzero(coupling > 1e-10 * b)  # flows of round-off size bind nothing
    served, starts = np.unique(source, return_index=True)
    if count == 1 or len(served) < count:
        return np.zeros(count)
    reduced = costs[:, target]
    reduced -= dual_a[:, None]
    reduced -= reduced.min(axis=0)
    slack = np.maximum(np.minimum.reduceat(reduced, starts, axis=1), 0.0)
    np.fill_diagonal(slack, np.inf)
    back = np.ascontiguousarray(slack.T)
    shift = np.zeros(count)
    for _ in range(SWEEPS):
        shift = 0.5 * ((slack + shift).min(axis=1) + (shift - back).max(axis=1))
    return shift
