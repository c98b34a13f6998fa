"""Shared fixtures: a tiny study, and what it takes to run the package as a user does."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import mfstudy
from mfstudy import study as studies
from mfstudy.cli import main
from mfstudy.store._disk import Disk
from mfstudy.store._places import place_of

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


def pytest_xdist_auto_num_workers():
    """One more than the cores: many tests wait for processes of their own."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items):
    """Begin with the files that wait most, beside which the others compute."""
    items.sort(key=lambda item: item.get_closest_marker("waits") is None)


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


@pytest.fixture
def ends(tmp_path, monkeypatch, capsys):
    """Run the command line in this process, in an empty directory; return it as a finished process."""

    def run(*words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["mfstudy", *map(str, words)])
        handler = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as ended:
                main()
        finally:
            signal.signal(signal.SIGTERM, handler)
        return subprocess.CompletedProcess(words, ended.value.code, *capsys.readouterr())

    return run


def contents(store: Path, *parts: str) -> dict[str, bytes]:
    """Return every file of parts of a store, by relative path: what must be the same bytes."""
    files = (f for part in parts or ("record", "artefacts") for f in (Path(store) / part).rglob("*") if f.is_file())
    # What a killed write leaves behind is no part of the store: readers do not see it.
    return {str(f.relative_to(store)): f.read_bytes() for f in files if f.suffix != ".partial"}


def disk_of(place) -> Disk:
    """Return the files of a store as they are, wherever it is."""
    return Disk(place_of(place))


def held(place, *parts: str) -> dict[str, bytes]:
    """Return as `contents` does, wherever the store is."""
    disk = disk_of(place)
    return {key: disk.get(key) for part in parts or ("record", "artefacts") for key, _ in disk.files(part)}


#: An object store that ends with the process that holds its standard input.
SERVER = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from moto.server import main
main()
"""


@pytest.fixture(scope="session")
def bucket():
    """The address of a bucket on a real server process on loopback; the AWS_* variables say where."""
    missing = [name for name in ("moto", "flask", "obstore") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"NOT RUN: {', '.join(missing)} not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-c", SERVER, "-H", "127.0.0.1", "-p", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True, **quiet)
    endpoint = f"http://127.0.0.1:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        keys = {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "REGION": "us-east-1", "ENDPOINT_URL": endpoint}
        for name, value in keys.items():
            patch.setenv(f"AWS_{name}", value)
        try:
            _make_bucket(f"{endpoint}/studies", server)
            yield "s3://studies"
        finally:
            server.stdin.close()
            server.wait()


def _make_bucket(url: str, server: subprocess.Popen) -> None:
    """Make a bucket, once the server is up."""
    deadline = time.monotonic() + 120
    while True:
        assert server.poll() is None, "the object store ended"
        assert time.monotonic() < deadline, "the object store does not answer"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=30):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)


@pytest.fixture(params=["local", "s3"])
def place(request, tmp_path):
    """Return where a store may be made, in a directory and in a bucket: place(name)."""
    if request.param == "local":
        return lambda name: str(tmp_path / name)
    address, test = request.getfixturevalue("bucket"), tmp_path.name
    return lambda name: f"{address}/{test}/{name}"
