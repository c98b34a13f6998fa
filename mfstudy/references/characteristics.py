"""rho^t by pushing quadrature nodes of rho_in along the characteristics of the mean field."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mfstudy.ensemble import Ensemble, Floats, State
from mfstudy.forces.chemical import gradient_supremum
from mfstudy.forces.fourier import Lattice, Modes, OutOfDomainError
from mfstudy.integrate import Time, trajectory
from mfstudy.laws import InitialLaw
from mfstudy.meanfield import Snapshot, UnreachableError, pushed
from mfstudy.references import Shared, _rules
from mfstudy.references._euler import euler_fields, is_graph, refuse_caustic
from mfstudy.references._pools import pieces
from mfstudy.systems import Dynamics, Parts, System, is_stepped
from mfstudy.transport.bracket import MEMORY

#: Nodes along each position axis and each velocity axis, coarse to fine; the field varies more along positions.
LEVELS = (
    *((6, 2), (10, 3), (14, 4), (18, 5), (24, 6), (32, 8), (48, 12), (64, 16), (96, 24), (128, 32)),
    *((192, 48), (256, 64), (384, 96)),
)
#: The error of a step, relative to the distance to half the step: 2^p / (2^p - 1), and more before the order sets in.
HALVING = 1.25
#: Most nodes of a rule: what a minute on one core pushes in d = 3.
MOST_NODES = 4e5
#: Where no tolerance is given: what is refused, and what is aimed at, by dimension.
LIMIT, AIM = 1e-3, {1: 1e-10, 2: 1e-7, 3: 1e-4}


@dataclass(frozen=True)
class Characteristics:
    """The mean field is the same system with a quadrature rule in place of the sample.

    Weighted Gauss nodes of rho_in are pushed with the same force and the same steps as particles. The flow is smooth,
    so that integrals over rho_in converge spectrally. The field is stored, evaluation by evaluation; tracers that it
    drives are i.i.d. samples of rho^t, or, from the particles' own start, the coupled particles of Sznitman.

    The error is measured as the root mean square distance between nodes pushed by the field of one resolution and of
    the next finer, a bound on W_2 of the coarser, with a margin for Sobol points; likewise for a step of half the
    length. The finer is used.

    Parameters
    ----------
    tolerance : float, optional
        Largest error in W_2 up to the last save time; dimensionless. By default the nodes are refined to 1e-10, 1e-7,
        1e-4 in d = 1, 2, 3, and an error above 1e-3 is refused.
    rule : str, optional
        "tensor": products of Gauss rules, whose error falls spectrally. "sobol": scrambled Sobol points, whose error
        falls about like 1/n in every dimension. By default Sobol points are tried where tensors do not do.
    euler : bool
        Whether the study is about the Euler description of monokinetic data, and refused from the time on at which
        characteristics cross. That time, and density and velocity at the nodes, are stored for such data either way.
    """

    scheme: ClassVar[int] = 1
    shares: ClassVar[bool] = True

    tolerance: float | None = field(default=None, metadata={"above": 0, "below": 1, "unit": "dimensionless"})
    rule: str | None = field(default=None, metadata={"choices": _rules.KINDS})
    euler: bool = False

    def admit(self, system: System, law: InitialLaw, time: Time) -> None:
        """Refuse systems that are not stepped, and an Euler description of velocities that are spread."""
        del time
        if not is_stepped(system):
            raise ValueError(f"the system {type(system).__name__} has a closed flow; allowed: exact")
        if self.euler and not is_graph(law):
            raise ValueError(
                "euler needs velocities that are a function of the position; allowed: a law that is monokinetic, or"
                " euler = false"
            )

    def solve(self, system: System, law: InitialLaw, time: Time) -> Shared:
        """Return field and memory at every evaluation, memory after every step, nodes and errors at the save times."""
        assert is_stepped(system)
        dynamics = system.dynamics(law, time.horizon, None)
        d = len(law.mean) // 2
        tolerance = self.tolerance or LIMIT
        force = dynamics.error * np.asarray(time.save) * max(1.0, time.horizon)
        if force.max() > 0.2 * tolerance:
            raise UnreachableError(
                f"reference: the force itself leaves an error of {force.max():.1e}, too much for the tolerance"
                f" {tolerance:.1e}; a tolerance of {_rules.rounded_up(5.1 * float(force.max()))} would do"
            )
        try:
            kinds = _rules.KINDS if self.rule is None else (self.rule,)
            coarse, fine, spacing = _resolved(dynamics, law, time, tolerance, self.tolerance or AIM[d], kinds)
            halved = _push(dynamics, coarse.nodes, time.every(2), keep_fields=False)
        except OutOfDomainError as error:
            raise UnreachableError(f"reference: a node of its rule has left the box of the force: {error}") from None
        stepping = HALVING * _distance(coarse.saved, halved.saved, coarse.weights)
        if not np.isfinite(stepping).all():
            raise UnreachableError(f"reference: the step {time.step:g} is too long, its nodes are not finite")
        if stepping.max() > 0.4 * tolerance:
            wanted = _rules.smaller_step(time, float(stepping.max()) / (0.4 * tolerance))
            looser = _rules.rounded_up(2.6 * float(stepping.max()))
            raise UnreachableError(
                f"reference: the step {time.step:g} leaves an error of {stepping.max():.1e}, too much for the tolerance"
                f" {tolerance:.1e}; a step of {wanted} would do, or a tolerance of {looser}"
            )
        signal = [
            _slope(dynamics, fine, coarse, step, step)
            + HALVING * _slope(dynamics, coarse, halved, step, 2 * step)
            + dynamics.slope_error * t
            for step, t in zip(time.steps, time.save, strict=True)
        ]
        shared: dict[str, NDArray[Any]] = {
            "field": np.stack(fine.fields) if fine.fields else np.zeros((0, 1)),
            "memory": np.stack(fine.memories) if fine.memories else np.zeros((0, 1)),
            "signal": np.stack(fine.signals) if fine.signals else np.zeros((0, 1)),
            "points": np.stack(fine.saved),
            "weights": fine.weights,
            "errors": np.stack([spacing, stepping, force, signal], axis=1),
        }
        if is_graph(law):
            shared |= euler_fields(dynamics, law, time, fine.nodes, shared["points"], shared["field"])
        if self.euler:
            refuse_caustic(shared["caustic"], time)
        return shared

    def restore(self, system: System, law: InitialLaw, time: Time, shared: Shared) -> _Driven:
        """Return the mean field of a stored field."""
        assert is_stepped(system)
        return _Driven(system.dynamics(law, time.horizon, None), law, time, shared, self.tolerance or LIMIT)


@dataclass(frozen=True, eq=False)
class _Driven:
    """A stored mean field and the particles that it drives; implements `mfstudy.meanfield.MeanField`."""

    dynamics: Dynamics
    law: InitialLaw
    time: Time
    shared: Shared
    tolerance: float

    @property
    def valid_until(self) -> float:
        """The last save time up to which the error is within the tolerance, -inf where there is none.

        rho^t becomes filaments; what its nodes do not resolve any more shows in their measured error.
        """
        good = self.shared["errors"][:, :3].sum(axis=1) <= self.tolerance
        count = len(good) if good.all() else int(np.argmin(good))
        return self.time.save[count - 1] if count else -math.inf

    @property
    def lattice(self) -> Lattice | None:
        """The lattice of the memory."""
        return self.dynamics.lattice

    def at(self, index: int) -> Snapshot:
        """Return rho^t, whose first moments are those of the nodes."""
        mean, covariance = self._moments[index]
        errors = self.shared["errors"][: index + 1].max(axis=0)  # up to now: maxima over time are compared with them

        def push(start: Ensemble) -> Floats:
            return self._pushed(start, self.time.steps[index])

        rho = pushed(self.law, push, float(errors[:3].sum()))
        return replace(rho, signal_error=float(errors[3]), mean=mean, covariance=covariance)

    @cached_property
    def _moments(self) -> list[tuple[Floats, Floats]]:
        """Mean and covariance at each save time."""
        weights = self.shared["weights"]
        means = [weights @ points for points in self.shared["points"]]
        return [
            (mean, (points - mean).T @ (weights[:, None] * (points - mean)))
            for mean, points in zip(means, self.shared["points"], strict=True)
        ]

    def tracers(self, start: Ensemble) -> Iterator[State]:
        """Yield particles that start somewhere and feel the mean field alone."""
        return _drive(self.dynamics, start, self.time, self.shared["field"])

    def memory(self, step: int) -> Modes | None:
        """Return the modes of the mean field's memory after a step."""
        return self.shared["memory"][step] if len(self.shared["memory"]) else None

    @property
    def signals(self) -> NDArray[np.complex128] | None:
        """The modes of the mean field's memory at every evaluation."""
        return self.shared["signal"] if len(self.shared["signal"]) else None

    def _pushed(self, start: Ensemble, steps: int) -> Floats:
        """Return the points (m, D) of tracers after some steps."""
        x, v = start.position, start.velocity
        assert x is not None
        assert v is not None
        out = np.empty((len(x), x.shape[1] + v.shape[1]))
        for some in pieces(x):
            out[some] = self._carried(Ensemble(x[some], v[some]), steps).points
        return out

    def _carried(self, start: Ensemble, steps: int) -> Ensemble:
        for step, state in enumerate(self.tracers(start)):
            if step == steps:
                return state.ensemble
        raise AssertionError("a save time is beyond the trajectory")


@dataclass(frozen=True, eq=False)
class _Solution:
    """A rule pushed to the horizon."""

    nodes: Ensemble
    fields: list[NDArray[Any]]
    signals: list[Modes]
    memories: list[Modes]
    saved: list[Floats]

    @property
    def weights(self) -> Floats:
        assert self.nodes.weights is not None
        return self.nodes.weights


def _resolved(
    dynamics: Dynamics, law: InitialLaw, time: Time, tolerance: float, aim: float, kinds: tuple[str, ...]
) -> tuple[_Solution, _Solution, Floats]:
    """Return two consecutive resolutions of the first kind of rule that reaches the tolerance, and their distance.

    Raises
    ------
    UnreachableError
        If none does.
    """
    limit = _rules.Limit.of(MOST_NODES, MEMORY, len(law.mean), len(time.save))
    tried = []
    for kind in kinds:
        coarse, fine, spacing, over = _refined(dynamics, law, kind, limit, time, aim)
        # The negation also accepts what is not a number: the step is too long then.
        if coarse is not None and fine is not None and not spacing.max() > _rules.PART * tolerance:
            return coarse, fine, spacing
        count = 0 if fine is None or np.isinf(spacing).any() else fine.nodes.size
        tried.append(_rules.Tried(kind, count, spacing, over))
    raise UnreachableError(_rules.nodes_refusal(tried, limit, time, tolerance))


def _refined(
    dynamics: Dynamics, law: InitialLaw, kind: str, limit: _rules.Limit, time: Time, aim: float
) -> tuple[_Solution | None, _Solution | None, Floats, int]:
    """Return the first two consecutive rules whose error is within an aim, or the largest two; the error, saved.

    Last is the size of the first rule over the limit, 0 where there was none.
    """
    coarse = fine = None
    apart = spacing = np.full(len(time.save), math.inf)
    rules = _rules.sobol_rules(law) if kind == "sobol" else _rules.tensor_rules(law, LEVELS)
    for rule in rules:
        if not limit.allows(rule.size):
            return coarse, fine, spacing, rule.size
        coarse, fine = fine, _push(dynamics, _rules.inside(law, rule), time)
        if coarse is not None:
            driven, marks = enumerate(_drive(dynamics, fine.nodes, time, coarse.fields)), set(time.steps)
            others = [state.ensemble.points for step, state in driven if step in marks]
            coarse.fields.clear()
            coarse.signals.clear()
            apart, before = _distance(fine.saved, others, fine.weights), apart
            spacing = _rules.certified(kind, apart, before)
            if not spacing.max() > _rules.PART * aim:
                break
    return coarse, fine, spacing, 0


def _slope(dynamics: Dynamics, one: _Solution, other: _Solution, step: int, other_step: int) -> float:
    """Return the supremum of the difference of two solutions' grad psi, each after its steps."""
    if not one.memories or dynamics.lattice is None:
        return 0.0
    return gradient_supremum(dynamics.lattice, one.memories[step] - other.memories[other_step]).value


def _push(dynamics: Dynamics, nodes: Ensemble, time: Time, keep_fields: bool = True) -> _Solution:
    """Push a rule with its own field."""
    marks = set(time.steps)
    fields: list[NDArray[Any]] = []
    signals: list[Modes] = []
    memories: list[Modes] = []
    saved = []

    def rate(state: State) -> State:
        parts = dynamics.source(state)
        if keep_fields:
            fields.append(parts.field)
            if state.memory is not None:
                signals.append(state.memory)
        return dynamics.rates(state, parts)

    for step, state in enumerate(trajectory(rate, dynamics.start(nodes), dynamics.decay, time)):
        if state.memory is not None:
            memories.append(state.memory)
        if step in marks:
            saved.append(state.ensemble.points)
    return _Solution(nodes, fields, signals, memories, saved)


def _drive(
    dynamics: Dynamics, start: Ensemble, time: Time, fields: NDArray[Any] | list[NDArray[Any]]
) -> Iterator[State]:
    """Yield particles of weight 0 in the system that has made the fields."""
    stored = iter(fields)
    return trajectory(lambda state: dynamics.rates(state, Parts(next(stored))), State(start), None, time)


def _distance(some: list[Floats], others: list[Floats], weights: Floats) -> Floats:
    """Return the root mean square distance at each save time."""
    return np.asarray([math.sqrt(weights @ np.sum((a - b) ** 2, axis=1)) for a, b in zip(some, others, strict=True)])
