"""Daemons that tests run against: started for one test file, on loopback, with files of their own, ended by pid."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest


def install(programs, packages):
    """Make sure that programs are there: by apt where this is root; otherwise the lane is not run, which is said."""
    if all(map(shutil.which, programs)):
        return
    if os.geteuid() or shutil.which("apt-get") is None:
        pytest.skip(f"NOT RUN: needs {', '.join(packages)}, which root could install by apt-get")
    options = ["-o", "DPkg::Lock::Timeout=300", "-q", "-y", "--no-install-recommends"]
    with (Path(tempfile.gettempdir()) / "mfstudy-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another lane installs at the same time
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["apt-get", "-q", "update"], ["apt-get", "install", *options, *packages]):
            ended = subprocess.run(words, capture_output=True, text=True, timeout=600, env=quiet)
    if missing := [name for name in programs if shutil.which(name) is None]:
        pytest.skip(f"NOT RUN: apt-get installs no {', '.join(missing)}: {ended.stderr[-200:]}")


def free_ports(count):
    """Return ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def until(true, what, seconds=300):
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.05)


def _running(pid):
    """Say whether a process runs: a daemon that ended stays a zombie where no init collects it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def end(pid_files):
    """End daemons by the files in which they wrote their ids."""
    pids = [int(path.read_text()) for path in pid_files if path.exists() and path.read_text().strip()]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in filter(_running, pids):
            os.kill(pid, number)
        deadline = time.monotonic() + 10
        while any(map(_running, pids)) and time.monotonic() < deadline:
            time.sleep(0.05)


def chunks(store):
    """Return the blocks that a store holds."""
    return sorted(path for path in Path(store).glob("record/*/c.*") if path.suffix != ".partial")


@contextmanager
def driver(study, store, *options, cwd=None, **environment):
    """Run a sweep in a process of its own, ended on leaving; text of its standard error by `communicate`."""
    words = [sys.executable, "-m", "mfstudy", "run", str(study), "--store", str(store), *map(str, options)]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(words, cwd=cwd or Path(store).parent, env={**os.environ, **environment}, **pipes)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=120)


def stored(store, count, process):
    """Wait until a run that is still going has stored so many blocks."""

    def enough():
        assert process.poll() is None, f"the run ended too early: {process.stderr.read()}"
        return len(chunks(store)) >= count

    until(enough, f"{count} blocks stored")


def listening(pid):
    """Return the addresses on which a process and those that it has started listen."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return [c.laddr for process in family for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
