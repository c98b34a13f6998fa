"""The main job on problems whose answer is known: N i.i.d. points against their law.

False alarms, were the seeds redrawn: 16 comparisons at z = 4.5 (6.8e-6 each, normal) and three at 2.2 half-widths of
a 95 % interval (1.6e-5 each): about 2e-4. The seeds are fixed, so the tests either pass or find a bug.
"""

import re

import numpy as np
import pytest

import mfstudy
from mfstudy.study import parse, shipped

LINE = shipped()["iid-line"].replace("replicates = 1024", "replicates = 256")


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    text = LINE.replace("30000, 100000]", "30000]")
    return mfstudy.run(parse(text), tmp_path_factory.mktemp("line") / "store", part=(1, 1))


def deviations(results, expected):
    """Return (mean - expected)/standard error at each size."""
    values = results.values(results.quantity("empirical"))
    errors = values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
    return (values.mean(axis=1) - expected(np.array(results.sizes))) / errors


def test_every_size_of_the_line_meets_its_closed_form(line):
    """E W_2^2 = l^2/(6N): sum of Var of the order statistics, 1/(6(N+1)), and of the cells, 1/(6N(N+1))."""
    assert np.abs(deviations(line, lambda n: 2.0**2 / (6 * n))).max() < 4.5


def test_the_exponent_of_the_line(line):
    fit = line.fit("empirical")
    for value, (low, high) in (
        (fit.exponent, fit.exponent_interval),
        (fit.effective_exponent, fit.effective_exponent_interval),
    ):
        assert abs(value + 1) <= 2.2 * (high - low) / 2
        assert high - low < 0.1
    low, high = fit.constant_interval
    assert abs(fit.constant - 4 / 6) <= 2.2 * (high - low) / 2


def test_no_number_on_the_line_is_without_a_certificate(line):
    data = line.to_xarray()
    assert (data.status == 1).all()
    assert float(data.empirical_w2_sq_residual.max()) < 1e-9
    assert (data.empirical_w2_sq_lower <= data.empirical_w2_sq).all()
    assert (data.empirical_w2_sq <= data.empirical_w2_sq_upper).all()


SHIFTED = '''
from dataclasses import dataclass, replace
from typing import ClassVar
from mfstudy.references.exact import Exact

@dataclass(frozen=True)
class Shifted:
    """The exact reference, moved by `by`: what a wrong mean field looks like."""
    by: float
    scheme: ClassVar[int] = 1
    shares: ClassVar[bool] = False
    def admit(self, system, law, time):
        Exact().admit(system, law, time)
    def solve(self, system, law, time):
        return {}
    def restore(self, system, law, time, shared):
        return _Moved(Exact().restore(system, law, time, shared), self.by)

@dataclass(frozen=True)
class _Moved:
    right: object
    by: float
    valid_until: float = float("inf")
    def at(self, index):
        right = self.right.at(index)
        sample = lambda rng, m: right.sample(rng, m) + self.by
        return replace(right, sample=sample, quantile=lambda u: right.quantile(u) + self.by, mean=right.mean + self.by)
'''


def test_a_shifted_reference_is_found_out(tmp_path, monkeypatch):
    """Negative control: 1 % of the interval is enough to miss the closed form."""
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong/__init__.py").write_text("")
    (tmp_path / "wrong/shifted.py").write_text(SHIFTED)
    monkeypatch.syspath_prepend(tmp_path)
    text = LINE.replace("10000, 30000, 100000]", "10000]") + '\n[reference]\nkind = "wrong.shifted"\nby = 0.02\n'
    results = mfstudy.run(parse(text), tmp_path / "store", part=(1, 1))
    assert np.abs(deviations(results, lambda n: 4.0 / (6 * n))).max() > 4.5
    # And by exactly what a shift adds: (mean of the points - shift)^2 - (mean of the points)^2 has mean shift^2.
    assert np.abs(deviations(results, lambda n: 4.0 / (6 * n) + 0.02**2)).max() < 4.5


def test_the_unit_cube_in_dimension_4(tmp_path):
    """sqrt(N) E W_2^2 = 0.5836(26) at N = 100, measured with another solver (a semi-discrete Newton method)."""
    text = re.sub(r"sizes = .*", "sizes = [100]", shipped()["iid-d4"]).replace("replicates = 32", "replicates = 64")
    results = mfstudy.run(parse(text), tmp_path / "store", part=(1, 1))
    values = 10 * results.values(results.quantity("empirical"))[0]
    error = np.hypot(values.std(ddof=1) / np.sqrt(len(values)), 0.0026)
    assert abs(values.mean() - 0.5836) < 4.5 * error
    data = results.to_xarray()
    assert float(data.empirical_w2_sq_residual.max()) < 1e-9
    lower, upper = (10 * float(data[f"empirical_w2_sq_{end}"].mean()) for end in ("lower", "upper"))
    assert lower < 0.5836 < upper
    assert (data.empirical_w2_sq_reference_points == 400).all()
