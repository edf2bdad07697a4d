"""The catalogue as pages: whole, harmless, linked, and in step with docs/rules."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trainlint.cli import main
from trainlint.registry import Catalogue, load_catalogue, load_page_makers
from trainlint.rule import Rule

ROOT = Path(__file__).parents[2]
BY_NAME = pytest.mark.parametrize("rule", load_catalogue().rules, ids=lambda r: r.name)
FEW = load_catalogue().choose(["output-activation", "shuffle", "batch-view"])
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def site() -> dict[str, str]:
    return dict(load_page_makers()["html"].pages(FEW))


def test_the_built_pages_are_those_of_the_rules() -> None:
    built = {path.name: path.read_text("utf-8") for path in (ROOT / "docs" / "rules").iterdir()}
    made = dict(load_page_makers()["markdown"].pages(load_catalogue()))
    assert built.keys() == made.keys()
    stale = [name for name in made if made[name] != built[name]]
    assert not stale, f"{stale}: run `trainlint rules --markdown docs/rules`"


@BY_NAME
def test_the_sample_is_a_failure_of_the_rule_at_a_line_of_its_bad_script(rule: Rule) -> None:
    sample = rule.sample()
    assert sample is not None, f"run `python tests/rules/make_samples.py {rule.name}`"
    finding = sample[rule.name]
    assert (finding.failed, finding.code, finding.why, finding.source) == (True, rule.code, rule.why, rule.source)
    bad = (ROOT / "tests" / "rules" / rule.name / "bad.py").read_text("utf-8")
    if finding.location:
        assert (finding.location.file, finding.location.text in bad) == ("train.py", True)


def test_there_is_a_page_for_each_rule_and_every_link_between_them_leads_somewhere(site: dict[str, str]) -> None:
    assert site.keys() == {"index.html", *(f"{r.name}.html" for r in FEW.rules)}
    for name, page in site.items():
        ids = set(re.findall(r' id="([^"]+)"', page))
        for target in re.findall(r'href="([^"]+)"', page):
            assert target.startswith(("https://", "http://")) or target in site or target[1:] in ids, (name, target)


def test_a_page_shows_the_wrong_and_the_right_code_and_what_the_report_says(site: dict[str, str]) -> None:
    page = re.sub(r"<[^>]*>", "", site["shuffle.html"])
    for words in ("Wrong", "Right", "files were read class by class", "shuffle=True", "What the report shows", "train.py:58"):
        assert words in page, words
    assert "<svg" in site["shuffle.html"].split("What the report shows")[1]
    assert "<table>" in site["output-activation.html"]


def test_headings_are_in_order_and_nothing_is_loaded(site: dict[str, str]) -> None:
    for page in site.values():
        levels = [int(n) for n in re.findall(r"<h([1-6])", page)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
        assert not re.findall(r"<(?:script|link|iframe|form)\b", page)
        assert not [s for s in re.findall(r' src="([^"]+)"', page) if not s.startswith("data:image/")]


def test_a_rule_of_another_package_cannot_put_markup_into_its_page() -> None:
    class Hostile(type(FEW.rules[0])):  # type: ignore[misc]
        name = "hostile"
        summary = "<script>alert(1)</script>"

        @classmethod
        def page(cls) -> str:
            return "<script>alert(1)</script>\n\n## What it checks\n\n<img src=x onerror=alert(1)> [x](javascript:alert(1)) `<b>`\n\n```python\n</pre><script>\n```\n"

    pages = dict(load_page_makers()["html"].pages(Catalogue((Hostile(),), {})))
    for page in pages.values():
        assert not re.findall(r"<(?:script|img|b)\b", page.replace("<b>hostile</b>", ""))
        assert 'href="javascript' not in page
    assert "## What the report shows" not in dict(load_page_makers()["markdown"].pages(Catalogue((Hostile(),), {})))["hostile.md"]


def test_the_command_writes_the_folders(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["rules", "--markdown", str(tmp_path / "a" / "b")])
    assert done.exit_code == 0
    assert len(list((tmp_path / "a" / "b").iterdir())) == len(load_catalogue().rules) + 1
    (tmp_path / "file").write_text("")
    refused = CliRunner().invoke(main, ["rules", "--markdown", str(tmp_path / "file" / "x")])
    assert (refused.exit_code, "could not be written" in refused.output) == (2, True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: the pages are not tried in a browser")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_narrow_screen_and_pass_an_accessibility_audit(browser: Any, site: dict[str, str], scheme: str, tmp_path: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed").Axe()
    context = browser.new_context(viewport={"width": 400, "height": 900}, color_scheme=scheme, bypass_csp=True)
    for name in ("index.html", "output-activation.html"):
        (tmp_path / name).write_text(site[name], "utf-8")
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message, said=said: said.append(message.text))
        page.goto((tmp_path / name).as_uri())
        assert said == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, name
        result = axe.run(page)
        assert result.violations_count == 0, result.generate_report()
        page.close()
    context.close()
