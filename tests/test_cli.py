"""The command line's quick commands: no torch, honest exit codes, colour only where it is wanted."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module

import click
import pytest
from click.testing import CliRunner

from trainlint.cli import COMMANDS, main
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
