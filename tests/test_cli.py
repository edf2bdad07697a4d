"""The command line's quick commands: no torch, honest exit codes, colour only where it is wanted."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from trainlint.cli import COMMANDS, main
from trainlint.commands.options import targets_for
from trainlint.errors import UsageError
from trainlint.registry import load_catalogue


@pytest.mark.parametrize("command", [["--help"], ["--version"], ["rules"], ["explain", "init-loss"], ["rules", "--format", "json"]])
def test_quick_commands_import_no_torch(command: list[str]) -> None:
    code = f"import sys\nfrom trainlint.cli import main\ntry:\n    main({command!r})\nfinally:\n    assert 'torch' not in sys.modules\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, trainlint\nassert not {'torch', 'numpy', 'jinja2', 'click', 'matplotlib'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_rules_lists_every_rule_once() -> None:
    listed = json.loads(CliRunner().invoke(main, ["rules", "--format", "json"]).output)
    assert sorted(r["code"] for r in listed) == sorted(r.code for r in load_catalogue().rules)


@pytest.mark.parametrize("name", ["TL101", "init-loss", "tl101"])
def test_explain_takes_name_or_code(name: str) -> None:
    result = CliRunner().invoke(main, ["explain", name])
    assert result.exit_code == 0
    assert "## What it checks" in result.output


def test_explain_of_an_unknown_rule_suggests_the_nearest() -> None:
    result = CliRunner().invoke(main, ["explain", "shufle"])
    assert result.exit_code == 2
    assert "did you mean 'shuffle'" in result.output


def test_a_bad_budget_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["scan", "x.py", "--budget", "soon"])
    assert result.exit_code == 2
    assert "60s or 2m" in result.output


def test_every_command_is_listed_and_is_what_its_module_calls_it():
    context = click.Context(main)
    for name in COMMANDS:
        assert main.get_command(context, name).name == name
    modules = {module for module, _ in COMMANDS.values()}
    known = {c for m in modules for c in vars(import_module(f"trainlint.commands.{m}")).values() if isinstance(c, click.Command)}
    assert {c.name for c in known} == set(COMMANDS)


def test_help_imports_no_command():
    code = "import sys\nfrom trainlint.cli import main\ntry:\n    main(['--help'])\nfinally:\n    print(*sys.modules)\n"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "trainlint.commands.scan" not in shown
    assert "Commands:" in shown


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["scan", "a.py", "--epochs", "2", "--no-html"], "`trainlint scan a.py --no-html -- --epochs 2`"),
        (["watch", "a.py", "-e", "2", "--", "x"], "`trainlint watch a.py -- -e 2 x`"),
        (["scan", "a.py", "--no-htm"], "Did you mean --no-html?"),
        (["a.py"], "`trainlint scan a.py`"),
        (["a.py", "--epochs", "2"], "`trainlint scan a.py -- --epochs 2`"),
        (["scna", "a.py"], "did you mean `trainlint scan a.py`?"),
        (["nothing"], "it takes: baseline"),
        (["view", "pyproject.toml", "--output", "x.foo"], "no format has that ending; known are .html (html), .json (json)"),
    ],
)
def test_a_likely_mistake_is_answered_with_the_command_that_was_meant(given: list[str], said: str) -> None:
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("formats", "outputs", "expected"),
    [
        (["github"], ["r.json", "r.md", "gh.txt"], ["json", "markdown", "github"]),
        (["json"], ["out", "r.md"], ["json", "markdown"]),
        (["junit", "json"], ["a.json", "b.xml"], ["junit", "json"]),
        ([], ["a.txt", "-"], ["text", "text"]),
    ],
)
def test_formats_and_files_are_paired_where_there_is_one_way_to(formats: list[str], outputs: list[str], expected: list[str]) -> None:
    assert targets_for(tuple(formats), tuple(map(Path, outputs))) == list(zip(expected, map(Path, outputs), strict=True))


@pytest.mark.parametrize(
    ("formats", "outputs", "said"),
    [
        (["json"], ["a.json", "b.json"], "which --output is meant for --format json"),
        (["json", "html"], ["a.json"], "2 --format but 1 --output"),
        (["json", "html"], [], "only one report can go to stdout"),
    ],
)
def test_formats_and_files_that_cannot_be_paired_are_an_error(formats: list[str], outputs: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        targets_for(tuple(formats), tuple(map(Path, outputs)))
