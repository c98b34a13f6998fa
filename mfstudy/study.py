"""Studies: one TOML file = one frozen Study; its Problem is the part that determines one number."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

from mfstudy import components, toml
from mfstudy.components import InputError, nearest
from mfstudy.ensemble import Phase
from mfstudy.integrate import Time, marks
from mfstudy.laws import InitialLaw, Law
from mfstudy.liouville import COPIES, LIOUVILLE, POOLS, Liouville
from mfstudy.meanfield import MeanField
from mfstudy.observables import FORCES, ROLES, Observable, reduces, stored_fields
from mfstudy.quantities import quantities
from mfstudy.references import Reference, Shared
from mfstudy.systems import Dynamics, System, is_flow, is_stepped
from mfstudy.targets import Goal, Target, goal_of
from mfstudy.transport.bracket import MEMORY

SCHEMA = 1
#: Version of the numerics that no component owns: streams, their addresses, the order of draws.
SCHEME = 1
#: Replicates that a store allocates for each point; nothing is ever resized.
CAPACITY = 2**20
#: Replicates of each size with which a sweep that a precision drives begins.
PILOT = 32

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_LABEL = re.compile(r"[a-z][a-z0-9_]{0,49}")
_RESERVED = ("pair", "start")


@dataclass(frozen=True, order=True, slots=True)
class Point:
    """A place in the sweep.

    Parameters
    ----------
    size : int
        Number of particles N.
    """

    size: int

    @property
    def table(self) -> dict[str, int]:
        """The point as the small dict that is stored."""
        return {"size": self.size}

    @property
    def id(self) -> str:
        """Name of the point's array in the store."""
        return f"size-{self.size}"

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Point:
        """Return the point of a stored dict.

        Raises
        ------
        InputError
            If the dict has axes that this version does not know.
        """
        if set(table) != {"size"}:
            raise InputError(f"a point with {', '.join(table)} in the store; this version reads points with size alone")
        return cls(size=table["size"])


@dataclass(frozen=True, order=True, slots=True)
class Block:
    """Consecutive replicates at one point: the chunk of the store, the unit of retry.

    Parameters
    ----------
    point : Point
    index : int
        Index of the chunk along the replicate axis.
    length : int
        Number of replicates.
    """

    point: Point
    index: int
    length: int

    @property
    def first(self) -> int:
        """Index of the first replicate."""
        return self.index * self.length


@dataclass(frozen=True)
class Sweep:
    """Which sizes, and how many replicates of each.

    Parameters
    ----------
    sizes : tuple of int
    replicates : int, optional
        Of each size. Either this or `precision`.
    precision : float, optional
        Half-width of a 95 % interval that the replicates are to reach, dimensionless; of what, `target` says.
    target : Target, optional
    """

    RESERVED: ClassVar[tuple[str, ...]] = ("axis",)

    sizes: tuple[int, ...] = field(metadata={"minimum": 2, "maximum": 10**8})
    replicates: int | None = field(default=None, metadata={"minimum": 2, "maximum": CAPACITY})
    precision: float | None = field(default=None, metadata={"above": 0, "below": 1})
    target: Target | None = field(default=None, metadata={"table": Target})

    def __post_init__(self) -> None:
        """Refuse sizes that do not increase, and what does not say one number of replicates."""
        if not self.sizes:
            raise ValueError("sizes: empty; allowed: a list of increasing integers >= 2")
        for small, large in zip(self.sizes, self.sizes[1:], strict=False):
            if large <= small:
                raise ValueError(f"sizes: {large} after {small}; allowed: increasing integers >= 2")
        if self.replicates is None and self.precision is None:
            raise ValueError(f"replicates: missing; allowed: an integer from 2 to {CAPACITY}, or precision = 0.01")
        if self.replicates is not None and self.precision is not None:
            raise ValueError("precision: not allowed beside replicates; allowed: one of the two")
        if self.target is not None and self.precision is None:
            raise ValueError("target: not allowed without precision; allowed: precision = 0.01 in place of replicates")

    @property
    def start(self) -> int:
        """Replicates of each size that a run wants at once: all of them, or the pilot."""
        return PILOT if self.replicates is None else self.replicates

    @property
    def points(self) -> tuple[Point, ...]:
        """The points of the sweep, in increasing size."""
        return tuple(Point(size) for size in self.sizes)


@dataclass(frozen=True)
class Problem:
    """What determines one number, given its address (point, replicate, time, field)."""

    seed: int
    system: System
    law: Law
    reference: Reference
    time: Time
    observables: tuple[Observable, ...]

    @cached_property
    def initial(self) -> InitialLaw:
        """rho_in on the system's phase space."""
        return self.law.on(self.system.phase)

    def solve(self) -> Shared:
        """Return what the blocks share; may take long, empty unless `reference.shares`.

        Raises
        ------
        UnreachableError
            If the reference does not reach its tolerance.
        """
        return self.reference.solve(self.system, self.initial, self.time)

    def meanfield(self, shared: Shared | None = None) -> MeanField:
        """Return the solved reference from what `solve` has returned; it is solved here where nothing is given."""
        return self.reference.restore(self.system, self.initial, self.time, self.solve() if shared is None else shared)

    def dynamics(self, size: int) -> Dynamics | None:
        """Return the equations of motion of N particles; None where the flow is known."""
        if not is_stepped(self.system):
            return None
        return self.system.dynamics(self.initial, self.time.horizon, size)

    def needs(self, role: str) -> bool:
        """Say whether an observable needs a role."""
        return any(role in observable.needs for observable in self.observables)

    @property
    def pools(self) -> int:
        """Number of pools of each size, whose signal replicates share; 0 where no observable needs (LV)."""
        shares = is_stepped(self.system) and "signal" in self.system.roles
        return POOLS if shares and self.needs(LIOUVILLE) else 0

    @cached_property
    def tables(self) -> list[dict[str, Any]]:
        """What reading the numbers needs to know of the observables, as plain data."""
        phase = self.system.phase
        copies = COPIES.get(phase.position, 0)
        return [
            {
                "label": o.label,
                "kind": type(o).__module__.rsplit(".", 1)[-1],
                "p": o.p,
                "pools": self.pools if LIOUVILLE in o.needs else 0,
                "copies": copies if LIOUVILLE in o.needs else 0,
                "fields": [asdict(f) for f in stored_fields(o, phase)],
                "reduced": [asdict(f) for f in o.reduced(phase)] if reduces(o) else [],
            }
            for o in self.observables
        ]

    def liouville(self, meanfield: MeanField, size: int) -> Liouville:
        """Return what drives N particles in the signal of their law; for stepped systems."""
        dynamics = self.dynamics(size)
        assert dynamics is not None
        return Liouville(dynamics, self.time, meanfield.signals)

    @property
    def force(self) -> str:
        """How the force of the mean field is computed; a line."""
        if not is_stepped(self.system):
            return "none: the flow is known"
        return self.system.dynamics(self.initial, self.time.horizon, None).description

    def memory(self, size: int) -> float:
        """Predict the peak bytes of a replicate at size N."""
        phase = self.system.phase
        moving = self.system.budget(size).memory if is_stepped(self.system) else 0.0
        return moving + max(observable.budget(size, phase).memory for observable in self.observables)

    @cached_property
    def canonical(self) -> dict[str, Any]:
        """The typed problem as plain data, keys at their default left out."""
        table: dict[str, Any] = {
            "schema": SCHEMA,
            "scheme": SCHEME,
            "seed": self.seed,
            "system": components.describe(self.system),
            "law": components.describe(self.law),
            "reference": components.describe(self.reference),
            "observable": [components.describe(observable) for observable in self.observables],
        }
        if self.time != Time():
            table["time"] = {"save": [t + 0.0 for t in self.time.save]}
            if self.time.step is not None:
                table["time"]["step"] = self.time.step
            if self.time.stepper != Time().stepper:
                table["time"]["stepper"] = self.time.stepper
        return table

    @cached_property
    def identity(self) -> str:
        """SHA-256 of the canonical problem: where it is equal, every number is."""
        text = json.dumps(self.canonical, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Study:
    """A name, a problem, a sweep, and the text they were read from."""

    name: str
    problem: Problem
    sweep: Sweep
    text: str = field(repr=False, compare=False)


@dataclass(frozen=True)
class _Head:
    """The keys at the top of a study file that are plain values."""

    schema: int
    name: str
    seed: int = field(metadata={"minimum": 0, "maximum": 2**63 - 1})

    def __post_init__(self) -> None:
        """Refuse other schemas, and names that would leave their directory."""
        if self.schema != SCHEMA:
            raise InputError(f"schema: {self.schema} is another version; allowed: {SCHEMA}")
        if not _NAME.fullmatch(self.name) or ".." in self.name:
            raise InputError(
                f"name: {self.name!r} is not allowed; allowed: letters, digits, '-', '_' and single '.', at most 100"
            )


def shipped() -> dict[str, str]:
    """Return the texts of the studies that ship with the package, by name."""
    folder = resources.files("mfstudy") / "studies"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return {f.name.removesuffix(".toml"): f.read_text(encoding="utf-8") for f in files}


def load(path_or_name: str | Path) -> Study:
    """Read a study.

    Parameters
    ----------
    path_or_name : str or Path
        Path of a TOML file, or the name of a study that ships with the package.

    Raises
    ------
    InputError
        One line: what is wrong, in which file and key, what is allowed.
    """
    text, source = _text(path_or_name)
    return parse(text, source)


def foreign(path_or_name: str | Path) -> list[str]:
    """Return the modules from outside the package that reading a study would import; imports none."""
    text, source = _text(path_or_name)
    return components.foreign(toml.tables(text, source))


def _text(path_or_name: str | Path) -> tuple[str, str]:
    """Return a study's text and what messages call it."""
    path = Path(path_or_name)
    if os.path.isfile(path):  # False, and no error, for names too long for a file
        return toml.read(path), str(path)
    if os.path.isdir(path):
        raise InputError(f"{path}: is a directory; allowed: a study file or the name of a shipped study")
    studies = shipped()
    name = str(path_or_name)
    if name not in studies:
        near = f"; did you mean '{name}.toml'?" if os.path.isfile(f"{name}.toml") else nearest(name, studies)
        raise InputError(f"{name[:100]}: no such file or study; shipped studies: {', '.join(studies)}{near}")
    return studies[name], f"{name}.toml"


def parse(text: str, source: str = "study") -> Study:
    """Read a study from TOML text; `source` is what messages call it.

    Raises
    ------
    InputError
        As `load`.
    """
    try:
        return _study(toml.tables(text, source), text)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def _study(table: Mapping[str, Any], text: str) -> Study:
    sections = ("system", "law", "reference", "time", "observable", "sweep")
    plain = ("schema", "name", "seed")
    for key in table:
        if key in _RESERVED:
            raise InputError(f"{key}: not yet supported")
        if key not in sections + plain:
            raise InputError(
                f"{key}: unknown key; allowed: {', '.join(plain + sections)}{nearest(key, plain + sections)}"
            )
    head = _fill_head(table, plain)
    for key in ("system", "law", "observable", "sweep"):
        if key not in table:
            raise InputError(f"{key}: missing; allowed: {'[[observable]]' if key == 'observable' else f'[{key}]'}")
    system = components.build("systems", table["system"], "system")
    law = components.build("laws", table["law"], "law")
    default = {"kind": "exact" if is_flow(system) else "characteristics"}
    reference = components.build("references", table.get("reference", default), "reference")
    problem = Problem(
        seed=head.seed,
        system=system,
        law=law,
        reference=reference,
        time=components.fill(Time, _section(table, "time"), "time"),
        observables=_observables(table["observable"]),
    )
    _admit(problem)
    sweep = components.fill(Sweep, _section(table, "sweep"), "sweep", reserved=Sweep.RESERVED)
    check_sizes(problem, sweep.sizes, "sweep.sizes")
    if sweep.precision is not None:
        check_goal(problem, sweep)
    return Study(name=head.name, problem=problem, sweep=sweep, text=text)


def _fill_head(table: Mapping[str, Any], plain: tuple[str, ...]) -> _Head:
    try:
        head: _Head = components.fill(_Head, {key: table[key] for key in plain if key in table}, "")
    except InputError as error:
        raise InputError(str(error).lstrip(".")) from None
    return head


def _section(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = table.get(key, {})
    if not isinstance(section, Mapping):
        raise InputError(f"{key}: {section!r} is not a table; allowed: [{key}]")
    return section


def _observables(tables: object) -> tuple[Observable, ...]:
    if not isinstance(tables, list) or not tables:
        raise InputError("observable: not a list of tables; allowed: one or more [[observable]]")
    observables = []
    for i, table in enumerate(tables):
        where = f"observable[{i}]"
        if isinstance(table, Mapping) and "map" in table:
            raise InputError(f"{where}.map: not yet supported")
        observable: Observable = components.build("observables", table, where)
        if not _LABEL.fullmatch(observable.label):
            raise InputError(
                f"{where}.name: {observable.label!r} is not allowed; allowed: a lower-case letter, then lower-case"
                " letters, digits and '_', at most 50"
            )
        observables.append(observable)
    return tuple(observables)


def _steps(system: System, time: Time) -> None:
    """Refuse times that no step divides, and a stepped system that stays at its start."""
    if is_stepped(system) and time.horizon == 0:
        raise ValueError("save: no time > 0; allowed: at least one, this system moves")
    marks(system, time)


def _check_width(law: InitialLaw, phase: Phase) -> None:
    """Refuse a law that would overlap itself on the torus, where its moments and support were no longer its own."""
    for (low, high), period in zip(law.support, phase.periods or (), strict=phase.periods is not None):
        if period is not None and high - low > period * (1 + 1e-12):
            raise ValueError(f"kind: {high - low:g} wide along an axis of period {period:g}; allowed: at most this")


def _admit(problem: Problem) -> None:
    """Refuse parts that do not fit together."""
    system, law = problem.system, problem.law
    checks: list[tuple[str, Callable[[], object]]] = [
        ("law.", lambda: _check_width(law.on(system.phase), system.phase)),
        ("time.", lambda: _steps(system, problem.time)),
        ("", lambda: system.admit(problem.initial, problem.time.horizon) if is_stepped(system) else None),
        ("reference: ", lambda: problem.reference.admit(system, problem.initial, problem.time)),
    ]
    for where, check in checks:
        try:
            check()
        except ValueError as error:
            raise InputError(f"{where}{error}") from None
    seen: dict[tuple[str, str], int] = {}
    for i, observable in enumerate(problem.observables):
        fields = observable.fields(system.phase)
        if not fields:
            raise InputError(f"observable[{i}]: measures nothing; allowed: one field or more")
        offered = ROLES | getattr(system, "roles", frozenset()) | ({FORCES} if is_stepped(system) else set())
        if unknown := observable.needs - offered:
            raise InputError(
                f"observable[{i}].kind: needs {', '.join(sorted(unknown))}, which this system does not have;"
                f" allowed: what needs {', '.join(sorted(offered))}"
            )
        try:
            observable.admit(system.phase, problem.initial)
        except ValueError as error:
            raise InputError(f"observable[{i}].{error}") from None
        key = (observable.label, fields[0].name)
        if key in seen:
            raise InputError(
                f"observable[{i}].name: {observable.label!r} is taken by observable[{seen[key]}]; allowed: another name"
            )
        seen[key] = i


def check_goal(problem: Problem, sweep: Sweep) -> Goal:
    """Return what a sweep's precision is about.

    Raises
    ------
    InputError
        If there is no such quantity, or more replicates do not make it precise.
    """
    try:
        goal = goal_of(sweep.target or Target(), quantities(problem.tables), problem.tables, problem.time.save)
    except InputError as error:
        raise InputError(f"sweep.target.{error}") from None
    if goal.kind == "exponent" and len(sweep.sizes) < 3:
        raise InputError(f"sweep.sizes: {len(sweep.sizes)} of them have no exponent; allowed: 3 or more sizes")
    return goal


def check_sizes(problem: Problem, sizes: Iterable[int], where: str) -> None:
    """Refuse sizes at which an observable would exceed the memory of one task, before anything is computed."""
    for size in sizes:
        if (need := problem.memory(size)) > MEMORY:
            phase = problem.system.phase
            worst = max(problem.observables, key=lambda o: o.budget(size, phase).memory)
            raise InputError(
                f"{where}: N = {size} needs {need / 2**30:.1f} GiB, most of it for '{worst.label}';"
                f" allowed: {MEMORY / 2**30:.1f} GiB a task, use smaller sizes"
            )
