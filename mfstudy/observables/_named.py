"""The name of an observable in the store."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Named:
    """An observable with a name that may be left out.

    Parameters
    ----------
    name : str, optional
        Name in the store; by default the kind.
    """

    name: str | None = None

    def __post_init__(self) -> None:
        """Take the default name for no name: the same numbers have one identity."""
        if self.name == self._kind:
            object.__setattr__(self, "name", None)

    @property
    def _kind(self) -> str:
        return type(self).__module__.rsplit(".", 1)[-1]

    @property
    def label(self) -> str:
        """Name in the store and in results."""
        return self._kind if self.name is None else self.name
