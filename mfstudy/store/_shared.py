"""What the blocks of a store share: the solved reference, and pools of copies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mfstudy.references import Shared
from mfstudy.store._artefacts import Artefact
from mfstudy.store._disk import Disk
from mfstudy.study import Point

#: The artefact that holds the solved reference.
REFERENCE = "artefacts/reference"
#: Where the artefacts of the pools are.
POOLS = "artefacts/pools"


class Sharing:
    """The artefacts of a store, on its disk."""

    _disk: Disk
    attributes: dict[str, Any]

    @property
    def shares(self) -> bool:
        """Whether the blocks need the solved reference from the store."""
        return "reference" in self._disk.table("artefacts/zarr.json").get("attributes", {}).get("required", ())

    def shared(self) -> Shared | None:
        """Return what the blocks share: empty where they share nothing, None until it is complete.

        Each array is read, verified against the manifest's hash, and kept, when it is first asked for.

        Raises
        ------
        DamagedError
            If the manifest or an array is not what was written; the mapping raises it too.
        """
        if not self.shares:
            return {}
        return self._reference.read()

    def share(self, arrays: Shared) -> None:
        """Store what the blocks share, the manifest last; another driver that stores the same does no harm.

        Parameters
        ----------
        arrays : mapping of str to array
            float64 or complex128, of one dimension or more, by name.

        Raises
        ------
        ValueError
            If a name or an array cannot be stored.
        DamagedError
            If an unfinished artefact of another shape is in the way.
        """
        if self.shares:
            self._reference.write(arrays)

    @property
    def pools(self) -> int:
        """Number of pools of each size that the blocks need from the store."""
        return max((int(table["pools"]) for table in self.attributes["observables"]), default=0)

    def pool(self, point: Point, index: int) -> Shared | None:
        """Return what the replicates of a pool share, None until it is complete; errors as in `shared`."""
        return self._pool(point, index).read()

    def lacking_pools(self, points: Iterable[Point]) -> list[tuple[Point, int]]:
        """Return the pools of these points that are not complete."""
        return [(point, i) for point in points for i in range(self.pools) if self.pool(point, i) is None]

    def share_pool(self, point: Point, index: int, arrays: Shared) -> None:
        """Store what the replicates of a pool share; as `share`."""
        self._pool(point, index).write(arrays)

    def artefacts(self) -> list[str]:
        """Return the keys of the artefacts that are there, complete or not."""
        pools = [f"{POOLS}/{name}" for name in self._disk.names(POOLS) if name != "zarr.json"]
        return [REFERENCE, *pools] if self._disk.names(REFERENCE) else pools

    def _pool(self, point: Point, index: int) -> Artefact:
        return Artefact(self._disk, f"{POOLS}/{point.id}-{index}", self.attributes["identity"])

    @property
    def _reference(self) -> Artefact:
        return Artefact(self._disk, REFERENCE, self.attributes["identity"])
