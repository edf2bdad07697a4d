"""The command line. Exit codes: 0 clean, 1 findings at or above --fail-on, 2 wrong use or a script that could not be run."""

from __future__ import annotations

import difflib
import errno
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import click

from trainlint.errors import TrainlintError, UsageError

__all__ = ["COMMANDS", "main"]

#: Command -> its module in ``trainlint.commands``, and what it does in a few words. Modules are imported when their command is run.
COMMANDS = {
    "baseline": ("baseline", "Take today's findings as known: later scans fail on new ones only."),
    "config": ("config", "Show the settings that hold here, and where each comes from."),
    "curves": ("curves", "Read training logs and name the shape of their curves."),
    "demo": ("scan", "Scan a small script with a planted bug and write its report."),
    "diff": ("diff", "Compare two reports: what is new, what is gone."),
    "explain": ("catalogue", "Show the page of a rule."),
    "judge": ("scan", "Judge saved measurements again, without running anything."),
    "recipe": ("recipe", "Train an image model by the reference recipe."),
    "rules": ("catalogue", "List every rule."),
    "scan": ("scan", "Run a script for a few training steps and report what is wrong."),
    "view": ("view", "Show a saved report again, in another format."),
    "watch": ("watch", "Run a script to its end and watch it."),
}


class _Commands(click.Group):
    """Imports a command when it is asked for, and shows this package's own errors as one message with exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = getattr(import_module(f"trainlint.commands.{COMMANDS[cmd_name][0]}"), cmd_name)
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            ctx.fail(f"there is no command {name!r}; {_meant(args)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _signals_interrupt(), _stdout_written():
                return super().invoke(ctx)
        except TrainlintError as error:
            _say(f"trainlint: {error}")
            ctx.exit(2)
        except KeyboardInterrupt:
            _say("trainlint: interrupted")
            ctx.exit(2)


def _meant(args: list[str]) -> str:
    """What someone who typed no command may have wanted."""
    if args[0].endswith((".py", ".ipynb")):
        return f"to scan that script: `trainlint scan {shlex.join(args[:1] + (['--', *args[1:]] if args[1:] else []))}`"
    near = difflib.get_close_matches(args[0], COMMANDS, n=1, cutoff=0.5)
    return f"did you mean `trainlint {shlex.join([*near, *args[1:]])}`?" if near else f"it takes: {', '.join(COMMANDS)}"


@contextmanager
def _stdout_written() -> Iterator[None]:
    """What a command has printed reaches stdout, or a UsageError says why it does not."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader has seen enough
            raise
        with suppress(OSError, ValueError):  # Python flushes once more when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        msg = f"{error.filename or 'stdout'}: {error.strerror or error}"
        raise UsageError(msg) from error


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM and a closed terminal end a command as Ctrl-C does, so that it cleans up; not where they are ignored, as under nohup."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    names = [n for n in ("SIGTERM", "SIGHUP") if hasattr(signal, n)] if threading.current_thread() is threading.main_thread() else []
    numbers = [signal.Signals[n] for n in names]
    before = {n: signal.signal(n, interrupt) for n in numbers if signal.getsignal(n) is signal.SIG_DFL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    from trainlint.commands.output import say

    say(text)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trainlint")
def main() -> None:
    """Find the bug in a PyTorch training run before you wait a night for it.

    `trainlint scan train.py` runs an unmodified script for a few steps and says what is wrong with it, where, and what to change.
    """


if __name__ == "__main__":
    main()
