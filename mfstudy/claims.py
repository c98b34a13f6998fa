"""What theorems claim, in rows of words: for the command line and the page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mfstudy.ensemble import Floats
from mfstudy.theorems import Claim, Premise, Subject


def listing(
    claims: Sequence[Claim], save: Sequence[float], sizes: Sequence[int]
) -> list[tuple[Claim, list[tuple[str, str]]]]:
    """Return what each claim says, of what, under which premises, and how explicit it is, as (word, text) pairs.

    Parameters
    ----------
    claims : sequence of Claim
        Where one has the premises of an earlier one, that is said for them.
    save : sequence of float
        The save times.
    sizes : sequence of int
        At the first and last of them an explicit bound is given.
    """
    first: dict[tuple[Premise, ...], str] = {}
    return [(claim, _rows(claim, save, sizes, first.setdefault(claim.premises, claim.title))) for claim in claims]


def _rows(claim: Claim, save: Sequence[float], sizes: Sequence[int], premised: str) -> list[tuple[str, str]]:
    """Return the rows of a claim, whose premises are said with the claim of a title."""
    found = [
        ("says", claim.says),
        *(("about", text) for text in _abouts(claim.subjects, save)),
        ("rate", _rate(claim)),
        ("constant", f"{claim.unknown} is not explicit" if claim.unknown else ""),
        ("bound", f"explicit, {at_sizes(claim, sizes)}" if claim.bound is not None else ""),
        *_premises(claim, premised),
        ("not met", "; ".join(claim.unmet)),
        ("in print", claim.wrong),
    ]
    return [(word, text) for word, text in found if text]


def _premises(claim: Claim, premised: str) -> list[tuple[str, str]]:
    """Return the premises that hold, and those that are not decided."""
    if premised != claim.title and claim.premises:
        return [("premises", f"those of {premised}")]
    held = [premise.text for premise in claim.premises if premise.holds]
    undecided = [premise.text for premise in claim.premises if premise.holds is None]
    return [("premises", "; ".join(held)), ("not decided", "; ".join(undecided))]


def at_sizes(claim: Claim, sizes: Sequence[int]) -> str:
    """Return an explicit bound at the first and the last size; "0" where it is 0."""
    assert claim.bound is not None
    grid = np.asarray([sizes[0], sizes[-1]], dtype=np.float64)
    return decades(claim.bound.at(grid), grid)


def decades(bound: Floats, sizes: Floats) -> str:
    """Return a bound, given as log10, at the first and the last size."""
    if not np.isfinite(bound).all():
        return "0"
    first, last = (f"{10**value:.3g}" if abs(value) < 300 else f"10^{value:.3g}" for value in (bound[0], bound[-1]))
    return f"{first} at N = {sizes[0]:g}, {last} at N = {sizes[-1]:g}"


def formula_of(claim: Claim) -> str:
    """Return how the right-hand side depends on N, with the constant C; nothing where there is no rate."""
    written = "" if claim.rate is None else claim.rate.formula
    return written.replace("c ", "") if claim.second == 1 else written


def _rate(claim: Claim) -> str:
    """Return how the right-hand side depends on N, nothing where the inequality says so itself."""
    shape = formula_of(claim).removeprefix("C ")
    return "" if shape in claim.says else shape


def _abouts(subjects: Sequence[Subject], save: Sequence[float]) -> list[str]:
    """Return the variables, those of one kind in a line."""
    groups: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for subject in subjects:
        groups.setdefault((subject.about, subject.times), []).append(subject.name)
    return [
        ", ".join(names) + _when(times, save) + (f" ({about})" if about else "")
        for (about, times), names in groups.items()
    ]


def _when(times: Sequence[int], save: Sequence[float]) -> str:
    """Say at which save times, where not at all of them."""
    return "" if len(times) == len(save) else f" at t = {', '.join(f'{save[i]:g}' for i in times)}"
