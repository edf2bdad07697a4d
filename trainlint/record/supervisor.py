"""The parent's side of a scan: starts the script's process, passes signals on, keeps the time, and takes in evidence as it comes.

Imports no torch, so that it is up at once and survives whatever happens to the child.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from trainlint.errors import UsageError
from trainlint.evidence import Evidence
from trainlint.notebook import is_notebook, read_notebook
from trainlint.record.sandbox import QUIET_TRACKERS, clean_up
from trainlint.settings import Settings
from trainlint.watching.ranks import alone, this_place

__all__ = ["Run", "check_script", "death", "new_lines", "run_script"]

#: Seconds for imports and data preparation before the first training step; the budget does not count them.
_START_UP = 300.0
#: The supervisor waits this much longer than the budget before it ends the child itself.
_GRACE = 1.5
_POLL = 0.05
_BOOT = "import sys; sys.path[:] = [p for p in sys.path if p]; from trainlint.record.child import main; main(sys.argv[1])"


@dataclass
class Run:
    """What came of one run of the script."""

    evidence: Evidence
    ended: str
    """``recorded``, ``ended``, ``crashed``, ``exited``, ``killed``, ``interrupted`` or ``timeout``."""
    crash: str
    """The script's own traceback, or what ended it."""
    output: str
    """The last lines that the script printed."""
    seconds: float


def run_script(
    script: str, args: Sequence[str], settings: Settings, *, module: bool = False, show_output: bool = False, progress: Callable[[str], None] = lambda text: None,
    save: Path | None = None,
) -> Run:  # fmt: skip
    """Run a script under the recorder in a child process and collect its evidence.

    Raises UsageError when the script is not there. Nothing that the script writes stays, whatever way it ends.
    """
    if not module:
        check_script(script)
    scratch = Path(tempfile.mkdtemp(prefix="trainlint-"))
    job = {"script": script, "module": script if module else "", "args": list(args), "settings": asdict(settings)}
    (scratch / "job.json").write_text(json.dumps(job), "utf-8")
    around = os.environ if this_place().world == 1 else alone(os.environ)
    environment = {**around, **{k: v for k, v in QUIET_TRACKERS.items() if k not in around}, "TRAINLINT": "1"}
    # Spinning threads make small steps many times slower on a busy machine; waiting ones change no result.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    began = time.monotonic()
    with open(scratch / "output", "wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-c", _BOOT, str(scratch / "job.json")],
            env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr if show_output else output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            return _follow(child, scratch, settings, began, progress)
        finally:
            _end_group(child)
            if save is not None and (scratch / "evidence.jsonl").exists():
                save.write_bytes((scratch / "evidence.jsonl").read_bytes())
            clean_up(scratch)


def check_script(script: str) -> None:
    """Raise UsageError with a hint when there is no such script or notebook, or it cannot be read."""
    path = Path(script)
    if not path.exists():
        near = [p.name for p in sorted(path.parent.glob("*.py"))[:6]] if path.parent.is_dir() else []
        hint = f"; that folder has {', '.join(near)}" if near else ""
        msg = f"{script}: no such file{hint}"
        raise UsageError(msg)
    if path.is_dir():
        msg = f"{script} is a folder; name the script in it that trains"
        raise UsageError(msg)
    if not os.access(path, os.R_OK):
        msg = f"{script} cannot be read (permission denied)"
        raise UsageError(msg)
    if is_notebook(script):
        read_notebook(script)


def _follow(child: subprocess.Popen[bytes], scratch: Path, settings: Settings, began: float, progress: Callable[[str], None]) -> Run:
    evidence, interrupted, limit = Evidence(), False, began + _START_UP + settings.budget * _GRACE
    started: float | None = None
    path, position = scratch / "evidence.jsonl", 0
    timed_out = False
    while True:
        try:
            code = child.poll()
            position, lines = new_lines(path, position)
            for line in lines:
                text = evidence.take(line)
                if text:
                    progress(text)
                    if started is None and text.startswith("recording"):
                        started = time.monotonic()
                        limit = started + settings.budget * _GRACE + 30
            if code is not None:
                break
            if time.monotonic() > limit and not timed_out:
                timed_out = True
                os.killpg(child.pid, signal.SIGINT)
                limit = time.monotonic() + 10
            elif timed_out and time.monotonic() > limit:
                os.killpg(child.pid, signal.SIGKILL)
            time.sleep(_POLL)
        except KeyboardInterrupt:
            os.killpg(child.pid, signal.SIGKILL if interrupted else signal.SIGINT)
            progress("interrupted: writing what was seen (once more to stop at once)")
            interrupted, timed_out, limit = True, True, time.monotonic() + 30
    ended, crash = str(evidence.status.get("ended", "")), str(evidence.status.get("crash", ""))
    done = bool(evidence.status.get("done"))
    if interrupted:
        ended, crash = "interrupted", "interrupted by the keyboard"
    elif timed_out and not done:
        ended, crash = "timeout", f"no end after {time.monotonic() - began:.0f} s"
    elif not done and ended != "recorded":
        ended, crash = death(code, ended)
    return Run(evidence, ended or "killed", crash, _tail(scratch / "output"), time.monotonic() - began)


def death(code: int, ended: str) -> tuple[str, str]:
    """How a process ended that gave no account of itself, and in words."""
    if code < 0:
        name = signal.Signals(-code).name if -code in list(signal.Signals) else str(-code)
        more = " (out of memory?)" if -code == signal.SIGKILL else ""
        return "killed", f"the script's process was ended by {name}{more}"
    if ended == "exited" or code == 0:
        return "exited", f"the script ended its own process (os._exit, status {code}) before training was seen"
    return "killed", f"the script's process ended with status {code}"


def new_lines(path: Path, position: int) -> tuple[int, list[str]]:
    """Whole lines written since ``position``; a line still being written is left for the next time."""
    try:
        with path.open("rb") as stream:
            stream.seek(position)
            data = stream.read()
    except FileNotFoundError:
        return position, []
    end = data.rfind(b"\n") + 1
    return position + end, data[:end].decode("utf-8").splitlines()


def _tail(path: Path, limit: int = 4000) -> str:
    try:
        with path.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - limit))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """No process of the script's stays behind, its workers included."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
