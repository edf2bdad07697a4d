"""``trainlint scan``, ``judge`` and ``demo``: what ends in a report."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from trainlint.commands.fixing import check_clean, fixing, show_diffs, summary
from trainlint.commands.fixing import fix as apply_fixes
from trainlint.commands.options import ScriptCommand, baseline_option, judging, marker, settings_for, targets_for
from trainlint.commands.output import deliver, exit_code, live_progress, say
from trainlint.config import seconds
from trainlint.report import Report

__all__ = ["demo", "judge", "scan"]


@click.command(cls=ScriptCommand)
@click.argument("script")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("-m", "module", is_flag=True, help="SCRIPT is a module name, as after `python -m`.")
@click.option("--budget", type=str, help="Time for recording and measuring, as 60s or 2m; imports are not counted  [default: 120s].")
@click.option("--seed", type=int, help="Seed of the measurements' own randomness.")
@click.option(
    "--html", type=click.Path(path_type=Path), default=None, help="Where to write the HTML report  [default: trainlint-report.html]."
)
@click.option("--no-html", is_flag=True, help="Write no HTML report.")
@click.option("--no-proof", is_flag=True, help="Do not try the fixes on the model.")
@click.option("--compare", is_flag=True, help="Also train as it is, with the fixes and by a reference recipe, side by side.")
@click.option("--save-evidence", type=click.Path(path_type=Path), help="Keep the measurements for `trainlint judge`.")
@fixing
@baseline_option
@judging
def scan(
    script: str, args: tuple[str, ...], module: bool, budget: str | None, seed: int | None, html: Path | None, no_html: bool, no_proof: bool, compare: bool, save_evidence: Path | None,
    diff: bool, fix: bool, unsafe_fixes: bool, yes: bool, allow_dirty: bool, baseline: Path | None, select: tuple[str, ...], ignore: tuple[str, ...], fail_on: str | None,
    config: Path | None, formats: tuple[str, ...], outputs: tuple[Path, ...],
    quiet: bool, verbose: bool,
) -> None:  # fmt: skip
    """Run SCRIPT for a few training steps, unmodified, and report what is wrong. Its own arguments follow after `--`."""
    from trainlint.scanning import ScanError
    from trainlint.scanning import scan as run_scan
    from trainlint.watching.ranks import this_place

    place = this_place()
    if place.rank:
        sys.exit(0)
    if place.world > 1:
        say(
            f"trainlint: a scan runs {script} as the only process; the other {place.world - 1} stand by. "
            "`trainlint watch` compares processes"
        )

    settings = settings_for(config, Path.cwd() if module else Path(script).parent, select, ignore, fail_on, baseline)
    if budget is not None:
        settings = replace(settings, budget=seconds(budget, "--budget"))
    if seed is not None:
        settings = replace(settings, seed=seed)
    if no_proof:
        settings = replace(settings, prove=False)
    if compare:
        settings = replace(settings, compare=True)
    targets = targets_for(formats, outputs)
    start = Path.cwd() / "-m" if module else Path(script)
    mark_known = marker(settings)
    if not no_html and "html" not in dict(targets) and (html is not None or not (targets or diff)):
        targets.append(("html", html or Path("trainlint-report.html")))

    def scan_once() -> Report:
        with live_progress(quiet=quiet, shown=sys.stderr.isatty() and not verbose) as progress:
            return run_scan(
                script, args, settings=settings, module=module, show_output=verbose, progress=progress, save_evidence=save_evidence,
                rerun=not diff,
            )  # fmt: skip

    if fix and not diff:
        check_clean(start, allow_dirty=allow_dirty)
    problem = None
    try:
        report = scan_once()
    except ScanError as error:
        problem, partial = str(error), error.report
        if partial is None:
            raise
        report = partial
        if not report.judged and html is None and "html" not in formats:  # unasked, an empty page would replace the last good one
            targets = [t for t in targets if t[0] != "html"]
    report = mark_known(report)
    if diff:
        show_diffs(report)
    if not diff or targets:
        deliver(report, targets, quiet=quiet, verbose=verbose, text=not diff)
    if problem is not None:
        say(f"trainlint: {problem}")
        if not fix or diff:
            sys.exit(2)
    if fix and not diff:
        edited = apply_fixes(report, start, scan_once, unsafe=unsafe_fixes, yes=yes, allow_dirty=allow_dirty)
        if edited is not None:
            edited = mark_known(edited)
            deliver(edited, targets, quiet=quiet, verbose=verbose)
            say(summary(report, edited))
            report, problem = edited, None
    sys.exit(2 if problem is not None else exit_code(report, settings.fail_on))


@click.command()
@click.argument("evidence", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@baseline_option
@judging
def judge(
    evidence: Path, baseline: Path | None, select: tuple[str, ...], ignore: tuple[str, ...], fail_on: str | None, config: Path | None, formats: tuple[str, ...],
    outputs: tuple[Path, ...], quiet: bool, verbose: bool,
) -> None:  # fmt: skip
    """Judge measurements saved with `scan --save-evidence` again, without torch."""
    from trainlint.evidence import read_evidence
    from trainlint.scanning import judge as judge_evidence

    settings = settings_for(config, Path.cwd(), select, ignore, fail_on, baseline)
    report = marker(settings)(judge_evidence(read_evidence(evidence), settings, name=str(evidence)))
    deliver(report, targets_for(formats, outputs), quiet=quiet, verbose=verbose)
    sys.exit(exit_code(report, settings.fail_on))


@click.command()
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
    say(f"scanning {script}")
    target = Path("trainlint-report.html") if keep is None else folder / "trainlint-report.html"
    with live_progress(quiet=False, shown=sys.stderr.isatty()) as progress:
        report = run_scan(script, progress=progress)
    deliver(report, [("html", target)], quiet=False, verbose=False)
    if keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(exit_code(report, "error"))
