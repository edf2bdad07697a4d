"""The catalogue as web pages in the look of the report: a page for each rule and an index. No script, no request."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from trainlint.registry import Catalogue
from trainlint.rule import Rule
from trainlint.version import __version__

from .html import Page
from .html import _environment as environment
from .markup import code_rows, linked
from .related import by_stage, related

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

__all__ = ["HtmlPages"]

_TEMPLATES = Path(__file__).parent / "templates"
_SECTION = re.compile(r"^## (.+)\n", re.MULTILINE)
_LABELS = {"Example": "Wrong", "Fix": "Right"}


@dataclass(frozen=True)
class _Section:
    """One section of a rule's page."""

    title: str
    id: str
    html: Markup


class HtmlPages:
    """Pages to publish or to open from a folder; each shows what the report says of a script with that fault."""

    name = "html"

    def pages(self, catalogue: Catalogue) -> Iterator[tuple[str, str]]:
        """``index.html`` and ``<rule>.html``."""
        style = "".join((_TEMPLATES / name).read_text("utf-8") for name in ("style.css", "pages.css"))
        shared = {
            "style": Markup(style),
            "style_hash": base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
            "version": __version__,
        }
        stages = by_stage(catalogue)
        yield "index.html", _render("rules.html.j2", stages=stages, total=len(catalogue.rules), **shared)
        names = frozenset(r.name for r in catalogue.rules)
        ordered = [rule for _, rules in stages for rule in rules]
        for before, rule, after in zip([None, *ordered], ordered, [*ordered[1:], None], strict=False):
            lead, sections = _sections(rule, names)
            sample = rule.sample()
            yield (
                f"{rule.name}.html",
                _render(
                    "rule.html.j2",
                    rule=rule,
                    lead=lead,
                    sections=sections,
                    related=[(title, listed) for title, listed in related(rule, catalogue).lists() if listed],
                    sample=None if sample is None else sample[rule.name],
                    before=before,
                    after=after,
                    page=None if sample is None else Page(sample),
                    **shared,
                ),
            )


def _render(template: str, **values: Any) -> str:
    return environment().get_template(template).render(**values)


def _sections(rule: Rule, names: frozenset[str]) -> tuple[Markup, list[_Section]]:
    """The page's first paragraph, and its sections."""
    lead, *parts = _SECTION.split(rule.page())
    titles, texts = parts[::2], parts[1::2]
    return _html(lead, names), [
        _Section(title, re.sub(r"\W+", "-", title.lower()), _html(text, names, _LABELS.get(title, "")))
        for title, text in zip(titles, texts, strict=True)
    ]


def _html(text: str, names: frozenset[str], label: str = "") -> Markup:
    """Markdown as HTML; names of rules lead to their pages, and ``label`` says what a block of code is."""
    # Made by a renderer that takes no HTML from the text.
    return Markup(_reader().render(text, {"names": names, "label": label}))


@lru_cache(maxsize=1)
def _reader() -> MarkdownIt:
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.add_render_rule("text", _text)
    reader.add_render_rule("code_inline", _name)
    reader.add_render_rule("fence", _code)
    reader.add_render_rule("table_open", lambda *_: '<div class="scroll" role="group" aria-label="table" tabindex="0"><table>\n')
    reader.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return reader


def _text(_self: Any, tokens: Any, index: int, _options: Any, _env: Any) -> str:
    """Words; addresses can be followed unless they stand in a link already."""
    inside = index > 0 and tokens[index - 1].type == "link_open"
    words = tokens[index].content
    return str(Markup.escape(re.sub(r"^https?://(www\.)?", "", words)) if inside else linked(words))


def _name(_self: Any, tokens: Any, index: int, _options: Any, env: Any) -> str:
    words = tokens[index].content
    shown = Markup("<code>{}</code>").format(words)
    return str(Markup('<a href="{}.html">{}</a>').format(words, shown) if words in env["names"] else shown)


def _code(_self: Any, tokens: Any, index: int, _options: Any, env: Any) -> str:
    row = Markup('<span class="row plain"><span class="source">{}\n</span></span>')
    rows = (row.format(line.html) for line in code_rows(tokens[index].content, first_line=None))
    label = env["label"] if tokens[index].info == "python" else ""
    title = Markup("<figcaption>{}</figcaption>").format(label) if label else ""
    figure = Markup('<figure class="code {}">{}<pre><code>{}</code></pre></figure>\n')
    return str(figure.format(label.lower(), title, Markup("").join(rows)))
