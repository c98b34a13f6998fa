"""The command line: one verb a function. Exit codes are those of `Exit`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from mfstudy import plan as planning
from mfstudy import study as studies_
from mfstudy.cluster import EngineError
from mfstudy.components import InputError, fill
from mfstudy.console import Meter, amount, duration, show_claims, show_fits, show_json, show_table
from mfstudy.drive import name as block_name
from mfstudy.meanfield import UnreachableError
from mfstudy.observables import principal
from mfstudy.results import Results
from mfstudy.rounds import ROUGH, Standing, rough
from mfstudy.standing import design_of, standing_of
from mfstudy.store import DamagedError, Store, block_length, plan_blocks
from mfstudy.store import compact as compact_store
from mfstudy.study import Point, Study, Sweep
from mfstudy.sweep import DiskError, InterruptedRunError, finish, timed
from mfstudy.sweep import check as check_options
from mfstudy.sweep import deepen as ask_for_more
from mfstudy.sweep import run as run_study
from mfstudy.theory import claims
from mfstudy.verify import SAMPLE
from mfstudy.verify import verify as verify_store


class Exit(IntEnum):
    """How the program ends."""

    DONE = 0
    REMAINS = 1  # failed replicates remain, damage found, or the disk filled
    BAD_INPUT = 2  # bad input, or an engine unreachable or refused
    NOT_MEASURABLE = 3  # the requested quantity could not be measured
    INTERRUPTED = 75  # from outside: run again
    CTRL_C = 130


def main() -> NoReturn:
    """Run the command line; every expected error is one line on standard error."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = verbs.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else Exit.DONE)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(Exit.BAD_INPUT)
    except click.UsageError as error:
        _end(error.format_message(), Exit.BAD_INPUT)
    except (InputError, EngineError) as error:
        _end(str(error), Exit.BAD_INPUT)
    except (DamagedError, DiskError) as error:
        _end(str(error), Exit.REMAINS)
    except UnreachableError as error:
        _end(str(error), Exit.NOT_MEASURABLE)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.DONE)
    except OSError as error:
        _end(f"{error.filename or 'output'}: {error.strerror or error}", Exit.REMAINS)
    except (InterruptedRunError, _Terminated) as error:
        _end(str(error), Exit.INTERRUPTED)
    except (KeyboardInterrupt, click.Abort):
        _end("stopped; what is stored stays, running again goes on", Exit.CTRL_C)


class _Terminated(BaseException):
    """SIGTERM; like KeyboardInterrupt no Exception, so that no task takes it for its own failure."""


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise _Terminated("ended from outside; run the same command again")


def _end(message: str, code: Exit) -> NoReturn:
    click.echo(f"mfstudy: {' '.join(message.split())}", err=True)
    sys.exit(code)


_HELP = """Measure how fast N interacting particles converge to their mean field.

\b
mfstudy run quickstart   run a shipped study, print its rate, write its page
mfstudy init mine        write a study file to edit
mfstudy run mine.toml    run it; the same command again goes on where it stopped
"""


@click.group(help=_HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="mfstudy")
def verbs() -> None:
    """Hold the verbs; `_HELP` is what users see."""


def _verb(example: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a verb of a function: its docstring, an example, and --json."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        function.__doc__ = f"{function.__doc__}\n\n    \b\n    Example: {example}"
        with_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")
        command: click.Command = verbs.command()(with_json(function))
        return command

    return decorate


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


@_verb("mfstudy studies")
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


def _words(table: dict[str, Any]) -> str:
    keys = [
        f"{key} = {_words(value) if isinstance(value, dict) else value}"
        for key, value in table.items()
        if key not in ("kind", "scheme")
    ]
    return f"{table['kind']} ({', '.join(keys)})" if keys else str(table["kind"])


@_verb("mfstudy init mine --like iid-square")
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


@_verb("mfstudy check mine.toml")
@click.argument("study")
def check(study: str, as_json: bool) -> int:
    """Read a study and say what it means, and which theorems speak about it; compute nothing."""
    for module in studies_.foreign(study):
        click.echo(f"imports {module}, which runs its code", err=True)
    loaded = studies_.load(study)
    table = _overview(loaded)
    notes = {"reference": f": {_IN_ADVANCE[loaded.problem.reference.shares]}"}
    found = claims(loaded.problem)
    if as_json:
        show_json({**table, "theorems": [asdict(claim) for claim in found]})
    else:
        for key, value in table.items():
            click.echo(f"{key:12} {_words(value) if isinstance(value, dict) else _plain(value)}{notes.get(key, '')}")
        show_claims(found, loaded.problem.time.save, loaded.sweep.sizes)
        click.echo("The problem's hash names the numbers: another observable, seed or law is another store.")
    return Exit.DONE


#: What a study's reference asks of its first run, by whether it is stored.
_IN_ADVANCE = {False: "nothing to solve", True: "solved once for each store, before its first block"}


def _reference(table: dict[str, Any], required: bool, complete: bool) -> str:
    """Say which reference is used, and whether it is solved."""
    state = ("solved" if complete else "not solved yet") if required else _IN_ADVANCE[False]
    return f"reference: {_words(table)}: {state}"


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@_verb("mfstudy plan mine.toml")
@click.argument("study")
@click.option("--store", help="The store: a directory or s3://BUCKET/PREFIX.  [default: ./NAME.mfstudy]")
def plan(study: str, store: str | None, as_json: bool) -> int:
    """Predict replicates, core-time, memory and bytes; count what the store already has."""
    loaded = studies_.load(study)
    path = store or f"{loaded.name}.mfstudy"
    held = Store(path) if Store.exists(path) else None
    if held:
        held.check_problem(loaded.problem)
    standing = standing_of(loaded.problem, loaded.sweep, held) if loaded.sweep.precision is not None else None
    asked, known = _asked(loaded, held, standing), held.points() if held else []
    lengths = {p: held.length(p) if held and p in known else block_length(p.size) for p in asked}
    blocks = plan_blocks(asked, lengths)
    done = {point: held.done(point) for point in held.points()} if held else {}
    seconds = planning.replicate_seconds(loaded.problem, timed(held) if held else {})
    rows = planning.forecast(loaded.problem, blocks, done, seconds)
    total = sum(row.seconds for row in rows)
    outlook = _outlook(loaded, standing, lengths, done, seconds)
    required = loaded.problem.reference.shares
    complete = held.shared() is not None if held else not required
    lacking = held.lacking_pools(asked) if held else [(p, i) for p in asked for i in range(loaded.problem.pools)]
    pools = sum(planning.pool_seconds(loaded.problem, p) / loaded.problem.pools for p, _ in lacking)
    if as_json:
        reference = {"required": required, "complete": complete}
        left = {"lacking": len(lacking), "core_seconds": pools}
        points = [_forecast(row) for row in rows]
        rounds = {"round": standing.table, "prediction": _prediction(outlook)} if standing else {}
        table = {"points": points, "core_seconds": total + pools, "reference": reference, "pools": left}
        show_json({**table, **rounds})
        return Exit.DONE
    _show_forecast("", rows)
    click.echo(_reference(loaded.problem.canonical["reference"], required, complete))
    if lacking:
        click.echo(
            f"pools of copies: {len(lacking)} are missing, {duration(pools)} of core-time, solved before the blocks"
        )
    source = "from the store" if held else "a rough guess before the first run"
    click.echo(f"core-time left: {duration(total + pools)} ({source})")
    click.echo("replicates are rounded up to whole blocks")
    if standing:
        click.echo(f"{standing.title}: {standing.text}")
    if outlook:
        _show_forecast(f"\nto the end, {_BASIS}:", outlook)
        click.echo(f"core-time left then: {duration(sum(row.seconds for row in outlook) + pools)}")
    return Exit.DONE


def _asked(study: Study, held: Store | None, standing: Standing | None) -> dict[Point, int]:
    """Return the replicates of each point that a run would complete, or its present round."""
    asked = held.requested() if held else {}
    wanted = standing.replicates if standing else [study.sweep.start] * len(study.sweep.sizes)
    for point, count in zip(study.sweep.points, wanted, strict=True):
        asked[point] = max(asked.get(point, 0), count)
    return dict(sorted(asked.items()))


#: What replicates are predicted from before there is a pilot.
_BASIS = f"rough, from CV {ROUGH:g}"


def _outlook(
    study: Study,
    standing: Standing | None,
    lengths: Mapping[Point, int],
    done: Mapping[Point, set[int]],
    seconds: Callable[[Point], float],
) -> list[planning.Forecast]:
    """Predict all that a precision takes, before its pilot is complete; nothing where that is not in question."""
    if standing is None or standing.round > 1 or standing.over:
        return []
    counts = rough(design_of(study.problem, study.sweep, lengths))
    blocks = plan_blocks(dict(zip(study.sweep.points, counts, strict=True)), lengths)
    return planning.forecast(study.problem, blocks, done, seconds)


def _prediction(outlook: list[planning.Forecast]) -> dict[str, Any] | None:
    points = [_forecast(row) for row in outlook]
    return {"basis": _BASIS, "points": points, "core_seconds": sum(row.seconds for row in outlook)} if points else None


def _show_forecast(title: str, rows: list[planning.Forecast]) -> None:
    table = [
        [
            str(r.point.size),
            str(r.replicates),
            str(r.done),
            duration(r.seconds),
            amount(r.memory),
            amount(r.stored),
        ]
        for r in rows
    ]
    show_table(title, ("N", "replicates", "stored", "core-time left", "memory", "on disk"), table)


def _forecast(row: planning.Forecast) -> dict[str, Any]:
    return {
        "point": row.point.table,
        "replicates": row.replicates,
        "done": row.done,
        "core_seconds": row.seconds,
        "memory": row.memory,
        "stored": row.stored,
    }


class _Part(click.ParamType[tuple[int, int]]):
    name = "K/M"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        try:
            part, parts = value.split("/")
            return int(part), int(parts)
        except ValueError:
            raise InputError(f"--part: {value!r} is not allowed; allowed: K/M with 1 <= K <= M") from None


_ENGINE = (
    click.option(
        "--on",
        default="local",
        show_default=True,
        help="Where workers come from: local, threads, sync, slurm, ssh, kubernetes, an address, or a table of yours.",
    ),
    click.option("--insecure", is_flag=True, help="Allow the address of a scheduler without TLS, anywhere."),
    click.option("--workers", type=int, help="Number of worker processes.  [default: all cores]"),
    click.option("--part", type=_Part(), help="Compute the K-th of M shares in this process, without Dask."),
)


def _engine(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_ENGINE):
        function = option(function)
    return function


@_verb("mfstudy run quickstart")
@click.argument("study")
@click.option("--store", help="The store: a directory or s3://BUCKET/PREFIX.  [default: ./NAME.mfstudy]")
@_engine
def run(
    study: str,
    store: str | None,
    on: str,
    insecure: bool,
    workers: int | None,
    part: tuple[int, int] | None,
    as_json: bool,
) -> int:
    """Compute what a study wants and its store lacks, then print the rates and write the page."""
    loaded = studies_.load(study)
    meter = _Watched()
    with meter.shown():
        results = run_study(loaded, store, on, workers=workers, part=part, progress=meter, insecure=insecure)
    return _finished(results, meter, as_json)


@_verb("mfstudy deepen quickstart.mfstudy --replicates 2048 --sizes 20000,50000")
@click.argument("store")
@click.option(
    "--replicates",
    help="Replicates of every size, or +K for K more once nothing is missing.",
)
@click.option("--sizes", help="Sizes to add, separated by commas.")
@_engine
def deepen(
    store: str,
    replicates: str | None,
    sizes: str | None,
    on: str,
    insecure: bool,
    workers: int | None,
    part: tuple[int, int] | None,
    as_json: bool,
) -> int:
    """Ask for more replicates or sizes of a STORE's study, and compute them; nothing stored is computed again."""
    held, meter = Store(store), _Watched()
    request = _request(replicates, sizes)
    check_options(on, workers, part, insecure)
    if part is not None and request[1]:
        raise InputError("--replicates: +K is not allowed with --part; allowed: a number, the same for all parts")
    ask_for_more(held, *request)
    with meter.shown():
        finish(held, on, workers=workers, part=part, progress=meter, insecure=insecure)
    return _finished(Results(held), meter, as_json)


def _request(replicates: str | None, sizes: str | None) -> tuple[int | None, int, tuple[int, ...]]:
    """Return (replicates, more, sizes) of `deepen`, checked like a study's sweep."""
    if replicates is None and sizes is None:
        raise InputError("deepen: nothing asked; allowed: --replicates, --sizes or both")
    more = replicates is not None and replicates.strip().startswith("+")
    table: dict[str, Any] = {"sizes": [2], "replicates": 2}
    try:
        if replicates is not None and more and int(replicates) < 1:
            raise InputError(f"--replicates: {replicates} is not allowed; allowed: +1 or more, or a number >= 2")
        if replicates is not None and not more:
            table["replicates"] = int(replicates)
        if sizes is not None:
            table["sizes"] = [int(size) for size in sizes.split(",")]
    except InputError:
        raise
    except ValueError:
        raise InputError("deepen: not an integer; allowed: integers, and +K for --replicates") from None
    sweep: Sweep = fill(Sweep, table, "deepen")
    count = sweep.replicates if replicates is not None else None
    return (None if more else count), (int(replicates or 0) if more else 0), (sweep.sizes if sizes else ())


class _Watched(Meter):
    """A meter that keeps the last state for the closing lines."""

    state: Any = None

    def __call__(self, state: Any) -> None:
        self.state = state
        super().__call__(state)


def _finished(results: Results, meter: _Watched, as_json: bool) -> int:
    """Say how a run ended; print fits and write the page once nothing is missing."""
    from mfstudy import report as page  # matplotlib: half a second that only pages need

    meter.close(meter.state)
    if results.complete and not as_json:
        show_fits(results)
    written = page.write(results) if results.complete else None
    if as_json:
        show_json(
            {
                "store": results.store.place,
                "computed": meter.state.computed,
                "found": meter.state.found,
                "present": meter.state.present,
                "complete": results.complete,
                "failed_replicates": results.failed,
                "failed_tasks": meter.state.failures,
                "round": meter.state.standing.table if meter.state.standing else None,
                "report": str(written) if written else None,
            }
        )
    elif written:
        click.echo(f"page: {written}")
    else:
        click.echo(f"not complete: {results.store.place} lacks blocks; run the other parts, or run again")
    if meter.state.failures or results.failed:
        return Exit.REMAINS
    return Exit.DONE if written is None or results.measurable else Exit.NOT_MEASURABLE


_STORE = click.argument("store")


@_verb("mfstudy status quickstart.mfstudy")
@_STORE
def status(store: str, as_json: bool) -> int:
    """Count what a STORE wants, has, and has failed."""
    results = Results(store)
    rows = [{"size": r.size, "wanted": r.wanted, "done": r.done, "failed": r.failed} for r in results.counts]
    reasons = results.messages(limit=5)
    reference = {"required": results.store.shares, "complete": results.store.shared() is not None}
    poisoned = {block_name(block): note for block, note in results.store.poisoned().items()}
    if as_json:
        table = {"study": results.name, "complete": results.complete, "points": rows, "messages": reasons}
        table["poisoned"] = poisoned
        show_json({**table, "reference": reference, "round": results.store.noted_rounds() or None})
    else:
        lines = [[str(row[key]) for key in ("size", "wanted", "done", "failed")] for row in rows]
        show_table("", ("N", "replicates wanted", "stored", "failed"), lines)
        click.echo(_reference(results.store.attributes["problem"]["reference"], **reference))
        lacking = sum(max(row["wanted"] - row["done"], 0) for row in rows)
        click.echo("complete" if results.complete else f"not complete: {lacking} replicates are missing")
        if rounds := results.store.noted_rounds():
            more = "" if rounds["over"] else "; 'mfstudy run' goes on"
            click.echo(f"precision, when a run last looked: round {rounds['round']}: {rounds['text']}{more}")
        for line in reasons:
            click.echo(f"failed: {line}")
        for block, note in poisoned.items():
            click.echo(f"given up: {block}: {note['line']} ({note['attempts']} attempts); a run tries it again, last")
    return Exit.REMAINS if results.failed or poisoned else Exit.DONE


@_verb("mfstudy verify quickstart.mfstudy")
@_STORE
@click.option("--sample", type=click.IntRange(0), default=SAMPLE, show_default=True, help="Blocks to compute again.")
def verify(store: str, sample: int, as_json: bool) -> int:
    """Read all of a STORE, compute some of it again, and move what is damaged into its quarantine."""
    found = verify_store(store, sample)
    if as_json:
        show_json(found.table)
    else:
        for line in found.lines:
            click.echo(line)
    return Exit.DONE if found.sound else Exit.REMAINS


@_verb("mfstudy compact quickstart.mfstudy copy.mfstudy")
@_STORE
@click.argument("out")
def compact(store: str, out: str, as_json: bool) -> int:
    """Write a verified, sharded copy of a STORE to OUT, which is quick to read and only read."""
    place = compact_store(store, out)
    if as_json:
        show_json({"store": place})
    else:
        click.echo(f"copy: {place}, to be read by every verb that reads a store")
    return Exit.DONE


@_verb("mfstudy fit quickstart.mfstudy --json")
@_STORE
def fit(store: str, as_json: bool) -> int:
    """Infer the rates from what a STORE holds."""
    results = Results(store)
    if as_json:
        met = [asdict(statement) for _, _, statement in results.met]
        show_json({"study": results.name, "fits": [results.table(*entry) for entry in results.fits], "met": met})
    else:
        show_fits(results)
    return Exit.DONE if results.measurable else Exit.NOT_MEASURABLE


@_verb("mfstudy report quickstart.mfstudy -o page")
@_STORE
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Directory.  [default: STORE/report]")
def report(store: str, output: Path | None, as_json: bool) -> int:
    """Write the page of a STORE: one self-contained HTML file."""
    from mfstudy import report as page

    written = page.write(Results(store), output)
    if as_json:
        show_json({"report": str(written)})
    else:
        click.echo(f"page: {written}")
    return Exit.DONE
