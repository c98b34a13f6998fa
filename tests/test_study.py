"""Study files: what they mean, what is refused and how, and identities that must never change by accident."""

import re

import numpy as np
import pytest

from conftest import TINY
from mfstudy.components import InputError
from mfstudy.replicate import run_block
from mfstudy.study import Block, Point, load, parse, shipped

#: The identity of the shipped problems. A change here makes every existing store of that problem unreadable for
#: deepening: bump a `scheme` on purpose, say so in the CHANGELOG, then change the line.
GOLDEN = {
    "flocking-1d": "19cce5e38a2b7556996d7b77b0707bd7b9e872235a04f9172aeb141e29f19c5e",
    "flocking-2d": "94fc986b5e587814825b0dc474ab5a72c19e2fac9a9d6d28998d4bf8855b7eaf",
    "flocking-3d": "ae6e2d319710b789b2038e905d5133fd55e5e0b7aa46803dd07df03767b6ac54",
    "flocking-chemotaxis-off": "91c822c06e69927ef9ccb4ee1fef8c0d1536156443787d14c18b80929f2c8aa0",
    "iid-clusters": "67271404b6c75efb14475e7a3c4ed9ab9492692fd4d42ecae0400ab4967f655b",
    "iid-clusters-d4": "2b285a7dd95f5f55ff0d81dedd42b5f1257c21923a2d4cf6dde4ba1afb1b368c",
    "iid-d4": "9eb78ab8519ca2f709adc5818e57a50ea66725997fea6c059e5e127bb72d6791",
    "iid-d6": "000c939469971ef00fd12aa207d9e82934a2c03255554bda8360b0b80f6015d1",
    "iid-heavy-tail": "e9f65935d545f7a3cbdceda2fce875a502a9090e4c99a5a849afdd81e83adfc6",
    "iid-heavy-tail-finite": "aad78075295fab8f341e8d5cc166a79727b1bf15d5783295aa8ebf4af2da7b76",
    "iid-line": "f1a81c893328b1702302ce981e70a3965912d74fa83160f22fa6d13d2335e164",
    "iid-log": "8bc2feff4e0dea9de335742f29995a180434bd05ba8c7effbe5a9a63a404dc74",
    "iid-square": "c5a3a080ed387590b0c3fc2b773629b50aa3494c9f53ede567f32d71621b1c88",
    "iid-torus": "9892d49d58632ef10254a71939221c0e31db3e06da3594b72eb028d00c82ff7d",
    "iid-torus-d4": "5797c1f9c5b312df7b829698d292a998d819a6006484b8925979477cf0840633",
    "marginal-linear": "b025572d4e51523d1b9c3025079f2d969e7d3f4b68712a4511472ffd0d97ed7a",
    "quickstart": "c6708b383184f80878c783e3b23d254c3e9c8d7fcd59b20a5a1082e316a739fe",
    "vlasov-gaussian-1d": "ea56bf086d25443aee840a93485e059392493896a3e531a83b2dd48430cb075e",
    "tiny": "7cb5ae6661f6a7cce2762ded70980320d860a319ab80a1339708df247d5cb362",
}


def identity(text):
    return parse(text).problem.identity


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_identities(name):
    text = TINY if name == "tiny" else shipped()[name]
    assert identity(text) == GOLDEN[name]


def test_every_shipped_study_is_named_after_its_file():
    for name in shipped():
        assert load(name).name == name


def test_identity_is_of_the_problem_and_nothing_else():
    same = [
        TINY.replace('"tiny"', '"other"'),
        TINY.replace("[10, 30, 100, 300]", "[50, 60]").replace("replicates = 32", "replicates = 99"),
        TINY.replace("position_halfwidth = 0.5", "position_halfwidth = 5e-1"),
        TINY.replace("p = 2", ""),
        TINY.replace("p = 2", "p = 2.0"),
        TINY + "\n[time]\nsave = [0]\n",
        TINY + '\n[reference]\nkind = "exact"\n',
        TINY.replace("p = 2", 'p = 2\ndistance = {kind = "wasserstein"}'),
    ]
    assert {identity(text) for text in same} == {identity(TINY)}
    different = [
        TINY.replace("seed = 7", "seed = 8"),
        TINY.replace("dim = 1", "dim = 2"),
        TINY.replace("0.5", "0.25"),
        TINY.replace("p = 2", "p = 1"),
        TINY.replace("p = 2", 'p = 2\nname = "square"'),
        TINY + "\n[time]\nsave = [0, 1]\n",
        TINY + "\n[[observable]]\nkind = 'empirical'\np = 1\n",
    ]
    assert len({identity(text) for text in [*different, TINY]}) == len(different) + 1


def edited(old, new):
    assert old in TINY
    return TINY.replace(old, new)


BAD = {
    "invalid TOML": (edited("seed = 7", "seed = "), "invalid TOML"),
    "unknown key": (
        edited("p = 2", "precisoin = 0.1"),
        r"observable\[0\]\.precisoin: unknown key.*'precision'",
    ),
    "unknown section": (edited("[sweep]", "[sweeps]"), r"sweeps: unknown key.*'sweep'"),
    "unknown kind": (edited('"box"', '"bocks"'), r"law\.kind: unknown kind 'bocks'.*'box'"),
    "kind missing": (edited('kind = "box"', ""), r"law\.kind: missing"),
    "kind is no name": (edited('"box"', "3"), r"law\.kind: 3 is not a name"),
    "section missing": (edited('[law]\nkind = "box"\nposition_halfwidth = 0.5', ""), "law: missing"),
    "key missing": (edited("dim = 1", ""), r"system\.dim: missing; allowed: an integer >= 1"),
    "law key missing": (edited("position_halfwidth = 0.5", ""), r"law\.position_halfwidth: missing"),
    "velocity of a law without": (
        edited("position_halfwidth = 0.5", "position_halfwidth = 0.5\nvelocity_halfwidth = 1"),
        r"law\.velocity_halfwidth: not allowed",
    ),
    "a reserved section": (TINY + "[pair]\n", "pair: not yet supported"),
    "another reserved section": (TINY + "[start]\n", "start: not yet supported"),
    "a reserved key": (TINY + "[[sweep.axis]]\n", r"sweep\.axis: not yet supported"),
    "precision and replicates": (
        TINY + "precision = 0.01\n",
        r"sweep\.precision: not allowed beside replicates; allowed",
    ),
    "a reserved key of an observable": (
        edited("p = 2", "map = {}"),
        r"observable\[0\]\.map: not yet supported",
    ),
    "a table where a number is meant": (
        edited("p = 2", "p = {value = 2}"),
        r"observable\[0\]\.p: a table.*not yet",
    ),
    "true is no number": (edited("dim = 1", "dim = true"), r"system\.dim: True is not allowed"),
    "a string is no number": (
        edited("= 0.5", '= "wide"'),
        r"law\.position_halfwidth: 'wide'.*finite number > 0",
    ),
    "a float is no integer": (
        edited("seed = 7", "seed = 7.5"),
        r"seed: 7\.5 is not allowed; allowed: an integer",
    ),
    "NaN": (edited("= 0.5", "= nan"), r"law\.position_halfwidth: nan"),
    "infinite": (edited("= 0.5", "= inf"), r"law\.position_halfwidth: inf"),
    "negative": (edited("= 0.5", "= -1"), r"law\.position_halfwidth: -1 .*> 0"),
    "zero": (edited("= 0.5", "= 0.0"), r"law\.position_halfwidth: 0\.0 .*> 0"),
    "dim too small": (edited("dim = 1", "dim = 0"), r"system\.dim: 0 .*>= 1 and <= 12"),
    "dim too large": (edited("dim = 1", "dim = 13"), r"system\.dim: 13"),
    "sizes empty": (edited("[10, 30, 100, 300]", "[]"), r"sweep\.sizes: empty"),
    "sizes not increasing": (edited("[10, 30, 100, 300]", "[10, 10]"), r"sweep\.sizes: 10 after 10"),
    "sizes below 2": (edited("[10, 30, 100, 300]", "[1, 10]"), r"sweep\.sizes\[0\]: 1 .*>= 2"),
    "sizes no list": (edited("[10, 30, 100, 300]", "10"), r"sweep\.sizes: 10 is not allowed"),
    "replicates below 2": (edited("replicates = 32", "replicates = 1"), r"sweep\.replicates: 1 .*>= 2"),
    "save times not increasing": (TINY + "[time]\nsave = [0.0, 1.0, 1.0]\n", r"time\.save: 1 after 1"),
    "save times negative": (TINY + "[time]\nsave = [-1.0]\n", r"time\.save\[0\]: -1"),
    "save times empty": (TINY + "[time]\nsave = []\n", r"time\.save: empty"),
    "another schema": (edited("schema = 1", "schema = 2"), "schema: 2 is another version; allowed: 1"),
    "no schema": (edited("schema = 1", ""), "schema: missing"),
    "a name that leaves its directory": (edited('"tiny"', '"../tiny"'), r"name: '\.\./tiny' is not allowed"),
    "an absolute name": (edited('"tiny"', '"/tmp/tiny"'), "name: '/tmp/tiny' is not allowed"),
    "p below 1": (edited("p = 2", "p = 0.5"), r"observable\[0\]\.p: 0\.5 .*>= 1"),
    "p in D > 1": (
        edited("dim = 1", "dim = 2").replace("p = 2", "p = 3"),
        r"observable\[0\]\.p: 3 .*D = 2.*1 or 2",
    ),
    "precision in D = 1": (
        edited("p = 2", "precision = 0.1"),
        r"observable\[0\]\.precision: not allowed in D = 1",
    ),
    "two of one name": (
        TINY + "\n[[observable]]\nkind = 'empirical'\n",
        r"observable\[1\]\.name: 'empirical' is taken by observable\[0\]",
    ),
    "a bad label": (edited("p = 2", 'name = "W 2"'), r"observable\[0\]\.name: 'W 2' is not allowed"),
    "observable no list": (
        edited("[[observable]]", "[observable]"),
        r"observable: not a list.*\[\[observable\]\]",
    ),
    "unknown cost": (edited("p = 2", 'cost = "euclid"'), r"observable\[0\]\.cost: 'euclid'.*'euclidean'"),
    "a dotted kind that is not there": (edited('"box"', '"no_lab.laws.box"'), r"law\.kind: cannot import"),
    "a dotted kind that is no component": (
        edited('"box"', '"json.decoder"'),
        "must define one public dataclass",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_studies_give_one_line(case):
    text, pattern = BAD[case]
    with pytest.raises(InputError) as caught:
        parse(text, "study.toml")
    message = str(caught.value)
    assert message.startswith("study.toml: ")
    assert "\n" not in message
    assert re.search(pattern, message), message


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"iid-lin: no such file or study.*did you mean 'iid-line'"):
        load("iid-lin")
    with pytest.raises(InputError, match="is a directory"):
        load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(InputError, match="not UTF-8 at byte 8"):
        load(tmp_path / "latin.toml")


def test_blocks_address_replicates():
    assert Block(Point(100), 3, 16).first == 48
    assert Point(100).table == {"size": 100}
    assert Point(100).id == "size-100"


def test_problems_that_differ_in_observables_see_the_same_particles():
    block = Block(Point(10), 1, 16)
    problems = [parse(text).problem for text in (TINY, edited("p = 2", "p = 1"))]
    squared, first = (run_block(problem, problem.meanfield(), block).values[:, 0, 3] for problem in problems)
    assert (first**2 <= squared).all()  # W_1 <= W_2, replicate by replicate
    assert np.corrcoef(first, squared)[0, 1] > 0.8
