"""Options that commands share, and what they mean together with the project's settings."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from trainlint.config import find_config, read_config
from trainlint.errors import UsageError
from trainlint.report import Report
from trainlint.settings import FAIL_ON, Settings

__all__ = ["ScriptCommand", "baseline_option", "judging", "marker", "settings_for", "targets_for"]


class ScriptCommand(click.Command):
    """A command that runs a script: an option that it does not know is most likely the script's own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the arguments, or say where the script's own belong."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            known = [name for parameter in self.params for name in parameter.opts]
            near = difflib.get_close_matches(error.option_name, known, n=1, cutoff=0.8)
            typo = f"Did you mean {near[0]}? " if near else ""
            command = _with_dashes(["trainlint", self.name or ""], given, known)
            ctx.fail(f"{self.name} has no option {error.option_name}. {typo}The script's own arguments go after `--`: `{command}`")


def _with_dashes(command: list[str], given: list[str], known: Sequence[str]) -> str:
    """The command line with the options that it does not know, and what follows them, behind ``--``."""
    end = given.index("--") if "--" in given else len(given)
    ours: list[str] = []
    theirs: list[str] = []
    into = ours
    for word in given[:end]:
        if word.startswith("-") and word != "-":
            name = word.partition("=")[0] if word.startswith("--") else word[:2]
            into = ours if name in known else theirs
        into.append(word)
    return shlex.join([*command, *(ours or ["SCRIPT"]), "--", *theirs, *given[end + 1 :]])


_STDOUT = Path("-")


def judging(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that ends in a report."""
    for option in reversed((
        click.option("--select", multiple=True, metavar="RULE", help="Only these rules, by name, code or code prefix. Repeatable, commas allowed."),
        click.option("--ignore", multiple=True, metavar="RULE", help="Not these rules. Repeatable, commas allowed."),
        click.option("--fail-on", type=click.Choice(FAIL_ON), help="Least severity that makes the exit code 1  [default: error]."),
        click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="pyproject.toml to read  [default: the nearest with a [tool.trainlint]]."),
        click.option("--format", "formats", multiple=True, metavar="FORMAT", help="text, json, html, sarif, junit, github, markdown or an installed one. Repeatable: each with its --output."),
        click.option("--output", "outputs", multiple=True, type=click.Path(path_type=Path), help="File for the format named before it; - for stdout. Without one, its ending names the format."),
        click.option("-q", "--quiet", is_flag=True, help="Failures only, no progress."),
        click.option("-v", "--verbose", is_flag=True, help="Also what passed and what was not run, and the script's own output."),
    )):  # fmt: skip
        command = option(command)
    return command


def baseline_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--baseline``."""
    option = click.option(
        "--baseline",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Known failures, which fail nothing; `trainlint baseline` writes them.",
    )
    return option(command)


def marker(settings: Settings) -> Callable[[Report], Report]:
    """What marks the failures that the settings' baseline knows. The file is read now, so that an error shows before a scan."""
    if not settings.baseline:
        return lambda report: report
    from trainlint.baseline import mark, read_baseline

    baseline = read_baseline(Path(settings.baseline))
    return lambda report: mark(report, baseline)


def _split(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(n.strip() for entry in names for n in entry.split(",") if n.strip())


def settings_for(
    config: Path | None, start: Path, select: tuple[str, ...], ignore: tuple[str, ...], fail_on: str | None, baseline: Path | None = None
) -> Settings:
    """What the project's pyproject.toml says, under what the command line says."""
    found = config or find_config(start)
    settings = read_config(found) if found is not None else Settings()
    return replace(
        settings,
        select=_split(select) or settings.select,
        ignore=(*settings.ignore, *_split(ignore)),
        fail_on=fail_on or settings.fail_on,
        baseline=str(baseline) if baseline is not None else settings.baseline,
    )


def targets_for(formats: tuple[str, ...], outputs: tuple[Path, ...]) -> list[tuple[str, Path]]:
    """Pairs of format and file. A format without a file goes to stdout; a file without a format is written as its ending says.

    Raises:
        UsageError: There is no such format, it is not clear which file is meant for which, or two would go to stdout.
    """
    from trainlint.renderers import load_renderers

    known = load_renderers()
    for name in formats:
        if name not in known:
            msg = f"there is no format {name!r}; installed: {', '.join(sorted(known))}"
            raise UsageError(msg)
    pairs = _paired(formats, outputs, {name: renderer.suffix for name, renderer in known.items()})
    if sum(path == _STDOUT for _, path in pairs) > 1:
        msg = "only one report can go to stdout: give each --format an --output"
        raise UsageError(msg)
    return pairs


def _paired(formats: tuple[str, ...], outputs: tuple[Path, ...], endings: dict[str, str]) -> list[tuple[str, Path]]:
    """Each file with its format: in their order when there are as many, else each format with the one file that can be meant."""
    if not outputs:
        return [(name, _STDOUT) for name in formats]
    if len(formats) == len(outputs):
        return list(zip(formats, outputs, strict=True))
    if len(formats) > len(outputs):
        msg = f"{len(formats)} --format but {len(outputs)} --output: give each --format its own --output (- is stdout)"
        raise UsageError(msg)
    pairs: dict[Path, str] = {}
    for name in formats:
        typed = [o for o in outputs if o.name.endswith(endings[name])]
        fitting = typed or [o for o in outputs if o == _STDOUT or not o.name.endswith(tuple(endings.values()))]
        if len(fitting) != 1 or fitting[0] in pairs:
            msg = f"which --output is meant for --format {name}? Give every --output its own --format, or let the endings name all formats"
            raise UsageError(msg)
        pairs[fitting[0]] = name
    return [(pairs.get(path) or _by_ending(path, endings), path) for path in outputs]


def _by_ending(path: Path, endings: dict[str, str]) -> str:
    """The format that a file's name asks for; stdout gets text."""
    if path == _STDOUT:
        return "text"
    if path.name.endswith(endings["text"]):
        return "text"
    name = next((n for n, ending in endings.items() if path.name.endswith(ending)), None)
    if name is None:
        known = ", ".join(f"{ending} ({_by_ending(Path(ending), endings)})" for ending in sorted(set(endings.values())))
        msg = f"--output {path}: no format has that ending; known are {known}. Or name one with --format"
        raise UsageError(msg)
    return name
