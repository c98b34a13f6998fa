"""Verbs that speak of a study and compute nothing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mfstudy import study as studies_
from mfstudy.cli._frame import IN_ADVANCE, Exit, verb, words
from mfstudy.components import InputError
from mfstudy.console import show_claims, show_json, show_table
from mfstudy.observables import principal
from mfstudy.study import Study
from mfstudy.theory import claims


def _overview(study: Study) -> dict[str, Any]:
    problem = study.problem
    return {
        "study": study.name,
        "problem": problem.identity,
        "system": problem.canonical["system"],
        "law": problem.canonical["law"],
        "reference": problem.canonical["reference"],
        "force": problem.force,
        "observables": [f"{o.label} ({principal(o, problem.system.phase).definition})" for o in problem.observables],
        "save": list(problem.time.save),
        "sizes": list(study.sweep.sizes),
        **_amount_wanted(study),
    }


def _amount_wanted(study: Study) -> dict[str, Any]:
    """Return how many replicates of each size a study wants, or what decides it."""
    sweep = study.sweep
    if sweep.precision is None:
        return {"replicates": sweep.replicates}
    return {"precision": f"{sweep.precision:g} of the {studies_.check_goal(study.problem, sweep).text}"}


@verb("mfstudy studies")
def studies(as_json: bool) -> int:
    """List the studies that ship with the package."""
    rows = [_overview(studies_.load(name)) for name in studies_.shipped()]
    if as_json:
        show_json(rows)
    else:
        lines = [
            [row["study"], f"{row['system']['kind']}, dim = {row['system']['dim']}", row["law"]["kind"],
             f"{row['sizes'][0]} to {row['sizes'][-1]}", str(row.get("replicates", "by precision"))]
            for row in rows
        ]  # fmt: skip
        show_table("", ("study", "system", "law", "sizes", "replicates"), lines)
    return Exit.DONE


@verb("mfstudy init mine --like iid-square")
@click.argument("name")
@click.option("--like", default="quickstart", help="The shipped study to start from.  [default: quickstart]")
def init(name: str, like: str, as_json: bool) -> int:
    """Write NAME.toml, a study to edit, into the current directory."""
    template = studies_.load(like)
    path = Path(f"{name}.toml")
    text = template.text.replace(f'name = "{template.name}"', f'name = "{name}"', 1)
    study = studies_.parse(text, str(path))
    if path.exists():
        raise InputError(f"{path}: exists; allowed: another name")
    path.write_text(text, encoding="utf-8")
    if as_json:
        show_json({"file": str(path), "study": study.name})
    else:
        click.echo(f"wrote {path}: edit it, then 'mfstudy run {path}'")
    return Exit.DONE


@verb("mfstudy check mine.toml")
@click.argument("study")
def check(study: str, as_json: bool) -> int:
    """Read a study and say what it means, and which theorems speak about it; compute nothing."""
    for module in studies_.foreign(study):
        click.echo(f"imports {module}, which runs its code", err=True)
    loaded = studies_.load(study)
    table = _overview(loaded)
    notes = {"reference": f": {IN_ADVANCE[loaded.problem.reference.shares]}"}
    found = claims(loaded.problem)
    if as_json:
        show_json({**table, "theorems": [asdict(claim) for claim in found]})
    else:
        for key, value in table.items():
            click.echo(f"{key:12} {words(value) if isinstance(value, dict) else _plain(value)}{notes.get(key, '')}")
        show_claims(found, loaded.problem.time.save, loaded.sweep.sizes)
        click.echo("The problem's hash names the numbers: another observable, seed or law is another store.")
    return Exit.DONE


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
