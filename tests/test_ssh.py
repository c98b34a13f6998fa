"""A real sshd on loopback: workers over TLS, lost ones come back, whoever is not invited gets nothing."""

import os
import signal

import psutil
import pytest
from distributed import Client

from conftest import contents
from lanes import driver, listening, stored, until
from lanes.sshd import sshd
from mfstudy import cluster

pytestmark = pytest.mark.waits

ENGINES = """
[engine.ssh]
hosts = ["127.0.0.1"]
workers_per_host = 2
address = "127.0.0.1"
interface = "lo"
port = {port}
known_hosts = "{folder}/known_hosts"
client_key = "{folder}/user"
"""


@pytest.fixture(scope="module")
def lane():
    with sshd() as up:
        yield up


@pytest.fixture
def engines(lane, tmp_path, monkeypatch):
    path = tmp_path / "engines.toml"
    path.write_text(ENGINES.format(port=lane.port, folder=lane.folder))
    monkeypatch.setenv("MFSTUDY_ENGINES", str(path))
    return path


def serving(lane):
    """Return what the lane's sshd has started: a shell and its workers for each session."""
    daemon = psutil.Process(int((lane.folder / "sshd.pid").read_text()))
    return [process for process in daemon.children(recursive=True) if "sshd" not in process.name()]


def shells(lane):
    return [process for process in serving(lane) if process.name() in ("sh", "bash", "dash")]


def test_a_lost_session_comes_back(lane, engines, long_file, long_bytes, tmp_path):
    store = tmp_path / "store"
    with driver(long_file, store, "--on", "ssh") as process:
        stored(store, 2, process)
        addresses = listening(process.pid)
        assert len(addresses) >= 2  # scheduler, dashboard
        assert {address.ip for address in addresses} == {"127.0.0.1"}
        there = [c.laddr.ip for p in serving(lane) for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
        assert there
        assert set(there) == {"127.0.0.1"}
        assert process.poll() is None, "killed too late to matter"
        victims = serving(lane)
        for victim in victims:
            os.kill(victim.pid, signal.SIGKILL)
        until(lambda: not any(victim.is_running() for victim in victims), "the session is gone")
        _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert contents(store) == long_bytes
    until(lambda: not serving(lane), "a run leaves no process behind")


def test_keys_are_private_and_strangers_refused(lane, engines):
    with cluster.find("ssh").workers(1) as crew:
        folder = crew.client.submit(os.getcwd).result(timeout=240)
        assert os.stat(folder).st_mode & 0o077 == os.stat(f"{folder}/tls.pem").st_mode & 0o077 == 0
        assert "PRIVATE KEY" not in "".join(" ".join(process.cmdline()) for process in serving(lane))
        with pytest.raises(OSError, match=r"Timed out|closed"):
            Client(crew.client.scheduler.address.replace("tls", "tcp"), timeout=3)
    until(lambda: not os.path.exists(folder), "the keys are gone")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("/user", "/stranger", "Permission denied"),
        ("/known_hosts", "/user.pub", "Host key is not trusted"),
        ('hosts = ["127.0.0.1"]', 'hosts = ["127.0.0.1"]\npython = "/no/such/python"', "/no/such/python"),
        ('address = "127.0.0.1"', 'address = "203.0.113.7"', "203.0.113.7"),
    ],
)
def test_what_ssh_refuses_is_one_line(engines, tiny_file, tmp_path, command, old, new, line):
    engines.write_text(engines.read_text().replace(old, new))
    ended = command("run", tiny_file, "--store", tmp_path / "store", "--on", "ssh")
    assert ended.returncode == 2, ended.stderr
    assert line in ended.stderr.splitlines()[-1]
    assert len(ended.stderr.splitlines()) == 1
