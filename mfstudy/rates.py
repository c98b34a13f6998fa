"""Candidate rate laws E(N) = C N^a (log N)^b: free ones, those of the literature, and their least squares."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace

import numpy as np

from mfstudy.ensemble import Floats

_PINNED = ("bobkov-ledoux", "ajtai-komlos-tusnady", "matching", "fournier-guillin")


@dataclass(frozen=True)
class RateLaw:
    """A law C N^exponent log(log_shift + N)^log_power for the decay of a mean with the size N.

    Parameters
    ----------
    name : str
    log_power : float
        Power of the logarithm, dimensionless.
    exponent : float or None
        The power of N (negative for decay) where the law pins it; None = free, to be fitted.
    source : str
        Paper and theorem, or what the law stands for.
    log_shift : int
        1 where the paper has log(1 + N), so that the rate at N = 1 is not 0; else 0.
    """

    name: str
    log_power: float
    exponent: float | None = None
    source: str = ""
    log_shift: int = 0

    @property
    def parameters(self) -> int:
        """Number of fitted parameters: the constant, and the exponent where it is free."""
        return 2 if self.exponent is None else 1

    @property
    def twin(self) -> RateLaw:
        """The law of the same logarithm with the exponent free: what gives a pinned power an error bar."""
        return replace(self, exponent=None)

    @property
    def formula(self) -> str:
        """The law in plain characters, a free exponent written as a."""
        log = "log N" if self.log_shift == 0 else f"log({self.log_shift}+N)"
        logs = {0.0: "", 1.0: f" {log}"}.get(self.log_power, f" ({log})^{self.log_power:.3g}")
        return f"C N^{'a' if self.exponent is None else format(self.exponent, '.4g')}{logs}"

    def shape(self, sizes: Floats, exponent: Floats | float | None = None) -> Floats:
        """Return the law at C = 1.

        Parameters
        ----------
        sizes : (n,) array
            Sizes N > 1.
        exponent : float or (..., 1) array, optional
            Power of N; may be left out where the law pins it.

        Returns
        -------
        (n,) or (..., n) array

        Raises
        ------
        ValueError
            If the exponent is neither given nor pinned.
        """
        power = self.exponent if exponent is None else exponent
        if power is None:
            raise ValueError(f"exponent: law {self.name!r} leaves it free, so a number is needed")
        logarithm = np.log(self.log_shift + sizes) ** self.log_power
        return np.asarray(np.exp(power * np.log(sizes)) * logarithm)


_FREE = (
    RateLaw("power", 0.0, source="any power of N"),
    RateLaw("power-log", 1.0, source="any power of N, times log N"),
)


def default_laws(dim: int | None = None, moment: float | None = None, p: float = 2) -> tuple[RateLaw, ...]:
    """Return the candidates of a fit: the free laws, and those of the literature where dim is given.

    Parameters
    ----------
    dim : int or None
        Dimension of the support of the law that is sampled.
    moment : float or None
        Order q of the highest moment that is finite; None = all are.
    p : float
        Power of the distance; the laws are for E W_p^p.

    Returns
    -------
    tuple of RateLaw
        No two of the same shape; where two papers agree the source names both.

    Raises
    ------
    ValueError
        If dim, moment or p is outside its range.
    """
    return _without_twins(_named_laws(dim, moment, p))


def reference_slopes(dim: int, moment: float | None = None, p: float = 2) -> tuple[RateLaw, ...]:
    """Return the pinned laws only, the labelled slopes of a figure; arguments and errors as in `default_laws`."""
    return tuple(law for law in default_laws(dim, moment, p) if law.exponent is not None)


def law_by_name(name: str, dim: int | None = None, moment: float | None = None, p: float = 2) -> RateLaw:
    """Return the law that a user asked for by name; dim, moment and p as in `default_laws`.

    Raises
    ------
    ValueError
        If no law of that name exists for this dim, moment and p.
    """
    known = {law.name: law for law in _named_laws(dim, moment, p)}
    if name in known:
        return known[name]
    allowed = ", ".join(known)
    if name in _PINNED:
        at = f"dim={dim}, moment={moment}, p={p}"
        raise ValueError(f"laws: {name!r} is not stated at {at} (pinned laws need dim), allowed: {allowed}")
    nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)[0]
    raise ValueError(f"laws: no law {name!r}, nearest is {nearest!r}, allowed: {allowed}")


def least_squares(
    law: RateLaw,
    sizes: Floats,
    means: Floats,
    white: Floats,
    start: tuple[float, float] | None = None,
    steps: int = 100,
) -> tuple[Floats, Floats]:
    """Fit a law to many vectors of means at once by generalised least squares on the raw scale.

    Minimises |white (mean - C shape)|^2. The constant is linear; a free exponent is found by Gauss-Newton on
    (log C, exponent), all rows together.

    Parameters
    ----------
    law : RateLaw
    sizes : (n,) array
    means : (rows, n) array
    white : (n, n) array
        Whitening matrix: white @ covariance of the means @ white.T is the identity.
    start : (constant, exponent), optional
        Where a free law starts; None = the log-log line of the average row.
    steps : int
        Most Gauss-Newton steps. From the estimate of the unresampled means a few are enough.

    Returns
    -------
    constants, exponents : (rows,) arrays
        Constants in the unit of the means, exponents dimensionless.
    """
    if law.exponent is not None:
        basis = white @ law.shape(sizes)
        return (means @ white.T) @ basis / (basis @ basis), np.full(len(means), law.exponent)
    # The logs of N are centred, which makes the two parameters nearly orthogonal.
    x = np.log(sizes) - _center(sizes)
    logs = law.shape(sizes, 0.0)
    slope, level = _line(x, logs, means) if start is None else (start[1], np.log(start[0]) + start[1] * _center(sizes))
    parameters = np.repeat([[level], [slope]], len(means), axis=1)
    for _ in range(steps):
        model = np.exp(parameters[0][:, None] + parameters[1][:, None] * x) * logs
        step = _gauss_newton_step(model, x, means, white)
        parameters = parameters + step
        if np.abs(step).max() < 1e-12:
            break
    return np.exp(parameters[0] - parameters[1] * _center(sizes)), parameters[1]


def _center(sizes: Floats) -> float:
    """Mean of log N."""
    return float(np.log(sizes).mean())


def _line(x: Floats, logs: Floats, means: Floats) -> tuple[float, float]:
    """Slope and level of the log-log line through the average row, freed from the law's own logarithm."""
    slope, level = np.polyfit(x, np.log(means.mean(axis=0) / logs), 1)
    return float(slope), float(level)


def _gauss_newton_step(model: Floats, x: Floats, means: Floats, white: Floats) -> Floats:
    """Return the step in (log C, exponent) for every row, at most 1 in each so that no row runs away."""
    residual = (means - model) @ white.T
    by_level, by_slope = model @ white.T, (model * x) @ white.T
    a, b, c = ((u * v).sum(axis=1) for u, v in ((by_level, by_level), (by_level, by_slope), (by_slope, by_slope)))
    f, g = (by_level * residual).sum(axis=1), (by_slope * residual).sum(axis=1)
    step = np.stack([c * f - b * g, a * g - b * f]) / (a * c - b * b)
    return np.asarray(np.clip(step, -1.0, 1.0))


def _named_laws(dim: int | None, moment: float | None, p: float) -> list[RateLaw]:
    """Every law that is stated at these arguments, twins of the same shape included, sharp laws first."""
    _check(dim, moment, p)
    laws = list(_FREE)
    if dim is None:
        return laws
    if moment is None or np.isinf(moment):
        laws.append(_sharp(dim, p))
    bound = _fournier_guillin(dim, moment, p)
    return laws if bound is None else [*laws, bound]


def _check(dim: int | None, moment: float | None, p: float) -> None:
    """Raise the one-line errors of the arguments that laws are chosen by."""
    if dim is not None and (isinstance(dim, bool) or dim != int(dim) or dim < 1):
        raise ValueError(f"dim: the dimension of the support is a whole number >= 1 or None, got {dim!r}")
    if moment is not None and not moment > 0:
        raise ValueError(f"moment: the order of the highest finite moment is > 0 or None, got {moment!r}")
    if not 1 <= p < np.inf:
        raise ValueError(f"p: the power of the distance is a finite number >= 1, got {p!r}")


def _sharp(dim: int, p: float) -> RateLaw:
    """Return the true rate of E W_p^p for a density bounded from 0 and infinity, connected support."""
    if dim == 1:
        source = "Bobkov and Ledoux, Memoirs AMS 261 (2019), connected support, D = 1"
        return RateLaw("bobkov-ledoux", 0.0, -p / 2, source)
    if dim == 2:
        source = "Ajtai, Komlos and Tusnady, Combinatorica 4 (1984), (log N / N)^{p/2} in D = 2"
        return RateLaw("ajtai-komlos-tusnady", p / 2, -p / 2, source)
    source = "Talagrand, Ann. Appl. Probab. 2 (1992), N^{-p/D} in D >= 3"
    return RateLaw("matching", 0.0, -p / dim, source)


def _fournier_guillin(dim: int, moment: float | None, p: float) -> RateLaw | None:
    """Return the slower term of the bound of Theorem 1, None where it excludes the moment order."""
    source = "Fournier and Guillin, PTRF 162 (2015), Theorem 1"
    bulk, log_power = (-p / dim, 0.0) if p < dim / 2 else (-0.5, 1.0 if p == dim / 2 else 0.0)
    if moment is not None and np.isfinite(moment):
        excluded = 2 * p if p >= dim / 2 else dim / (dim - p)
        if moment <= p or np.isclose(moment, excluded, rtol=1e-12):
            return None
        tail = -(moment - p) / moment
        if tail > bulk:
            return RateLaw("fournier-guillin", 0.0, tail, f"{source}, moment term with q = {moment:g}")
    return RateLaw("fournier-guillin", log_power, bulk, source, log_shift=1 if log_power else 0)


def _without_twins(laws: list[RateLaw]) -> tuple[RateLaw, ...]:
    """Keep the first law of each shape, with the sources of all."""
    kept: dict[tuple[float, float | None, int], RateLaw] = {}
    for law in laws:
        key = (law.log_power, law.exponent, law.log_shift)
        earlier = kept.get(key)
        kept[key] = law if earlier is None else replace(earlier, source=f"{earlier.source}; {law.source}")
    return tuple(kept.values())
