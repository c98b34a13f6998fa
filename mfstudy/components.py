"""Components from TOML tables: a component's file name is its `kind`, its dataclass fields are the keys.

There is no registry: what exists is what lies in the folders of `FOLDERS`. A dotted `kind` ("my_lab.models.swarm")
names a module outside the package.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib
import importlib.util
import pkgutil
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

#: Folder -> what each of its components must have (" or " between alternatives).
FOLDERS = {
    "systems": ("phase", "advance or dynamics"),
    "laws": ("on",),
    "references": ("admit", "solve", "restore"),
    "observables": ("fields", "admit", "measure", "budget"),
    "distances": ("measured", "between"),
    "kernels": ("at", "slope", "growth", "lipschitz"),
    "external": ("at", "potential", "growth", "lipschitz"),
    "velocities": ("at", "jacobian", "bounds"),
    "theorems": ("claims",),
}

#: Magnitudes of numbers in studies: their powers stay far from overflow and underflow.
SMALLEST, LARGEST = 1e-30, 1e30

_DOTTED = re.compile(r"\w+(\.\w+)+")
#: Hash of the source of each module from outside the package, as it was when it was imported.
_imported: dict[str, str] = {}


class InputError(ValueError):
    """Bad input: one line that says what was wrong, where, and what is allowed."""


def nearest(word: str, words: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest of the words, or "" if none is near."""
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def kinds(folder: str) -> list[str]:
    """Return the names of the components that a folder of the package holds."""
    package = importlib.import_module(f"mfstudy.{folder}")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def classes(folder: str) -> list[type[Any]]:
    """Return the component of each file of a folder of the package, by file name."""
    return [component_class(importlib.import_module(f"mfstudy.{folder}.{kind}")) for kind in kinds(folder)]


def component_class(module: types.ModuleType) -> type[Any]:
    """Return the one public dataclass that a component's module defines.

    Raises
    ------
    InputError
        If the module defines none, or more than one.
    """
    found = [
        value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and dataclasses.is_dataclass(value)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    ]
    if len(found) != 1:
        names = ", ".join(sorted(c.__name__ for c in found)) or "none"
        raise InputError(f"module '{module.__name__}' must define one public dataclass, found: {names}")
    return found[0]


def _module(folder: str, kind: str, where: str) -> types.ModuleType:
    if _DOTTED.fullmatch(kind):
        return _outside(kind, where)
    known = kinds(folder)
    if kind not in known:
        raise InputError(
            f"{where}.kind: unknown kind '{kind}'; allowed: {', '.join(known)} or a dotted module{nearest(kind, known)}"
        )
    return importlib.import_module(f"mfstudy.{folder}.{kind}")


def _outside(kind: str, where: str) -> types.ModuleType:
    """Import a component's module from outside the package; its source must stay what it was at first import."""
    try:
        module = importlib.import_module(kind)
    except Exception as error:  # whatever somebody else's module does
        raise InputError(f"{where}.kind: cannot import '{kind}': {type(error).__name__}: {error}") from None
    source = _source_hash(kind)
    if _imported.setdefault(kind, source) != source:
        raise InputError(f"{where}.kind: '{kind}' was edited after it was imported; start Python again")
    return module


def build(folder: str, table: object, where: str) -> Any:
    """Make a component from its TOML table.

    Parameters
    ----------
    folder : str
        One of `FOLDERS`.
    table : object
        What the study file holds; must be a table with a `kind`.
    where : str
        Key path for messages, for example "law".

    Raises
    ------
    InputError
        If the table does not describe a component.
    """
    if not isinstance(table, Mapping):
        raise InputError(f"{where}: {table!r} is not a table; allowed: a table with 'kind'")
    if "kind" not in table:
        raise InputError(f"{where}.kind: missing; allowed: {', '.join(kinds(folder))}")
    kind = table["kind"]
    if not isinstance(kind, str):
        raise InputError(f"{where}.kind: {kind!r} is not a name; allowed: {', '.join(kinds(folder))}")
    cls = component_class(_module(folder, kind, where))
    missing = [repr(m) for m in FOLDERS[folder] if not any(hasattr(cls, name) for name in m.split(" or "))]
    if not isinstance(getattr(cls, "scheme", None), int):
        missing.append("an integer 'scheme'")
    if missing:
        raise InputError(f"{where}.kind: '{kind}' is no component of '{folder}': it lacks {', '.join(missing)}")
    return fill(cls, {key: value for key, value in table.items() if key != "kind"}, where)


def fill(cls: type[Any], table: Mapping[str, object], where: str, reserved: tuple[str, ...] = ()) -> Any:
    """Make a dataclass from a table whose keys are its fields, every value checked against the field's type."""
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in table:
        if key in reserved:
            raise InputError(f"{where}.{key}: not yet supported")
        if key not in fields:
            allowed = ", ".join(fields) or "no key but 'kind'"
            raise InputError(f"{where}.{key}: unknown key; allowed: {allowed}{nearest(key, fields)}")
    hints = typing.get_type_hints(cls)
    values = {}
    for name, field in fields.items():
        if name in table:
            values[name] = convert(table[name], hints[name], field.metadata, f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}.{name}: missing; allowed: {_allowed(hints[name], field.metadata)}")
    try:
        return cls(**values)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{where}.{error}") from None


def convert(value: object, hint: Any, metadata: Mapping[str, Any], where: str) -> Any:
    """Return a TOML value as the type that a field declares.

    Raises
    ------
    InputError
        With the key path, the value and what is allowed.
    """
    if "component" in metadata:
        return build(metadata["component"], value, where)
    hint = _bare(hint)
    if "table" in metadata:
        return _filled(metadata["table"], value, where)
    refused = InputError(f"{where}: {_shown(value)} is not allowed; allowed: {_allowed(hint, metadata)}")
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise refused
        element = typing.get_args(hint)[0]
        return tuple(convert(v, element, metadata, f"{where}[{i}]") for i, v in enumerate(value))
    if isinstance(value, Mapping):
        raise InputError(f"{where}: a table where a value is meant is not yet supported; {_allowed(hint, metadata)}")
    accepted = {float: (int, float), int: (int,), str: (str,), bool: (bool,)}[hint]
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        raise refused
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not _in_range(value, metadata):
        raise refused
    if "choices" in metadata and value not in metadata["choices"]:
        raise InputError(f"{refused}{nearest(str(value), metadata['choices'])}")
    return hint(value)


def _filled(cls: type[Any], value: object, where: str) -> Any:
    """Make a dataclass that is no component from a nested table."""
    if not isinstance(value, Mapping):
        keys = ", ".join(field.name for field in dataclasses.fields(cls))
        raise InputError(f"{where}: {_shown(value)} is not a table; allowed: a table of {keys}")
    return fill(cls, value, where)


def _shown(value: object) -> str:
    """Return a value as messages show it: not longer than a line."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        text = "this number"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _bare(hint: Any) -> Any:
    """Strip `| None` from a type hint: TOML has no null, an optional key is left out."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(h for h in typing.get_args(hint) if h is not type(None))
    return hint


def _in_range(value: float, metadata: Mapping[str, Any]) -> bool:
    return (
        (value == 0 or SMALLEST <= abs(value) <= LARGEST)  # false for NaN, and for integers beyond all floats
        and value > metadata.get("above", -LARGEST)
        and value >= metadata.get("minimum", -LARGEST)
        and value < metadata.get("below", LARGEST)
        and value <= metadata.get("maximum", LARGEST)
    )


def _allowed(hint: Any, metadata: Mapping[str, Any]) -> str:
    """Say in words what a field accepts."""
    if "component" in metadata:
        return "a table with 'kind'"
    if "choices" in metadata:
        return ", ".join(map(repr, metadata["choices"]))
    hint = _bare(hint)
    if typing.get_origin(hint) is tuple:
        return f"a list, each entry {_allowed(typing.get_args(hint)[0], metadata)}"
    noun = {float: "a finite number", int: "an integer", str: "a string", bool: "true or false"}[hint]
    words = (("above", ">"), ("minimum", ">="), ("below", "<"), ("maximum", "<="))
    bounds = [f"{sign} {metadata[key]}" for key, sign in words if key in metadata]
    return " ".join([noun, " and ".join(bounds)]).strip()


def describe(component: Any) -> dict[str, Any]:
    """Return the canonical table of a component: kind, scheme, and the keys that are not at their default.

    A component from outside the package adds the hash of its source, because its numbers are whatever that says.
    """
    module = type(component).__module__
    inside = module.startswith("mfstudy.")
    table: dict[str, Any] = {
        "kind": module.rsplit(".", 1)[-1] if inside else module,
        "scheme": type(component).scheme,
    }
    if not inside:
        table["source"] = _imported[module]
    for field in dataclasses.fields(component):
        value = getattr(component, field.name)
        if value != field.default or dataclasses.is_dataclass(value):  # a nested component's scheme always counts
            table[field.name] = _plain(value)
    return table


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return describe(value)
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value + 0.0 if isinstance(value, float) else value  # -0.0 and 0.0 are one number


def _source_hash(module: str) -> str:
    """Return the SHA-256 of the source file of a module; what that imports in turn is the author's to version."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise InputError(f"module '{module}' has no source file, so its identity is not defined")
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()


def foreign(table: Any) -> list[str]:
    """Return the dotted kinds that a study's tables name, without importing anything."""
    if isinstance(table, Mapping):
        kind = table.get("kind")
        own = [kind] if isinstance(kind, str) and _DOTTED.fullmatch(kind) else []
        return own + [name for value in table.values() for name in foreign(value)]
    return [name for value in table for name in foreign(value)] if isinstance(table, list) else []
