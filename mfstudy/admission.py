"""Which workers may take part in a run: those with the driver's versions that see its store."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mfstudy.components import InputError
from mfstudy.store import Store

#: What the bytes depend on.
PACKAGES = ("mfstudy", "numpy", "scipy", "numba", "finufft", "pot", "zarr")


def versions() -> dict[str, str]:
    """Return the versions on which the bytes depend."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


@lru_cache(maxsize=1)
def _source() -> str:
    """Return a hash of this package's source: a checkout changes more often than its version."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def mine() -> dict[str, str]:
    """Return what a worker must have in common with its driver."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"python": python, **versions(), "mfstudy's source": _source()}


def admit(path: str, identity: str, wanted: Mapping[str, str]) -> None:
    """Refuse, on a worker, to take part with other versions, or without the store.

    Parameters
    ----------
    path, identity : str
        Of the store.
    wanted : mapping
        The driver's `mine`.

    Raises
    ------
    InputError
        One line.
    """
    here = mine()
    others = [
        f"{name} {here.get(name)} instead of {value}" for name, value in wanted.items() if here.get(name) != value
    ]
    host = platform.node()
    if others:
        raise InputError(f"{host} has {', '.join(others)}; allowed: the driver's versions")
    try:
        found = Store(path).attributes["identity"]
    except InputError as error:
        raise InputError(f"{host} does not see the store: {error}; allowed: a path that all workers share") from None
    if found != identity:
        raise InputError(f"{host} sees another store at {path}; allowed: a path that all workers share")
