"""Every rule is whole: its page, its names, its place in the order, its examples."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

import trainlint_rules
from trainlint.finding import Severity
from trainlint.measurements import MEASUREMENTS
from trainlint.registry import Catalogue, load_catalogue
from trainlint.rule import Rule

ROOT = Path(__file__).parent.parent
HEADINGS = ["What it checks", "Why it matters", "Example", "Fix", "Thresholds", "References"]
RULES = load_catalogue().rules
BY_NAME = pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)


def test_codes_and_names_are_unique() -> None:
    assert len({r.code for r in RULES}) == len({r.name for r in RULES}) == len(RULES)


@BY_NAME
def test_code_name_module_and_stage_agree(rule: Rule) -> None:
    assert re.fullmatch(r"TL[1-7]\d\d", rule.code)
    assert int(rule.code[2]) == int(rule.stage)
    assert type(rule).__module__.split(".")[-1] == rule.name.replace("-", "_")


@BY_NAME
def test_the_page_has_its_sections_in_order_and_its_code_parses(rule: Rule) -> None:
    page = rule.page()
    options = ["Options"] if fields(rule.Options) else []
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == [*HEADINGS[:-1], *options, HEADINGS[-1]]
    for option in fields(rule.Options):
        assert f"- `{option.name.replace('_', '-')}` ({option.default:g}): " in page
    snippets = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(snippets) >= 2
    for snippet in snippets:
        ast.parse(snippet)
    assert re.search(r"https?://", page.split("## References")[1])


@BY_NAME
def test_meta_data_is_complete(rule: Rule) -> None:
    assert rule.summary
    assert not rule.summary.endswith(".")
    assert rule.why.endswith((".", "!"))
    assert rule.source
    assert isinstance(rule.severity, Severity)
    assert rule.requires
    assert all(MEASUREMENTS[kind.name] is kind for kind in rule.requires)


@BY_NAME
def test_blocking_rules_exist_and_stand_before(rule: Rule) -> None:
    names = [r.name for r in RULES]
    for cause in rule.blocked_by:
        assert cause in names
        assert names.index(cause) < names.index(rule.name)


@BY_NAME
def test_each_rule_has_a_bad_and_a_good_script_and_a_test(rule: Rule) -> None:
    folder = ROOT / "tests" / "rules" / rule.name
    assert (folder / "bad.py").exists()
    assert (folder / "good.py").exists()
    assert (ROOT / "tests" / "rules" / f"test_{rule.name.replace('-', '_')}.py").exists()
    if rule.severity is not Severity.NOTE:
        assert f"# fault: {rule.name}" in (folder / "bad.py").read_text()


def test_causes_and_symptoms_are_rules() -> None:
    names = {r.name for r in RULES}
    for cause, symptoms in trainlint_rules.EXPLAINS.items():
        assert cause in names
        assert set(symptoms) <= names, set(symptoms) - names
        assert cause not in symptoms


def test_rules_import_no_torch_and_the_core_imports_no_rule_or_report() -> None:
    for path in (ROOT / "rules").glob("*.py"):
        assert not re.search(r"^\s*(import|from) (torch|numpy|scipy)\b", path.read_text(), re.MULTILINE), path
    for path in (ROOT / "trainlint").rglob("*.py"):
        assert not re.search(r"^\s*(import|from) trainlint_(rules|reports)\b", path.read_text(), re.MULTILINE), path


def test_the_readme_lists_the_rules_as_they_are() -> None:
    readme = (ROOT / "README.md").read_text()
    listed = re.findall(r"^\| (TL\d{3}) \| ([a-z-]+) \|", readme, re.MULTILINE)
    assert sorted(listed) == sorted((r.code, r.name) for r in RULES)


def test_selection_takes_names_codes_and_prefixes_and_ignoring_wins() -> None:
    catalogue: Catalogue = load_catalogue()
    assert {r.code[:3] for r in catalogue.choose(["TL2"]).rules} == {"TL2"}
    assert catalogue.choose(["t"]).rules == catalogue.rules, "codes of others than trainlint begin with other letters"
    chosen = catalogue.choose(["TL1", "shuffle"], ["init-loss"]).rules
    assert "shuffle" in {r.name for r in chosen}
    assert "init-loss" not in {r.name for r in chosen}
