"""The page in a real browser: Debian's or anyone's Chromium, headless."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import samples

from trainlint_reports.html import HtmlRenderer

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: the page is not tried in a browser")

MAKERS = (samples.eight_findings, samples.all_passed, samples.crashed, samples.hostile)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    files = {make.__name__: folder / f"{make.__name__}.html" for make in (*MAKERS, samples.proven)}
    for make in (*MAKERS, samples.proven):
        files[make.__name__].write_text(HtmlRenderer().render(make()), encoding="utf-8")
    return files


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280, 1600])
@pytest.mark.parametrize("name", [make.__name__ for make in MAKERS])
def test_page_is_quiet_and_fits(browser: Any, pages: dict[str, Path], name: str, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(pages[name].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page_colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert page_colour == ("rgb(245, 246, 248)" if scheme == "light" else "rgb(15, 19, 24)")
    context.close()


def test_page_is_readable_without_javascript(browser: Any, pages: dict[str, Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages["eight_findings"].as_uri())
    assert page.get_by_role("heading", name="3 errors found").is_visible()
    assert page.get_by_text("Return the raw scores; apply softmax only where you need probabilities").is_visible()
    assert not page.get_by_text("no log file was given").is_visible()
    page.get_by_text("Not run 3 checks").click()
    assert page.get_by_text("no log file was given").is_visible()
    context.close()


def test_charts_take_their_colours_from_the_page(browser: Any, pages: dict[str, Path]) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)
        page = context.new_page()
        page.goto(pages["eight_findings"].as_uri())
        fault = page.locator("#TL307 .wide .mark path").first
        colours[scheme] = fault.evaluate("e => getComputedStyle(e).fill")
        assert fault.locator("xpath=..").locator("title").text_content() == "stem.conv: 1e-6 (at fault)"
        context.close()
    assert colours == {"light": "rgb(197, 34, 31)", "dark": "rgb(255, 139, 128)"}


def test_folded_parts_are_printed(browser: Any, pages: dict[str, Path]) -> None:
    page = browser.new_page()
    page.goto(pages["all_passed"].as_uri())
    page.emulate_media(media="print")
    hidden = page.get_by_text("the script builds no scheduler")
    assert hidden.evaluate("e => e.getBoundingClientRect().height") > 0
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["proven", "hostile"])
def test_page_passes_an_accessibility_audit(browser: Any, pages: dict[str, Path], name: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed").Axe()
    # The audit is a script of its own, which the page's security policy would refuse.
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(pages[name].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    result = axe.run(page)
    assert result.violations_count == 0, result.generate_report()
    context.close()
