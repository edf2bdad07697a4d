"""The command line. Exit codes: 0 clean, 1 findings at or above --fail-on, 2 wrong use or a script that could not be run."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from trainlint.config import find_config, read_config, seconds
from trainlint.errors import TrainlintError, UsageError
from trainlint.finding import Report, Severity
from trainlint.settings import FAIL_ON, Settings

__all__ = ["main"]


class _Commands(click.Group):
    """Shows this package's own errors as one message with exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TrainlintError as error:
            _say(f"trainlint: {error}")
            ctx.exit(2)
        except KeyboardInterrupt:
            _say("trainlint: interrupted")
            ctx.exit(2)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trainlint")
def main() -> None:
    """Find the bug in a PyTorch training run before you wait a night for it.

    `trainlint scan train.py` runs an unmodified script for a few steps and says what is wrong with it, where, and what to change.
    """


def _judging(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that ends in a report."""
    for option in reversed((
        click.option("--select", multiple=True, metavar="RULE", help="Only these rules, by name, code or code prefix. Repeatable, commas allowed."),
        click.option("--ignore", multiple=True, metavar="RULE", help="Not these rules. Repeatable, commas allowed."),
        click.option("--fail-on", type=click.Choice(FAIL_ON), help="Least severity that makes the exit code 1  [default: error]."),
        click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="pyproject.toml to read  [default: the nearest with a [tool.trainlint]]."),
        click.option("--format", "formats", multiple=True, metavar="FORMAT", help="text, json, html or an installed one. Repeatable: each with its --output."),
        click.option("--output", "outputs", multiple=True, type=click.Path(path_type=Path), help="File for the format named before it; - for stdout."),
        click.option("-q", "--quiet", is_flag=True, help="Failures only, no progress."),
        click.option("-v", "--verbose", is_flag=True, help="Also what passed and what was not run, and the script's own output."),
    )):  # fmt: skip
        command = option(command)
    return command


@main.command(context_settings={"ignore_unknown_options": False})
@click.argument("script")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("-m", "module", is_flag=True, help="SCRIPT is a module name, as after `python -m`.")
@click.option("--budget", type=str, help="Time for recording and measuring, as 60s or 2m; imports are not counted  [default: 120s].")
@click.option("--seed", type=int, help="Seed of the measurements' own randomness.")
@click.option(
    "--html", type=click.Path(path_type=Path), default=None, help="Where to write the HTML report  [default: trainlint-report.html]."
)
@click.option("--no-html", is_flag=True, help="Write no HTML report.")
@click.option("--save-evidence", type=click.Path(path_type=Path), help="Keep the measurements for `trainlint judge`.")
@_judging
def scan(
    script: str, args: tuple[str, ...], module: bool, budget: str | None, seed: int | None, html: Path | None, no_html: bool, save_evidence: Path | None,
    select: tuple[str, ...], ignore: tuple[str, ...], fail_on: str | None, config: Path | None, formats: tuple[str, ...], outputs: tuple[Path, ...],
    quiet: bool, verbose: bool,
) -> None:  # fmt: skip
    """Run SCRIPT for a few training steps, unmodified, and report what is wrong. Its own arguments follow after `--`."""
    from trainlint.scanning import ScanError
    from trainlint.scanning import scan as run_scan

    settings = _settings(config, Path.cwd() if module else Path(script).parent, select, ignore, fail_on)
    if budget is not None:
        settings = replace(settings, budget=seconds(budget, "--budget"))
    if seed is not None:
        settings = replace(settings, seed=seed)
    targets = _targets(formats, outputs)
    if not no_html and "html" not in dict(targets) and (html is not None or not targets):
        targets.append(("html", html or Path("trainlint-report.html")))
    problem = None
    with _progress(quiet=quiet, shown=sys.stderr.isatty() and not verbose) as progress:
        try:
            report = run_scan(
                script, args, settings=settings, module=module, show_output=verbose, progress=progress, save_evidence=save_evidence
            )
        except ScanError as error:
            problem, partial = str(error), error.report
            if partial is None:
                raise
            report = partial
    _deliver(report, targets, quiet=quiet, verbose=verbose)
    if problem is not None:
        _say(f"trainlint: {problem}")
        sys.exit(2)
    sys.exit(_exit_code(report, settings.fail_on))


@main.command()
@click.argument("evidence", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_judging
def judge(
    evidence: Path, select: tuple[str, ...], ignore: tuple[str, ...], fail_on: str | None, config: Path | None, formats: tuple[str, ...],
    outputs: tuple[Path, ...], quiet: bool, verbose: bool,
) -> None:  # fmt: skip
    """Judge measurements saved with `scan --save-evidence` again, without torch."""
    from trainlint.evidence import read_evidence
    from trainlint.scanning import judge as judge_evidence

    settings = _settings(config, Path.cwd(), select, ignore, fail_on)
    report = judge_evidence(read_evidence(evidence), settings, name=str(evidence))
    _deliver(report, _targets(formats, outputs), quiet=quiet, verbose=verbose)
    sys.exit(_exit_code(report, settings.fail_on))


@main.command()
@click.option("--format", "style", type=click.Choice(["table", "json"]), default="table", show_default=True)
def rules(style: str) -> None:
    """List every rule with its code, stage and worst severity."""
    from trainlint.registry import load_catalogue

    catalogue = load_catalogue()
    if style == "json":
        listed = [
            {"code": r.code, "name": r.name, "stage": int(r.stage), "severity": r.severity.value, "summary": r.summary, "source": r.source}
            for r in catalogue.rules
        ]
        click.echo(json.dumps(listed, indent=2))
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Code", "Name", "Stage", "Worst", "What holds when it passes"):
        table.add_column(column, no_wrap=column in ("Code", "Name"))
    for rule in sorted(catalogue.rules, key=lambda r: r.code):
        table.add_row(rule.code, rule.name, rule.stage.title, rule.severity.value, rule.summary)
    _console().print(table)


@main.command()
@click.argument("rule")
@click.option("--format", "style", type=click.Choice(["terminal", "markdown"]), default="terminal", show_default=True)
def explain(rule: str, style: str) -> None:
    """Show the page of RULE, by name or code."""
    from trainlint.registry import load_catalogue

    found = load_catalogue().find(rule)
    page = f"# {found.name} ({found.code})\n\n{found.page()}\n"
    if style == "markdown" or not sys.stdout.isatty():
        click.echo(page, nl=False)
        return
    from rich.markdown import Markdown

    _console().print(Markdown(page))


@main.command()
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Folder to leave the script and the report in.")
def demo(keep: Path | None) -> None:
    """Scan a small script with a planted bug and write its report; needs scikit-learn."""
    import shutil
    import tempfile

    from trainlint.demo import write_demo
    from trainlint.scanning import scan as run_scan

    folder = keep or Path(tempfile.mkdtemp(prefix="trainlint-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    script = write_demo(folder)
    _say(f"scanning {script}")
    target = Path("trainlint-report.html") if keep is None else folder / "trainlint-report.html"
    with _progress(quiet=False, shown=sys.stderr.isatty()) as progress:
        report = run_scan(script, progress=progress)
    _deliver(report, [("html", target)], quiet=False, verbose=False)
    if keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(_exit_code(report, "error"))


def _split(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(n.strip() for entry in names for n in entry.split(",") if n.strip())


def _settings(config: Path | None, start: Path, select: tuple[str, ...], ignore: tuple[str, ...], fail_on: str | None) -> Settings:
    """What the project's pyproject.toml says, under what the command line says."""
    found = config or find_config(start)
    settings = read_config(found) if found is not None else Settings()
    return replace(
        settings,
        select=_split(select) or settings.select,
        ignore=(*settings.ignore, *_split(ignore)),
        fail_on=fail_on or settings.fail_on,
    )


def _targets(formats: tuple[str, ...], outputs: tuple[Path, ...]) -> list[tuple[str, Path]]:
    """Pairs of format and file. A format without a file goes to stdout."""
    from trainlint.registry import load_renderers

    known = load_renderers()
    for name in formats:
        if name not in known:
            msg = f"there is no format {name!r}; installed: {', '.join(sorted(known))}"
            raise UsageError(msg)
    if len(outputs) > max(len(formats), 1):
        msg = "each --output needs its --format before it"
        raise UsageError(msg)
    names = list(formats)
    if outputs and not names:
        suffix = outputs[0].suffix
        names = [next((n for n, r in known.items() if r.suffix == suffix), "text")]
    return [(name, outputs[i] if i < len(outputs) else Path("-")) for i, name in enumerate(names)]


def _deliver(report: Report, targets: list[tuple[str, Path]], *, quiet: bool, verbose: bool) -> None:
    """Write each target, and the text to stdout unless a target has taken it."""
    from trainlint.registry import load_renderers

    renderers = load_renderers()
    color = _color()
    verbosity = -1 if quiet else int(verbose)
    taken = any(path == Path("-") for _, path in targets)
    if not taken:
        click.echo(renderers["text"].render(report, color=color, width=_width(), verbosity=verbosity), nl=False, color=color)
    for name, path in targets:
        stdout = path == Path("-")
        text = renderers[name].render(report, color=stdout and color, width=_width(), verbosity=verbosity)
        if stdout:
            click.echo(text, nl=not text.endswith("\n"), color=color)
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        except OSError as error:
            msg = f"the {name} report could not be written to {path}: {error.strerror or error}"
            raise UsageError(msg) from error
        if not quiet:
            _say(f"{name} report: {path}")


def _exit_code(report: Report, fail_on: str) -> int:
    return 0 if fail_on == "never" else int(bool(report.at_or_above(Severity(fail_on))))


def _color() -> bool:
    """Click ignores NO_COLOR; see no-color.org for the rule."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()


def _width() -> int:
    import shutil

    return max(40, min(shutil.get_terminal_size((100, 24)).columns, 120))


def _console() -> Any:
    from rich.console import Console

    return Console(no_color=not _color(), highlight=False, width=None if sys.stdout.isatty() else 140)


def _say(text: str) -> None:
    click.echo(text, err=True)


@contextlib.contextmanager
def _progress(*, quiet: bool, shown: bool) -> Iterator[Callable[[str], None]]:
    """A live line on a terminal, nothing otherwise."""
    if quiet or not shown:
        yield lambda text: None
        return
    from rich.console import Console

    with Console(stderr=True, no_color=not _color()).status("starting") as status:
        yield lambda text: status.update(text)


if __name__ == "__main__":
    main()
