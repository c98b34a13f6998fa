"""TOML files: the only tomllib."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from mfstudy.components import InputError


def read(path: Path) -> str:
    """Return the text of a file.

    Raises
    ------
    InputError
        If it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; allowed: TOML in UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def tables(text: str, source: str) -> dict[str, Any]:
    """Return what TOML text says; `source` is what messages call it.

    Raises
    ------
    InputError
        If it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a TOML error, or an integer of thousands of digits
        raise InputError(f"{source}: invalid TOML: {error}") from None
