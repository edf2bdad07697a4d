"""The command line. Exit codes: 0 clean, 1 findings at or above --fail-on, 2 wrong use or a script that could not be run."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from trainlint.errors import TrainlintError

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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TrainlintError as error:
            _say(f"trainlint: {error}")
            ctx.exit(2)
        except KeyboardInterrupt:
            _say("trainlint: interrupted")
            ctx.exit(2)


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
