"""Finds rules and what writes their pages: ours and third parties' come the same way, through entry points."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any, Protocol

from trainlint.errors import PluginError, UnknownRuleError
from trainlint.finding import Severity, Stage
from trainlint.plugins import gathered
from trainlint.rule import Rule

__all__ = ["Catalogue", "PageMaker", "load_catalogue", "load_page_makers"]


@dataclass(frozen=True)
class Catalogue:
    """The rules in the order in which they are judged, and which failures explain which."""

    rules: tuple[Rule, ...]
    explains: Mapping[str, tuple[str, ...]]
    """Cause -> symptoms: a failed rule named on the left is why the rules on the right fail."""

    def find(self, name: str) -> Rule:
        """The rule with this name or code, in any letter case."""
        for rule in self.rules:
            if name.lower() in (rule.name, rule.code.lower()):
                return rule
        raise UnknownRuleError(name, [r.name for r in self.rules])

    def choose(
        self, select: Iterable[str] = (), ignore: Iterable[str] = (), options: Mapping[str, Mapping[str, Any]] | None = None
    ) -> Catalogue:
        """Keep the selected rules (all when none is named), less the ignored, with options by rule.

        Names, codes and code prefixes (``TL3``) are taken; for options names and codes.
        """
        wanted = [self._matching(s) for s in select]
        unwanted = {r.code for i in ignore for r in self._matching(i)}
        kept = {r.code for group in wanted for r in group} if wanted else {r.code for r in self.rules}
        own = {self.find(name).code: given for name, given in (options or {}).items()}
        rules = (type(r)(own[r.code]) if r.code in own else r for r in self.rules)
        return Catalogue(tuple(r for r in rules if r.code in kept - unwanted), self.explains)

    def _matching(self, selector: str) -> Sequence[Rule]:
        prefix = selector.upper()
        if prefix and (group := [r for r in self.rules if r.code.startswith(prefix)]):
            return group
        return [self.find(selector)]


class PageMaker(Protocol):
    """Writes the catalogue as a folder of pages. ``name`` is the kind of page: ``html``, ``markdown``."""

    name: str

    def pages(self, catalogue: Catalogue) -> Iterator[tuple[str, str]]:
        """File name and text of each page, one for each rule and an index."""
        ...


@lru_cache(maxsize=1)
def load_catalogue() -> Catalogue:
    """All installed rules, first-party ones first, ordered by stage."""
    rules: list[Rule] = []
    explains: dict[str, tuple[str, ...]] = {}
    for point in sorted(entry_points(group="trainlint.rules"), key=lambda p: p.name != "core"):
        try:
            module = point.load()
            for kind in module.RULES:
                _check(kind, rules)
                rules.append(kind())
        except Exception as error:
            raise PluginError(point.name, point.value, error) from error
        for cause, symptoms in getattr(module, "EXPLAINS", {}).items():
            explains[cause] = (*explains.get(cause, ()), *symptoms)
    return Catalogue(tuple(sorted(rules, key=lambda r: r.stage)), explains)


#: What a rule's class must say, and the kind of each.
_ATTRIBUTES = {
    "code": str, "name": str, "stage": Stage, "severity": Severity, "summary": str, "why": str, "source": str, "requires": tuple,
}  # fmt: skip


def _check(kind: type[Rule], others: Sequence[Rule]) -> None:
    """Raise TypeError for a rule that lacks an attribute, or has the code or name of another."""
    for attribute, expected in _ATTRIBUTES.items():
        value = getattr(kind, attribute, None)
        if not isinstance(value, expected):
            problem = f"has no {attribute!r}" if value is None else f"has a wrong {attribute!r}: {value!r}"
            msg = f"rule {kind.__name__} {problem}; it must be a {expected.__name__}"
            raise TypeError(msg)
    for other in others:
        for attribute in ("code", "name"):
            if getattr(other, attribute).lower() == getattr(kind, attribute).lower():
                msg = f"rule {kind.__name__} has the {attribute} {getattr(kind, attribute)!r}, which {type(other).__module__}.{type(other).__name__} has already"
                raise TypeError(msg)


def load_page_makers() -> dict[str, PageMaker]:
    """What writes the catalogue's pages, by kind: ``PAGES`` of the modules that bring report formats."""
    return gathered("trainlint.reports", "PAGES")
