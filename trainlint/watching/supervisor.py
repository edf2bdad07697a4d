"""The parent's side of ``trainlint watch``: starts the script's process, shows what it says, and writes the report whatever way it ends.

Imports no torch. The script keeps its own standard streams, its environment and its signals.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from trainlint.errors import UsageError
from trainlint.evidence import Evidence
from trainlint.measurements import WatchedRun
from trainlint.record.lastwords import place_left
from trainlint.record.supervisor import death, new_lines
from trainlint.record.target import check_target
from trainlint.report import Report
from trainlint.settings import Settings
from trainlint.watching.history import read_history
from trainlint.watching.judging import report
from trainlint.watching.ranks import this_place, wait_for_all

__all__ = ["Watched", "watch_script"]

_BOOT = "import sys; sys.path[:] = [p for p in sys.path if p]; from trainlint.watching.child import main; main(sys.argv[1])"
_POLL = 0.1
#: Seconds that the first rank waits for the last words of the others.
_LAST_WORDS = 20.0


@dataclass
class Watched:
    """What came of one watched run."""

    report: Report
    problem: str
    """Why the run does not count as whole; empty when it came to its end or was stopped for a finding."""
    status: int
    """Exit status of the script's process."""
    rank: int = 0


def watch_script(
    script: str, args: Sequence[str], settings: Settings, *, folder: Path, module: bool = False, stop_on: str | None = None,
    say: Callable[[str, str], None],
) -> Watched:  # fmt: skip
    """Run a script to its end under a watch.

    Args:
        script: The script, or with ``module`` the name of a module.
        args: The script's own arguments.
        settings: Which rules judge.
        folder: Where the history and the facts of several ranks go.
        stop_on: Severity of a finding that ends the run: ``error``, ``warning`` or ``note``; None lets it run to its end.
        say: Told ``("progress", line)`` and ``("verdict", line)``.

    Raises:
        UsageError: There is no such script, or the folder cannot be made.
    """
    check_target(script, module=module)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"the folder {folder} cannot be made: {error.strerror or error}; name another with --dir"
        raise UsageError(msg) from error
    place = this_place()
    scratch = Path(tempfile.mkdtemp(prefix="trainlint-"))
    job = {
        "script": script, "module": script if module else "", "args": list(args), "settings": asdict(settings), "stop_on": stop_on,
        "folder": str(folder.resolve()),
    }  # fmt: skip
    (scratch / "job.json").write_text(json.dumps(job), "utf-8")
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, "-c", _BOOT, str(scratch / "job.json")])
    try:
        with _signals_passed_on(child) as signals:
            evidence = _follow(child, scratch / "evidence.jsonl", say)
        seconds = time.monotonic() - began
        ended, crash = _ending(child.returncode, evidence, signals, place_left(scratch / "stack"))
        if place.world > 1 and not place.rank:
            evidence.measurements["ranks"] = wait_for_all(folder, place, _LAST_WORDS if ended not in ("killed", "crashed") else 3.0)
        own = folder if not place.rank else folder / f"rank-{place.rank}"
        made = report(
            evidence, read_history(_lines(own / "history.jsonl")), settings, name=script, seconds=seconds, status=ended, several=place.world > 1,
            command=shlex.join(["python", *(["-m"] if module else []), script, *args]),
        )  # fmt: skip
        return Watched(made, _problem(script, ended, crash, evidence), child.returncode, place.rank)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        shutil.rmtree(scratch, ignore_errors=True)


def _follow(child: subprocess.Popen[bytes], path: Path, say: Callable[[str, str], None]) -> Evidence:
    evidence, position, running = Evidence(), 0, True
    while running:
        running = child.poll() is None
        position, lines = new_lines(path, position)
        for line in lines:
            kind = json.loads(line)["kind"]
            if kind in ("progress", "verdict"):
                say(kind, json.loads(line)["text"])
            else:
                evidence.take(line)
        if running:
            time.sleep(_POLL)
    return evidence


@contextlib.contextmanager
def _signals_passed_on(child: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """While the script runs its signals are its own: Ctrl-C in a terminal reaches it anyway, all others are handed on."""
    seen: list[int] = []

    def hand_on(number: int, _: object) -> None:
        seen.append(number)
        if not (number == signal.SIGINT and _in_foreground()):
            with contextlib.suppress(OSError):
                child.send_signal(number)

    wanted = [signal.Signals[n] for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
    before = {n: signal.signal(n, hand_on) for n in wanted if signal.getsignal(n) is not signal.SIG_IGN}  # as under nohup
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    """Whether a terminal sends Ctrl-C to this process and its child alike."""
    try:
        return os.tcgetpgrp(sys.__stderr__.fileno() if sys.__stderr__ else 2) == os.getpgrp()
    except (OSError, AttributeError, ValueError):
        return False


def _ending(code: int, evidence: Evidence, signals: list[int], stack: str) -> tuple[str, str]:
    ended, crash = str(evidence.status.get("ended", "")), str(evidence.status.get("crash", ""))
    if evidence.status.get("done"):
        return ended, crash
    ended, crash = death(code, ended, f" at {stack}" if stack else "")
    return ("interrupted" if signals else ended), crash


def _problem(script: str, ended: str, crash: str, evidence: Evidence) -> str:
    run = evidence.measurements.get(WatchedRun.name)
    steps = run.steps if isinstance(run, WatchedRun) else 0
    if ended in ("ended", "stopped"):
        if steps:
            return ""
        return (
            f"{script} ran to its end, but no optimizer step was seen in its process. If it starts processes of its own "
            "(torch.multiprocessing.spawn), start them with `torchrun ... -m trainlint watch` instead"
        )
    after = f" after {steps:,} steps" if steps else " before its first training step"
    if ended == "crashed":
        return f"{script} crashed{after}: {crash.strip().splitlines()[-1] if crash.strip() else 'no reason given'}"
    if ended == "interrupted":
        return f"{script} was interrupted{after}"
    return f"{script} did not come to its end{after}: {crash or ended}"


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as stream:
            yield from stream
    except OSError:
        return
