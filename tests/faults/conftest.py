"""What every fault befalls: a study whose distance comes from outside the package, and its undisturbed bytes."""

import os

import pytest

import mfstudy
from conftest import contents
from faults.runs import TEXT
from mfstudy import components
from mfstudy.study import parse

LAB = '''
"""A distance that takes a while, and what a file tells it to fail with."""
import json, os, resource, signal, time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from mfstudy.distances.wasserstein import Wasserstein

FOLDER = Path(__file__).parent

def hoard(most):
    """Allocate and touch memory, as far as it goes."""
    held = []
    while len(held) < most / 2**24:
        held.append(bytearray(os.urandom(1)) * 2**24)
        time.sleep(0.01)

def memory():
    """Allocate under a limit that the system sets."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 2**28, before[1]))
    try:
        hoard(2**32)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)

def error():
    raise ZeroDivisionError("no distance today")

FAULTS = {
    "raises": error,
    "crashes": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "memory-error": memory,
    "hoards": lambda: hoard(2**31),
}

@dataclass(frozen=True)
class Faulty:
    """The Wasserstein distance, of some replicates only after a fault."""
    scheme: ClassVar[int] = 1
    def measured(self, p):
        return Wasserstein().measured(p)
    def between(self, measure, reference, p, precision, rng, cost="euclidean"):
        time.sleep(0.002)
        told = FOLDER / "faults.json"
        fault = json.loads(told.read_text()).get(repr(float(measure.points[0, 0]))) if told.exists() else None
        if fault:
            (FOLDER / f"{fault}-{os.getpid()}-{time.monotonic_ns()}.mark").touch()
            FAULTS[fault]()
        return Wasserstein().between(measure, reference, p, precision, rng)
'''


@pytest.fixture(scope="package")
def outside(tmp_path_factory):
    """The package with the faulty distance, importable here and in what is started."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "outside_lab").mkdir()
    (folder / "outside_lab/__init__.py").write_text("")
    (folder / "outside_lab/faulty.py").write_text(LAB)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        patch.setattr(components, "_imported", {})
        yield folder / "outside_lab"


@pytest.fixture(scope="package")
def undisturbed(outside, tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "store"
    return contents(mfstudy.run(parse(TEXT), path, part=(1, 1)).store.path)


@pytest.fixture
def study(tmp_path, outside):
    path = tmp_path / "study.toml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"
