"""The catalogue as Markdown, a page for each rule and an index: what docs/rules holds."""

from __future__ import annotations

from collections.abc import Iterator

from trainlint.registry import Catalogue
from trainlint.rule import Rule

from .markdown import fenced
from .phrases import count
from .related import Related, by_stage, related
from .text import TextRenderer

__all__ = ["MarkdownPages"]


class MarkdownPages:
    """Pages to read in a repository; each ends with what the terminal shows of such a fault."""

    name = "markdown"

    def pages(self, catalogue: Catalogue) -> Iterator[tuple[str, str]]:
        """``README.md``, the index, and ``<rule>.md``."""
        yield "README.md", _index(catalogue)
        for rule in catalogue.rules:
            yield f"{rule.name}.md", _page(rule, related(rule, catalogue))


def _index(catalogue: Catalogue) -> str:
    lines = ["# The rules", "", f"{count(len(catalogue.rules), 'rule')} in seven stages, the cheapest first.", ""]
    for stage, rules in by_stage(catalogue):
        lines += [f"## {stage.value} {stage.title}", "", "| Code | Name | Worst | What holds when it passes |", "|---|---|---|---|"]
        lines += [f"| {r.code} | [{r.name}]({r.name}.md) | {r.severity.value} | {r.summary} |" for r in rules] + [""]
    return "\n".join(lines)


def _page(rule: Rule, near: Related) -> str:
    facts = [f"{rule.code} · stage {rule.stage.value}, {rule.stage.title.lower()} · at worst {_article(rule.severity.value)}"]
    facts += [f"{title}: {', '.join(f'[{n}]({n}.md)' for n in names)}" for title, names in near.lists() if names]
    parts = [f"# {rule.name}", *facts, rule.page()]
    sample = rule.sample()
    if sample is not None:
        shown = TextRenderer().render(sample, verbosity=-1, width=100)
        parts += ["## What the report shows", fenced(shown.rstrip("\n"), "text").rstrip("\n")]
    return "\n\n".join(parts) + "\n"


def _article(severity: str) -> str:
    return f"{'an' if severity[0] in 'aeiou' else 'a'} {severity}"
