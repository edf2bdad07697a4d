"""The order of the catalogue's pages, and how its rules hang together."""

from __future__ import annotations

from dataclasses import dataclass

from trainlint.finding import Stage
from trainlint.registry import Catalogue
from trainlint.rule import Rule

__all__ = ["Related", "by_stage", "related"]


def by_stage(catalogue: Catalogue) -> list[tuple[Stage, list[Rule]]]:
    """The stages that have rules, each with its rules in the order of their codes."""
    ordered = sorted(catalogue.rules, key=lambda r: r.code)
    return [(stage, rules) for stage in Stage if (rules := [r for r in ordered if r.stage is stage])]


@dataclass(frozen=True)
class Related:
    """Names of the rules around one."""

    causes: tuple[str, ...]
    symptoms: tuple[str, ...]
    blocked_by: tuple[str, ...]

    def lists(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Each list with its title."""
        return (
            ("Often caused by", self.causes),
            ("Often the cause of", self.symptoms),
            ("Not judged after an error of", self.blocked_by),
        )


def related(rule: Rule, catalogue: Catalogue) -> Related:
    """Rules of the catalogue whose failure explains this one's, or the reverse, or which block it."""
    names = {r.name for r in catalogue.rules}
    return Related(
        causes=tuple(r.name for r in catalogue.rules if rule.name in catalogue.explains.get(r.name, ())),
        symptoms=tuple(dict.fromkeys(n for n in catalogue.explains.get(rule.name, ()) if n in names and n != rule.name)),
        blocked_by=tuple(n for n in rule.blocked_by if n in names),
    )
