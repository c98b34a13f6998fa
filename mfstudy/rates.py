"""Candidate rate laws, C N^a (log N)^b with or without a second term: free, and those of the literature."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from mfstudy.ensemble import Floats

#: All of log N scales contribute the same, and those at both ends something else.
_SCALES = (
    "Fournier and Guillin, PTRF 162 (2015), Theorem 1, attained at p = D/2 by self-similar measures of dimension 2p"
)
_GAUSSIAN = (
    "Ledoux, J. Math. Sci. 238 (2019), and Talagrand, C. R. Math. 356 (2018): (log N)^2 / N for a normal law in D = 2"
)
_PINNED = (
    "ledoux-talagrand",
    "bobkov-ledoux",
    "ajtai-komlos-tusnady",
    "ajtai-komlos-tusnady-constant",
    "matching",
    "matching-boundary",
    "fournier-guillin",
    "fournier-guillin-constant",
)
#: 1/N, the order of the synchronous coupling of particles with Lipschitz forces, with and without its next term.
_COUPLING = "Sznitman, Topics in propagation of chaos (1991), Theorem 1.4"
_SZNITMAN = (("sznitman", None), ("sznitman-correction", (1.0, 0.0)))
#: N^-2, the order of the squared distance of a law whose own order is 1/N, with and without its next term.
_BIAS = "a law whose moments are off by order 1/N, the leading term of its expansion in 1/N"
_SQUARED = (("bias-squared", None), ("bias-squared-correction", (1.0, 0.0)))
#: Names of the candidates for couplings, and for squared distances of laws.
COUPLING = ("power", "power-log", "sznitman", "sznitman-correction")
MARGINAL = (*COUPLING, "bias-squared", "bias-squared-correction")


@dataclass(frozen=True)
class RateLaw:
    """A law C N^a (L^log_power + c N^-s L^b), L = log(log_shift + N), for the decay of a mean with the size N.

    The term with c is there where `second` says so. Its s is never fitted: a free one mimics any logarithm.

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
    second : (s, b) or None
        By how much faster the second term falls, s >= 0, and its power of the logarithm; None = no second term.
    """

    name: str
    log_power: float
    exponent: float | None = None
    source: str = ""
    log_shift: int = 0
    second: tuple[float, float] | None = None

    @property
    def parameters(self) -> int:
        """Number of fitted parameters: C, c where there is a second term, and the exponent where it is free."""
        return 1 + (self.second is not None) + (self.exponent is None)

    @property
    def twin(self) -> RateLaw:
        """The law of the same terms with the exponent free: what gives a pinned power an error bar."""
        return replace(self, exponent=None)

    @property
    def formula(self) -> str:
        """The law in plain characters, a free exponent written as a."""
        first = self._logarithm(self.log_power)
        power = f"C N^{'a' if self.exponent is None else format(self.exponent, '.4g')}"
        if self.second is None:
            return f"{power} {first}".rstrip()
        fall, log_power = self.second
        decay = f"N^-{fall:.4g}" if fall else ""
        return f"{power} ({first or 1} + {' '.join(filter(None, ('c', decay, self._logarithm(log_power))))})"

    def _logarithm(self, power: float) -> str:
        """Return a power of the logarithm in plain characters, nothing for the power 0."""
        log = "log N" if self.log_shift == 0 else f"log({self.log_shift}+N)"
        return {0.0: "", 1.0: log}.get(power, f"({log})^{power:.3g}")

    def columns(self, sizes: Floats, exponent: Floats | float | None = None) -> tuple[Floats, ...]:
        """Return the terms that the law is linear in: that of C, then that of C c where there is a second term.

        Parameters
        ----------
        sizes : (n,) array
            Sizes N > 1.
        exponent : float or (..., 1) array, optional
            Power of N; may be left out where the law pins it.

        Returns
        -------
        tuple of (n,) or (..., n) arrays

        Raises
        ------
        ValueError
            If the exponent is neither given nor pinned.
        """
        power = self.exponent if exponent is None else exponent
        if power is None:
            raise ValueError(f"exponent: law {self.name!r} leaves it free, so a number is needed")
        logs, decay = np.log(self.log_shift + sizes), np.exp(power * np.log(sizes))
        first = np.asarray(decay * logs**self.log_power)
        if self.second is None:
            return (first,)
        fall, log_power = self.second
        return first, np.asarray(decay * np.exp(-fall * np.log(sizes)) * logs**log_power)

    def shape(self, sizes: Floats, exponent: Floats | float | None = None, c: float = 0.0) -> Floats:
        """Return the law at C = 1; arguments and errors as in `columns`, c of the second term (dimensionless)."""
        first, *second = self.columns(sizes, exponent)
        return first + c * second[0] if second else first


_FREE = (
    RateLaw("power", 0.0, source="any power of N"),
    RateLaw("power-log", 1.0, source="any power of N, times log N"),
)
# Tails bring other logarithms: (log N)^2 / N for a normal law in D = 2 at p = 2, log log N / N in D = 1.
_FREE_UNBOUNDED = (
    RateLaw("power-log-half", 0.5, source="any power of N, times the root of log N"),
    RateLaw("power-log-squared", 2.0, source="any power of N, times (log N)^2"),
)


def default_laws(
    dim: int | None = None, moment: float | None = None, p: float = 2, bounded: bool = True, regular: bool | None = None
) -> tuple[RateLaw, ...]:
    """Return the candidates of a fit: the free laws, and those of the literature where dim is given.

    Parameters
    ----------
    dim : int or None
        Dimension of the support of the law that is sampled.
    moment : float or None
        Order q of the highest moment that is finite; None = all are.
    p : float
        Power of the distance; the laws are for E W_p^p.
    bounded : bool
        Whether the support is bounded. Where it is not, further powers of the logarithm come in.
    regular : bool, optional
        Whether the law has a density bounded from 0 on a bounded connected support, the premise of the sharp laws,
        which are left out otherwise; by default as `bounded`.

    Returns
    -------
    tuple of RateLaw
        No two of the same shape; where two papers agree the source names both.

    Raises
    ------
    ValueError
        If dim, moment or p is outside its range.
    """
    return _without_twins(_named_laws(dim, moment, p, bounded, regular))


def reference_slopes(
    dim: int, moment: float | None = None, p: float = 2, bounded: bool = True, regular: bool | None = None
) -> tuple[RateLaw, ...]:
    """Return the pinned laws of one term, the slopes of a figure; arguments and errors as in `default_laws`."""
    return tuple(
        law for law in default_laws(dim, moment, p, bounded, regular) if law.exponent is not None and law.second is None
    )


def candidate_laws(
    laws: Iterable[str] | None = None,
    dim: int | None = None,
    moment: float | None = None,
    p: float = 2,
    bounded: bool = True,
    regular: bool | None = None,
) -> tuple[RateLaw, ...]:
    """Return the candidates of a fit: those asked for by name, in that order, else `default_laws`.

    Raises
    ------
    ValueError
        As `law_by_name`, or if the list of names is empty.
    """
    if laws is None:
        return default_laws(dim, moment, p, bounded, regular)
    chosen = [laws] if isinstance(laws, str) else list(dict.fromkeys(laws))
    if not chosen:
        raise ValueError("laws: an empty list, allowed is at least one name, or None for the default set")
    return tuple(law_by_name(name, dim, moment, p, bounded, regular) for name in chosen)


def law_by_name(
    name: str,
    dim: int | None = None,
    moment: float | None = None,
    p: float = 2,
    bounded: bool = True,
    regular: bool | None = None,
) -> RateLaw:
    """Return the law that a user asked for by name; dim, moment, p and bounded as in `default_laws`.

    Raises
    ------
    ValueError
        If no law of that name exists for this dim, moment and p.
    """
    coupling = (RateLaw(word, 0.0, -1.0, _COUPLING, second=second) for word, second in _SZNITMAN)
    squared = (RateLaw(word, 0.0, -2.0, _BIAS, second=second) for word, second in _SQUARED)
    known = {
        law.name: law for law in (*_named_laws(dim, moment, p, bounded, regular), *_FREE_UNBOUNDED, *coupling, *squared)
    }
    if name in known:
        return known[name]
    allowed = ", ".join(known)
    if name in _PINNED:
        at = f"dim={dim}, moment={moment}, p={p}"
        raise ValueError(f"laws: {name!r} is not stated at {at} (pinned laws need dim), allowed: {allowed}")
    nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)[0]
    raise ValueError(f"laws: no law {name!r}, nearest is {nearest!r}, allowed: {allowed}")


def _named_laws(dim: int | None, moment: float | None, p: float, bounded: bool, regular: bool | None) -> list[RateLaw]:
    """Every law that is stated at these arguments, twins of the same shape included, sharp laws first."""
    _check(dim, moment, p)
    laws = [*_FREE, *(() if bounded else _FREE_UNBOUNDED)]
    if dim is None:
        return laws
    sharp = bounded if regular is None else regular
    if sharp and (moment is None or np.isinf(moment)):
        laws += [_sharp(dim, p), *_second_order(dim, p)]
    if not bounded and dim == p == 2 and (moment is None or np.isinf(moment)):
        laws.append(RateLaw("ledoux-talagrand", 2.0, -1.0, _GAUSSIAN))
    bound = _fournier_guillin(dim, moment, p)
    if bound is not None:
        laws.append(bound)
    if not sharp and bound is not None and bound.log_power:
        laws.append(RateLaw("fournier-guillin-constant", 1.0, bound.exponent, _SCALES, second=(0.0, 0.0)))
    return laws


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


def _second_order(dim: int, p: float) -> tuple[RateLaw, ...]:
    """Return the sharp law with its next term, where that term is seen at sizes that one computes with.

    D = 2, p = 2: (log N / (4 pi) + c) / N for the uniform law on unit area; the leading term is a theorem
    (Ambrosio, Stra and Trevisan), the constant that of the linearised theory (Caracciolo et al.).
    D >= 3: the bulk pays N^{-p/D}; cells within N^{-1/D} of the boundary pay another constant. On the cube D = 4,
    p = 2 measured as 0.432 N^-1/2 (1 + 1.15 N^-1/4), on the torus without the second term.
    """
    if dim == 2 and p == 2:
        source = (
            "Ambrosio, Stra and Trevisan, PTRF 173 (2019), C = 1/(4 pi) for uniform on unit area; constant as in "
            "Caracciolo, Lucibello, Parisi and Sicuro, Phys. Rev. E 90 (2014)"
        )
        return (RateLaw("ajtai-komlos-tusnady-constant", 1.0, -1.0, source, second=(0.0, 0.0)),)
    if dim >= 3:
        source = "Talagrand, Ann. Appl. Probab. 2 (1992), with the layer of width N^(-1/D) at the support's boundary"
        return (RateLaw("matching-boundary", 0.0, -p / dim, source, second=(1 / dim, 0.0)),)
    return ()


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
    kept: dict[tuple[object, ...], RateLaw] = {}
    for law in laws:
        key = (law.log_power, law.exponent, law.log_shift, law.second)
        earlier = kept.get(key)
        kept[key] = law if earlier is None else replace(earlier, source=f"{earlier.source}; {law.source}")
    return tuple(kept.values())
