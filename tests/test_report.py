"""The page and its figure: what they must say, what they must not contain, and that they say what the store says."""

import csv
import json
import math
import re
import shutil
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.text import Annotation, Text

import mfstudy
from mfstudy import plot, report
from mfstudy.components import InputError
from mfstudy.fit import Fit
from mfstudy.plot import curves, panels
from mfstudy.plot.words import typeset
from mfstudy.results import Results
from mfstudy.store import Store
from mfstudy.study import parse

STUDY = """
schema = 1
name = "line"
seed = 7
# <script>alert(1)</script> & "quotes"
[system]
kind = "static"
dim = 1
[law]
kind = "box"
position_halfwidth = 0.5
[[observable]]
kind = "empirical"
p = 2
[sweep]
sizes = [10, 30, 100, 300]
replicates = 32
"""
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Every tag with its attributes, whether the tags nest, and the text outside the drawings."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "svg" not in self.open and "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def compute(path, text):
    return mfstudy.run(parse(text), path, part=(1, 1))


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    return compute(tmp_path_factory.mktemp("line") / "store", STUDY)


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    text = STUDY.replace("dim = 1", "dim = 2").replace("[10, 30, 100, 300]", "[10, 20, 40, 80]")
    return compute(tmp_path_factory.mktemp("plane") / "store", text.replace("= 32", "= 16"))


@pytest.fixture
def copy(line, tmp_path):
    """A store of its own, to be changed."""
    return Store(shutil.copytree(line.store.path, tmp_path / "copy"))


def written(results, directory):
    return report.write(results, directory).read_text(encoding="utf-8")


def change(store, law):
    """Replace every stored estimate of a block by law(size, values)."""
    place = store.fields.index("empirical_w2_sq")
    for block in store.wanted():
        values = store.read(block.point)[block.first : block.first + block.length]
        values[..., place] = law(block.point.size, values[..., place])
        store.write(block, values)
    return Results(store)


def only(results):
    """The one quantity, time and fit of a store."""
    ((quantity, time, fit),) = results.fits
    return quantity, time, fit


def drawn(results):
    return plot.convergence(results, *only(results))


def words(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


# -- the page ----------------------------------------------------------------------------------------------


def test_the_page_leads_with_the_verdict(line, tmp_path):
    html = written(line, tmp_path)
    _, _, fit = only(line)
    assert fit.verdict in ("rate", "undecided")
    text = Page(html).text
    assert fit.text in text
    assert text.index(fit.text) < text.index("Replicates")
    badge = html.index(f'class="badge {fit.verdict}"')
    assert badge < html.index("<svg") < html.index("Candidate laws") < html.index("How it was made")
    for law in fit.weights:
        assert law in text
    assert line.store.attributes["identity"] in text
    assert "mfstudy run line.toml" in text
    assert "numpy " + np.__version__ in text


def test_the_page_needs_nothing_from_outside(line, plane, tmp_path):
    for results in (line, plane):
        html = written(results, tmp_path)
        page = Page(html)
        assert "script" not in {tag for tag, _ in page.tags}
        for tag, attributes in page.tags:
            for name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
                assert re.match(r"#|numbers\.csv$|$", attributes.get(name) or ""), (tag, attributes)
            assert not [name for name in attributes if name.startswith("on")]
        assert "url(" not in re.sub(r"url\(#", "", html)
        assert "@import" not in html
        policies = [a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
        assert policies[0].startswith("default-src 'none'")


def test_the_page_can_be_read_without_eyes(line, plane, tmp_path):
    page = Page(written(line, tmp_path))
    tags = [tag for tag, _ in page.tags]
    attributes = dict(page.tags)
    assert attributes["html"]["lang"] == "en"
    assert "viewport" in {a.get("name") for t, a in page.tags if t == "meta"}
    assert all(a.get("scope") in ("row", "col") for t, a in page.tags if t == "th")
    assert all(only(line)[2].text in a["aria-label"] for t, a in page.tags if t == "figure")
    assert tags.count("caption") == tags.count("table")
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_a_hostile_study_is_shown_and_does_nothing(line, tmp_path):
    copy = Store(shutil.copytree(line.store.path, tmp_path / "copy"))
    evil = "<script>alert(1)</script>--><img src=x onerror=alert(1)> $x^{$ {{ 7 * 7 }}"
    copy.attributes["name"] = evil
    copy.attributes["study"] += f"# </code></pre>{evil}"
    copy.attributes["observables"][0]["fields"][0]["definition"] += f", {evil}"
    for point in copy.points():
        for block, note in copy.notes(point).items():
            path = copy.path / "notes" / point.id / f"{block}.json"
            path.write_text(json.dumps({"host": "<script>", "seconds": note["seconds"]}))
    html = written(Results(copy), tmp_path / "page")
    page = Page(html)
    assert "<script" not in html
    assert "<img" not in html
    assert "script" not in {tag for tag, _ in page.tags}
    assert evil in page.text
    assert "49" not in [a.strip() for a in re.findall(r"\{\{(.*?)\}\}", html)]


def test_the_same_store_gives_the_same_bytes(line, tmp_path):
    first = report.write(line, tmp_path / "a").read_bytes()
    second = report.write(Results(line.store.path), tmp_path / "b").read_bytes()
    assert first == second
    assert (tmp_path / "a/numbers.csv").read_bytes() == (tmp_path / "b/numbers.csv").read_bytes()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["index.html", "numbers.csv"]


def test_other_numbers_give_other_bytes(copy, line, tmp_path):
    changed = change(copy, lambda size, values: values * 1.01)
    assert written(line, tmp_path / "a") != written(changed, tmp_path / "b")


def test_the_page_lies_in_the_store_unless_told_otherwise(copy, tmp_path):
    assert report.write(Results(copy)) == copy.path / "report" / "index.html"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^directory: .*allowed: [^\n]*$"):
        report.write(Results(copy), tmp_path / "file")


def test_the_csv_holds_the_stored_numbers(line, tmp_path):
    report.write(line, tmp_path)
    with (tmp_path / "numbers.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    quantity, time, fit = only(line)
    values = line.values(quantity, "estimate", time)
    assert [int(row["size"]) for row in rows] == line.sizes
    assert [int(row["replicates"]) for row in rows] == [32] * 4
    # Summed exactly by the standard library, not by us.
    exact = [math.fsum(row) / len(row) for row in values]
    np.testing.assert_allclose([float(row["mean"]) for row in rows], exact, rtol=1e-14)
    assert [float(row["standard_error"]) for row in rows] == fit.standard_error.tolist()
    for row in rows:
        residual = (float(row["mean"]) - float(row["fitted"])) / float(row["standard_error"])
        assert float(row["residual"]) == pytest.approx(residual, rel=1e-12)


def test_every_mean_on_the_page_carries_its_error(line, tmp_path):
    text = Page(written(line, tmp_path)).text
    _, _, fit = only(line)
    for mean, error in zip(fit.mean, fit.standard_error, strict=True):
        assert report.plus_minus(mean, error) in text


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (1.23456, 0.012, "1.235 ± 0.012"),
        (0.0123456, 0.00012, "0.01235 ± 0.00012"),
        (1.23456e-4, 1.2e-6, "(1.235 ± 0.012) × 10⁻⁴"),
        (-1.5e7, 2e5, "(\u22121.500 ± 0.020) × 10⁷"),
        (0.5, 30.0, "0 ± 30"),
        (None, None, "\u2013"),
        (0.0, None, "0"),
        (0.25, math.nan, "0.2500 (no error)"),
    ],
)
def test_numbers_are_printed_to_two_digits_of_their_error(value, error, shown):
    assert report.plus_minus(value, error) == shown


# -- what a store may look like ----------------------------------------------------------------------------


def test_a_complete_store_raises_no_notice(line, tmp_path):
    assert 'class="notice"' not in written(line, tmp_path)


def test_an_incomplete_store_says_so_first(copy, tmp_path):
    shutil.rmtree(copy.path / "notes")
    (copy.path / "record/size-300/c.0.0.0").unlink()
    (copy.path / "record/size-300/c.1.0.0").unlink()
    page = Page(written(Results(copy), tmp_path / "page"))
    assert page.text.index("Incomplete: 96 of 128 replicates") < page.text.index("N = 10 to 100")
    assert "no notes of the run are left" in page.text


def test_a_store_without_numbers_has_a_page(copy, tmp_path):
    for chunk in copy.path.rglob("c.*.0.0"):
        chunk.unlink()
    page = Page(written(Results(copy), tmp_path / "page"))
    assert "Incomplete: 0 of 128 replicates are done; there is no number yet." in page.text
    assert "svg" not in {tag for tag, _ in page.tags}


def test_failed_replicates_are_counted_and_their_size_is_hollow(copy, tmp_path):
    block = copy.wanted()[2]  # the first of the second size
    values = copy.read(block.point)[: block.length]
    values[0, :, 2], values[0, :, 3:] = 2.0, np.nan
    copy.write(block, values)
    results = Results(copy)
    assert "1 of 128 replicates failed" in Page(written(results, tmp_path / "page")).text
    legend = drawn(results).axes[0].get_legend_handles_labels()[1]
    assert any("over 1 % failed" in label for label in legend)


def test_no_size_is_hollow_without_failures(line):
    legend = drawn(line).axes[0].get_legend_handles_labels()[1]
    assert not any("failed" in label for label in legend)


def test_systematic_terms_are_half_the_brackets(plane):
    """Of points at rest against their exact law the transport's bracket is all there is."""
    quantity, time, fit = only(plane)
    data = plane.to_xarray()
    half = ((data.empirical_w2_sq_upper - data.empirical_w2_sq_lower) / 2).mean("replicate").values[:, 0]
    np.testing.assert_allclose(plane.systematic(quantity, time), half, rtol=1e-12)
    np.testing.assert_allclose(fit.systematic, half, rtol=1e-12)
    assert fit.effective_exponent_systematic > 0
    assert "all of its systematic terms" in fit.text
    table = plane.table(quantity, time, fit)
    assert table["systematic"] == pytest.approx(list(half))
    json.dumps(table, allow_nan=False)


def test_sizes_that_are_left_out_are_named_with_the_reason(copy, tmp_path):
    upper = copy.fields.index("empirical_w2_sq_upper")
    for block in copy.wanted():
        values = copy.read(block.point)[block.first : block.first + block.length]
        if block.point.size == 10:
            values[..., upper] += 10 * values[..., upper]  # a bracket ten times as wide as the mean
        copy.write(block, values)
    results = Results(copy)
    quantity, time, fit = only(results)
    assert list(fit.sizes) == [30, 100, 300]
    assert results.table(quantity, time, fit)["excluded_sizes"] == [10]
    page = Page(written(results, tmp_path / "page"))
    assert "Left out of the fit: N = 10 (systematic terms above half the mean)." in page.text
    legend = drawn(results).axes[0].get_legend_handles_labels()[1]
    assert any("not in the fit" in label for label in legend)


def test_medians_are_called_medians(copy, tmp_path):
    """As of a law with moments below 3: W_2^2 has then no variance."""
    copy.attributes["law"]["moment_order"] = 3.0
    results = Results(copy)
    _, _, fit = only(results)
    assert fit.estimator == "median"
    page = Page(written(results, tmp_path / "page"))
    assert "median over replicates ± standard error" in page.text
    assert any("median of" in word for word in words(drawn(results)))


@pytest.mark.parametrize("verdict", ["zero", "not-measurable"])
def test_a_page_without_a_rate_says_why(verdict, copy, tmp_path):
    factor = {"zero": 0.0, "not-measurable": -1.0}[verdict]
    results = change(copy, lambda size, values: factor * values)
    quantity, time, fit = only(results)
    assert fit.verdict == verdict
    html = written(results, tmp_path / "page")
    page = Page(html)
    assert fit.text in page.text
    assert f'class="badge {verdict}"' in html
    assert "Candidate laws" not in page.text
    figure = plot.convergence(results, quantity, time, fit)
    assert len(figure.axes) == 1
    assert fit.text in [" ".join(word.split()) for word in words(figure)]


# -- the figure --------------------------------------------------------------------------------------------


def test_the_figure_names_the_laws_of_the_literature(line, plane):
    labels = words(drawn(line))
    assert "Bobkov\u2013Ledoux\n$N^{-1}$" in labels
    assert "Fournier\u2013Guillin\n$N^{-1/2}$" in labels
    labels = words(drawn(plane))
    assert "Ajtai\u2013Komlos\u2013Tusnady\n$N^{-1}\\,\\log N$" in labels
    assert "without log\n$N^{-1}$" in labels


def test_the_reference_slopes_start_at_the_leftmost_mean(plane):
    _, _, fit = only(plane)
    lines = [line for line in drawn(plane).axes[0].lines if line.get_linestyle() == "--" and len(line.get_xdata()) > 9]
    x, y = (np.array([getattr(line, f"get_{axis}data")() for line in lines]) for axis in "xy")
    assert len(lines) == 3
    np.testing.assert_allclose(x[:, 0], 10)
    np.testing.assert_allclose(y[:, 0], fit.mean[0], rtol=1e-12)
    falls = sorted(y[:, -1] / y[:, 0])  # over N = 10 to 80: closed forms
    expected = sorted([1 / 8, np.log(80) / np.log(10) / 8, 8**-0.5])
    np.testing.assert_allclose(falls, expected, rtol=1e-12)


def test_the_local_exponents_of_an_exact_power_are_that_power(copy):
    rng = np.random.default_rng(3)
    results = change(copy, lambda size, values: size**-0.7 * (1 + 1e-6 * rng.standard_normal(values.shape)))
    figure = drawn(results)
    slopes = figure.axes[2].lines[0].get_ydata()
    np.testing.assert_allclose(slopes, -0.7, atol=1e-5)
    assert "local exponent" in words(figure)


def test_the_figure_says_what_it_shows(line):
    figure = drawn(line)
    text = "\n".join(words(figure))
    assert "mean of $W_{2}^{2}(\\mu_{N}^{t}, \\rho^{t})$" in text
    assert "32/32 at every size" in text
    assert f"study line, problem {line.store.attributes['identity'][:12]}" in text
    assert len(figure.axes) == 3


def overlaps(figure):
    """Pairs of labels beside the panels whose boxes overlap, and labels that leave the figure."""
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Annotation) if text.get_text()]
    boxes = [Text.get_window_extent(text) for text in texts]
    pairs = [(i, j) for j in range(len(boxes)) for i in range(j) if boxes[i].overlaps(boxes[j])]
    inside = figure.bbox
    out = [box for box in boxes if box.x1 > inside.x1 or box.y0 < inside.y0 or box.y1 > inside.y1]
    assert len(boxes) >= 4
    return pairs, out


def test_labels_neither_overlap_nor_leave_the_figure(line, plane):
    for results in (line, plane):
        assert overlaps(drawn(results)) == ([], [])


def test_labels_that_are_not_moved_apart_overlap(plane, monkeypatch):
    monkeypatch.setattr(panels, "_apart", lambda heights, extents: heights)
    assert overlaps(drawn(plane))[0]


def test_the_svg_is_small_valid_and_the_same_each_time(line, plane):
    for results in (line, plane):
        text = plot.svg(drawn(results))
        assert len(text) < 300_000
        assert text == plot.svg(drawn(results))
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
        assert "<text" not in text


def test_many_replicates_keep_the_svg_small(tmp_path):
    results = compute(tmp_path / "many", STUDY.replace("= 32", "= 1024"))
    assert len(plot.svg(drawn(results))) < 300_000


def test_a_figure_shows_itself_and_leaves_no_global_state(line):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    before = dict(pyplot.rcParams)
    figure = drawn(line)
    assert figure._repr_svg_() == plot.svg(figure)
    assert pyplot.get_fignums() == []
    assert dict(pyplot.rcParams) == before


def test_the_error_of_a_fitted_law_is_that_of_weighted_least_squares(line):
    """Against numpy's polyfit with the same weights, on the log scale."""
    x = np.log([10.0, 30.0, 100.0, 300.0])
    relative = np.array([0.1, 0.05, 0.08, 0.03])
    fitted = 2 * np.exp(-0.7 * x)
    fit = Fit("rate", "", np.exp(x), fitted, relative * fitted, np.full(4, 9), fitted=fitted)
    _, covariance = np.polyfit(x, np.log(fitted), 1, w=1 / relative, cov="unscaled")
    grid = np.array([10.0, 77.0, 1000.0])
    design = np.stack([np.log(grid), np.ones(3)], axis=1)
    expected = np.sqrt(np.einsum("ni,ij,nj->n", design, covariance, design))
    law = curves.laws(line, line.quantities[0])["power"]
    np.testing.assert_allclose(curves.law_error(fit, law, grid), expected, rtol=1e-9)
    pinned = curves.laws(line, line.quantities[0])["bobkov-ledoux"]
    np.testing.assert_allclose(curves.law_error(fit, pinned, grid), np.sum(relative**-2.0) ** -0.5, rtol=1e-12)


def test_symbols_become_marks_and_nothing_else_does():
    assert report.symbols("W_2^2(mu_N^t, rho^t), a <b> x_") == (
        "W<sub>2</sub><sup>2</sup>(&mu;<sub>N</sub><sup>t</sup>, &rho;<sup>t</sup>), a &lt;b&gt; x_"
    )
    assert typeset("W_1.5^1.5(mu_N^t, rho^t) costs $5") == (r"$W_{1.5}^{1.5}(\mu_{N}^{t}, \rho^{t})$ costs \$5")
