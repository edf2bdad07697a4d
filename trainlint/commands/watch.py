"""``trainlint watch``: a whole run, unmodified, with verdicts as they become certain."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from trainlint.commands.options import ScriptCommand, judging, settings_for, targets_for
from trainlint.commands.output import deliver, exit_code, say

__all__ = ["watch"]


@click.command(cls=ScriptCommand)
@click.argument("script")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("-m", "module", is_flag=True, help="SCRIPT is a module name, as after `python -m`.")
@click.option("--stop-on", type=click.Choice(["error", "warning", "note"]), help="End the run at the first finding of this severity.")
@click.option(
    "--dir", "folder", type=click.Path(file_okay=False, path_type=Path), default=Path("trainlint-watch"), show_default=True,
    help="Folder for history.jsonl and report.html.",
)  # fmt: skip
@click.option("--no-html", is_flag=True, help="Write no HTML report.")
@judging
def watch(
    script: str, args: tuple[str, ...], module: bool, stop_on: str | None, folder: Path, no_html: bool, select: tuple[str, ...],
    ignore: tuple[str, ...], fail_on: str | None, config: Path | None, formats: tuple[str, ...], outputs: tuple[Path, ...], quiet: bool,
    verbose: bool,
) -> None:  # fmt: skip
    """Run SCRIPT to its end, unmodified, and watch it. Its own arguments follow after `--`.

    Each process of a distributed run is watched alike: `torchrun --nproc-per-node 2 -m trainlint watch SCRIPT`.
    """
    from trainlint.watching.supervisor import watch_script

    settings = settings_for(config, Path.cwd() if module else Path(script).parent, select, ignore, fail_on)
    targets = targets_for(formats, outputs)
    if not no_html and "html" not in dict(targets):
        targets.append(("html", folder / "report.html"))

    def tell(kind: str, text: str) -> None:
        if kind == "verdict" or not (quiet or int(_rank())):
            say(f"trainlint: {text}" if _rank() == "0" else f"trainlint, rank {_rank()}: {text}")

    done = watch_script(script, args, settings, folder=folder, module=module, stop_on=stop_on, say=tell)
    if done.rank:
        sys.exit(done.status)
    deliver(done.report, targets, quiet=quiet, verbose=verbose)
    if done.problem:
        say(f"trainlint: {done.problem}")
        sys.exit(2)
    sys.exit(exit_code(done.report, settings.fail_on))


def _rank() -> str:
    from trainlint.watching.ranks import this_place

    return str(this_place().rank)
