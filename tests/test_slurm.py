"""A real Slurm: workers as jobs over TLS, job arrays without Dask; the bytes of an undisturbed run, whatever ends."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from distributed import Client, Security

import mfstudy
from conftest import contents
from lanes import chunks, driver, listening, stored, until
from lanes.slurm import slurm
from mfstudy import cluster

pytestmark = pytest.mark.waits

DEPLOY = Path(__file__).parent.parent / "deploy"

ENGINES = """
[engine.lane]
kind = "slurm"
partition = "lane"
memory = "1GB"
minimum = 2
maximum = 2
interface = "lo"
directory = "{folder}/runs"
{more}
"""


@pytest.fixture(scope="module")
def lane():
    with slurm() as up:
        yield up


@pytest.fixture
def environment(lane, tmp_path):
    """Return what a driver's environment needs, given more lines of the engine's table."""

    def make(more=""):
        path = tmp_path / "engines.toml"
        path.write_text(ENGINES.format(folder=lane.folder, more=more))
        # A worker that is lost is replaced at once, where Dask by default waits 15 s for its return.
        return {**lane.environment, "MFSTUDY_ENGINES": str(path), "DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT": "1s"}

    yield make
    until(lambda: not lane.jobs("R,PD,CG"), "a run leaves no jobs behind")


def test_a_cancelled_worker_is_replaced(lane, environment, long_file, long_bytes, tmp_path):
    store = tmp_path / "store"
    with driver(long_file, store, "--on", "lane", **environment()) as process:
        stored(store, 2, process)
        jobs = lane.jobs()
        assert jobs
        lane("scancel", jobs[0])
        assert process.poll() is None, "the job was cancelled too late to matter"
        until(lambda: "JobState=CANCELLED" in lane("scontrol", "show", "job", jobs[0]), "the job is cancelled", 60)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert contents(store) == long_bytes
    assert mfstudy.open(store).complete
    assert not list((lane.folder / "runs").iterdir())  # no keys left


def test_strangers_are_refused(lane, environment, monkeypatch):
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    with cluster.find("lane").workers(1) as crew:
        assert crew.client.submit(os.getpid).result(timeout=240) != os.getpid()
        addresses = listening(os.getpid())
        assert len(addresses) >= 2  # scheduler, dashboard
        assert {address.ip for address in addresses} == {"127.0.0.1"}
        inside = crew.client.scheduler.address
        assert inside.startswith("tls://127.0.0.1:")
        for address, security in ((inside.replace("tls", "tcp"), None), (inside, Security.temporary())):
            with pytest.raises(OSError, match=r"certificate|Timed out|closed"):
                Client(address, security=security, timeout=3)
        (key,) = (lane.folder / "runs").glob("*/key.pem")
        assert key.stat().st_mode & 0o077 == key.parent.stat().st_mode & 0o077 == 0


def test_jobs_shorter_than_the_run(lane, environment, long_file, long_bytes, tmp_path):
    store = tmp_path / "store"
    seen = set()
    with driver(long_file, store, "--on", "lane", "--workers", 1, **environment("walltime = 0.06")) as process:

        def ended():
            seen.update(lane.jobs())
            return process.poll() is not None

        until(ended, "the run's end")
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert len(seen) > 1, "no worker came to the end of its lifetime"
    assert contents(store) == long_bytes


@pytest.fixture
def submitted(lane, environment, tmp_path):
    """Submit one of the scripts in deploy/slurm with more options of sbatch; return the job's id."""
    where = environment() | {"MFSTUDY": str(Path(sys.executable).parent / "mfstudy")}

    def submit(script, *words, options=()):
        command = ["sbatch", "--parsable", f"--output={tmp_path}/%a.log", "--mem=500M", *options]
        command += [str(DEPLOY / "slurm" / script), *map(str, words)]
        return subprocess.run(command, env=where, capture_output=True, text=True, check=True).stdout.strip()

    return submit


def states(lane, job):
    """Return the state of each element of a job."""
    return re.findall(r"JobState=(\w+)", lane("scontrol", "show", "job", job))


def test_a_job_array_needs_no_dask(lane, submitted, long_file, long_bytes, tmp_path):
    store = tmp_path / "store"
    array = submitted("array.sbatch", long_file, store, options=["--array=1-3"])
    until(lambda: len(chunks(store)) >= 2, "two blocks stored")
    victim = lane.jobs()[0]
    assert victim.startswith(f"{array}_")
    lane("scontrol", "requeue", victim)
    until(lambda: not lane.jobs("R,PD,CG"), "the array's end")
    assert "Restarts=1" in lane("scontrol", "show", "job", victim)
    logs = {path.name: path.read_text() for path in tmp_path.glob("*.log")}
    assert contents(store) == long_bytes, logs
    assert all("Dask" not in text for text in logs.values())


def test_walltime_ends_an_array(lane, submitted, long_file, long_bytes, tmp_path):
    """Slurm's shortest limit is a minute; the elements stand still until it is over."""
    store = tmp_path / "store"
    array = submitted("array.sbatch", long_file, store, options=["--array=1-2", "--time=1"])
    until(lambda: len(chunks(store)) >= 2, "two blocks stored")
    for process in psutil.process_iter(["cmdline"]):
        if str(store) in (words := process.info["cmdline"] or []) and "--part" in words:
            process.suspend()
    until(lambda: states(lane, array) == ["TIMEOUT"] * 2, "Slurm ends both")
    assert 2 <= len(chunks(store)) < len([key for key in long_bytes if "/c." in key])
    submitted("array.sbatch", long_file, store, options=["--array=1-2"])
    until(lambda: not lane.jobs("R,PD,CG"), "the second array's end")
    assert contents(store) == long_bytes


def test_a_driver_that_slurm_signals_is_requeued(lane, submitted, long_file, long_bytes, tmp_path):
    """As at the end of its time; it submits its workers itself."""
    store = tmp_path / "store"
    job = submitted("driver.sbatch", long_file, store, "lane")
    until(lambda: len(chunks(store)) >= 2, "two blocks stored")
    lane("scancel", "--batch", "--signal=TERM", job)
    until(lambda: states(lane, job) == ["COMPLETED"], "its end")
    assert "Restarts=1" in lane("scontrol", "show", "job", job)
    assert "ended from outside; run the same command again" in "".join(p.read_text() for p in tmp_path.glob("*.log"))
    assert contents(store) == long_bytes


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ('account = "nobody"\npartition = "nowhere"', "invalid partition"),
        ('directives = ["--no-such-option"]', "unrecognized option"),
        ('directory = "/proc/none"', "directory /proc/none"),
    ],
)
def test_what_slurm_refuses_is_one_line(environment, tiny_file, tmp_path, command, more, line):
    where = environment()
    settings = Path(where["MFSTUDY_ENGINES"])
    keys = {text.split(" = ")[0] for text in more.splitlines()}
    kept = [text for text in settings.read_text().splitlines() if text.split(" = ")[0] not in keys]
    settings.write_text("\n".join([*kept, more]))
    ended = command("run", tiny_file, "--store", tmp_path / "store", "--on", "lane", env=where)
    assert ended.returncode == 2
    assert line in ended.stderr.splitlines()[-1]
    assert len(ended.stderr.splitlines()) == 1
    again = command("run", tiny_file, "--store", tmp_path / "store", "--on", "sync", env=where)
    assert again.returncode == 0


def test_jobs_that_end_at_once_are_noticed(environment, tiny_file, tmp_path, command):
    where = environment('python = "/no/such/python"')
    ended = command("run", tiny_file, "--store", tmp_path / "store", "--on", "lane", env=where)
    assert ended.returncode == 2
    assert "/no/such/python" in ended.stderr.splitlines()[-1]
