"""Pressureless Euler: the derivative of the characteristics of monokinetic data, and where they cross.

rho_in = mu_in(x) delta(v - u_in(x)) stays of this form as long as X_t, the characteristic as a function of its start,
is one to one, and mu^t(X_t) = mu_in / |det DX_t| (R. Natalini and T. Paul, Corollary 2.2 and Theorem 6.1). Where
det DX_t reaches 0, at a caustic, rho^t is still the push-forward of rho_in, but the velocity is no function of x.

X_t is the flow of the solver, and DX_t the derivative of that, step by step: of the force by central differences of
order 4, of all else exactly. Measured error of det DX: in linear systems that of the step alone (round-off for free
particles); with interaction that of the differences is 3e-11 in d = 2 and 1e-6 in d = 3, where the transforms of the
force have a tolerance of 1e-10 and 1e-6, and with the error of the field 1e-9 in d = 1, for alignment with chemotaxis.
Caustics are located to 4e-8 where they are known exactly.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from mfstudy.ensemble import Ensemble, Floats, State
from mfstudy.forces.fourier import OutOfDomainError
from mfstudy.integrate import Time, trajectory
from mfstudy.laws import InitialLaw
from mfstudy.meanfield import LOCATED, UnreachableError
from mfstudy.references._caustic import Moment, Zero, first_zero
from mfstudy.systems import Dynamics, Parts

#: Level of the rule of probes between the nodes, by dimension. A caustic begins at one start x and spreads like the
#: square root of time: one that begins between probes is seen at once by the next of them but for O(spacing^2), and
#: the search around that one finds the rest.
PROBES = {1: 1024, 2: 96, 3: 16}
#: Points of the search along an axis, by dimension, and how far it goes, relative to the support.
SEARCH, FINEST = {1: 33, 2: 9, 3: 7}, 1e-4
#: |det DX| at the last save time, relative to its median, below which the search is for a zero between the probes.
NEAR = 0.05
#: Central differences of order 4: places and weights.
PLACES, WEIGHTS = np.array([-2.0, -1.0, 1.0, 2.0]), np.array([1.0, -8.0, 8.0, -1.0]) / 12
#: Displacements that are tried for them, in sizes of the support, and points at which.
DISPLACEMENTS, TRIED = 0.5 ** np.arange(3, 16), 100
#: Probability of what may be outside the box of the probes: that of the nodes.
OUTSIDE = 1e-24


class Graph(InitialLaw, Protocol):
    """A law whose velocity is a function of the position."""

    def lifted(self, positions: Floats) -> Ensemble:
        """Return the particles at n positions, (n, d)."""
        ...

    def slopes(self, positions: Floats) -> Floats:
        """Return Du at n positions, (n, d) -> (n, d, d), entry [i, a, b] = du_a / dx_b."""
        ...

    def density(self, positions: Floats) -> Floats:
        """Return mu_in at n positions, (n, d) -> (n,); NaN where it is not known."""
        ...


def is_graph(law: InitialLaw) -> TypeGuard[Graph]:
    """Say whether the velocity of a law is a function of the position."""
    return hasattr(law, "slopes")


def euler_fields(
    dynamics: Dynamics, law: Graph, time: Time, nodes: Ensemble, points: Floats, fields: NDArray[Any]
) -> dict[str, Floats]:
    """Return what the Euler description needs at n nodes and m probes between them, and where it ends.

    Parameters
    ----------
    dynamics : Dynamics
    law : Graph
    time : Time
    nodes : Ensemble
        n nodes at time 0.
    points : (T, n, 2d) array
        The nodes at the save times.
    fields : array
        The mean field at every evaluation.

    Returns
    -------
    dict
        "det_dx", (T, n + m): det DX at the save times, at nodes, then probes. "density", (n + m,): mu_in at their
        starts. "probes", (T, m, 2d): the probes at the save times. "caustic", (1 + d,): the first time up to the last
        save time at which det DX = 0, and the start x of that characteristic; NaN if there is none.

    Raises
    ------
    UnreachableError
        If a characteristic leaves the box of the force.
    """
    starts = _starts(law, nodes)
    smallest = _displacement(dynamics, nodes, points[-1], fields)
    for halvings in range(10):
        flow = _Flow(dynamics, law, time, fields, smallest * 0.5**halvings)
        with contextlib.suppress(OutOfDomainError):  # the differences reach beyond the characteristics
            saved, hit = flow.watched(starts)
            determinants = np.stack([np.linalg.det(moment.dx) for moment in saved])
            return {
                "det_dx": determinants,
                "density": law.density(starts),
                "probes": np.stack([moment.points[nodes.size :] for moment in saved]),
                "caustic": _caustic(flow, starts, np.abs(determinants[-1]), hit),
            }
    raise UnreachableError("reference: a characteristic between its nodes has left the box of the force")


def refuse_caustic(caustic: Floats, time: Time) -> None:
    """Raise UnreachableError where characteristics cross up to the last save time.

    Parameters
    ----------
    caustic : (1 + d,) array
        As `euler_fields` returns it.
    time : Time
    """
    if np.isnan(caustic[0]):
        return
    at = ", ".join(f"{x:.4g}" for x in caustic[1:])
    earlier = [t for t in time.save if t < caustic[0] * (1 - LOCATED)]
    here = f"here t = {earlier[-1]:g}, " if earlier else ""
    raise UnreachableError(
        f"reference: characteristics cross at t = {caustic[0]:.9g} (det DX = 0 at x = {at}), then the velocity is no"
        f" function of the position; allowed: a last save time before that, {here}or euler = false"
    )


@dataclass(frozen=True, eq=False)
class _Flow:
    """Characteristics in a stored mean field, with their derivatives."""

    dynamics: Dynamics
    law: Graph
    time: Time
    fields: NDArray[Any]
    displacement: float

    def watched(self, starts: Floats, stop: bool = False) -> tuple[list[Moment], Zero | None]:
        """Return the moments at the save times, and the first zero of all det DX, at which it may stop."""
        marks, recent = set(self.time.steps), deque[Moment](maxlen=4)
        saved, hit = [], None
        for step, moment in enumerate(self._moments(starts)):
            recent.append(moment)
            if step in marks:
                saved.append(moment)
            if hit is None and step:
                hit = first_zero(list(recent))
            if hit is not None and stop:
                break
        return saved, hit

    def _moments(self, starts: Floats) -> Iterator[Moment]:
        """Yield the derivatives after every step; they ride along as rows of the ensemble below the n particles."""
        n, d = starts.shape
        particles = self.law.lifted(starts)
        assert particles.velocity is not None
        slopes = self.law.slopes(starts).transpose(2, 0, 1)
        position = np.concatenate([starts[None], np.tile(np.eye(d)[:, None, :], (1, n, 1))])
        velocity = np.concatenate([particles.velocity[None], slopes])
        start = State(Ensemble(position.reshape(-1, d), velocity.reshape(-1, d)))
        count = self.time.steps[-1]
        for step, state in enumerate(trajectory(self._rate(n), start, None, self.time)):
            x, v = _blocks(state, n)
            dx, dv = (z[1:].transpose(1, 2, 0) for z in (x, v))
            yield Moment(self.time.horizon * step / count, np.hstack([x[0], v[0]]), dx, dv)

    def _rate(self, n: int) -> Callable[[State], State]:
        stored = iter(self.fields)

        def rate(state: State) -> State:
            x, v = _blocks(state, n)
            force, slopes = _differentiated(self.dynamics, next(stored), x, v, self.displacement)
            moved = np.concatenate([force[None], slopes]).reshape(state.ensemble.points.shape[0], -1)
            return State(Ensemble(state.ensemble.velocity, moved))

        return rate


def _blocks(state: State, n: int) -> tuple[Floats, Floats]:
    """Return positions and velocities with their derivatives, (1 + d, n, d) each."""
    x, v = state.ensemble.position, state.ensemble.velocity
    assert x is not None
    assert v is not None
    return x.reshape(-1, n, x.shape[1]), v.reshape(-1, n, v.shape[1])


def _differentiated(
    dynamics: Dynamics, field: NDArray[Any], x: Floats, v: Floats, displacement: float
) -> tuple[Floats, Floats]:
    """Return the force (n, d), and its derivatives (k, n, d) along k directions at each of n points.

    Parameters
    ----------
    x, v : (1 + k, n, d) arrays
        The points, then the directions.
    displacement : float
        Length of a difference in (x, v).
    """
    n, d = x.shape[1:]
    lengths = np.sqrt(np.sum(x[1:] ** 2 + v[1:] ** 2, axis=2, keepdims=True))
    scale = displacement / np.maximum(lengths, np.finfo(np.float64).tiny ** 0.5)
    places = PLACES[:, None, None, None] * scale
    targets = (np.concatenate([z[0], (z[0] + places * z[1:]).reshape(-1, d)]) for z in (x, v))
    force = dynamics.rates(State(Ensemble(*targets)), Parts(field)).ensemble.velocity
    assert force is not None
    differences = np.tensordot(WEIGHTS, force[n:].reshape(len(PLACES), -1, n, d), axes=1)
    return force[:n], differences / scale


def _displacement(dynamics: Dynamics, nodes: Ensemble, last: Floats, fields: NDArray[Any]) -> float:
    """Return the displacement at which half of it changes the derivatives of the force least.

    Where it is halved, the error of the differences falls by 16, and that of the force is doubled. The force is
    tried at the start and at the end, at some of the nodes.
    """
    assert nodes.position is not None
    every = max(1, nodes.size // TRIED)
    size = float(np.ptp(nodes.position, axis=0).max())
    ends = [(nodes.points[::every], fields[0]), (last[::every], fields[-1])]
    best, smallest, before = size * float(DISPLACEMENTS[-1]), np.inf, None
    for displacement in size * DISPLACEMENTS:
        try:
            now = np.concatenate([_slopes(dynamics, field, points, displacement) for points, field in ends])
        except OutOfDomainError:
            continue
        if before is not None and (change := float(np.abs(now - before).max())) < smallest:
            best, smallest = float(displacement), change
        before = now
    return best


def _slopes(dynamics: Dynamics, field: NDArray[Any], points: Floats, displacement: float) -> Floats:
    """Return the derivatives of the force along the axes of position, (d, n, d)."""
    x, v = np.split(points, 2, axis=1)
    n, d = x.shape
    axes = np.tile(np.eye(d)[:, None, :], (1, n, 1))
    x, v = np.concatenate([x[None], axes]), np.concatenate([v[None], np.zeros_like(axes)])
    return _differentiated(dynamics, field, x, v, displacement)[1]


def _starts(law: Graph, nodes: Ensemble) -> Floats:
    """Return the positions of the nodes, then those of the probes between them."""
    assert nodes.position is not None
    probes = law.nodes(PROBES[nodes.position.shape[1]]).position
    assert probes is not None
    low, high = law.box(OUTSIDE)[: probes.shape[1]].T
    return np.concatenate([nodes.position, probes[np.all((probes >= low) & (probes <= high), axis=1)]])


def _caustic(flow: _Flow, starts: Floats, last: Floats, hit: Zero | None) -> Floats:
    """Return the time and the start of the first caustic, (1 + d,), NaN if there is none.

    Parameters
    ----------
    last : (n,) array
        |det DX| at the last save time. Where it is small though none was 0 before, one between may have been.
    hit : Zero or None
        The first zero among the starts.
    """
    found = np.full(1 + starts.shape[1], np.inf)
    if hit is not None:
        found = _earliest(flow, starts[hit.index], hit.time)
    elif last.min() < NEAR * np.median(last):
        found = _earliest(flow, starts[np.argmin(last)], np.inf)
    # The last step was looked at a little beyond its end.
    return found if found[0] <= flow.time.horizon * (1 + LOCATED) else np.full_like(found, np.nan)


def _earliest(flow: _Flow, start: Floats, time: float) -> Floats:
    """Return the earliest zero of det DX near a start, and its start, (1 + d,): time and start if none is earlier.

    As long as there is none the search goes to the smallest |det DX| at the last save time.
    """
    d = len(start)
    low, high = flow.law.box(OUTSIDE)[:d].T
    reach = 4 * (high - low) / PROBES[d]
    axis = np.linspace(-1.0, 1.0, SEARCH[d])
    grid = np.stack(np.meshgrid(*[axis] * d, indexing="ij"), axis=-1).reshape(-1, d)
    finest = FINEST * (high - low)
    while np.any(reach > finest):
        around = np.clip(np.concatenate([start[None], start + reach * grid]), low, high)
        around = around[flow.law.density(around) != 0]  # NaN: not known, taken for the support
        saved, hit = flow.watched(around, stop=True)
        if hit is not None and hit.time < time:
            start, time = around[hit.index], hit.time
        elif hit is None and time == np.inf:
            start = around[np.argmin(np.abs(np.linalg.det(saved[-1].dx)))]
        reach = reach * (2 / (SEARCH[d] - 1))
    return np.concatenate([[time], start])
