"""Sums over all pairs, S_c(x) = sum_j g(|x - y_j|^2) s_jc, with the profile g as a rational function of r^2.

Compilers turn quotients of polynomials into vector instructions, a power or an exponential they do not. A sum over
c = d + 1 columns is a whole force: alignment is S_wv - v S_w from the strengths [w, w v], the gradient of a radial
potential S_wx - x S_w from [w, w x].
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import NDArray
from scipy.interpolate import AAA

from mfstudy.ensemble import Floats

#: Numbers of coefficients that are compiled for; shorter polynomials are padded with zeros.
LENGTHS = (7, 8, 9, 12, 15)
#: Sources taken together: their distances and profile stay in the first-level cache.
TILE = 512
#: Relative excess of r^2 over `upper` that round-off explains.
SLACK = 1e-10
#: AAA overstates the error of what is then refined: how far above the tolerance a fit is still tried.
HOPE = 10.0
#: Most Gauss-Newton steps on the coefficients; one is enough in 99 of 100 fits.
STEPS = 3


@dataclass(frozen=True)
class Rational:
    """A profile g(r^2) = P(s) / Q(s) with s = r^2 / upper.

    Powers of s, not of the centred variable 2 s - 1: the zeros and poles of a decaying profile crowd at s < 0, all
    terms of P and Q then have one sign and none cancel. Centred, psi with upper = 1e3 R^2 keeps 6 digits of 12.

    Parameters
    ----------
    numerator, denominator : tuple of float
        Coefficients in ascending powers of s, equally many, padded with zeros to one of `LENGTHS`.
    upper : float
        The fit holds for 0 <= r^2 <= upper; length squared.
    error : float
        Largest error in double precision on a dense grid, relative to max |g|; dimensionless.

    Raises
    ------
    ValueError
        If there are not equally many coefficients, at least one, or upper is not > 0.
    """

    numerator: tuple[float, ...]
    denominator: tuple[float, ...]
    upper: float
    error: float

    def __post_init__(self) -> None:
        counts = len(self.numerator), len(self.denominator)
        if not (counts[0] == counts[1] > 0 and self.upper > 0):
            lengths = f"lengths {counts}, upper = {self.upper}"
            raise ValueError(f"numerator, denominator, upper: {lengths}, must be equal and > 0, and > 0")

    def __call__(self, r2: Floats) -> Floats:
        """Return g at squared distances of any shape, length squared."""
        s = np.asarray(r2) / self.upper
        return np.asarray(_quotient(s, np.array(self.numerator), np.array(self.denominator)))


def rational(profile: Callable[[Floats], Floats], upper: float, tolerance: float = 1e-12) -> Rational:
    """Return the rational function of lowest degree that meets a tolerance.

    The AAA algorithm (Nakatsukasa, Sete, Trefethen, SIAM J. Sci. Comp. 40, 2018, A1494) finds zeros and poles,
    Gauss-Newton steps on the coefficients remove the round-off of that detour.

    Parameters
    ----------
    profile : callable
        g as a function of r^2, (k,) -> (k,); smooth on [0, upper].
    upper : float
        Largest r^2, length squared; > 0.
    tolerance : float
        Largest error relative to max |g|, dimensionless; 1e-12 is met by (1 + r^2/R^2)^-sigma, sigma in [0.05, 3],
        up to r = 30 R and by Gaussians up to r = 10 widths.

    Raises
    ------
    ValueError
        If an argument is out of range, g is not finite, or no fit without poles on [0, upper] meets the tolerance.
    """
    if not (0 < upper < np.inf and tolerance > 0):
        raise ValueError(f"upper = {upper}, tolerance = {tolerance}: both must be > 0 and upper finite")
    nodes, grid = _nodes(), _grid()
    values, exact = (np.asarray(profile(upper * s), dtype=float) for s in (nodes, grid))
    if not (np.isfinite(values).all() and np.isfinite(exact).all()):
        raise ValueError(f"profile: every value on [0, upper = {upper:g}] must be finite")
    size = float(np.abs(exact).max()) or 1.0
    best = np.inf
    for p, q in _fits(nodes, values / size, tolerance):
        error = float(np.abs(_quotient(grid, p, q) - exact / size).max())
        if error <= tolerance:
            return Rational(_padded(size * p), _padded(q), float(upper), error)
        best = min(best, error)
    reached = f"error {best:.1e} without poles on [0, upper = {upper:g}]"
    raise ValueError(f"profile: {reached}, tolerance = {tolerance:g} must be larger")


def _nodes() -> Floats:
    """Return where AAA samples [0, 1]: dense at both ends, geometrically so at 0, where profiles are narrow."""
    ends = (1 - np.cos(np.pi * (np.arange(600) + 0.5) / 600)) / 2
    return np.unique(np.concatenate([[0.0], np.geomspace(1e-7, 1, 400), ends]))


def _grid() -> Floats:
    """Return where the error is measured."""
    return np.unique(np.concatenate([np.linspace(0, 1, 20_001), np.geomspace(1e-10, 1, 6_000)]))


def _quotient(s: Floats, p: Floats, q: Floats) -> Any:
    return polynomial.polyval(s, p) / polynomial.polyval(s, q)


def _padded(coefficients: Floats) -> tuple[float, ...]:
    length = next(n for n in LENGTHS if n >= len(coefficients))
    return tuple(np.pad(coefficients, (0, length - len(coefficients))).tolist())


def _fits(s: Floats, values: Floats, tolerance: float) -> Iterator[tuple[Floats, Floats]]:
    """Yield numerators and denominators without poles on [0, 1], of increasing degree.

    All degrees that might meet the tolerance; beyond what double precision resolves, AAA returns pairs of a zero and
    a pole that nearly cancel, and those may lie on the interval.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "AAA failed to converge", RuntimeWarning)
        errors = AAA(s, values, rtol=max(tolerance / 10, 1e-14), max_terms=LENGTHS[-1], clean_up=False).errors
    hopeful = errors <= HOPE * tolerance * np.abs(values).max()
    for error in errors[hopeful] if hopeful.any() else [errors.min()]:
        # A relative tolerance, not a number of terms: with that AAA warns even where it converges.
        rtol = (1 + 1e-9) * error / np.abs(values).max() if error else 0.0
        fit = AAA(s, values, rtol=rtol, max_terms=len(errors) + 1, clean_up=False)
        zeros, poles = fit.roots(), fit.poles()
        if not np.any((np.abs(poles.imag) < 1e-12) & (poles.real >= 0) & (poles.real <= 1)):
            p, q = _expanded(zeros), _expanded(poles)
            for _ in range(STEPS):
                p, q = _refined(s, values, p, q)
                yield p, q


def _expanded(roots: NDArray[np.complex128]) -> Floats:
    """Return the coefficients, largest 1, of the polynomial with these roots (in conjugate pairs)."""
    coefficients = polynomial.polyfromroots(roots[np.isfinite(roots)]).real
    return np.asarray(coefficients / np.abs(coefficients).max())


def _refined(s: Floats, values: Floats, p: Floats, q: Floats) -> tuple[Floats, Floats]:
    """Return P and Q after scaling P and one Gauss-Newton step on P / Q = values, in relative changes.

    Relative, so that the columns of the least-squares problem have comparable sizes; the coefficient of Q that is 1
    stays 1.
    """
    ratio = _quotient(s, p, q)
    p = p * float((ratio @ values) / (ratio @ ratio))
    powers, below = s[:, None] ** np.arange(max(len(p), len(q))), polynomial.polyval(s, q)
    ratio = _quotient(s, p, q)
    slopes = np.hstack([powers[:, : len(p)] * p, -ratio[:, None] * powers[:, : len(q)] * q]) / below[:, None]
    slopes[:, len(p) + int(np.argmax(np.abs(q)))] = 0.0
    change = np.linalg.lstsq(slopes, values - ratio, rcond=1e-14)[0]
    return p * (1 + change[: len(p)]), q * (1 + change[len(p) :])


def pair_sums(targets: Floats, sources: Floats, strengths: Floats, profile: Rational) -> Floats:
    """Return the sums over all sources at every target, (n, c).

    The sums at a target are the same bytes whichever other targets are asked for, and from run to run on one machine.

    Parameters
    ----------
    targets : ndarray, shape (n, d)
        Where to sum; length.
    sources : ndarray, shape (m, d)
        Positions; length.
    strengths : ndarray, shape (m, c)
        Any unit; the sums have it times that of g.
    profile : Rational
        g.

    Raises
    ------
    ValueError
        If the shapes do not fit, a position is not finite, or the bounding boxes of targets and sources have points
        farther apart than the profile's fit goes.
    """
    if not (targets.ndim == sources.ndim == strengths.ndim == 2):
        raise ValueError("targets (n, d), sources (m, d) and strengths (m, c) must have two axes")
    if targets.shape[1] != sources.shape[1] or targets.shape[1] == 0 or len(sources) != len(strengths):
        shapes = f"targets {targets.shape}, sources {sources.shape}, strengths {strengths.shape}"
        raise ValueError(f"{shapes}: shapes must be (n, d), (m, d), (m, c) with d > 0")
    if len(targets) == 0 or len(sources) == 0:
        return np.zeros((len(targets), strengths.shape[1]))
    _require_within(targets, sources, profile.upper)
    arguments = (
        np.array(targets, dtype=float, order="C"),
        # One coordinate after the other: what vector instructions load. Copies, as one kind of array is compiled for.
        np.array(sources.T, dtype=float, order="C"),
        np.array(strengths.T, dtype=float, order="C"),
        profile.numerator,
        profile.denominator,
        1 / profile.upper,
    )
    try:
        return np.asarray(_compiled(True)(*arguments))
    except OSError:  # the disk of the cache filled up, or went away
        return np.asarray(_compiled(False)(*arguments))


def _require_within(targets: Floats, sources: Floats, upper: float) -> None:
    """Refuse points that may be farther apart than the profile is known: boxes in O(n + m), not pairs in O(n m)."""
    reach = np.maximum(targets.max(axis=0) - sources.min(axis=0), sources.max(axis=0) - targets.min(axis=0))
    farthest = float(reach @ reach)
    if not farthest <= upper * (1 + SLACK):
        raise ValueError(f"targets and sources: squared distances up to {farthest:g}, must be at most {upper:g}")


@cache
def _compiled(cached: bool) -> Callable[..., Floats]:
    """Return the compiled sum, kept on disk between processes where a directory for it can be written."""
    # Here, not above: importing it and loading the sum takes 0.3 s, and most commands sum no pairs.
    import numba

    options: dict[str, Any] = {
        # Without it every division is checked for zero, and nothing is vectorised: 4 to 14 times slower.
        "error_model": "numpy",
        # Only what sums in vector lanes need: NaN must stay NaN.
        "fastmath": {"reassoc", "contract", "nsz"},
        # 1e5 particles take ten seconds, in which a worker must be able to say that it lives.
        "nogil": True,
    }
    try:
        compiled: Callable[..., Floats] = numba.njit(cache=cached, **options)(_tile_sums)
    except RuntimeError:  # "cannot cache function": read-only installation and home
        compiled = numba.njit(**options)(_tile_sums)
    return compiled


def _tile_sums(
    targets: Floats,
    sources: Floats,
    strengths: Floats,
    numerator: tuple[float, ...],
    denominator: tuple[float, ...],
    scale: float,
) -> Floats:
    """Sum over sources (d, m) with strengths (c, m) at targets (n, d): the loops that numba compiles."""
    n, (d, m), c = len(targets), sources.shape, len(strengths)
    sums, buffer = np.zeros((n, c)), np.empty(TILE)
    for i in range(n):
        for start in range(0, m, TILE):
            stop = min(start + TILE, m)
            work, size = buffer[: stop - start], stop - start
            column, x = sources[0, start:stop], targets[i, 0]
            for j in range(size):  # apart from the other axes: one pass over the buffer less, 10 % of the time
                work[j] = (column[j] - x) ** 2
            for axis in range(1, d):
                column, x = sources[axis, start:stop], targets[i, axis]
                for j in range(size):
                    work[j] += (column[j] - x) ** 2
            for j in range(size):
                s = work[j] * scale
                p, q = numerator[-1], denominator[-1]
                # Two loops: the compiler unrolls up to 8 rounds, and only what is unrolled becomes SIMD.
                for k in range(len(numerator) - 2, 6, -1):
                    p = p * s + numerator[k]
                    q = q * s + denominator[k]
                for k in range(min(len(numerator) - 2, 6), -1, -1):
                    p = p * s + numerator[k]
                    q = q * s + denominator[k]
                work[j] = p / q
            for channel in range(c):
                column, total = strengths[channel, start:stop], 0.0
                for j in range(size):
                    total += work[j] * column[j]
                sums[i, channel] += total
    return sums
