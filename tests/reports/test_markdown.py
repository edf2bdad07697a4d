from __future__ import annotations

import re
from dataclasses import replace

import samples
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from trainlint.finding import Finding, Fix, Outcome
from trainlint_reports.markdown import MarkdownRenderer, fenced

render = MarkdownRenderer().render


def html(text: str) -> str:
    """As GitHub makes it, before it removes what it thinks unsafe."""
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)


def words(page: str) -> str:
    from html import unescape

    return unescape(re.sub(r"<[^>]*>", "", page))


def test_the_root_cause_is_in_full_and_the_rest_is_folded() -> None:
    text = render(samples.eight_findings())
    assert text.startswith("<!-- trainlint -->\n## ❌ 3 errors found in <code>train.py</code>\n")
    assert "```diff\n-        return F.softmax(self.head(x), dim=1)\n+        return self.head(x)\n```" in text
    assert text.count("<details>") == text.count("</details>") == 7 + 3
    page = html(text)
    assert "**" not in words(page)
    assert "| ✅ |" not in page
    assert "Replayed without the softmax" in page


def test_a_passed_run_is_short() -> None:
    text = render(samples.all_passed())
    assert "## ✅ No fault found" in text
    assert "Start here" not in text


def test_what_comes_from_outside_stays_text() -> None:
    page = html(render(samples.hostile()))
    assert "<script" not in page
    assert samples.HOSTILE in words(page)


outside = st.text(st.sampled_from("ab*_`[]()<>&|#@~$\\!1.-+=:/ '\""), min_size=1, max_size=20).filter(str.strip)


@settings(max_examples=200, deadline=None)
@given(outside)
def test_any_message_reads_as_it_was_written(message: str) -> None:
    failure = samples.finding("TL210", "shuffle", Outcome.FAIL, message=message)
    page = html(render(replace(samples.empty(), findings=(failure,))))
    expected = re.sub(r"`([^`\n]+)`", r"\1", message)
    assert f"shuffleTL210·{expected}".replace(" ", "") in words(page).replace(" ", "")
    assert set(re.findall(r"<(\w+)", page)) <= {"h2", "h3", "p", "code", "details", "summary", "b", "sub"}


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("`~a\n "), max_size=20))
def test_no_code_leaves_its_block(code: str) -> None:
    page = html(fenced(code, "python"))
    assert page.count("<pre>") == 1
    assert page.startswith("<pre>")
    assert page.rstrip().endswith("</pre>")


def test_a_diff_of_the_script_is_preferred_to_a_sketch() -> None:
    fix = Fix(summary="s", code="sketch", diff="--- a/train.py\n+++ b/train.py\n@@ -1 +1 @@\n-a\n+b\n")
    failure: Finding = samples.finding("TL210", "shuffle", Outcome.FAIL, fix=fix)
    text = render(replace(samples.empty(), findings=(failure,)))
    assert "```diff\n--- a/train.py" in text
    assert "sketch" not in text
