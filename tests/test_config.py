"""Settings in pyproject.toml, options of single rules, and comments that take a finding back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from trainlint.cli import main
from trainlint.config import find_config, read_config
from trainlint.engine import Judge
from trainlint.errors import UnknownRuleError, UsageError
from trainlint.finding import Fix, Severity, Stage
from trainlint.location import Location
from trainlint.measurements import Loop
from trainlint.registry import Catalogue, load_catalogue
from trainlint.rule import Rule, Verdict, failed
from trainlint.settings import Settings
from trainlint.suppression import suppression_at, suppressions


def write(folder: Path, text: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text(text)
    return path


def test_every_key_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, """
[tool.trainlint]
select = ["TL2"]
ignore = ["shuffle"]
fail-on = "warning"
budget = "2m"
seed = 3
baseline = "known.json"
[tool.trainlint.rules.class-imbalance]
ratio = 30
""")  # fmt: skip
    assert read_config(path) == Settings(
        select=("TL2",), ignore=("shuffle",), fail_on="warning", budget=120.0, seed=3, baseline=str(tmp_path / "known.json"),
        options={"class-imbalance": {"ratio": 30}},
    )  # fmt: skip


def test_the_nearest_file_with_a_table_counts(tmp_path: Path) -> None:
    above = write(tmp_path, "[tool.trainlint]\n")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    write(tmp_path / "a", "[tool.ruff]\n")
    assert find_config(inner) == above


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.trainlint]\nignored = []", "did you mean 'ignore'"),
        ("[tool.trainlint]\nignore = 'shuffle'", "a list of rule names"),
        ("[tool.trainlint]\nfail-on = 'fatal'", "one of error, warning, note, never"),
        ("[tool.trainlint]\nbudget = 'soon'", "60s or 2m"),
        ("[tool.trainlint]\nseed = 'x'", "whole number"),
        ("[tool.trainlint]\nbaseline = 3", "name of a file"),
        ("[tool.trainlint]\nrules = 3", "table of its own"),
        ("[tool.trainlint", "cannot be read"),
        ("[tool.trainlint]\nfail_on = 'note'", "there is no setting 'fail_on'; did you mean 'fail-on'"),
        ("[tool.trainlint]\nseverity = 'note'", r"belongs to a rule's own table, \[tool.trainlint.rules.<name>\]"),
        ("[tool.trainlint.rules.evalmode]\nseverity = 'note'", r"pyproject.toml: there is no rule 'evalmode'; did you mean 'eval-mode'"),
        (
            "[tool.trainlint.rules.shuffle]\nseverity = 'info'",
            r"pyproject.toml: rule shuffle: severity must be one of error, warning, note, not 'info'",
        ),
        ("[tool.trainlint]\nselect = ['shufle']", "pyproject.toml: there is no rule 'shufle'"),
    ],
)
def test_what_is_wrong_in_the_file_is_said(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_config(path)


def test_a_file_of_its_own_comes_first_and_needs_no_table_name(tmp_path: Path) -> None:
    write(tmp_path, "[tool.trainlint]\nseed = 1\n")
    own = tmp_path / "trainlint.toml"
    own.write_text("seed = 2\n[rules.class-imbalance]\nratio = 30\n")
    assert find_config(tmp_path) == own
    assert read_config(own) == Settings(seed=2, options={"class-imbalance": {"ratio": 30}})
    own.write_text("sed = 2")
    with pytest.raises(UsageError, match="there is no setting 'sed'; did you mean 'seed'"):
        read_config(own)


def test_a_heading_too_many_in_a_file_of_its_own_is_named(tmp_path: Path) -> None:
    own = tmp_path / "trainlint.toml"
    own.write_text("[tool.trainlint]\nseed = 2\n")
    with pytest.raises(UsageError, match=r"drop `tool\.trainlint` from its headings"):
        read_config(own)


def test_a_budget_is_shown_as_it_is_written(tmp_path: Path) -> None:
    write(tmp_path, '[tool.trainlint]\nbudget = "90s"\n')
    shown = CliRunner().invoke(main, ["config", str(tmp_path)]).output
    assert 'budget = "90s"' in shown


def test_each_setting_says_where_it_comes_from(tmp_path: Path) -> None:
    path = write(tmp_path, '[tool.trainlint]\nfail-on = "warning"\n\n[tool.trainlint.rules.class-imbalance]\nratio = 30\n')
    done = CliRunner().invoke(main, ["config", str(tmp_path), "--format", "json"])
    told = {entry["key"]: (entry["value"], entry["from"]) for entry in json.loads(done.output)}
    assert told["fail-on"] == ("warning", f"{path}:2")
    assert told["rules.class-imbalance.ratio"] == (30, f"{path}:5")
    assert told["budget"] == ("120s", "default")
    path.write_text('[tool.trainlint]\nselect = ["shufle"]')
    wrong = CliRunner().invoke(main, ["config", str(tmp_path)])
    assert wrong.exit_code == 2
    assert "did you mean 'shuffle'" in wrong.output


def test_options_reach_the_rule_and_the_rest_keeps_its_defaults() -> None:
    rule = load_catalogue().choose(["class-imbalance"], options={"class-imbalance": {"tail-ratio": 99}}).rules[0]
    assert (rule.options.ratio, rule.options.tail_ratio) == (15.0, 99.0)
    assert load_catalogue().find("class-imbalance").options.tail_ratio == 50.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"class-imbalance": {"ration": 3}}, "did you mean 'ratio'"),
        ({"class-imbalance": {"ratio": "high"}}, "Expected `float`"),
        ({"shuffle": {"severity": "fatal"}}, "fatal"),
        ({"shufle": {}}, "did you mean 'shuffle'"),
    ],
)
def test_wrong_options_are_named(options: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_catalogue().choose(options=options)


@pytest.mark.parametrize(("limit", "becomes"), [("note", Severity.NOTE), ("error", Severity.WARNING)])
def test_severity_is_lowered_and_never_raised(limit: str, becomes: Severity) -> None:
    class Loud(Rule):
        code, name, stage, severity = "TL199", "loud", Stage.WIRING, Severity.ERROR
        summary, why, source, requires = "it is quiet", "it matters.", "a paper", (Loop,)

        def judge(self, loop: Loop) -> Verdict:
            return failed("loud", severity=Severity.WARNING, fix=Fix(summary="be quiet"))

    (finding,) = Judge(Catalogue((Loud({"severity": limit}),), {}), lambda kind: Loop()).findings()
    assert finding.severity is becomes


SCRIPT = """\
import torch
loader = DataLoader(  # trainlint: ignore[shuffle, TL208]
    data,
    batch_size=4,
)
optimizer = torch.optim.Adam(model.parameters())  # trainlint: ignore
for batch in loader:  # trainlint: ignore[overfit-batch]
    loss = 1
text = "# trainlint: ignore[lr-range]"
# trainlint: ignore[padding]

# why
output = model(
    batch,
)
other = 1
"""


@pytest.mark.parametrize(
    ("line", "names", "taken_back"),
    [
        (2, ("shuffle", "TL210"), True),
        (4, ("shuffle", "TL210"), True),
        (5, ("class-imbalance", "TL208"), True),
        (2, ("padding", "TL215"), False),
        (6, ("lr-range", "TL401"), True),
        (7, ("overfit-batch", "TL301"), True),
        (8, ("overfit-batch", "TL301"), False),
        (9, ("lr-range", "TL401"), False),
        (13, ("padding", "TL215"), True),
        (15, ("padding", "TL215"), True),
        (16, ("padding", "TL215"), False),
        (13, ("shuffle", "TL210"), False),
    ],
)
def test_a_comment_takes_back_what_is_said_of_its_statement(tmp_path: Path, line: int, names: tuple[str, ...], taken_back: bool) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    assert (suppression_at(Location(str(script), line), names) is not None) is taken_back


@given(st.text())
def test_a_file_that_is_not_python_holds_no_comments(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("s") / "x.py"
    path.write_text(text, "utf-8", errors="ignore")
    assert isinstance(suppressions(path), list)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("warmup", "did you mean 'warmup-missing'?"),
        ("Leak", "did you mean 'split-leak'?"),
        ("shufle", "did you mean 'shuffle'?"),
        ("nosuchrule", "`trainlint rules` lists them"),
    ],
)
def test_the_rule_that_holds_the_word_is_proposed_before_one_that_reads_like_it(name, hint):
    known = ("amp", "shuffle", "split-leak", "warmup-missing")
    assert str(UnknownRuleError(name, known)).endswith(hint)
