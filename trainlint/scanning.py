"""``trainlint scan``: a script is run and recorded in its own process, judged here, and becomes a report."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from trainlint.edits import with_diffs
from trainlint.engine import Judge, root_cause
from trainlint.errors import TrainlintError, UnknownRuleError, UsageError
from trainlint.evidence import Evidence, EvidenceWriter
from trainlint.finding import Finding, Outcome
from trainlint.measurements import OUT_OF_BUDGET
from trainlint.notebook import is_notebook
from trainlint.overview import overview
from trainlint.record.supervisor import Run, run_script
from trainlint.registry import Catalogue, load_catalogue
from trainlint.report import Cost, Report, Subject
from trainlint.rerun import again
from trainlint.settings import Settings
from trainlint.source import in_context, traceback_shown
from trainlint.suppression import heard, suppressions
from trainlint.version import __version__

__all__ = ["ScanError", "judge", "scan"]

#: Processor seconds of a script's own processes from which it may be these that train: importing torch alone takes as long.
_BUSY = 0.5

#: Share of the rules without time from which a report calls nothing clean: with the costliest measurements alone missing it is a tenth.
_UNJUDGED = 0.25


class ScanError(TrainlintError):
    """The script could not be run to its first training step. ``report`` holds what was seen all the same, if anything."""

    def __init__(self, message: str, report: Report | None = None) -> None:
        super().__init__(message)
        self.report = report


def scan(
    script: str | os.PathLike[str],
    args: Sequence[str] = (),
    *,
    settings: Settings | None = None,
    module: bool = False,
    show_output: bool = False,
    progress: Callable[[str], None] = lambda text: None,
    save_evidence: Path | None = None,
    rerun: bool = True,
) -> Report:
    """Run an unmodified training script for a few steps, and report what is wrong with it.

    Args:
        script: The script, or with ``module`` the name of a module as after ``python -m``.
        args: The script's own arguments.
        settings: What to check and how long it may take.
        show_output: Pass what the script prints on to stderr.
        progress: Told in a few words what is going on.
        save_evidence: Where to write the measurements for ``trainlint judge``.
        rerun: Run the script once more with the edits of the fixes that no replayed step could try, where there are any and half of the
            budget is left.

    Raises:
        UsageError: There is no such script, or a selected rule does not exist.
        ScanError: The script crashed, ended or was interrupted before enough was seen; carries the partial report.
    """
    settings = settings or Settings()
    load_catalogue().choose(settings.select, settings.ignore, settings.options)  # an unknown rule is an error before anything runs
    name = os.fspath(script)
    if not module:
        _know(load_catalogue(), Path(name))
    run = run_script(name, args, settings, module=module, show_output=show_output, progress=progress, save=save_evidence)
    command = shlex.join(["python", *(["-m"] if module else []), name, *args])
    status = "never-trained" if run.ended == "ended" and not _trained(run.evidence) else run.ended
    told = partial(judge, run.evidence, settings, name=name, command=command, status=status, crash=run.crash)
    report = told(seconds=run.seconds)
    problem = _problem(name, run)
    # A fault of the data may be why nothing was trained; of a script that crashed or hung another run says no more.
    judged = problem is None or (status == "never-trained" and not run.unsaved)
    if judged and rerun and settings.prove and 2 * run.seconds <= settings.budget and not is_notebook(name):
        began = time.monotonic()
        once_more = partial(run_script, name, args, module=module)
        proofs = again(report, load_catalogue().explains, partial(_with_edits, name, once_more, settings, progress))
        for evidence in (run.evidence, run.evidence.earlier):
            if evidence is not None:
                evidence.proofs.update(proofs)
        if save_evidence is not None:
            for rule, proof in proofs.items():
                EvidenceWriter(save_evidence).proof(rule, proof)
        report = told(seconds=run.seconds + time.monotonic() - began) if proofs else report
    if problem is not None:
        raise ScanError(problem, report if run.evidence.measurements else None)
    return report


def _with_edits(
    name: str,
    run: Callable[..., Run],
    settings: Settings,
    progress: Callable[[str], None],
    files: Mapping[Path, bytes],
    rules: Sequence[str],
) -> Report | str | None:
    """What some rules say of the script with other bytes for some files, or how it stopped; None when that is not its own doing."""
    progress(f"running the script with the fix for {', '.join(rules)}")
    fewer = replace(settings, select=tuple(rules), ignore=(), prove=False, compare=False)
    try:
        second = run(fewer, edited=files)
    except UsageError:  # no room for its temporary files
        return None
    if second.ended == "interrupted" or second.evidence.status.get("internal"):
        return None
    if (stopped := _problem(name, second)) is not None:
        return second.crash.strip().splitlines()[-1] if second.crash.strip() else stopped
    return judge(second.evidence, fewer)


def judge(
    evidence: Evidence,
    settings: Settings,
    *,
    name: str = "",
    command: str = "",
    seconds: float = 0.0,
    status: str = "recorded",
    kind: str = "script",
    crash: str = "",
) -> Report:
    """Judge measurements, freshly made or read from a file. Needs no torch. ``crash`` is the script's own traceback, if it raised."""
    catalogue = load_catalogue().choose(settings.select, settings.ignore, settings.options)
    broken: dict[str, None] = {}
    findings = _judged(catalogue, evidence, broken)
    shown = evidence
    if evidence.earlier is not None:
        earlier = _judged(catalogue, evidence.earlier, broken)
        if not any(f.failed for f in findings):
            shown = evidence.earlier
        findings = tuple(_worse(*pair) for pair in zip(earlier, findings, strict=True))
    findings = with_diffs(in_context(f) for f in findings)
    step = evidence.status.get("step_seconds")
    probes = dict(evidence.seconds)
    for probe, more in (evidence.earlier.seconds if evidence.earlier else {}).items():
        probes[probe] = probes.get(probe, 0.0) + more
    spent = sum(probes.values())
    trained = "steps" if status in ("recorded", "ended") else status
    return Report(
        subject=Subject(
            kind=kind,
            name=name,
            command=command,
            status="recorded" if trained == "steps" else status,
            too_little=_too_little(evidence, findings),
            trained=_trained(evidence),
            notes=(*evidence.status.get("notes", ()), *broken, *_left_out(settings)),
            environment=dict(evidence.status.get("environment", {})),
        ),
        findings=findings,
        start_here=root_cause(findings, catalogue.explains),
        cost=Cost(seconds=seconds, step_seconds=step, step_equivalents=spent / step if step else None, probes=probes),
        overview=(*traceback_shown(crash if status == "crashed" else ""), *overview(shown, findings)),
        version=__version__,
        fail_on=settings.fail_on,
    )


def _left_out(settings: Settings) -> tuple[str, ...]:
    """What a report of fewer rules says of the others."""
    return (f"left out by --ignore or the settings: {', '.join(settings.ignore)}",) if settings.ignore else ()


def _judged(catalogue: Catalogue, evidence: Evidence, broken: dict[str, None]) -> tuple[Finding, ...]:
    """The findings, each failure with what came of trying its fix. What rules raised is added to ``broken``."""
    judge = Judge(catalogue, evidence.measure, hear=heard)
    findings = judge.findings()
    broken.update(dict.fromkeys(judge.broken))
    return tuple(replace(f, proof=evidence.proofs.get(f.name)) if f.failed else f for f in findings)


def _too_little(evidence: Evidence, findings: Sequence[Finding]) -> bool:
    """Whether the budget left so little time that passed checks say next to nothing of the run."""
    judged = sum(f.outcome in (Outcome.PASS, Outcome.FAIL) for f in findings)
    unjudged = sum(f.outcome is Outcome.NOT_RUN and f.reason.startswith(OUT_OF_BUDGET) for f in findings)
    return bool(evidence.status.get("cut_short")) or unjudged > _UNJUDGED * (judged + unjudged)


def _worse(first: Finding, second: Finding) -> Finding:
    """Of one rule's findings about two trainings of a script the one to show: the worse, the first when they are alike."""
    ranks = [(not f.failed, f.severity.rank if f.failed else 0, not f.ignored, f.outcome is not Outcome.PASS) for f in (first, second)]
    if ranks[0] <= ranks[1]:
        return first
    return replace(second, message=f"In the script's second training: {second.message}")


def _know(catalogue: Catalogue, script: Path) -> None:
    """Raise for a comment of the script that names a rule which does not exist."""
    for comment in suppressions(script):
        for name in comment.names:
            try:
                catalogue.find(name)
            except UnknownRuleError as error:
                msg = f"{comment.location}: {error}"
                raise UsageError(msg) from None


def _problem(name: str, run: Run) -> str | None:
    """Why the scan does not count, as one message; None when it does."""
    if internal := run.evidence.status.get("internal"):
        return f"measuring {name} failed inside trainlint; please report this:\n\n{internal}"
    trained = _trained(run.evidence)
    seen = "; the report shows what was seen until then" if trained else "; nothing was recorded yet"
    if run.ended == "recorded" or (run.ended == "ended" and trained):
        return run.unsaved or None
    if run.ended == "crashed":
        when = "after some training steps" if trained else "before its first training step"
        return f"{name} crashed {when}; its own traceback:\n\n{run.crash.rstrip()}{_hint(run.crash)}"
    if run.ended == "ended":
        return (
            f"{name} ran to its end without training anything: no loss.backward() was seen. "
            + (
                "It ran processes of its own, which a scan does not follow: "
                if run.evidence.status.get("children_seconds", 0.0) > _BUSY
                else ""
            )
            + "Name the script that trains, or give it the arguments it trains with after --"
        )
    if run.ended == "interrupted":
        return f"{name}: {run.crash}{seen}"
    said = run.output.strip().splitlines()[-3:]
    printed = ("\nit printed last:\n  " + "\n  ".join(said)) if said else ""
    doing = f" while {run.doing}" if run.ended == "killed" and run.doing and run.crash.startswith("the script's process") else ""
    return f"{name}: {run.crash or run.ended}{doing}{seen if run.ended != 'exited' else ''}{printed}"


def _trained(evidence: Evidence) -> bool:
    """Whether anything of a training was seen."""
    loop, loss = evidence.measurements.get("loop"), evidence.measurements.get("loss")
    return bool(getattr(loop, "train_forwards", 0) or getattr(loop, "steps", ()) or (loss and hasattr(loss, "first")))


def _hint(crash: str) -> str:
    """What a scan has to do with a crash, if anything."""
    if "EOFError: EOF when reading a line" in crash:
        return "\n\nA scan gives the script no input: pass what it asks for as an argument, after --"
    return ""
