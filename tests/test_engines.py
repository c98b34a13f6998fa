"""Engines: which one `--on` means, who is let in, and the same bytes on each."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from distributed import Client, Security

import mfstudy
from conftest import contents
from lanes import driver, free_ports, listening, stored, until
from mfstudy import cluster, components
from mfstudy.components import InputError

pytestmark = pytest.mark.waits

DEPLOY = Path(__file__).parent.parent / "deploy"


@pytest.fixture
def engines(tmp_path, monkeypatch):
    """Write the user's file of engines."""

    def write(text):
        path = tmp_path / "engines.toml"
        path.write_text(text)
        monkeypatch.setenv("MFSTUDY_ENGINES", str(path))
        return path

    return write


@pytest.fixture
def undisturbed(tiny, tmp_path):
    return contents(mfstudy.run(tiny, tmp_path / "undisturbed", part=(1, 1)).store.path)


@pytest.fixture
def keys(tmp_path):
    """Certificates, as a site's own authority would give them; also those of a stranger."""
    for who in ("ours", "strange"):
        made = Security.temporary()
        texts = {"ca": made.tls_ca_file, "cert": made.tls_client_cert, "key": made.tls_client_key}
        for name, text in texts.items():
            (tmp_path / f"{who}-{name}.pem").write_text(text)
    return lambda who: {name: str(tmp_path / f"{who}-{name}.pem") for name in ("ca", "cert", "key")}


def table(keys):
    return f'tls = {{ca = "{keys["ca"]}", cert = "{keys["cert"]}", key = "{keys["key"]}"}}'


@contextmanager
def somebodys(tmp_path, tls=None, workers=1, **environment):
    """Run a scheduler and its workers apart from any run, as a site would; give (address, scheduler, start worker)."""
    (port,) = free_ports(1)
    address = f"{'tls' if tls else 'tcp'}://127.0.0.1:{port}"
    options = [word for key, path in (tls or {}).items() for word in (f"--tls-{key.replace('ca', 'ca-file')}", path)]
    quiet = ["--dashboard-address", "127.0.0.1:0", "--no-dashboard", "--host", "127.0.0.1", *options]
    started = []

    def start(module, *words, **more):
        command = [sys.executable, "-m", f"distributed.cli.{module}", *words, *quiet]
        with (tmp_path / f"{len(started)}-{module}.log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=tmp_path, env={**os.environ, **environment, **more}, stdout=log, stderr=subprocess.STDOUT
            )
        started.append(process)
        return process

    def worker(**more):
        return start("dask_worker", address, "--nthreads", "1", "--no-nanny", "--death-timeout", "60", **more)

    try:
        scheduler = start("dask_scheduler", "--port", str(port), "--protocol", address.split(":")[0])
        until(lambda: b"Scheduler at" in (tmp_path / "0-dask_scheduler.log").read_bytes(), "the scheduler is up")
        for number in range(1, workers + 1):
            worker()
            log = tmp_path / f"{number}-dask_worker.log"
            until(lambda log=log: b"Registered to" in log.read_bytes(), "the worker is up")
        yield address, scheduler, worker
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.parametrize("on", ["sync", "threads", "local"])
def test_engines_do_not_matter(tiny, tmp_path, undisturbed, on):
    seen = []
    results = mfstudy.run(tiny, tmp_path / "store", on=on, progress=seen.append)
    assert results.complete
    assert seen[-1].computed == 8
    assert contents(tmp_path / "store") == undisturbed


def test_each_engine_is_one_documented_dataclass():
    kinds = components.kinds("cluster")
    assert kinds == ["address", "kubernetes", "local", "slurm", "ssh", "sync", "threads"]
    for kind, cls in zip(kinds, components.classes("cluster"), strict=True):
        assert cls.__name__.lower() == kind
        assert cls.__dataclass_params__.frozen
        for field in dataclasses.fields(cls):
            assert field.name in cls.__doc__, f"{kind}: {field.name} is not documented"


@pytest.mark.parametrize(
    ("text", "on", "line"),
    [
        ("", "slrum", "--on: unknown engine 'slrum'; allowed: address, .*tls://HOST:PORT; did you mean 'slurm'?"),
        ("[engine.here]\ncount = 2", "here", r"engine.here.kind: missing; allowed: address"),
        ("[engine.here]\nkind = 'lokal'", "here", r"unknown kind 'lokal'; allowed: .*; did you mean 'local'\?"),
        (
            "[engine.local]\nconut = 2",
            "local",
            r"engine.local.conut: unknown key; allowed: count; did you mean 'count'",
        ),
        ("[engine.local]\ncount = 0", "local", r"engine.local.count: 0 is not allowed; allowed: an integer >= 1"),
        ("[engines.local]\ncount = 1", "local", r"engines: unknown key; .* did you mean 'engine'\?"),
        ("engine = 1", "local", r"engine: not a table of tables"),
        ("[engine", "local", r"invalid TOML"),
        ("", "ssh", r"engine.ssh.hosts: missing; allowed: a list"),
        ("[engine.ssh]\nhosts = []", "ssh", r"engine.ssh.hosts: empty"),
        ("[engine.slurm]\ninterface = 'none9'", "slurm", r"engine.slurm.interface: .*none9"),
        ("", "tcp://192.0.2.1:8786", r"without TLS whoever reaches the port runs code there; allowed: tls://"),
        ("", "tcp://localhost.example:8786", r"without TLS whoever"),
        ("[engine.site]\nkind = 'address'\naddress = 'tcp://192.0.2.1:1'", "site", r"without TLS whoever"),
        ("", "tls://127.0.0.1:8786", r"no certificates; allowed: tls = "),
        ("", "ftp://127.0.0.1:8786", r"is not allowed; allowed: tls://HOST:PORT"),
        ("", "tcp://127.0.0.1:99999", r"is not allowed; allowed: tls://HOST:PORT"),
        (
            "[engine.site]\nkind = 'address'\naddress = 'tls://h:1'\ntls = {ca = '/no', cert = '/no', key = '/no'}",
            "site",
            r"engine.site.tls.ca: '/no' cannot be read",
        ),
    ],
)
def test_what_is_wrong_with_an_engine_is_one_line(engines, tiny, tmp_path, text, on, line):
    path = engines(text)
    with pytest.raises(InputError, match=line) as raised:
        mfstudy.run(tiny, tmp_path / "store", on=on)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value) or "://" in str(raised.value)
    assert not (tmp_path / "store").exists()


def test_settings_are_found_where_users_keep_them(tmp_path, monkeypatch):
    monkeypatch.delenv("MFSTUDY_ENGINES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert cluster.find("local").count is None
    (tmp_path / "mfstudy").mkdir()
    (tmp_path / "mfstudy/engines.toml").write_text(
        "[engine.local]\ncount = 3\n[engine.pair]\nkind = 'threads'\ncount = 2"
    )
    assert cluster.find("local").capacity(1e6) == 3
    assert cluster.find("pair") == components.classes("cluster")[-1](count=2)
    monkeypatch.setenv("MFSTUDY_ENGINES", str(tmp_path / "none.toml"))
    with pytest.raises(InputError, match=r"none.toml: cannot be read"):
        cluster.find("local")


def test_a_missing_extra_is_one_line(engines, tmp_path, tiny_file, command):
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/sitecustomize.py").write_text(
        "import importlib.util as u\nold = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'dask_jobqueue' else old(name, *rest)\n"
    )
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "hidden"), os.environ.get("PYTHONPATH", "")])}
    ended = command("run", tiny_file, "--on", "slurm", env=where)
    assert ended.returncode == 2
    assert ended.stderr.endswith("which is not installed; allowed: pip install 'mfstudy[slurm]'\n")


@pytest.mark.parametrize("on", ["local", "threads"])
def test_only_loopback_listens_and_strangers_are_refused(on):
    with cluster.connect(cluster.find(on), 1, list) as crew:
        assert crew.client.submit(int, 7).result(timeout=240) == 7
        addresses = listening(os.getpid())
        assert len(addresses) >= (1 if on == "threads" else 2)  # dashboard; scheduler
        assert {address.ip for address in addresses} == {"127.0.0.1"}
        inside = crew.client.scheduler.address
        assert inside.startswith("inproc://" if on == "threads" else "tls://127.0.0.1:")
        if on == "local":
            with pytest.raises(OSError, match=r"Timed out|closed"):
                Client(inside.replace("tls", "tcp"), timeout=2)
            with pytest.raises(OSError, match=r"certificate"):
                Client(inside, security=Security.temporary(), timeout=2)


def test_a_site_with_certificates(engines, keys, tmp_path, tiny, undisturbed):
    with somebodys(tmp_path, keys("ours")) as (address, scheduler, _):
        engines(f"[engine.site]\nkind = 'address'\naddress = '{address}'\n{table(keys('ours'))}")
        seen = []
        mfstudy.run(tiny, tmp_path / "store", on="site", progress=seen.append)
        assert contents(tmp_path / "store") == undisturbed
        assert (seen[-1].computed, seen[-1].workers) == (8, 1)
        assert scheduler.poll() is None  # it is not ours to stop
        engines(f"[engine.site]\nkind = 'address'\naddress = '{address}'\n{table(keys('strange'))}")
        with pytest.raises(cluster.EngineError, match=r"^tls://.*certificate"):
            mfstudy.run(tiny, tmp_path / "other", on="site")
        with pytest.raises(cluster.EngineError, match=r"^tcp://127.0.0.1"):
            mfstudy.run(tiny, tmp_path / "other", on=address.replace("tls", "tcp"))


def test_a_scheduler_that_is_not_there(command, tiny_file):
    (port,) = free_ports(1)
    ended = command("run", tiny_file, "--on", f"tcp://127.0.0.1:{port}")
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert f"tcp://127.0.0.1:{port}: " in ended.stderr


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "silent"])
def test_a_lost_scheduler_is_noticed(tmp_path, long_file, long_bytes, how):
    store = tmp_path / "store"
    with (
        somebodys(tmp_path, workers=2) as (address, scheduler, _),
        driver(long_file, store, "--on", address) as process,
    ):
        stored(store, 2, process)
        scheduler.send_signal(how)
        begun = time.monotonic()
        _, errors = process.communicate(timeout=120)
        print(f"{how.name}: the run had ended after {time.monotonic() - begun:.1f} s")
        assert process.returncode == 75
        assert errors.splitlines()[-1].endswith("the Dask workers were lost; run the same command again")
    with driver(long_file, store, "--on", "sync") as process:
        assert process.wait(timeout=240) == 0
    assert contents(store) == long_bytes


def claiming(folder, package):
    """Return a PYTHONPATH on which a package claims another version."""
    information = folder / "claims" / f"{package}-0.0.1.dist-info"
    information.mkdir(parents=True, exist_ok=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.0.1\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder / "claims"), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.parametrize("package", ["mfstudy", "numpy"])
def test_a_worker_with_other_versions_is_refused(tiny, tmp_path, package):
    with somebodys(tmp_path, **claiming(tmp_path, package)) as (address, _, _):
        with pytest.raises(
            cluster.EngineError, match=rf"^worker tcp://.* is refused: .* has {package} 0\.0\.1 instead"
        ):
            mfstudy.run(tiny, tmp_path / "store", on=address)
        assert not mfstudy.open(tmp_path / "store").complete
        assert not list((tmp_path / "store").glob("record/*/c.*"))


def test_a_worker_that_comes_late_with_other_versions_runs_nothing(long_file, long_bytes, tmp_path):
    store = tmp_path / "store"
    with somebodys(tmp_path) as (address, _, worker), driver(long_file, store, "--on", address) as process:
        stored(store, 1, process)
        late = worker(**claiming(tmp_path, "numpy"))
        until(lambda: late.poll() is not None, "the late worker is sent away")
        assert process.poll() is None, "it came too late to matter"
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
        assert "numpy 0.0.1 instead of" in errors
    assert contents(store) == long_bytes
    notes = [path.read_text() for path in store.glob("notes/size-*/*.json")]
    assert len(notes) == len(list(store.glob("record/*/c.*")))
    assert not [text for text in notes if "0.0.1" in text or f'"pid": {late.pid},' in text]


def test_a_store_that_workers_do_not_see(tiny_file, tmp_path):
    """A worker in a mount namespace of its own, where another disk hides the store."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("NOT RUN: a mount namespace needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    with somebodys(tmp_path, workers=0) as (address, _, _):
        inside = f"mount -t tmpfs none {disk} && exec {sys.executable} -m distributed.cli.dask_worker {address}"
        inside += " --nthreads 1 --no-nanny --host 127.0.0.1 --no-dashboard --dashboard-address 127.0.0.1:0"
        hidden = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", inside],
            cwd=tmp_path,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            with driver(tiny_file, disk / "store", "--on", address) as process:
                _, errors = process.communicate(timeout=240)
            assert process.returncode == 2
            assert len(errors.splitlines()) == 1
            assert "does not see the store" in errors
        finally:
            hidden.terminate()
            hidden.wait(timeout=30)


def test_workers_have_one_thread_each():
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    with cluster.connect(cluster.find("local"), 1, list) as crew:
        assert [crew.client.submit(os.getenv, name).result(timeout=240) for name in names] == ["1"] * 4


def test_the_keys_of_a_run_are_private_and_go_with_it():
    with cluster.connect(cluster.find("local"), 1, list) as crew:
        (child,) = [p for p in psutil.Process().children() if "dask_worker" in " ".join(p.cmdline())]
        words = child.cmdline()
        key = Path(words[words.index("--tls-key") + 1])
        assert crew.client.status == "running"
        assert key.stat().st_mode & 0o077 == key.parent.stat().st_mode & 0o077 == 0
    assert not key.parent.exists()
