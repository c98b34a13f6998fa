"""A sweep of an interacting system: the same bytes of numbers and mean field, whatever happens."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import mfstudy
from conftest import contents
from mfstudy.study import parse

FLOCK = """
schema = 1
name = "flock"
seed = 11
[system]
kind = "flocking"
dim = 1
eta = 0.5
D = 0.2
kappa = 0.5
chi_radius = 0.6
[law]
kind = "box"
position_halfwidth = 1.0
velocity_halfwidth = 0.5
[time]
save = [0.0, 0.5]
step = 0.05
[[observable]]
kind = "coupling"
[[observable]]
kind = "chemical"
[[observable]]
kind = "invariants"
[sweep]
sizes = [20, 50, 400]
replicates = 48
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("flock") / "store"
    results = mfstudy.run(parse(FLOCK), path, part=(1, 1))
    assert results.complete
    assert results.failed == 0
    return contents(path)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_matter(tmp_path, undisturbed, workers):
    mfstudy.run(parse(FLOCK), tmp_path / "store", workers=workers)
    assert contents(tmp_path / "store") == undisturbed


def test_parts_do_not_matter(tmp_path, undisturbed):
    for part in (2, 1):
        mfstudy.run(parse(FLOCK), tmp_path / "store", part=(part, 2))
    assert contents(tmp_path / "store") == undisturbed


def test_deepening_changes_nothing_that_is_there(tmp_path, undisturbed):
    shallow = FLOCK.replace("[20, 50, 400]", "[20, 400]").replace("= 48", "= 16")
    mfstudy.run(parse(shallow), tmp_path / "store", part=(1, 1))
    mfstudy.run(parse(FLOCK), tmp_path / "store", part=(1, 1))
    assert contents(tmp_path / "store") == undisturbed


def test_a_killed_driver_loses_nothing(tmp_path, undisturbed):
    study, store = tmp_path / "flock.toml", tmp_path / "store"
    study.write_text(FLOCK)
    command = [sys.executable, "-m", "mfstudy", "run", str(study), "--store", str(store), "--part", "1/1"]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(store.glob("record/*/c.*"))) < 3:
        assert driver.poll() is None, "the run ended too early"
        assert time.monotonic() < deadline, "the run stores nothing"
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert contents(store) != undisturbed
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert contents(store) == undisturbed


def test_the_seed_matters(tmp_path, undisturbed):
    """Negative control: bytes that are equal for any reason would pass the tests above."""
    other = FLOCK.replace("seed = 11", "seed = 12").replace("= 48", "= 16").replace("[20, 50, 400]", "[20]")
    mfstudy.run(parse(other), tmp_path / "store", part=(1, 1))
    name = "record/size-20/c.0.0.0"
    assert contents(tmp_path / "store")[name] != undisturbed[name]


def test_results_know_every_error(tmp_path):
    """Reference, step and checks can be read, and the labels mean what they meant."""
    shallow = FLOCK.replace("= 48", "= 16")
    results = mfstudy.run(parse(shallow), tmp_path / "store", part=(1, 1))
    assert [q.observable for q in results.quantities] == [
        "coupling", "coupling_distance_sq_max", "chemical", "chemical_gradient_sq_max",
    ]  # fmt: skip
    assert results.fit("coupling").text == results.fit("coupling_distance_sq").text
    assert results.fit("coupling", time=0).verdict == results.fit("chemical", time=0).verdict == "zero"
    assert results.reference_errors.shape == (2, 4)
    assert 0 < results.reference_errors[1, :3].sum() < 1e-3
    assert all(0 < error < 1e-4 for error in results.step_errors())
    assert np.isnan(results.to_xarray().step_error[:, 1:]).all()
    checks = {check.name: check.largest for check in results.checks}
    assert (checks["invariants_velocity_radius"] <= checks["invariants_velocity_bound"]).all()
    assert (checks["invariants_position_radius"] <= checks["invariants_position_bound"]).all()


def test_a_tolerance_out_of_reach_ends_in_code_3(tmp_path):
    study, store = tmp_path / "flock.toml", tmp_path / "store"
    study.write_text(FLOCK + "[reference]\nkind = 'characteristics'\ntolerance = 1e-9\n")
    command = [sys.executable, "-m", "mfstudy", "run", str(study), "--store", str(store), "--json"]
    for options in (["--part", "1/1"], ["--workers", "1"]):
        ended = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert ended.returncode == 3
        (line,) = [line for line in ended.stderr.splitlines() if "tolerance" in line]
        assert "would do" in line
        assert not list(store.glob("record/*/c.*"))
    step = line.split("a step of ")[1].split(" ")[0]
    study.write_text(study.read_text().replace("step = 0.05", f"step = {step}").replace("= 48", "= 16"))
    status = subprocess.run([*command[:-3], "--store", str(tmp_path / "finer"), "--part", "1/1"], check=False)
    assert status.returncode == 0
    told = subprocess.run(
        [sys.executable, "-m", "mfstudy", "status", str(tmp_path / "finer"), "--json"], capture_output=True, check=True
    )
    assert json.loads(told.stdout)["reference"] == {"required": True, "complete": True}
