"""`make compare`: what was planted is found, and nothing where nothing was."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from lib import _files
from lib.report.compare import compare_scores, compare_verdicts, differences, main

SETTINGS = ("What they were made with", "Scores")
NUMBERS = ("All other numbers", "</main>")
FIGURES = ("<h2>Figures", "<h2>All other")
SCORES = ("<h2>Scores", "<h2>Verdicts")
VERDICTS = ("<h2>Verdicts", "<h2>Test images")
IMAGES = ("<h2>Test images", "<h2>Figures")


def setting(*keys: str, value: object = 7) -> Callable[[dict], None]:
    def plant(results: dict) -> None:
        for key in keys[:-1]:
            results = results[int(key) if isinstance(results, list) else key]
        results[keys[-1]] = value

    return plant


PLANTED = {  # the change of results.json, between which headings it is told, and as what
    "commit": (setting("provenance", "git_commit", value="abc"), SETTINGS, "provenance.git_commit"),
    "package": (setting("provenance", "packages", "torch", value="3.0"), SETTINGS, "provenance.packages.torch"),
    "new package": (setting("provenance", "packages", "x", value="1"), SETTINGS, "provenance.packages.x"),
    "processor": (setting("provenance", "cpu", value="<b>"), SETTINGS, "&lt;b&gt;"),
    "data": (setting("provenance", "dataset_sha256", value="f"), SETTINGS, "provenance.dataset_sha256"),
    "epochs": (setting("parameters", "epochs"), SETTINGS, "parameters.epochs"),
    "stain": (setting("parameters", "stain", value="unmixed"), SETTINGS, "parameters.stain"),
    "new parameter": (setting("parameters", "new"), SETTINGS, "parameters.new"),
    "images": (setting("dataset", "n_test"), SETTINGS, "dataset.n_test"),
    "foreground": (setting("dataset", "foreground_fraction", "test"), SETTINGS, "dataset.foreground_fraction.test"),
    "schema": (setting("schema_version", value=2), SETTINGS, "schema_version"),
    "score": (setting("variants", "noise", "runs", "0", "test", "dice", value=0.9), SCORES, "Noise, test, Dice"),
    "no variant": (lambda results: results["variants"].pop("l2"), SCORES, "<td>—</td>"),
    "loss": (setting("variants", "l2", "runs", "0", "test", "loss"), NUMBERS, "variants.l2.runs.0.test.loss"),
    "curve": (setting("variants", "l2", "runs", "0", "history", "train", "loss", value=[9.0]), NUMBERS, "train.loss"),
    "configuration": (setting("variants", "l2", "config", "l2"), NUMBERS, "variants.l2.config.l2"),
    "verdict": (setting("claims", "2", "verdict", value="supported"), VERDICTS, "<td>supported</td>"),
    "verdict over seeds": (setting("claims", "2", "verdict_seeds", value="contradicted"), VERDICTS, "contradicted"),
    "estimate": (setting("claims", "2", "effect", value=0.25), NUMBERS, ".effect"),
    "best image": (setting("images", "best", "name", value="other"), NUMBERS, "images.best.name"),
}  # fmt: skip


@pytest.fixture
def reports(made_once: Path, tmp_path: Path, monkeypatch) -> Path:
    for name in ("a", "b"):
        shutil.copytree(made_once, tmp_path / "reports" / name)
    monkeypatch.setattr(_files, "REPORTS", tmp_path / "reports")
    return tmp_path / "reports"


def compare(reports: Path, *more: Path) -> str:
    assert main([f"A={reports / 'a'}", f"B={reports / 'b'}", f"MORE={','.join(map(str, more))}"]) == 0
    name = "-and-".join(["a", "b", *(one.name for one in more)])
    return (reports / "compared" / f"{name}.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_difference_is_told_where_it_belongs(planted: str, reports: Path):
    plant, (start, end), told = PLANTED[planted]
    path = reports / "b" / "results.json"
    results = json.loads(path.read_bytes())
    plant(results)
    path.write_text(json.dumps(results), encoding="utf-8")
    page = compare(reports)
    assert told in page[page.index(start) : page.index(end)]
    assert "Nothing differs" not in page


def test_two_equal_reports_differ_in_nothing_whatever_time_they_took(reports: Path):
    path = reports / "b" / "results.json"
    results = json.loads(path.read_bytes())
    results["provenance"] |= {"started": "later", "seconds": 1e6, "seconds_by_section": {}}
    path.write_text(json.dumps(results), encoding="utf-8")
    assert "Nothing differs" in compare(reports)


def test_a_figure_an_image_and_a_notebook_that_changed_are_shown(reports: Path):
    (reports / "b" / "figures" / "figure-2.svg").write_text("<svg/>", encoding="utf-8")
    page = reports / "b" / "report.html"
    html = page.read_text(encoding="utf-8")
    (image,) = re.findall(r'data-name="([^"]+)"', html)[:1]
    page.write_text(re.sub(r'data-dice="[\d.]+"', 'data-dice="0.990000"', html, count=1), encoding="utf-8")
    notebook = reports / "b" / "notebooks" / "3_claims.ipynb"
    notebook.write_text(notebook.read_text(encoding="utf-8").replace("import", "import  "), encoding="utf-8")
    told = compare(reports)
    for (start, end), words in ((FIGURES, "Figure 2<"), (IMAGES, image), (SETTINGS, "notebook 3_claims")):
        assert words in told[told.index(start) : told.index(end)]
    assert "B is better than A in 1 images and worse in 0" in told
    assert "Figure 3<" not in told


def test_a_large_figure_is_shown_as_pixels_so_that_the_page_stays_small(reports: Path):
    (reports / "b" / "figures" / "figure-1.svg").write_bytes(bytes(3_000_000))
    told = compare(reports)
    assert "data:image/webp;base64," in told
    assert len(told) < 1_000_000


def test_a_third_report_has_its_column_and_what_it_lacks_is_said(reports: Path):
    """The third is the committed full study, of other data, which has numbers alone."""
    told = compare(reports, _files.ROOT / "reports" / "reference" / "warwick")
    for words in ("Their data are different", "Not all are full studies", "C has no page with test images"):
        assert words in told
    settings = told[told.index(SETTINGS[0]) : told.index(SETTINGS[1])]
    assert re.search(r"parameters.seeds</th><td>1</td><td>1</td><td>20</td>", settings)
    assert '<th scope="col">C − A</th>' in told
    assert re.search(r"Baseline, train, DSC</th><td>[\d.]+</td>\s*<td>[\d.]+</td>\s*<td>\+0.000</td>", told)


def runs(*scores: float) -> dict:
    return {"variants": {"l2": {"label": "L2", "runs": [{"test": {"dsc": score}} for score in scores]}}}


def test_a_difference_is_beyond_the_scatter_of_seeds_from_two_standard_errors():
    """By hand: the variance of each is 0.0001, so the standard error is sqrt(2 * 0.0001 / 2) = 0.01."""
    a = runs(0.5, 0.5 + 0.02**0.5 / 10)
    more, less = (runs(low, low + 0.02**0.5 / 10) for low in (0.521, 0.519))
    ((name, means, beyond),) = compare_scores(a, more, less, runs(0.9), {})
    assert name == "L2, test, DSC"
    assert beyond == [False, True, False, None, None]
    assert means == pytest.approx([0.507071, 0.528071, 0.526071, 0.9, None], abs=1e-6)


def test_a_changed_verdict_comes_with_what_decided_it():
    a = {
        "claims": [{"id": "C1", "metric": "dsc", "statement": "x", "verdict": "undecided", "effect": 0.1, "n_seeds": 3}]
    }
    b = {
        "claims": [{"id": "C1", "metric": "dsc", "statement": "x", "verdict": "supported", "effect": 0.2, "n_seeds": 3}]
    }
    (changed,) = compare_verdicts(a, b)
    assert (changed["key"], changed["verdicts"]) == ("C1 dsc", ["undecided", "supported"])
    assert changed["why"] == ["estimate: 0.1 → 0.2"]
    assert compare_verdicts(a, a) == []


def test_runs_are_compared_by_their_seeds_not_their_places():
    a, b = [{"seed": 0, "x": 1}, {"seed": 1, "x": 2}], [{"seed": 1, "x": 2}]
    assert differences(a, b) == {"0.seed": [0, None], "0.x": [1, None]}


def test_what_is_no_report_is_refused_in_one_line(reports: Path, capsys):
    (reports / "b" / "results.json").write_text("{", encoding="utf-8")
    assert main([f"A={reports / 'a'}", f"B={reports / 'b'}"]) == 2
    assert (
        capsys.readouterr().err
        == f"error: B={reports / 'b'}: expected a report, found no readable results.json in it\n"
    )
    assert main([f"A={reports / 'a'}", f"B={reports / 'a'}", f"MORE={reports / 'b'}"]) == 2
    assert f"error: MORE={reports / 'b'}: expected a report" in capsys.readouterr().err
    assert main(["a=x"]) == 2
    assert "a: unknown parameter; did you mean A?" in capsys.readouterr().err


def test_the_page_asks_for_nothing_fits_its_window_and_shuts_no_reader_out(browser: Browser, reports: Path, axe: str):
    (reports / "b" / "figures" / "figure-2.svg").write_bytes((reports / "b" / "figures" / "figure-3.svg").read_bytes())
    compare(reports)
    requests: list[str] = []
    page = browser.new_page(viewport={"width": 360, "height": 900}, bypass_csp=True)
    page.on("request", lambda request: requests.append(request.url))
    page.goto((reports / "compared" / "a-and-b.html").as_uri(), wait_until="networkidle")
    assert len([url for url in requests if not url.startswith("data:")]) == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.evaluate(axe)
    found = page.evaluate("axe.run().then(result => result.violations)")
    assert [f"{one['id']}: {node['html'][:150]}" for one in found for node in one["nodes"]] == []
    page.close()
