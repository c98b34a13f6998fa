"""Fixed-step integrators for particles with an exactly evolved linear memory.

    z' = f(z, m),    m' = -lambda m + g(z),

z the particles and m the memory (the modes of a chemical signal), lambda >= 0 and diagonal. The linear part is
integrated exactly, so that fast modes do not restrict the step. Without a memory the methods are the classical ones.

A method is a fixed sequence of evaluations of the right-hand side. Tracers that are given, evaluation by evaluation,
the field of another run are therefore particles of weight 0 of that run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

import numpy as np

from mfstudy.ensemble import Ensemble, Floats, State
from mfstudy.systems import Dynamics, System, is_flow

Rate = Callable[[State], State]
"""The time derivative of a state without -lambda m; called once for each evaluation, in order."""

#: Order of the Adams method, and how many steps of the Runge-Kutta method replace each of its first steps.
ADAMS_ORDER, STARTS = 5, 2
#: Most steps of a run: the field of each is kept.
MOST_STEPS = 100_000
ORDERS = {"adams": ADAMS_ORDER, "rk4": 4}


@dataclass(frozen=True)
class Time:
    """The save times, and the fixed step of systems that are stepped; dimensionless.

    Parameters
    ----------
    save : tuple of float
        Increasing.
    step : float, optional
        Divides every save time.
    stepper : str
        "adams": exponential Adams predictor-corrector of order 5, one evaluation a step. "rk4": Krogstad's exponential
        Runge-Kutta method of order 4, the classical one where nothing is linear; four evaluations a step.
    """

    save: tuple[float, ...] = field(default=(0.0,), metadata={"minimum": 0})
    step: float | None = field(default=None, metadata={"above": 0})
    stepper: str = field(default="adams", metadata={"choices": tuple(ORDERS)})

    def __post_init__(self) -> None:
        """Refuse save times that do not increase."""
        if not self.save:
            raise ValueError("save: empty; allowed: at least one time >= 0")
        for early, late in zip(self.save, self.save[1:], strict=False):
            if late <= early:
                raise ValueError(f"save: {late:g} after {early:g}; allowed: increasing times")

    @property
    def horizon(self) -> float:
        """Last save time."""
        return self.save[-1]

    @property
    def steps(self) -> tuple[int, ...]:
        """Number of steps to each save time.

        Raises
        ------
        ValueError
            If there is no step, or it does not divide a save time.
        """
        if self.step is None:
            raise ValueError("step: missing; allowed: a number > 0 that divides the save times")
        if self.horizon / self.step > MOST_STEPS:
            raise ValueError(f"step: {self.step!r} makes {self.horizon / self.step:.2g} steps; allowed: {MOST_STEPS}")
        counts = tuple(round(t / self.step) for t in self.save)
        for t, count in zip(self.save, counts, strict=True):
            if abs(count * self.step - t) > 1e-9 * max(t, self.step):
                raise ValueError(
                    f"step: {self.step!r} does not divide the save time {t!r}; allowed: {self.divisor(self.step)} does"
                )
        return counts

    def divisor(self, most: float) -> str:
        """Return a step of few digits, at most `most`, that divides every save time; words where there is none."""
        save = [Fraction(t).limit_denominator(10**6) for t in self.save if t > 0]
        unit = Fraction(math.gcd(*(t.numerator for t in save)), math.lcm(*(t.denominator for t in save)))
        first = math.ceil(unit / Fraction(most)) if unit > 0 and most > 0 else MOST_STEPS
        if self.horizon / float(unit or 1) * first > MOST_STEPS:
            return "no step that is not tiny"
        steps = [float(unit / n) for n in range(first, 2 * first + 1)]
        return min(map(repr, steps), key=len)

    def every(self, factor: int) -> Time:
        """Return the same times with a step that is smaller by an integer factor."""
        return Time(self.save, None if self.step is None else self.step / factor, self.stepper)


def marks(system: System, time: Time) -> tuple[int, ...]:
    """Return the indices of the save times among the states that `motion` yields.

    Raises
    ------
    ValueError
        If the system is stepped, and the step is missing or does not divide a save time.
    """
    return tuple(range(len(time.save))) if is_flow(system) else time.steps


def moments(system: System, time: Time) -> tuple[float, ...]:
    """Return the times of the states that `motion` yields."""
    if is_flow(system):
        return time.save
    count = marks(system, time)[-1]
    return tuple(time.horizon * i / max(count, 1) for i in range(count + 1))


def motion(system: System, dynamics: Dynamics | None, start: Ensemble, time: Time) -> Iterator[State]:
    """Yield the states of an ensemble: at the save times where the flow is known, else after every step.

    Parameters
    ----------
    system : System
    dynamics : Dynamics or None
        The system's, for this ensemble; None where the flow is known.
    start : Ensemble
        At time 0.
    time : Time
    """
    if dynamics is not None:
        bound = dynamics
        yield from trajectory(lambda s: bound.rates(s, bound.source(s)), bound.start(start), bound.decay, time)
        return
    assert is_flow(system)
    now = 0.0
    for late in time.save:
        start, now = system.advance(start, now, late - now), late
        yield State(start)


def trajectory(rate: Rate, start: State, decay: Floats | None, time: Time) -> Iterator[State]:
    """Yield the states at the multiples 0, 1, 2, ... of the step, up to the last save time.

    Parameters
    ----------
    rate : callable
        Right-hand side.
    start : State
    decay : array or None
        lambda, of the shape of the memory; 1/time.
    time : Time
    """
    method = {"adams": _adams, "rk4": _runge_kutta}[time.stepper]
    yield start
    count = time.steps[-1]
    if count:
        yield from method(rate, start, decay, float(time.horizon / count), count)


def evaluations(time: Time) -> Floats:
    """Return the times of the evaluations of the right-hand side, in order, (E,): a clock that the method moves."""
    clock, seen = Ensemble(np.zeros((1, 1)), None), []

    def rate(state: State) -> State:
        assert state.ensemble.position is not None
        seen.append(float(state.ensemble.position[0, 0]))
        return State(Ensemble(np.ones((1, 1)), None))

    for _ in trajectory(rate, State(clock), None, time):
        pass
    return np.asarray(seen)


def _runge_kutta(rate: Rate, state: State, decay: Floats | None, h: float, count: int) -> Iterator[State]:
    half, whole = _Exponential.of(decay, 0.5 * h), _Exponential.of(decay, h)
    for _ in range(count):
        state = _runge_kutta_step(rate, state, half, whole)
        yield state


def _runge_kutta_step(
    rate: Rate, state: State, half: _Exponential, whole: _Exponential, slope: State | None = None
) -> State:
    """Krogstad's ETDRK4 (J. Comput. Phys. 203, 2005, 72-88); classical Runge-Kutta for lambda = 0."""
    a = rate(state) if slope is None else slope
    b = rate(half.move(state, [(1.0, 0.0, 0.0)], [a]))
    c = rate(half.move(state, [(1.0, -2.0, 0.0), (0.0, 2.0, 0.0)], [a, b]))
    d = rate(whole.move(state, [(1.0, -2.0, 0.0), (0.0, 2.0, 0.0)], [a, c]))
    weights = [(1.0, -3.0, 4.0), (0.0, 2.0, -4.0), (0.0, 2.0, -4.0), (0.0, -1.0, 4.0)]
    return whole.move(state, weights, [a, b, c, d])


def _adams(rate: Rate, state: State, decay: Floats | None, h: float, count: int) -> Iterator[State]:
    """Exponential Adams-Bashforth-Moulton, predict-evaluate-correct; started by Runge-Kutta steps, shorter ones.

    Norsett (1969); Hochbruck and Ostermann, Acta Numerica 19 (2010), section 2.5.
    """
    k = ADAMS_ORDER
    slopes = [rate(state)]
    half, whole = _Exponential.of(decay, 0.5 * h / STARTS), _Exponential.of(decay, h / STARTS)
    for _ in range(min(k - 1, count)):
        for start in range(STARTS):
            state = _runge_kutta_step(rate, state, half, whole, slopes[0] if start == 0 else None)
        slopes.insert(0, rate(state))
        yield state
    predict = _Weights.of(decay, h, tuple(range(0, -k, -1)))
    correct = _Weights.of(decay, h, tuple(range(1, 1 - k, -1)))
    for _ in range(k - 1, count):
        new = rate(predict.move(state, slopes))
        slopes = [new, *slopes[:-1]]
        state = correct.move(state, slopes)
        yield state


@dataclass(frozen=True, eq=False)
class _Exponential:
    """exp(-lambda h) and h phi_1, h phi_2, h phi_3 of -lambda h, for particles (scalars) and memory."""

    particles: tuple[float, ...]
    memory: tuple[Floats, ...] | None
    damp: Floats | None

    @classmethod
    def of(cls, decay: Floats | None, h: float) -> _Exponential:
        zero = tuple(float(h * w) for w in (1.0, 1 / 2, 1 / 6))
        if decay is None:
            return cls(zero, None, None)
        return cls(zero, _by_rate(decay, lambda rates: [h * w for w in _phi(rates * h)]), np.exp(-decay * h))

    def move(self, state: State, weights: list[tuple[float, float, float]], slopes: list[State]) -> State:
        """Return exp(-lambda h) state + h sum_j (sum_i weights_ji phi_i) slopes_j."""
        plain = [sum(w * p for w, p in zip(row, self.particles, strict=True)) for row in weights]
        if self.memory is None:
            return state.moved(plain, slopes)
        memory = [sum(w * p for w, p in zip(row, self.memory, strict=True) if w) for row in weights]
        return state.moved(plain, slopes, self.damp, memory)


def _by_rate(decay: Floats, weights: Callable[[Floats], list[Floats]]) -> tuple[Floats, ...]:
    """Return functions of the rates; few rates are different, because the lattice has symmetries."""
    rates, where = np.unique(decay, return_inverse=True)
    return tuple(w[where].reshape(decay.shape) for w in weights(rates))


def _phi(z: Floats) -> tuple[Floats, Floats, Floats]:
    """Return phi_1, phi_2, phi_3 at -z, z >= 0: phi_j(-z) = int_0^1 exp(-z (1 - s)) s^(j-1) / (j-1)! ds."""
    small = z < 1.0
    big = np.where(small, 1.0, z)
    one = -np.expm1(-big) / big
    two = (1 - one) / big
    three = (0.5 - two) / big
    near = np.where(small, z, 0.0)
    series = [sum((-near) ** m / math.factorial(m + j) for m in range(20)) for j in (1, 2, 3)]
    first, second, third = (np.where(small, s, b) for s, b in zip(series, (one, two, three), strict=True))
    return first, second, third


@dataclass(frozen=True, eq=False)
class _Weights:
    """h int_0^1 exp(-lambda h (1 - s)) L_j(s) ds of the Lagrange polynomials on some nodes, in steps."""

    particles: tuple[float, ...]
    memory: tuple[Floats, ...] | None
    damp: Floats | None

    @classmethod
    def of(cls, decay: Floats | None, h: float, nodes: tuple[int, ...]) -> _Weights:
        plain = tuple(float(h * w[0]) for w in _lagrange(np.zeros(1), nodes))
        if decay is None:
            return cls(plain, None, None)
        memory = _by_rate(decay, lambda rates: [h * w for w in _lagrange(rates * h, nodes)])
        return cls(plain, memory, np.exp(-decay * h))

    def move(self, state: State, slopes: list[State]) -> State:
        """Return exp(-lambda h) state + sum_j weights_j slopes_j."""
        return state.moved(self.particles, slopes, self.damp, self.memory)


def _lagrange(z: Floats, nodes: tuple[int, ...]) -> list[Floats]:
    """Integrate by Gauss rules on intervals that shrink towards s = 1, where exp(-z (1 - s)) varies fast."""
    points, weights = _graded()
    decayed = np.exp(-np.outer(z, 1 - points)) * weights
    values = []
    for node in nodes:
        others = [m for m in nodes if m != node]
        polynomial = np.prod([(points - m) / (node - m) for m in others], axis=0)
        values.append(decayed @ polynomial)
    return values


@lru_cache(maxsize=1)
def _graded() -> tuple[Floats, Floats]:
    x, w = np.polynomial.legendre.leggauss(12)
    edges = np.concatenate([[0.0], 1 - 0.5 ** np.arange(1, 21), [1.0]])
    width = np.diff(edges)[:, None]
    return (edges[:-1, None] + width * (x + 1) / 2).ravel(), (width * w / 2).ravel()
