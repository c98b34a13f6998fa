"""What runs at night: the unit files are valid, and the cron line does what it says."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mfstudy
from conftest import TINY
from mfstudy.study import parse

pytestmark = pytest.mark.waits

DEPLOY = Path(__file__).parent.parent / "deploy"
UNITS = ("mfstudy-deepen@.service", "mfstudy-deepen@.timer")
MFSTUDY = Path(sys.executable).parent / "mfstudy"

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="NOT RUN: no systemd-analyze here")


def verify(folder):
    words = ["systemd-analyze", "verify", "--user", *(str(folder / name.replace("@", "@quickstart")) for name in UNITS)]
    return subprocess.run(words, capture_output=True, text=True, env={**os.environ, "XDG_RUNTIME_DIR": str(folder)})


@needs_systemd
def test_units_are_valid(tmp_path):
    for name in UNITS:
        text = (DEPLOY / "systemd" / name).read_text().replace("%h/.local/bin/mfstudy", str(MFSTUDY))
        (tmp_path / name).write_text(text)
        (tmp_path / name.replace("@", "@quickstart")).symlink_to(name)
    ended = verify(tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    timer = tmp_path / UNITS[1]
    timer.write_text(timer.read_text().replace("01:30:00", "25:30:00"))  # negative control
    assert "mfstudy-deepen" in verify(tmp_path).stderr


@needs_systemd
def test_the_timer_fires_every_night():
    lines = (DEPLOY / "systemd" / UNITS[1]).read_text().splitlines()
    (calendar,) = [line.removeprefix("OnCalendar=") for line in lines if line.startswith("OnCalendar=")]
    words = ["systemd-analyze", "calendar", "--iterations=2", "--base-time=2026-11-21 12:00:00 UTC", calendar]
    shown = subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ, "TZ": "UTC"}).stdout
    assert "2026-11-22 01:30:00" in shown
    assert "2026-11-23 01:30:00" in shown


def test_the_cron_line_deepens_night_by_night(tmp_path):
    """As cron runs it: /bin/sh, a short PATH, the home directory; three nights, the second one interrupted."""
    (line,) = [text for text in (DEPLOY / "cron/mfstudy-deepen").read_text().splitlines() if text[:1].isdigit()]
    minute, hour, *rest = line.split(maxsplit=5)
    assert 0 <= int(minute) < 60
    assert 0 <= int(hour) < 24
    assert rest[:3] == ["*", "*", "*"]
    (tmp_path / ".local/bin").mkdir(parents=True)
    (tmp_path / ".local/bin/mfstudy").symlink_to(MFSTUDY)
    store = tmp_path / "studies/quickstart.mfstudy"
    mfstudy.run(parse(TINY), store, part=(1, 1))
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "MFSTUDY": ".local/bin/mfstudy"}

    def night():
        subprocess.run(["/bin/sh", "-c", rest[3]], cwd=tmp_path, env=environment, check=True)
        return {row.size: row.done for row in mfstudy.open(store).counts}

    assert set(night().values()) == {96}
    (store / "record/size-30/c.5.0.0").unlink()  # what an interruption leaves: a block that is wanted and not there
    assert set(night().values()) == {96}
    assert set(night().values()) == {160}
    assert json.loads((store / "zarr.json").read_text())["attributes"]["name"] == "tiny"
    assert "computed" in (tmp_path / "studies/quickstart.log").read_text()
