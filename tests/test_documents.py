"""The documents hold: links lead somewhere, the navigation is complete, the rule that they write can judge."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from trainlint.finding import Outcome
from trainlint.measurements import GroupInfo, OptimizerInfo, Optimizers
from trainlint.version import __version__

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def anchors(document: Path) -> set[str]:
    tokens = MarkdownIt().parse(document.read_text("utf-8"))
    titles = [after.content for token, after in itertools.pairwise(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(document: Path) -> list[str]:
    return [
        str(child.attrGet("href") or child.attrGet("src"))
        for token in MarkdownIt().enable("table").parse(document.read_text("utf-8"))
        for child in token.children or ()
        if child.type in ("link_open", "image")
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in links(document):
        path, _, anchor = link.partition("#")
        if re.match(r"https?://", path):
            continue
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_the_navigation_holds_every_page() -> None:
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text("utf-8")))
    pages = {str(path.relative_to(ROOT / "docs")) for path in ROOT.glob("docs/*.md")}
    assert listed - {"rules/README.md"} == pages


def test_the_documented_rule_judges() -> None:
    page = (ROOT / "docs" / "writing-a-rule.md").read_text("utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    names: dict[str, object] = {"__name__": "my_rules"}
    exec(compile(code, "my_rules.py", "exec"), names)
    (kind,) = names["RULES"]  # type: ignore[misc]
    seen = [
        kind().judge(Optimizers(optimizers=(OptimizerInfo(index=0, kind="SGD", groups=(GroupInfo(lr=0.1, first_lr=lr),)),)))
        for lr in (0.0, 0.1)
    ]
    assert [verdict.kind for verdict in seen] == ["fail", "pass"]
    assert kind().judge(Optimizers()).kind == Outcome.NOT_RUN.value


def test_the_citation_names_this_version() -> None:
    (version,) = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    assert version == __version__
