from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import samples

from trainlint.details import Code, Table
from trainlint.finding import Outcome
from trainlint.report import Report
from trainlint_reports.html import HtmlRenderer
from trainlint_reports.markup import diff_rows, fix_rows
from trainlint_reports.phrases import stage_states

SAMPLES = {make.__name__: make() for make in (samples.eight_findings, samples.all_passed, samples.crashed, samples.hostile, samples.empty)}


class Page(HTMLParser):
    """The tags and the words of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def values(self, *names: str) -> list[str]:
        return [value or "" for _, attributes in self.tags for name, value in attributes.items() if name in names]


@pytest.fixture(scope="module", params=SAMPLES)
def page(request: pytest.FixtureRequest) -> Page:
    return Page(HtmlRenderer().render(SAMPLES[request.param]))


@pytest.fixture(scope="module")
def full() -> Page:
    return Page(HtmlRenderer().render(SAMPLES["eight_findings"]))


def test_nothing_is_loaded_and_nothing_runs(page: Page) -> None:
    assert not {"script", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert all(value.startswith("data:image/") for value in page.values("src", "srcset", "poster", "data"))
    for tag, attributes in page.tags:
        if target := attributes.get("href"):
            assert target.startswith(("#", "https://", "http://") if tag == "a" else ("#", "data:")), target


def test_the_security_policy_allows_this_style_sheet_only(page: Page) -> None:
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not page.values("style")


def test_headings_are_in_order(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_ids_are_unique_and_every_link_inside_the_page_has_its_target(page: Page) -> None:
    ids = Counter(page.values("id"))
    assert max(ids.values()) == 1
    targets = {value[1:] for value in page.values("href") if value.startswith("#")}
    targets |= {name for value in page.values("clip-path") for name in re.findall(r"url\(#(.+)\)", value)}
    assert targets <= set(ids)


def test_what_comes_from_outside_is_shown_as_text() -> None:
    html = HtmlRenderer().render(samples.hostile())
    assert "<script" not in html
    assert "49" not in re.sub(r"<svg.*?</svg>|<style>.*?</style>|sha256-\S+", "", html, flags=re.S)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", html)
    page = Page(html)
    assert page.words.count(samples.HOSTILE) > 30
    assert not [value for value in page.values("href", "src") if "javascript" in value or "script>" in value]


def test_start_here_shows_cause_place_fix_and_proof(full: Page) -> None:
    start, next_finding = full.words.rindex("Start here"), full.words.index("Training samples come sorted")
    shown = full.words[start:next_finding]
    for words in (
        "output-activation",
        "TL103",
        "applies log-softmax itself",
        "train.py:31",
        "in forward",
        "return F.softmax(self.head(x), dim=1)",
        "Return the raw scores",
        "The fix was tried on your model, and it helped",
        "raw scores (logits)",
        "trainlint explain output-activation",
    ):
        assert words in shown, words


def test_every_finding_is_on_the_page(full: Page) -> None:
    for finding in SAMPLES["eight_findings"]:
        assert finding.name in full.words
        said = finding.reason or finding.message
        assert said.replace("`", "") in full.words


def test_all_kinds_of_details_are_drawn(full: Page) -> None:
    for words in (
        "Loss after 20 replayed steps at each learning rate",
        "trains well",
        "Gradient norm of each layer",
        "stem.conv",
        "26 values as a table",
        "Tensors of the first batch",
        "64 × 3 × 32 × 32",
        "flagged: ",
        "3 cross",
        "CosineAnnealingLR",
        "4 × in a row",
        "The loop as it was seen",
    ):
        assert words in full.words, words
    charts = [a for tag, a in full.tags if tag == "svg" and a.get("role") == "img"]
    assert len(charts) == 2 * 6
    assert all(a["aria-label"] for a in charts)
    assert "short runs: loss 1.394 at learning rate 1e-6" in full.words


def test_seven_stages_with_their_state(full: Page) -> None:
    strip = re.sub(r"\s+", " ", full.words)
    for cell in ("1 Wiring1 error", "2 Data1 error, 1 warning", "4 Learning rate1 warning", "5 Recipe1 not run", "7 Capacityno checks"):
        assert cell in strip, cell


def test_a_page_is_the_same_each_time_and_small() -> None:
    first, second = (HtmlRenderer().render(samples.eight_findings()) for _ in range(2))
    assert first == second
    assert len(first) < 500_000


def test_long_tables_are_cut_and_say_so() -> None:
    table = Table(title="rows", columns=("n",), rows=tuple((i,) for i in range(1000)))
    html = HtmlRenderer().render(replace(samples.empty(), overview=(table,)))
    assert "<td>199</td>" in html
    assert "<td>200</td>" not in html
    assert "800 more rows in the JSON report" in html


def test_a_diff_is_shown_line_by_line_with_its_blank_lines() -> None:
    rows = diff_rows(samples.DIFF)
    assert [row.sign for row in rows] == ["", "-", "+", "@", "", "+", "+"]
    assert "softmax" in rows[1].html
    assert [row.sign for row in fix_rows(" a\n+\n")] == ["", "+"]


def test_a_tried_fix_shows_its_change_and_its_curves() -> None:
    words = Page(HtmlRenderer().render(samples.proven())).words
    for said in ("this change is safe to apply", "1.21", "0.38", "loss after 40 steps on new batches", "Loss as it is and with the fix"):
        assert said in words, said
    assert "as it is: loss on new batches" in words


def test_home_folders_are_not_named() -> None:
    report = replace(
        samples.crashed(), subject=replace(samples.crashed().subject, command="python /home/ada/project/train.py --out=/Users/ada/x")
    )
    html = HtmlRenderer().render(replace(report, overview=(Code(title="t", text='File "/root/venv/lib/x.py", line 3'),)))
    assert "python ~/project/train.py" in html
    assert "~/venv/lib/x.py" in html
    assert "ada" not in re.sub("data|gradation", "", html)


def test_style_hash_is_that_of_the_style_element() -> None:
    html = HtmlRenderer().render(samples.empty())
    style = re.search(r"<style>(.*?)</style>", html, re.S)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in html


@pytest.mark.parametrize(
    ("report", "title"),
    [
        (SAMPLES["eight_findings"], "3 errors found"),
        (SAMPLES["all_passed"], "No fault found"),
        (SAMPLES["crashed"], "The script raised an error"),
        (SAMPLES["empty"], "Nothing could be judged"),
        (replace(SAMPLES["eight_findings"], findings=SAMPLES["eight_findings"].findings[5:7], start_here=None), "No errors, 1 warning"),
    ],
)
def test_verdict(report: Report, title: str) -> None:
    assert f'<h1 id="verdict">{title}</h1>' in HtmlRenderer().render(report)


def test_a_stage_that_was_judged_in_part_says_so_and_has_another_sign() -> None:
    report = samples.all_passed()
    kept = next(f for f in report if f.outcome is Outcome.PASS)
    unseen = replace(kept, code="TL999", name="unseen", outcome=Outcome.NOT_RUN, reason="no loader")
    whole, part = (
        next(s for s in stage_states(replace(report, findings=found)) if s.stage is kept.stage) for found in ((kept,), (kept, unseen))
    )
    assert (whole.state, whole.text) == ("pass", "1 passed")
    assert (part.state, part.text) == ("partly", "1 passed, 1 not run")
