"""Who may talk to a sweep: TLS in both directions, with keys made for one run, or the user's own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from distributed import Security

_ROLES = ("client", "scheduler", "worker")


@dataclass(frozen=True)
class Tls:
    """Files in PEM format, the same for client, scheduler and workers.

    Parameters
    ----------
    ca : str
        Certificate of the authority that signs the others; who has none from it is refused.
    cert : str
        Certificate.
    key : str
        Its private key.
    """

    ca: str
    cert: str
    key: str

    def __post_init__(self) -> None:
        """Refuse files that cannot be read, before anything is written."""
        for name, path in asdict(self).items():
            if not os.access(os.path.expanduser(path), os.R_OK):
                raise ValueError(f"{name}: {path!r} cannot be read; allowed: a file in PEM format")

    @property
    def words(self) -> dict[str, str]:
        """The options of Dask's worker, without their prefix."""
        return {"ca-file": self.path("ca"), "cert": self.path("cert"), "key": self.path("key")}

    def path(self, name: str) -> str:
        """Return a file's absolute path."""
        return os.path.abspath(os.path.expanduser(str(getattr(self, name))))

    @property
    def security(self) -> Security:
        """The same for Dask; a peer without TLS is refused."""
        own = {f"tls_{role}_{name}": self.path(name) for role in _ROLES for name in ("cert", "key")}
        return Security(require_encryption=True, tls_ca_file=self.path("ca"), **own)


@contextmanager
def private(tls: Tls | None, parent: str | None = None) -> Iterator[tuple[Path, Tls]]:
    """Give a directory that only this user may enter, with keys for one run unless there are given ones.

    Parameters
    ----------
    tls : Tls, optional
        The user's own files.
    parent : str, optional
        Where the directory is made; by default where temporary files are.
    """
    with tempfile.TemporaryDirectory(prefix="mfstudy-", dir=parent) as folder:  # mode 0700
        yield Path(folder), tls or _made(Path(folder))


def _made(folder: Path) -> Tls:
    """Write keys that hold for one run."""
    made = Security.temporary()
    texts = {"ca": made.tls_ca_file, "cert": made.tls_client_cert, "key": made.tls_client_key}
    for name, text in texts.items():
        (folder / f"{name}.pem").touch(mode=0o600)
        (folder / f"{name}.pem").write_text(text)
    return Tls(**{name: str(folder / f"{name}.pem") for name in texts})
