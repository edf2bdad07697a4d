"""The command line. Exit codes: 0 clean, 1 findings at or above --fail-on, 2 wrong use or a script that could not be run."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from trainlint.commands.baseline import baseline
from trainlint.commands.catalogue import explain, rules
from trainlint.commands.config import config
from trainlint.commands.curves import curves
from trainlint.commands.diff import diff
from trainlint.commands.output import say
from trainlint.commands.recipe import recipe
from trainlint.commands.scan import demo, judge, scan
from trainlint.commands.view import view
from trainlint.commands.watch import watch
from trainlint.errors import TrainlintError, UsageError

__all__ = ["main"]


class _Commands(click.Group):
    """Shows this package's own errors as one message with exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _signals_interrupt(), _stdout_written():
                return super().invoke(ctx)
        except TrainlintError as error:
            say(f"trainlint: {error}")
            ctx.exit(2)
        except KeyboardInterrupt:
            say("trainlint: interrupted")
            ctx.exit(2)


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


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trainlint")
def main() -> None:
    """Find the bug in a PyTorch training run before you wait a night for it.

    `trainlint scan train.py` runs an unmodified script for a few steps and says what is wrong with it, where, and what to change.
    """


for command in (scan, judge, view, diff, baseline, rules, explain, demo, config, curves, watch, recipe):
    main.add_command(command)


if __name__ == "__main__":
    main()
