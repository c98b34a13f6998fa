"""Theorems on the page: what they claim, and how the constants that they need grow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from markupsafe import Markup, escape

from mfstudy.claims import listing
from mfstudy.plot.words import DASH
from mfstudy.report._digits import plus_minus
from mfstudy.results import Results


def theorems(results: Results, symbols: Callable[[str], Markup]) -> list[dict[str, Any]]:
    """Return what theorems claim of the study's numbers, and what those without a rate say of it."""
    return [
        {
            "title": claim.title,
            "rows": [(word, escape(text) if word == "about" else symbols(text)) for word, text in rows],
            "met": [s.text.removeprefix(f"{claim.title}, ") for of, _, s in results.met if of is claim],
        }
        for claim, rows in listing(results.claims, results.times.tolist(), results.sizes)
        if results.sizes
    ]


def growths(results: Results) -> list[tuple[str, ...]]:
    """Return rows (what, cells by save time): logarithms of the needed constants, and how they bend."""
    rows = []
    for quantity, claim, grown in results.growths(results.fits):
        known = dict(zip(grown.times, zip(grown.logs, grown.errors, strict=True), strict=True))
        bent = dict(zip(grown.times[1:], zip(grown.bends, grown.bend_errors, strict=True), strict=False))
        for words, found in (("logarithm", known), ("its second difference", bent)):
            if found:
                cells = [plus_minus(*found[time]) if time in found else DASH for time in results.times]
                rows.append((f"{quantity.name}, {claim.title}: {words}", *cells))
    return rows
