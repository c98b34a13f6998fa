"""What depends on the run and is lost without harm: seconds, host, versions, messages."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from mfstudy.store._disk import Disk
from mfstudy.store._places import DamagedError
from mfstudy.study import Block, Point


class Notes:
    """The notes of a store, on its disk."""

    _disk: Disk

    def note(self, block: Block, note: Mapping[str, Any]) -> None:
        """Write what depends on the run: lost without harm."""
        self._put(f"{block.point.id}/{block.index}", note)

    def note_shared(self, note: Mapping[str, Any]) -> None:
        """Write what depends on the run that solved the reference: lost without harm."""
        self._put("reference", note)

    def note_rounds(self, note: Mapping[str, Any]) -> None:
        """Write where a sweep that a precision drives stood when a run last looked: lost without harm."""
        self._put("rounds", note)

    def note_poisoned(self, block: Block, note: Mapping[str, Any]) -> None:
        """Write why a block was given up: "line", "attempts", where and with what; a run tries it again, last."""
        self._put(
            f"poisoned/{block.point.id}-{block.index}", {"point": block.point.table, "block": block.index, **note}
        )

    def _put(self, name: str, note: Mapping[str, Any]) -> None:
        self._disk.put(f"notes/{name}.json", json.dumps(note, sort_keys=True).encode())

    def noted_rounds(self) -> dict[str, Any]:
        """Return what `note_rounds` wrote last, empty where nothing was."""
        with contextlib.suppress(DamagedError):
            return self._disk.table("notes/rounds.json")
        return {}

    def notes(
        self, point: Point, limit: int | None = None, indices: Iterable[int] | None = None
    ) -> dict[int, dict[str, Any]]:
        """Return the notes of a point by block index; of some blocks only, where a limit or their indices are given."""
        folder = f"notes/{point.id}"
        if indices is None:
            names = (name.removesuffix(".json") for name in self._disk.names(folder) if name.endswith(".json"))
            indices = [int(name) for name in names if name.isascii() and name.isdecimal()][:limit]
        numbers = list(indices)
        raws = self._disk.read(f"{folder}/{number}.json" for number in numbers)
        found = {number: _parsed(raw) for number, raw in zip(numbers, raws, strict=True)}
        kept = {number: note for number, note in found.items() if note}
        packed = _parsed(self._disk.get(f"{folder}.json")) if not kept else {}
        wanted = set(numbers)
        return kept or {int(n): note for n, note in packed.items() if not wanted or int(n) in wanted}


def _parsed(raw: bytes | None) -> dict[str, Any]:
    """Return a note; a torn note is a lost note, no more."""
    with contextlib.suppress(ValueError):
        note = json.loads(raw or b"null")
        return note if isinstance(note, dict) else {}
    return {}
