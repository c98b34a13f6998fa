"""Shared fixtures: a tiny study, and what it takes to run the package as a user does."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mfstudy
from mfstudy import study as studies

TINY = """
schema = 1
name = "tiny"
seed = 7
[system]
kind = "static"
dim = 1
[law]
kind = "box"
position_halfwidth = 0.5
[[observable]]
kind = "empirical"
p = 2
[sweep]
sizes = [10, 30, 100, 300]
replicates = 32
"""


#: Enough work (about 10 s on one core) that what befalls workers falls into it.
LONG = TINY.replace("dim = 1", "dim = 2").replace("[10, 30, 100, 300]", "[50, 100, 200]").replace("= 32", "= 128")


@pytest.fixture(autouse=True)
def strict_floats():
    """Invalid operations are errors: a NaN must be made on purpose."""
    with np.errstate(invalid="raise", divide="raise"):
        yield


@pytest.fixture
def tiny():
    return studies.parse(TINY, "tiny.toml")


@pytest.fixture
def tiny_file(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def tiny_results(tiny, tmp_path):
    """The tiny study, computed in this process."""
    return mfstudy.run(tiny, tmp_path / "tiny.mfstudy", part=(1, 1))


@pytest.fixture(scope="session")
def long_bytes(tmp_path_factory):
    """What an undisturbed run of the long study stores."""
    path = tmp_path_factory.mktemp("long") / "store"
    return contents(mfstudy.run(studies.parse(LONG), path, part=(1, 1)).store.path)


@pytest.fixture
def long_file(tmp_path):
    path = tmp_path / "long.toml"
    path.write_text(LONG)
    return path


@pytest.fixture
def command(tmp_path):
    """Run the command line as a user does, in an empty directory; return the finished process."""

    def run(*arguments, cwd=tmp_path, timeout=240, **options):
        words = [sys.executable, "-m", "mfstudy", *map(str, arguments)]
        return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=timeout, **options)

    return run


def contents(store: Path, *parts: str) -> dict[str, bytes]:
    """Return every file of parts of a store, by relative path: what must be the same bytes."""
    files = (f for part in parts or ("record", "artefacts") for f in (Path(store) / part).rglob("*") if f.is_file())
    # What a killed write leaves behind is no part of the store: readers do not see it.
    return {str(f.relative_to(store)): f.read_bytes() for f in files if f.suffix != ".partial"}
