"""Which engine `--on` means: a table of the user's file, a bare kind, or an address."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol

from mfstudy import components, toml
from mfstudy.cluster._workers import Workers
from mfstudy.components import InputError, nearest

_FOLDER = "cluster"


class Engine(Protocol):
    """What every engine offers.

    `part` is (1, 1) where blocks are computed in this process without workers, else None.
    """

    part: ClassVar[tuple[int, int] | None]

    def capacity(self, memory: float) -> int:
        """Return how many workers to ask for when the user does not say, for tasks of so many bytes."""

    def workers(self, count: int) -> AbstractContextManager[Workers]:
        """Give workers; stop them on leaving.

        Raises
        ------
        EngineError
            One line, if none can be had.
        """

    def check(self, insecure: bool) -> None:
        """Refuse what would let strangers in, unless the user wants it, and a library that is missing.

        Raises
        ------
        InputError
            One line.
        """


def find(on: str, insecure: bool = False) -> Engine:
    """Return the engine of a name or an address; nothing is started.

    Parameters
    ----------
    on : str
        Name of a table [engine.NAME] of the user's file, a kind of engine, or the address of a scheduler.
    insecure : bool
        Whether an address without TLS that is not on loopback is allowed.

    Raises
    ------
    InputError
        One line: what is unknown or not allowed, in which file and key, and what is allowed.
    """
    if "://" in on:
        engine: Engine = _made("address", {"address": on}, "--on")
    else:
        engine = _named(on)
    engine.check(insecure)
    return engine


def settings_path() -> Path:
    """Return where the user's file of engines is, or would be."""
    if named := os.environ.get("MFSTUDY_ENGINES"):
        return Path(named)
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(home) / "mfstudy" / "engines.toml"


def _tables() -> Mapping[str, Any]:
    """Return the tables of the user's file by name."""
    path = settings_path()
    if not path.exists() and "MFSTUDY_ENGINES" not in os.environ:
        return {}
    table = toml.tables(toml.read(path), str(path))
    for key in table:
        if key != "engine":
            raise InputError(f"{path}: {key}: unknown key; allowed: tables [engine.NAME]{nearest(key, ['engine'])}")
    engines = table.get("engine", {})
    if not isinstance(engines, Mapping) or not all(isinstance(value, Mapping) for value in engines.values()):
        raise InputError(f"{path}: engine: not a table of tables; allowed: [engine.NAME]")
    return engines


def _named(name: str) -> Engine:
    tables, kinds = _tables(), components.kinds(_FOLDER)
    if name not in tables and name not in kinds:
        known = sorted({*kinds, *tables})
        raise InputError(
            f"--on: unknown engine '{name}'; allowed: {', '.join(known)} (tables of {settings_path()} among them),"
            f" or tls://HOST:PORT{nearest(name, known)}"
        )
    if name not in tables:
        return _made(name, {}, f"--on {name}, which has no table in {settings_path()}: engine.{name}")
    table, where = tables[name], f"{settings_path()}: engine.{name}"
    kind = table.get("kind", name)
    if kind not in kinds:
        wrong = "missing" if "kind" not in table else f"unknown kind {kind!r}"
        raise InputError(f"{where}.kind: {wrong}; allowed: {', '.join(kinds)}{nearest(str(kind), kinds)}")
    return _made(kind, {key: value for key, value in table.items() if key != "kind"}, where)


def _made(kind: str, table: Mapping[str, object], where: str) -> Engine:
    cls = components.component_class(importlib.import_module(f"mfstudy.{_FOLDER}.{kind}"))
    engine: Engine = components.fill(cls, table, where)
    return engine
