"""The page of a study: verdicts, figures and numbers in one HTML file, and the numbers as CSV."""

from __future__ import annotations

import csv
import io
import re
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup, escape

from mfstudy import plot
from mfstudy.components import InputError
from mfstudy.ensemble import Floats
from mfstudy.fit import Fit
from mfstudy.plot.curves import law_error, laws
from mfstudy.plot.words import DASH, GREEK, SYMBOL
from mfstudy.quantities import Quantity
from mfstudy.report._digits import plus_minus, rate_row, scientific, signed, small
from mfstudy.report._theory import growths, theorems
from mfstudy.results import Results

#: Lines of failed replicates that the page shows.
MESSAGES = 8

#: Standard errors from which pools are held to depend on the replicates.
SURE = 4.5

_WHERE = ("observable", "quantity", "p", "time")
_COLUMNS = (
    "size",
    "replicates",
    "mean",
    "standard_error",
    "systematic",
    "bracket_half_width",
    "lower",
    "upper",
    "fitted",
    "residual",
)


def write(results: Results, directory: str | Path | None = None) -> Path | str:
    """Write the page of a study, index.html, and beside it its numbers, numbers.csv.

    Both are replaced as a whole, and the same store gives the same bytes.

    Parameters
    ----------
    results : Results
    directory : str or Path, optional
        Made if it is not there; by default "report" in the store.

    Returns
    -------
    Path or str
        Of index.html; its address where it is in an object store.

    Raises
    ------
    InputError
        If the directory cannot be written to.
    """
    fits = list(_measured(results))
    page, numbers = _page(results, fits), _csv(results, fits)
    try:
        if directory is None:
            files = {"report/numbers.csv": numbers.encode(), "report/index.html": page.encode()}
            return results.store.publish(files)[-1]
        target = Path(directory)
        target.mkdir(parents=True, exist_ok=True)
        _replace(target / "numbers.csv", numbers)
        _replace(target / "index.html", page)
    except OSError as error:
        reason = f"{directory or f'{results.store.place}/report'}: {error.strerror or error}"
        raise InputError(f"directory: {reason}; allowed: a directory you may write to") from None
    return target / "index.html"


def _replace(path: Path, text: str) -> None:
    """Write a file that is never seen half-written."""
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    partial.replace(path)


def _measured(results: Results) -> Iterator[tuple[Quantity, int, Fit]]:
    """Yield the fits of what has at least one number; nothing can be said of the rest."""
    for quantity, time, fit in results.fits:
        if np.isfinite(results.values(quantity, "estimate", time)).any():
            yield quantity, time, fit


# -- numbers ---------------------------------------------------------------------------------------------


def _rows(results: Results, quantity: Quantity, time: int, fit: Fit) -> list[dict[str, Any]]:
    """Return one dict of numbers for each size, None where there is none."""
    table = results.table(quantity, time, fit)
    half_width = table["bracket_half_width"]
    replicates = np.isfinite(results.values(quantity, "estimate", time)).sum(axis=1)
    place = {size: i for i, size in enumerate(fit.sizes)}

    def number(column: Floats | Sequence[float | None] | None, size: int) -> float | None:
        value = None if column is None or size not in place else column[place[size]]
        return float(value) if value is not None and np.isfinite(value) else None

    return [
        {
            "size": size,
            "replicates": int(count),
            "mean": number(fit.mean, size),
            "standard_error": number(fit.standard_error, size),
            "systematic": number(fit.systematic, size),
            "bracket_half_width": number(half_width, size),
            "lower": number(table["lower"], size),
            "upper": number(table["upper"], size),
            "fitted": number(fit.fitted, size),
            "residual": number(fit.residuals, size),
        }
        for size, count in zip(results.sizes, replicates, strict=True)
    ]


def _csv(results: Results, fits: Sequence[tuple[Quantity, int, Fit]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _WHERE + _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for quantity, time, fit in fits:
        where = {"observable": quantity.observable, "quantity": quantity.name, "p": quantity.p}
        for row in _rows(results, quantity, time, fit):
            writer.writerow({**where, "time": float(results.times[time]), **row})
    return stream.getvalue()


# -- the page --------------------------------------------------------------------------------------------


def _page(results: Results, fits: Sequence[tuple[Quantity, int, Fit]]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mfstudy", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    notes = _notes(results)
    return environment.get_template("page.html.j2").render(
        name=results.name,
        identity=results.store.attributes["identity"],
        study=results.store.attributes["study"],
        notices=_notices(results),
        overview=_overview(results),
        pools=_pools(results),
        sections=[_section(results, i, *entry) for i, entry in enumerate(fits)],
        errors=_errors(results),
        step_errors=_step_errors(results),
        checks=_checks(results),
        theorems=theorems(results, symbols),
        growths=growths(results),
        times=[f"{time:g}" for time in results.times],
        sizes=results.sizes,
        counts=results.counts,
        messages=results.messages(MESSAGES) if results.failed else [],
        force=results.store.attributes.get("force", DASH),
        provenance=_provenance(notes),
        citation=_citation(results, notes),
    )


def _notices(results: Results) -> list[str]:
    """Return what a reader must know before any number."""
    done, wanted = sum(c.done for c in results.counts), sum(c.wanted for c in results.counts)
    found = []
    if not results.complete:
        what = "the numbers below are provisional" if done else "there is no number yet"
        found.append(f"Incomplete: {done} of {wanted} replicates are done; {what}.")
    found += [
        f"At N = {size} the pools of copies depend on the replicates (correlation {end.value:.2f}); do not use"
        f" {quantity.name}."
        for quantity in results.quantities
        for size, end in zip(results.sizes, results.pool_correlation(quantity), strict=True)
        if end is not None and abs(end.value) > SURE * end.standard_error
    ]
    if results.failed:
        found.append(f"{results.failed} of {done} replicates failed and are left out of the means.")
    return found


def _section(results: Results, index: int, quantity: Quantity, time: int, fit: Fit) -> dict[str, Any]:
    when = f"{results.times[time]:g}"
    return {
        "id": f"quantity-{index}",
        "definition": symbols(quantity.definition),
        "time": when,
        "verdict": fit.verdict,
        "text": fit.text,
        "statements": [
            *filter(None, [_left_out(results.exclusions(quantity, time, fit)), results.bracket_text(quantity, time)]),
            *(found.text for found in results.bounds(quantity, time, fit)),
        ],
        "estimator": fit.estimator,
        "bracket": "between" if quantity.raw else "bracket half-width",
        "numbers": _numbers(fit),
        "figure": _inline(plot.svg(plot.convergence(results, quantity, time, fit)), f"q{index}-"),
        "alt": f"Convergence of {quantity.definition}, at t = {when}. {fit.text}",
        "rows": [_cells(results, quantity, fit, row) for row in _rows(results, quantity, time, fit)],
        "laws": _laws(results, quantity, fit),
    }


def _left_out(sizes: dict[int, str]) -> str:
    """Say which sizes take no part in a fit, and why; nothing where all do."""
    return f"Left out of the fit: {'; '.join(f'N = {n} ({why})' for n, why in sizes.items())}." if sizes else ""


def _errors(results: Results) -> list[tuple[str, ...]]:
    """Return the mean field's own errors, a row for each save time."""
    if results.reference_errors is None:
        return []
    return [
        (f"{time:g}", *(small(error) for error in row))
        for time, row in zip(results.times, results.reference_errors, strict=True)
    ]


def _step_errors(results: Results) -> list[tuple[str, ...]]:
    """Return the errors of the time step, a row for each save time, a column for each size."""
    rows = [results.step_errors(time) for time in range(len(results.times))]
    if not any(error is not None for row in rows for error in row):
        return []
    return [(f"{time:g}", *map(small, row)) for time, row in zip(results.times, rows, strict=True)]


def _checks(results: Results) -> list[tuple[Markup, ...]]:
    """Return the largest magnitude of each check, a column for each size."""
    return [
        (symbols(check.definition), *(Markup(small(value if value >= 0 else None)) for value in check.largest))
        for check in results.checks
    ]


def _numbers(fit: Fit) -> list[tuple[str, str, str, str]]:
    shared = "interval over the plausible laws" if fit.verdict == "undecided" else "given this law"
    rows = (
        rate_row(
            "effective exponent over the sweep",
            fit.effective_exponent,
            fit.effective_exponent_interval,
            fit.effective_exponent_systematic,
        ),
        rate_row("the same without the largest N", fit.without_largest, fit.without_largest_interval, None),
        rate_row(
            f"exponent a of N in {fit.law}, {shared}", fit.exponent, fit.exponent_interval, fit.exponent_systematic
        ),
        rate_row(f"constant C of {fit.law}", fit.constant, fit.constant_interval, fit.constant_systematic),
    )
    return [row for row in rows if row is not None]


def _overview(results: Results) -> Markup | None:
    """Return the figure of all quantities at the last save time, None for a single one."""
    figure = plot.overview(results, len(results.times) - 1)
    return None if figure is None else _inline(plot.svg(figure), "all-")


def _pools(results: Results) -> list[tuple[str, ...]]:
    """Return how quantities depend on pools of copies, a column for each size."""
    rows = []
    for quantity in results.quantities:
        for words, found in (
            ("K (value with pools of K copies / estimate \u2212 1)", results.pool_effect(quantity)),
            ("correlation of replicates and pools", results.pool_correlation(quantity)),
        ):
            if any(end is not None for end in found):
                cells = [DASH if end is None else plus_minus(end.value, end.standard_error) for end in found]
                rows.append((f"{quantity.name}: {words}", *cells))
    return rows


def _inline(drawn: str, prefix: str) -> Markup:
    """Return a drawing to stand in a page: without the prolog, its ids apart from those of other figures."""
    drawn = drawn[drawn.index("<svg") :]
    return Markup(re.sub(r'( id="|url\(#|href="#)', rf"\1{prefix}", drawn))


def _cells(results: Results, quantity: Quantity, fit: Fit, row: dict[str, Any]) -> tuple[str, ...]:
    error = None
    if row["fitted"] is not None and fit.law is not None:
        size = np.array([row["size"]], dtype=float)
        error = row["fitted"] * float(law_error(fit, laws(results, quantity)[fit.law], size)[0])
    half, residual = row["bracket_half_width"], row["residual"]
    return (
        f"{row['size']}",
        f"{row['replicates']}",
        plus_minus(row["mean"], row["standard_error"]),
        _between(row) if quantity.raw else DASH if half is None else scientific(half, 2) if half else "0 (exact)",
        plus_minus(row["fitted"], error),
        DASH if residual is None else signed(residual, 1),
    )


def _between(row: dict[str, Any]) -> str:
    """Return the ends of a bracket."""
    if row["upper"] is None:
        return DASH
    return f"{small(row['lower'])} to {small(row['upper'])}"


def _laws(results: Results, quantity: Quantity, fit: Fit) -> list[dict[str, str]]:
    """Return the candidates, the heaviest first."""
    known = laws(results, quantity)
    return [
        {
            "name": name,
            "weight": f"{weight:.3f}" if weight >= 5e-4 else "< 0.001",
            "formula": symbols(known[name].formula),
            "source": known[name].source,
        }
        for name, weight in sorted(fit.weights.items(), key=lambda item: -item[1])
    ]


def symbols(text: str) -> Markup:
    """Return text as HTML, its symbols with raised and lowered indices, everything else escaped."""
    return Markup(SYMBOL.sub(_marked, str(escape(text))))


def _marked(symbol: re.Match[str]) -> str:
    greek = GREEK.sub(lambda m: f"&{m[0]};", symbol[0])
    lowered = re.sub(r"_([A-Za-z0-9.]+)", r"<sub>\1</sub>", greek)
    return re.sub(r"\^(-?[A-Za-z0-9./]+)", r"<sup>\1</sup>", lowered)


# -- how it was made -------------------------------------------------------------------------------------


def _notes(results: Results) -> list[dict[str, Any]]:
    store = results.store
    return [note for point in store.points() for _, note in sorted(store.notes(point).items())]


def _versions(notes: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return package -> its versions over all blocks."""
    found: dict[str, set[str]] = {}
    for note in notes:
        for name, number in note.get("versions", {}).items():
            found.setdefault(name, set()).add(number)
    return {name: ", ".join(sorted(numbers)) for name, numbers in sorted(found.items())}


def _provenance(notes: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return what the notes of the blocks say; they may be lost, wholly or in part."""
    if not notes:
        return [("computed", "no notes of the run are left; no number depends on them")]
    seconds = sum(note.get("seconds", 0.0) for note in notes)
    hosts = sorted({note["host"] for note in notes if "host" in note})
    machines = sorted({note["machine"] for note in notes if "machine" in note})
    versions = [f"{name} {number}" for name, number in _versions(notes).items()]
    return [
        ("core time", f"{seconds:.3g} s, of {len(notes)} blocks"),
        ("hosts", ", ".join(hosts) or DASH),
        ("machines", ", ".join(machines) or DASH),
        ("versions", "; ".join(versions) or DASH),
    ]


def _citation(results: Results, notes: Sequence[dict[str, Any]]) -> str:
    program = f"mfstudy {_versions(notes).get('mfstudy', '')}".strip()
    return f"{program}, study “{results.name}”, problem {results.store.attributes['identity']}."
