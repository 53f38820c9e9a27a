"""The page in a real browser: Debian's Chromium, where there is one (`.ci/run` insists on it)."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, Locator, Page

from lib import _files
from lib.claims.verdicts import QUOTES
from lib.data.dataset import Dataset
from lib.evaluation import predict
from lib.figures.gallery import Picture
from lib.report import pdf
from lib.report.notebooks import FIGURES, NOTEBOOKS
from lib.report.page import PageExporter
from lib.runs.plan import VARIANTS, variant_config
from lib.runs.store import from_bytes
from lib.training import build_network

WIDE = {"width": 1440, "height": 900}


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with closing(browser.new_page(viewport=WIDE)) as page:
        yield page


@pytest.fixture(scope="module")
def shown(browser: Browser, made_once: Path) -> Iterator[Page]:
    """The report as it opens, for tests that leave it so, wherever they have scrolled it to."""
    with closing(browser.new_page(viewport=WIDE)) as page:
        open_report(page, made_once)
        yield page


@pytest.fixture
def unscripted(browser: Browser) -> Iterator[Page]:
    """A page in a browser that runs no script."""
    with closing(browser.new_page(viewport=WIDE, java_script_enabled=False)) as page:
        yield page


@pytest.fixture
def executed(made_once: Path) -> list[nbformat.NotebookNode]:
    return [nbformat.read(made_once / "notebooks" / path.name, as_version=4) for path in NOTEBOOKS]


@pytest.fixture
def results(made_once: Path) -> dict:
    return json.loads((made_once / "results.json").read_text())


def open_report(page: Page, folder: Path, until: str = "load") -> tuple[list[str], list[str]]:
    """Returns what the page asked for and what it complained of so far; "networkidle" is half a second without any."""
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((folder / "report.html").as_uri(), wait_until=until)
    return requests, complaints


def test_page_asks_for_nothing_but_itself_and_complains_of_nothing(page: Page, made_once: Path):
    requests, complaints = open_report(page, made_once, until="networkidle")
    assert [url for url in requests if not url.startswith("data:")] == [(made_once / "report.html").as_uri()]
    assert complaints == []


def test_page_is_painted(page: Page, made_once: Path):
    """How soon is the machine's: the time is measured, not asserted."""
    open_report(page, made_once)
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length == 1", polling=50)


def test_same_notebooks_and_results_give_the_same_bytes(executed, results):
    first = PageExporter().render(executed, results, "<figure></figure>")
    assert PageExporter().render(executed, results, "<figure></figure>") == first


@pytest.mark.parametrize("synthetic", [False, True])
def test_drawn_images_say_something_of_claims_but_never_whether_they_hold(executed, results, synthetic: bool):
    results["dataset"] |= {"synthetic": synthetic, "patients": 9}
    results["reference"] |= {"same_data": True}
    rendered = PageExporter().render(executed, results, "<figure></figure>")
    assert ("Do the study's claims hold?" in rendered) != synthetic
    assert ("Other simulated patients" in rendered) == ("no verdict here tells whether" in rendered) == synthetic


def test_every_figure_is_drawn_with_its_caption_and_a_text_instead(shown: Page):
    for number in FIGURES:
        drawing = shown.locator(f"#figure-{number} svg[role=img]")
        assert drawing.bounding_box()["width"] > 500
        assert len(drawing.get_attribute("aria-label")) > 40
        assert shown.locator(f"#figure-{number} figcaption").inner_text().startswith(f"Figure {number}.")
    assert shown.locator("#figure-summary svg[role=img]").is_visible()


def test_text_leads_to_every_figure_and_back(shown: Page):
    for number in FIGURES:
        link = shown.locator(f"#text-figure-{number}")
        assert (link.inner_text(), link.get_attribute("href")) == (f"Figure {number}", f"#figure-{number}")
        back = shown.locator(f"#figure-{number} figcaption strong a")
        assert back.get_attribute("href") == f"#text-figure-{number}"
    targets = set(shown.locator("a[href^='#']").evaluate_all("links => links.map(link => link.hash.slice(1))"))
    assert targets <= set(shown.locator("[id]").evaluate_all("all => all.map(one => one.id)"))


def test_sections_lead_to_the_claims_that_judge_them(shown: Page):
    for section, claim in (("2-1-", "C2"), ("2-2-a-", "C3a"), ("2-2-b-", "C4a"), ("2-2-c-", "C5a")):
        assert shown.locator(f"section[id^=section-{section}] a[href='#claim-{claim}']").count() == 1
    entry = shown.locator("#claim-C3a + blockquote")
    assert entry.inner_text().endswith(f'"{QUOTES["C3a"]}"')
    for score in shown.locator("#claim-C3a + blockquote + table.entry tr").all():
        (box,) = (drawing.bounding_box() for drawing in score.locator("svg.interval").all())
        assert box["width"] > 100


def test_tables_of_the_notebooks_are_numbered_and_say_what_they_show(shown: Page):
    tables = shown.locator("section[id^=section] table:not(.entry)")
    names = tables.evaluate_all("all => all.map(one => one.closest('figure.report-table').id)")
    assert names == [f"table-{number}" for number in (1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12)]  # 8: further variants
    for name in names:
        number, result = shown.locator(f"#{name} figcaption strong").all_inner_texts()
        assert number == name.replace("table-", "Table ") + "."
        assert len(result) > 25
        assert result.endswith(".")
    assert shown.locator("#text-table-2").get_attribute("href") == "#table-2"


def test_tables_have_one_row_of_headers_with_a_scope_each(shown: Page):
    assert shown.locator("th:not([scope])").count() == 0
    heads = shown.locator("table thead").evaluate_all("all => all.map(one => one.rows.length)")
    assert len(heads) > 5
    assert set(heads) == {1}
    assert shown.locator("style").count() == 1  # pandas' own would hold for all tables
    names = shown.locator("#section-4-what-is-possible thead th:first-child").all_inner_texts()
    assert "setting" in names


def test_what_is_not_shown_is_not_announced(shown: Page):
    heads = shown.locator("#section-4-what-is-possible h3").all_inner_texts()  # one run of each network, no full run
    assert "By grade and patient" in heads
    assert not {"What each step brings", "Where runs disagree"} & set(heads)


def test_no_id_is_given_twice(shown: Page):
    ids = shown.locator("[id]").evaluate_all("all => all.map(one => one.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", ["summary", "figure-2", "figure-12", "figure-13"])
def test_numbers_of_a_figure_are_downloaded_from_inside_the_file(name, shown: Page):
    link = shown.locator(f"#{'figure-summary' if name == 'summary' else name} a.data")
    with shown.expect_download() as download:
        link.click()
    assert download.value.suggested_filename == f"{name}.csv"
    assert len(pd.read_csv(download.value.path())) > 0


@pytest.mark.parametrize("scripted", [True, False])
def test_page_never_scrolls_sideways(scripted, request, made_once: Path):
    page = request.getfixturevalue("page" if scripted else "unscripted")
    page.set_viewport_size({"width": 360, "height": 900})
    open_report(page, made_once)
    for width in (360, 768, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_verdicts_are_whole_on_a_phone_and_none_is_missing_twice(page: Page, made_once: Path):
    page.set_viewport_size({"width": 360, "height": 900})
    open_report(page, made_once)
    around = page.locator(".scroll:has(> table.verdicts)")
    assert around.evaluate("one => one.scrollWidth - one.clientWidth") <= 0
    for row in page.locator("table.verdicts tbody tr").all():
        assert row.locator(".not-run").count() <= 1


def test_title_findings_scores_and_two_images_are_on_the_first_screen(page: Page, made_once: Path):
    open_report(page, made_once)
    assert page.locator(".pair svg").count() == 2
    for selector in ("h1", ".findings", ".numbers", ".pair"):
        box = page.locator(selector).bounding_box()
        assert box["y"] + box["height"] < 900


def test_claims_stand_under_what_is_settled_and_what_is_open(shown: Page, results):
    groups = shown.locator("table.verdicts tbody").evaluate_all(
        "all => all.map(one => [...one.querySelectorAll('th')].map(head => head.innerText))"
    )
    (settled, *first), (still_open, *second) = groups
    assert (settled, still_open) == ("Settled by DSC in one column or both", "Open by DSC in both columns, or not run")
    assert shown.locator("table.verdicts thead th").all_inner_texts()[5:] == ["The warwick images", "Other patients"]
    verdicts, by_seeds = (results["reference"][key] for key in ("verdicts", "verdicts_seeds"))
    settled = {"supported", "not supported", "contradicted"}
    open_ones = {c for c in verdicts if not settled & {verdicts[c]["dsc"], by_seeds[c]["dsc"]}}
    assert open_ones == set(second)
    assert set(first) | set(second) == set(verdicts)


def test_links_to_files_lead_to_what_lies_beside_the_page(shown: Page, made_once: Path, results):
    links = shown.locator("main a[href]:not([href^='#'], [href^='data:'])")
    files = {link.get_attribute("href") for link in links.all()}
    assert files == {"results.json", "scores.csv.xz", *(f"notebooks/{path.name}" for path in NOTEBOOKS)}
    assert all((made_once / file).is_file() for file in files)
    byline = shown.locator(".byline")
    assert byline.locator("a").first.get_attribute("href") == "results.json"
    assert (results["provenance"]["git_commit"] or "")[:7] in byline.inner_text()


def test_contents_lead_to_every_section(shown: Page):
    targets = shown.locator("nav a").evaluate_all("links => links.map(link => link.hash.slice(1))")
    assert len(targets) == len(NOTEBOOKS) + 4  # summary, try it, gallery, provenance
    assert targets == shown.locator("header[id], section[id]").evaluate_all("all => all.map(one => one.id)")


def test_contents_follow_the_reader(page: Page, made_once: Path):
    open_report(page, made_once)
    current = page.locator("nav a[aria-current]")
    assert current.inner_text() == "Summary"
    for target in ("section-2-2-b-dropout", "gallery", "section-1-the-data"):
        page.evaluate("id => document.getElementById(id).scrollIntoView()", target)
        page.locator(f"nav a[aria-current][href='#{target}']").wait_for(timeout=3000)
        assert current.count() == 1
        assert 0 <= current.bounding_box()["y"] < 900  # they stay in sight


def test_contents_open_without_a_script_wide_or_narrow(unscripted: Page, made_once: Path):
    open_report(unscripted, made_once)
    link = unscripted.locator("nav a").first
    assert link.is_visible()
    unscripted.set_viewport_size({"width": 360, "height": 900})
    assert not link.is_visible()
    unscripted.locator("nav summary").click()
    assert link.is_visible()


def test_code_is_folded_and_opens_by_cell_and_all_at_once(page: Page, made_once: Path):
    open_report(page, made_once)
    cells, every = page.locator("details.input"), page.locator("#all-code")
    assert cells.count() > 20
    code = cells.first.locator("pre")
    assert not code.is_visible()
    cells.first.locator("summary").click()
    assert code.is_visible()
    every.click()
    assert page.locator("details.input:not([open])").count() == 0
    every.click()
    assert page.locator("details.input[open]").count() == 0


def test_code_opens_without_a_script_and_no_idle_button_is_shown(unscripted: Page, made_once: Path):
    open_report(unscripted, made_once)
    cell = unscripted.locator("details.input").first
    cell.locator("summary").click()
    assert cell.locator("pre").is_visible()
    assert unscripted.locator("button:visible").count() == 0


def test_gallery_shows_every_test_image_and_sorts_them(page: Page, made_once: Path):
    open_report(page, made_once)
    items = page.locator(".gallery li")
    assert items.count() == 6

    def of_items(key: str) -> list[str]:
        return items.evaluate_all("(items, key) => items.map(item => item.dataset[key])", key)

    assert sorted(of_items("name")) == [f"image_{i:02d}" for i in range(6)]
    assert [float(x) for x in of_items("apart")] == sorted(map(float, of_items("apart")), reverse=True)
    for key in ("dsc", "dice"):
        page.locator(f".tools [data-key={key}]").click()
        assert [float(x) for x in of_items(key)] == sorted(map(float, of_items(key)), reverse=True)
        assert page.locator(".tools [aria-pressed=true]").inner_text().lower() == key
    page.locator(".tools [data-key=dice]").click()
    assert [float(x) for x in of_items("dice")] == sorted(map(float, of_items("dice")))
    assert page.locator(".tools [role=status]").inner_text() == "lowest first"
    page.locator(".tools [data-key=name]").click()
    assert of_items("name") == [f"image_{i:02d}" for i in range(6)]


def test_picture_opens_large_by_key_leads_on_and_gives_the_focus_back(shown: Page):
    first, second, *_ = shown.locator(".gallery li").evaluate_all("items => items.map(item => item.dataset.name)")
    link = shown.locator(".gallery a.open").first
    small = link.locator("svg").bounding_box()["width"]
    link.focus()
    shown.keyboard.press("Enter")
    dialog = shown.locator("dialog")
    assert dialog.locator("svg").bounding_box()["width"] > 2 * small
    assert first in dialog.inner_text()
    shown.keyboard.press("ArrowRight")
    assert second in dialog.inner_text()
    shown.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert shown.evaluate("document.activeElement.closest('li').dataset.name") == second


def test_figures_that_have_pictures_open_in_the_same_dialog(shown: Page):
    with_pictures = shown.locator("figure:has(.enlarge)").evaluate_all("all => all.map(one => one.id)")
    assert with_pictures == ["figure-1", "figure-3", "figure-13", "figure-14", "figure-22"]
    small = shown.locator("#figure-13 .plot svg").bounding_box()["width"]
    shown.locator("#figure-13 .enlarge").focus()
    shown.keyboard.press("Enter")
    dialog = shown.locator("dialog")
    assert dialog.locator(".plot > svg").bounding_box()["width"] > 1.3 * small
    assert "Figure 13." in dialog.inner_text()
    shown.keyboard.press("ArrowRight")  # leads nowhere
    assert "Figure 13." in dialog.inner_text()
    shown.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert shown.evaluate("document.activeElement.closest('figure').id") == "figure-13"


def test_lines_of_prose_have_at_most_80_characters(shown: Page):
    longest = shown.evaluate("""() => Math.max(...[...document.querySelectorAll(".text > p, .findings")].map((p) => {
      const range = document.createRange();
      range.selectNodeContents(p);
      const tops = new Set([...range.getClientRects()].map((box) => Math.round(box.bottom / 12)));
      return p.textContent.length / tops.size;
    }))""")
    assert longest <= 80


def test_band_of_what_would_not_matter_is_seen_on_its_ground(shown: Page):
    def luminance(colour: str) -> float:
        channels = np.array([int(value) for value in re.findall(r"\d+", colour)[:3]]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    for scheme in ("dark", "light"):
        shown.emulate_media(color_scheme=scheme)
        edge = shown.locator("svg.interval rect").first.evaluate("one => getComputedStyle(one).stroke")
        ground = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        dark, light = sorted((luminance(edge), luminance(ground)))
        assert (light + 0.05) / (dark + 0.05) >= 3, scheme


def test_cells_that_only_speak_have_no_toggle(shown: Page):
    cells = shown.locator(".code_cell")
    speaking = shown.locator(".code_cell:has(.output_markdown):not(:has(.output_html))")
    assert speaking.count() > 5
    assert speaking.locator("details.input").count() == 0
    assert shown.locator(".code_cell details.input").count() == cells.count() - speaking.count()


def test_picture_opens_large_without_a_script(unscripted: Page, made_once: Path):
    open_report(unscripted, made_once)
    link = unscripted.locator(".gallery a.open").first
    small = link.locator("svg").bounding_box()["width"]
    link.click()
    assert link.locator("svg").bounding_box()["width"] > 2 * small
    unscripted.locator(".gallery li:target a.close").click()
    assert link.locator("svg").bounding_box()["width"] == small


def test_tab_key_reaches_everything_that_can_be_used(page: Page, made_once: Path):
    open_report(page, made_once)
    usable = page.locator("a[href]:visible, :is(button, summary, select, input, [tabindex='0']):visible")
    expected = usable.evaluate_all("all => all.forEach((one, i) => { one.dataset.number = i; }) ?? all.length")
    reached = set()
    for _ in range(expected + 5):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.dataset.number"))
    skip = page.locator("a.skip").get_attribute("data-number")
    assert {str(i) for i in range(expected)} - reached <= {skip}


QUICK_LOOK = ("light", True, 1440)  # axe takes seconds for each


@pytest.mark.parametrize(
    ("scheme", "scripted", "width"),
    [
        pytest.param(*look, marks=[] if look == QUICK_LOOK else [pytest.mark.slow])
        for look in product(("light", "dark"), (True, False), (1440, 360))
    ],
)
def test_axe_finds_nothing_that_shuts_readers_out(
    scheme, scripted, width, page: Page, made_once: Path, tmp_path: Path, axe: str
):
    html = (made_once / "report.html").read_text(encoding="utf-8")
    if not scripted:  # axe is a script itself: only the page's own is taken away
        html = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    (tmp_path / "report.html").write_text(html, encoding="utf-8")
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    open_report(page, tmp_path)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    page.evaluate(axe)

    def violations() -> list[str]:
        found = page.evaluate("axe.run().then(result => result.violations)")
        return [f"{one['id']}: {node['html'][:150]}" for one in found for node in one["nodes"]]

    assert violations() == []
    if scripted and width == 360:
        page.locator(".gallery a.open").first.click()
        assert violations() == []


def tried(page: Page, folder: Path) -> Locator:
    open_report(page, folder)
    trial = page.locator("#try")
    trial.scroll_into_view_if_needed()
    trial.locator("p[role=status]").filter(has_text="DSC").wait_for(timeout=5000)
    return trial


def test_networks_run_in_the_page_as_torch_runs_them(shown: Page, made_once: Path, discs: Dataset):
    names = shown.get_by_label("Network").locator("option").all_inner_texts()
    assert names == [f"{VARIANTS[variant].label}, seed 0" for variant in ("baseline", "noise", "dropout", "l2")]
    computed = shown.evaluate("""async () => {
      const answers = [];
      for (const option of networkBox.options) {
        const bytes = Uint8Array.from(atob(option.dataset.weights), (x) => x.charCodeAt(0));
        for (const item of document.querySelectorAll("ul.gallery li")) {
          const { pixels, truth } = await fromGallery(item);
          const found = probabilities(pixels, new Float32Array(bytes.buffer));
          answers.push([option.text, item.dataset.name, [...found], [...truth]]);
        }
      }
      return answers;
    }""")
    assert len(computed) == len(names) * len(discs.test)
    for label, name, found, truth in computed:
        variant = next(key for key, value in VARIANTS.items() if label.startswith(f"{value.label},"))
        network = build_network(variant_config(variant, seed=0, epochs=1))
        network.load_state_dict(from_bytes((made_once / "models" / f"{variant}-seed-0.pt").read_bytes()))
        image, mask_true = discs.test.pair(name)
        expected = predict(network, torch.from_numpy(image[None]))[0].numpy()
        np.testing.assert_allclose(np.reshape(found, expected.shape), expected, atol=1e-5)
        np.testing.assert_array_equal(np.reshape(truth, mask_true.shape), mask_true)


def test_an_image_of_128_pixels_takes_less_than_a_second(page: Page, made_once: Path):
    tried(page, made_once)
    milliseconds = page.evaluate("""() => {
      const begun = performance.now();
      probabilities(new ImageData(128, 128), new Float32Array(8499));
      return performance.now() - begun;
    }""")
    assert milliseconds < 1000


def test_trial_shows_the_scores_of_the_report_and_follows_threshold_and_network(page: Page, made_once: Path, results):
    trial = tried(page, made_once)
    said = trial.locator("p[role=status]")
    for item in page.locator("ul.gallery li").all():
        trial.get_by_label("Test image").select_option(item.get_attribute("data-name"))
        numbers = [f"{float(item.get_attribute(f'data-{metric}')):.3f}" for metric in ("dsc", "dice")]
        said.filter(has_text="DSC {}, Dice {}.".format(*numbers)).wait_for(timeout=3000)
    for threshold, share in (("0", "100% in the prediction"), ("1", "0% in the prediction")):
        trial.get_by_label("Threshold").fill(threshold)
        assert share in said.inner_text()
    assert "Dice 0.000" in said.inner_text()
    trial.get_by_label("Network").select_option("Dropout, seed 0")
    assert "Dice 0.000" in said.inner_text()


def test_readers_own_picture_is_scaled_to_even_sides_and_has_no_score(page: Page, made_once: Path, tmp_path: Path):
    trial = tried(page, made_once)
    Image.new("RGB", (90, 43), "purple").save(tmp_path / "own.png")
    trial.get_by_label("or your own").set_input_files(tmp_path / "own.png")
    said = trial.locator("p[role=status]")
    said.filter(has_text="Without a true mask there is no score.").wait_for(timeout=3000)
    size = trial.locator("canvas").first.evaluate("canvas => [canvas.width, canvas.height]")
    assert size == [16, 8]  # of 16 x 16 that the networks were trained on
    (tmp_path / "no.png").write_text("no picture")
    trial.get_by_label("or your own").set_input_files(tmp_path / "no.png")
    said.filter(has_text="no.png: expected a picture that this browser can open.").wait_for(timeout=3000)


def test_without_a_script_nothing_is_offered_to_try(unscripted: Page, made_once: Path):
    open_report(unscripted, made_once)
    assert not unscripted.locator("#try").is_visible()
    assert not unscripted.locator("nav a[href='#try']").is_visible()


EVIL = "<img src=x onerror=alert(1)>.png"


def test_names_are_shown_as_text_and_run_nothing(page: Page, executed, results, tmp_path: Path):
    results["dataset"] |= {"name": EVIL, "patients": 1, "shared_patients": {f"train and {EVIL}": [EVIL]}}
    results["provenance"] |= {"command": f"make report DATASET='{EVIL}'", "cpu": EVIL}
    picture = Picture(EVIL, EVIL, 0.5, 0.5, 0.5, 0.5, EVIL, False, "data:,", "M0 0", "M0 0", "M0 0")
    (tmp_path / "report.html").write_text(PageExporter().render(executed, results, "", [picture]), encoding="utf-8")
    alerts = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    requests, complaints = open_report(page, tmp_path, until="networkidle")
    page.locator(".gallery a.open").click()
    assert page.locator("dialog b").inner_text() == EVIL
    assert page.locator("header strong").first.inner_text() == EVIL
    assert page.locator("main img").count() == 0
    assert (alerts, complaints) == ([], [])
    assert len([url for url in requests if not url.startswith("data:")]) == 1


def test_page_runs_no_script_but_its_own_even_where_one_got_in(page: Page, executed, results, tmp_path: Path):
    html = PageExporter().render(executed, results, "<p id='in' onclick='document.title=1'>in</p><script>x()</script>")
    (tmp_path / "report.html").write_text(html, encoding="utf-8")
    _, complaints = open_report(page, tmp_path, until="networkidle")
    page.locator("#in").click()
    assert page.title().startswith("Do noise")
    assert len(complaints) == 2  # one for each that was refused
    assert all("Content Security Policy" in complaint for complaint in complaints)


@pytest.mark.slow
def test_report_is_printed_on_pages(browser: Browser, made_once: Path, tmp_path: Path, monkeypatch, capsys):
    shutil.copytree(made_once, tmp_path / "reports" / "discs")
    monkeypatch.setattr(_files, "REPORTS", tmp_path / "reports")
    assert pdf.main(["NAME=discs"]) == 0
    assert capsys.readouterr().out == "pdf: reports/discs/report.pdf\n"
    printed = (tmp_path / "reports" / "discs" / "report.pdf").read_bytes()
    assert printed.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) > 5


FAKE_BROWSERS = {
    "half a file": ("printf '%%PDF-1.4 half' > \"$file\"", "expected a whole PDF, found 13 bytes of one"),
    "no file": ("true", "expected a whole PDF, found 0 bytes of one"),
    "failure": ("echo one >&2; echo no display >&2; exit 3", "exit code 3, said: no display"),
}


@pytest.mark.parametrize("failure", FAKE_BROWSERS)
def test_a_failed_print_keeps_the_old_pdf_and_says_what_the_browser_said(failure, tmp_path, monkeypatch, capsys):
    does, message = FAKE_BROWSERS[failure]
    (tmp_path / "chromium").write_text(
        f"#!/bin/sh\nfor file; do file=${{file#--print-to-pdf=}}; case $file in *.pdf) break;; esac; done\n{does}\n"
    )
    (tmp_path / "chromium").chmod(0o755)
    report = tmp_path / "reports" / "discs"
    report.mkdir(parents=True)
    (report / "report.html").write_text("")
    (report / "report.pdf").write_text("old")
    monkeypatch.setattr(_files, "REPORTS", tmp_path / "reports")
    monkeypatch.setattr(shutil, "which", lambda name: str(tmp_path / "chromium"))
    assert pdf.main(["NAME=discs"]) == 1
    assert capsys.readouterr().err == f"failed: chromium: {message}\nno PDF was written or replaced.\n"
    assert {path.name for path in report.iterdir()} == {"report.html", "report.pdf"}
    assert (report / "report.pdf").read_text() == "old"


def test_a_report_to_print_is_named_by_the_folder_that_a_link_leads_to(tmp_path: Path, monkeypatch, capsys):
    (tmp_path / "cells").mkdir()
    (tmp_path / "link").symlink_to("cells")
    monkeypatch.setattr(_files, "REPORTS", tmp_path / "reports")
    assert pdf.main([f"DATASET={tmp_path / 'link'}"]) == 2
    assert "reports/cells: expected a report to print, found none" in capsys.readouterr().err
    assert pdf.main(["NAME=../../etc"]) == 2
    assert "error: NAME=../../etc: expected a folder name" in capsys.readouterr().err


def test_printing_without_a_browser_or_report_is_refused_in_one_line(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(_files, "REPORTS", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert pdf.main(["NAME=discs"]) == 2
    assert (
        capsys.readouterr().err == "error: reports/discs: expected a report to print, found none; make report first\n"
    )
    (tmp_path / "discs").mkdir()
    (tmp_path / "discs" / "report.html").write_text("")
    assert pdf.main(["NAME=discs"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: expected Chromium or Chrome to print with, found none")
    assert error.count("\n") == 1
