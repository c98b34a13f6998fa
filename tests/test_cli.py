"""The command line: every verb once, exit codes, one line for bad input and nothing written."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from conftest import TINY
from mfstudy.cli import verbs
from mfstudy.study import shipped


@pytest.fixture
def made(command, tiny_file, tmp_path):
    """A store made by the command line, in tmp_path."""
    ended = command("run", tiny_file, "--part", "1/1")
    assert ended.returncode == 0, ended.stderr
    return tmp_path / "tiny.mfstudy"


def test_run_prints_the_rate_and_writes_the_page(command, tiny_file, tmp_path):
    ended = command("run", tiny_file)
    assert ended.returncode == 0, ended.stderr
    assert "verdict: " in ended.stdout
    assert "standard error" in ended.stdout
    assert "page: tiny.mfstudy/report/index.html" in ended.stdout
    assert (tmp_path / "tiny.mfstudy/report/index.html").exists()
    # Progress goes to standard error, in plain lines where that is no terminal.
    assert "8 blocks wanted, 0 stored, 8 to compute" in ended.stderr
    assert "http://127.0.0.1:" in ended.stderr
    assert "\x1b" not in ended.stderr + ended.stdout
    again = json.loads(command("run", tiny_file, "--json").stdout)
    assert again["computed"] == 0
    assert again["present"] == 8
    assert again["complete"]


def test_fit_as_json_has_the_contract(command, made):
    ended = command("fit", made, "--json")
    assert ended.returncode == 0
    fits = json.loads(ended.stdout, parse_constant=lambda word: pytest.fail(word))
    assert fits["study"] == "tiny"
    (fit,) = fits["fits"]
    assert {
        "observable", "time", "p", "sizes", "mean", "standard_error", "estimator", "effective_exponent",
        "effective_exponent_interval", "law", "exponent", "exponent_interval", "log_power", "constant",
        "constant_interval", "verdict", "bounds",
    } <= set(fit)  # fmt: skip
    assert fit["sizes"] == [10, 30, 100, 300]
    assert len(fit["mean"]) == len(fit["standard_error"]) == len(fit["bracket_half_width"]) == 4
    low, high = fit["effective_exponent_interval"]
    assert low < fit["effective_exponent"] < high
    assert fit["observable"] == "empirical"
    assert fit["p"] == 2


def test_the_other_verbs(command, made, tmp_path):
    assert command("status", made).stdout.splitlines()[-1] == "complete"
    status = json.loads(command("status", made, "--json").stdout)
    assert status["points"][0] == {"size": 10, "wanted": 32, "done": 32, "failed": 0}
    assert status["reference"] == {"required": False, "complete": True}
    assert command("report", made, "-o", tmp_path / "page").returncode == 0
    assert (tmp_path / "page/index.html").exists()
    names = [row["study"] for row in json.loads(command("studies", "--json").stdout)]
    assert names == list(shipped())
    plan = json.loads(command("plan", "tiny.toml", "--json").stdout)
    assert [row["done"] for row in plan["points"]] == [32] * 4
    assert plan["core_seconds"] == 0
    assert json.loads(command("plan", "iid-line", "--json").stdout)["core_seconds"] > 1
    check = json.loads(command("check", "tiny.toml", "--json").stdout)
    assert check["system"] == {"kind": "static", "scheme": 1, "dim": 1}


def test_init_writes_a_study_that_runs(command, tmp_path):
    assert command("init", "mine", "--like", "iid-square").returncode == 0
    assert json.loads(command("check", "mine.toml", "--json").stdout)["study"] == "mine"
    again = command("init", "mine")
    assert again.returncode == 2
    assert "mine.toml: exists" in again.stderr
    assert command("init", "../mine").returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


def test_deepen(command, made):
    ended = command("deepen", made, "--replicates", "48", "--sizes", "20,50", "--part", "1/1", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["computed"] == 4 + 2 * 3
    planned = json.loads(command("plan", "tiny.toml", "--json").stdout)["points"]
    assert [row["point"]["size"] for row in planned] == [10, 20, 30, 50, 100, 300]  # what `run` would complete
    # What a scheduler does each night, and once more after a night that found nothing to finish.
    for total in (64, 80):
        ended = command("deepen", made, "--replicates", "+16", "--workers", "1", "--json")
        assert json.loads(ended.stdout)["computed"] == 6
        points = json.loads(command("status", made, "--json").stdout)["points"]
        assert {row["done"] for row in points} == {total}


def test_components_from_outside_are_named_before_they_run(command, tmp_path):
    (tmp_path / "loud").mkdir()
    (tmp_path / "loud/__init__.py").write_text("")
    (tmp_path / "loud/law.py").write_text("import sys; print('loud.law runs', file=sys.stderr)")
    (tmp_path / "study.toml").write_text(TINY.replace('"box"', '"loud.law"'))
    lines = command("check", "study.toml").stderr.splitlines()
    assert lines[:2] == ["imports loud.law, which runs its code", "loud.law runs"]


def test_a_pipe_that_closes_early_is_no_error(made):
    words = f"{sys.executable} -m mfstudy fit {made} --json | head -1"
    ended = subprocess.run(["bash", "-o", "pipefail", "-c", words], capture_output=True, text=True)
    assert ended.returncode == 0
    assert ended.stdout == "{\n"
    assert ended.stderr == ""


def test_every_verb_has_help_with_an_example(command):
    listing = command("--help").stdout
    for verb in sorted(verbs.commands):
        assert verb in listing
        assert f"Example: mfstudy {verb}" in CliRunner().invoke(verbs, [verb, "--help"]).stdout


BAD = {
    "no such study": (["run", "quickstrat"], "did you mean 'quickstart'?"),
    "no such file": (["check", "there/is/none.toml"], "no such file or study"),
    "a bad key": (["run", "bad.toml"], "bad.toml: system.dim: 0 is not allowed; allowed: an integer >= 1 and <= 12"),
    "unknown engine": (["run", "tiny.toml", "--on", "locla"], "--on: unknown engine 'locla'; allowed: "),
    "workers": (["run", "tiny.toml", "--workers", "0"], "--workers: 0 is not allowed"),
    "part": (["run", "tiny.toml", "--part", "3/2"], "--part: 3/2 is not allowed"),
    "part again": (["run", "tiny.toml", "--part", "half"], "--part: 'half' is not allowed; allowed: K/M"),
    "store is a file": (["run", "tiny.toml", "--store", "tiny.toml"], "tiny.toml: is a file"),
    "store not writable": (["run", "tiny.toml", "--store", "/proc/none"], "/proc/none: not writable"),
    "store below a file": (["run", "tiny.toml", "--store", "tiny.toml/store"], "tiny.toml/store: not writable"),
    "no store": (["fit", "nowhere"], "nowhere: no such store"),
    "no store to deepen": (["deepen", "nowhere", "--replicates", "9"], "nowhere: no such store"),
    "workers and part": (["run", "tiny.toml", "--workers", "2", "--part", "1/2"], "--workers: not allowed with --part"),
    "too large": (["run", "large.toml"], "large.toml: sweep.sizes: N = 100000000 needs 1"),
    "a name too long for a file": (["check", "x" * 5000], "no such file or study"),
    "a store name too long": (["run", "tiny.toml", "--store", "x" * 300], "not writable"),
    "unknown verb": (["ruin", "tiny.toml"], "No such command 'ruin'"),
    "unknown option": (["run", "tiny.toml", "--wrokers", "2"], "--workers"),
    "argument missing": (["run"], "Missing argument 'STUDY'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_nothing_is_written(command, tmp_path, tiny_file, case):
    (tmp_path / "bad.toml").write_text(TINY.replace("dim = 1", "dim = 0"))
    (tmp_path / "large.toml").write_text(TINY.replace("dim = 1", "dim = 2").replace("300]", "100000000]"))
    arguments, expected = BAD[case]
    ended = command(*arguments)
    assert ended.returncode == 2
    assert expected in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.toml", "large.toml", "tiny.toml"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--replicates", "1"],
        ["--replicates", "+0"],
        ["--replicates", "+x"],
        ["--replicates", "9999999"],
        ["--replicates", "+1048560"],
        ["--replicates", "+16", "--part", "1/2"],
        ["--replicates", "64", "--part", "9/3"],
        ["--replicates", "64", "--workers", "0"],
        ["--sizes", "5,4"],
        ["--sizes", "x"],
        ["--sizes", "50000000"],
    ],
)
def test_bad_deepening_changes_nothing(command, made, arguments):
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    ended = command("deepen", made, *arguments)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before


def test_another_problem_in_the_store_is_refused(command, made, tmp_path):
    (tmp_path / "other.toml").write_text(TINY.replace("seed = 7", "seed = 8"))
    ended = command("run", "other.toml", "--store", made)
    assert ended.returncode == 2
    assert "holds another problem" in ended.stderr
    assert command("plan", "other.toml", "--store", made).returncode == 2


def test_damage_ends_in_exit_code_1(command, made):
    chunk = made / "record/size-30/c.0.0.0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"\0")
    ended = command("fit", made)
    assert ended.returncode == 1
    assert "size-30/c.0.0.0" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_sweep_too_short_for_a_rate_is_exit_code_3(command, tmp_path):
    (tmp_path / "short.toml").write_text(TINY.replace("[10, 30, 100, 300]", "[10, 30]"))
    command("run", "short.toml", "--part", "1/1")
    ended = command("fit", "tiny.mfstudy", "--json")
    assert ended.returncode == 3
    (fit,) = json.loads(ended.stdout)["fits"]
    assert fit["verdict"] == "not-measurable"
    assert fit["law"] is None
    assert fit["exponent"] is None


def test_the_progress_bar_of_a_terminal(tiny_file, tmp_path):
    """On a terminal the bar shows a rate; the pseudo-terminal's output ends with the counts."""
    import pty

    leader, follower = pty.openpty()
    words = [sys.executable, "-m", "mfstudy", "run", str(tiny_file), "--part", "1/1"]
    subprocess.run(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=follower, check=True)
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    assert b"8/8" in shown
    assert b"blocks/s" in shown
