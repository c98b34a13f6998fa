"""Runs in processes of their own, to which faults happen."""

import json
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import psutil

import mfstudy
from conftest import TINY, contents
from lanes import chunks

#: 64 blocks of about 50 ms.
TEXT = TINY.replace("p = 2", 'p = 2\ndistance = {kind = "outside_lab.faulty"}').replace("= 32", "= 256")
TOTAL = 64


def words(study, store, *options):
    return [sys.executable, "-m", "mfstudy", "run", str(study), "--store", str(store), "--json", *options]


@contextmanager
def driver(study, store, *options):
    """A run in a process of its own; whatever is left of it ends with the test."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(words(study, store, *options), **pipes)
    process.family = set()
    try:
        yield process
    finally:
        for member in family(process):
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.communicate(timeout=60)


def family(process):
    """The run's processes, those included that lost their parent."""
    with suppress(psutil.NoSuchProcess):
        process.family |= {psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)}
    return {member for member in process.family if member.is_running()}


def workers(process):
    """The processes in which blocks are computed: those that a nanny has spawned."""
    found = []
    for member in family(process):
        with suppress(psutil.Error):
            if any("spawn_main" in word for word in member.cmdline()):
                found.append(member)
    return found


def until(happened, process=None, timeout=400):
    """Wait until something has happened, while the run goes on."""
    deadline = time.monotonic() + timeout
    while not (found := happened()):
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)
    return found


def ended(process, code=0, timeout=240):
    """Wait for the end of a run; return what it says of itself, and its last line of errors."""
    out, errors = process.communicate(timeout=timeout)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    return json.loads(out) if out else {}, errors.splitlines()[-1] if errors else ""


def counted_once(said):
    """No block counts twice."""
    assert said["computed"] + said["found"] + said["present"] == TOTAL


def settled(study, store, undisturbed, left=True):
    """Run again: it computes what is left, nothing else, and ends with the bytes of a run that nothing disturbed."""
    lacking = TOTAL - len(chunks(store))
    assert bool(lacking) == left
    seen = []
    results = mfstudy.run(study, store, part=(1, 1), progress=seen.append)
    assert (seen[-1].computed, seen[-1].present) == (lacking, TOTAL - lacking)
    assert results.complete
    assert contents(store) == undisturbed
