"""The page in a real browser: Debian's Chromium, where there is one (`.ci/run` insists on it)."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail("expected chromium, found none")
        pytest.skip("no chromium here: the page was not looked at")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    yield page
    page.close()


def open_report(page: Page, report: Path) -> tuple[list[str], list[str]]:
    """Returns what the page asked for and what it complained of."""
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((report / "report.html").as_uri(), wait_until="networkidle")
    return requests, complaints


def test_page_asks_for_nothing_but_itself_and_complains_of_nothing(page: Page, made_once: Path):
    requests, complaints = open_report(page, made_once)
    assert [url for url in requests if not url.startswith("data:")] == [(made_once / "report.html").as_uri()]
    assert complaints == []


def test_every_figure_is_shown_with_its_caption_and_a_text_instead(page: Page, made_once: Path):
    open_report(page, made_once)
    for number in range(12, 18):
        image = page.locator(f"#figure-{number} img")
        assert image.evaluate("image => image.complete && image.naturalWidth > 300")
        assert len(image.get_attribute("alt")) > 60
        assert page.locator(f"#figure-{number} figcaption").inner_text().startswith(f"Figure {number}.")


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_page_never_scrolls_sideways(width, page: Page, made_once: Path):
    page.set_viewport_size({"width": width, "height": 900})
    open_report(page, made_once)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_contents_lead_to_every_section(page: Page, made_once: Path):
    open_report(page, made_once)
    links = page.locator("nav a")
    assert links.count() == 6
    for index in range(links.count()):
        target = links.nth(index).get_attribute("href")
        assert page.locator(f"[id='{target.removeprefix('#')}']").count() == 1


def test_code_is_folded_and_opens(page: Page, made_once: Path):
    open_report(page, made_once)
    cell = page.locator("details.input").first
    code = cell.locator("pre")
    assert not code.is_visible()
    cell.locator("summary").click()
    assert code.is_visible()
