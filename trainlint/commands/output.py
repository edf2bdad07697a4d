"""Where results go: reports to files or stdout, messages and progress to stderr."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from trainlint.errors import UsageError
from trainlint.finding import Severity
from trainlint.report import Report

__all__ = ["console", "deliver", "exit_code", "live_progress", "say", "use_color", "width"]


def deliver(report: Report, targets: list[tuple[str, Path]], *, quiet: bool, verbose: bool, text: bool = True) -> None:
    """Write each target, and the text to stdout unless a target has taken it or ``text`` is off.

    Raises UsageError when one could not be written, after the others were.
    """
    from trainlint.renderers import load_renderers

    renderers = load_renderers()
    color = use_color()
    verbosity = -1 if quiet else int(verbose)
    taken = any(path == Path("-") for _, path in targets)
    failed = []
    for name, path in [*([("text", Path("-"))] if text and not taken else []), *targets]:
        stdout = path == Path("-")
        page = renderers[name].render(report, color=stdout and color, width=width(), verbosity=verbosity)
        try:
            if stdout:
                click.echo(page, nl=not page.endswith("\n"), color=color)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(page, "utf-8")
        except OSError as error:
            if stdout and error.errno == errno.EPIPE:  # the reader has seen enough
                raise
            failed.append(f"the {name} report could not be written to {'stdout' if stdout else path}: {error.strerror or error}")
            continue
        if not stdout and not quiet:
            say(f"{name} report: {path}")
    if failed:
        raise UsageError("; ".join(failed))


def exit_code(report: Report, fail_on: str) -> int:
    """0 when no finding is as bad as ``fail_on``, else 1."""
    return 0 if fail_on == "never" else int(bool(report.at_or_above(Severity(fail_on))))


def use_color() -> bool:
    """Click ignores NO_COLOR; see no-color.org for the rule."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()


def width() -> int:
    """Columns to write in: the terminal's, between 40 and 120."""
    return max(40, min(shutil.get_terminal_size((100, 24)).columns, 120))


def console() -> Any:
    """A rich console on stdout, in colour where that is wanted."""
    from rich.console import Console

    return Console(no_color=not use_color(), highlight=False, width=None if sys.stdout.isatty() else 140)


def say(text: str) -> None:
    """A message to stderr."""
    click.echo(text, err=True)


@contextlib.contextmanager
def live_progress(*, quiet: bool, shown: bool) -> Iterator[Callable[[str], None]]:
    """A live line on a terminal, nothing otherwise."""
    if quiet or not shown:
        yield lambda text: None
        return
    from rich.console import Console

    with Console(stderr=True, no_color=not use_color()).status("starting") as status:
        yield lambda text: status.update(text)
