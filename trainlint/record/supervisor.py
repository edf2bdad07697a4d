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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from trainlint.errors import UsageError
from trainlint.evidence import Evidence
from trainlint.record.lastwords import UNWRITABLE, end_marked, place_left
from trainlint.record.sandbox import QUIET_TRACKERS, clean_up
from trainlint.record.target import check_target
from trainlint.settings import Settings
from trainlint.watching.ranks import alone, this_place

__all__ = ["Run", "death", "new_lines", "run_script"]

#: Seconds for imports and data preparation before the first training step; the budget does not count them.
_START_UP = 300.0
#: Times of the budget, and seconds more, after which the supervisor ends recording, and all of it, itself.
_RECORDING, _ALL, _GRACE = 1.25, 1.5, 30.0
#: Steps more where these are slow: each measurement that is under way ends the one that it has begun.
_UNDER_WAY = 10
#: What ends a child that does not end by itself, and the seconds that it then has: it measures what it saw, or leaves its stack.
_ENDINGS = ((signal.SIGINT, 20.0), (signal.SIGABRT, 3.0), (signal.SIGKILL, 3600.0))
#: Bytes of a script's output from which on it is thrown away; only its end is shown.
_MUCH_OUTPUT = 16 * 2**20
#: Variable in the environment of all processes of a scan.
_MARK = "TRAINLINT_SCAN"
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
    doing: str = ""
    """What was going on at the end, as the last line of progress said it."""
    unsaved: str = ""
    """Why the evidence could not be kept; empty when it was, or was not asked for."""


def run_script(
    script: str, args: Sequence[str], settings: Settings, *, module: bool = False, show_output: bool = False, progress: Callable[[str], None] = lambda text: None,
    save: Path | None = None, edited: Mapping[Path, bytes] | None = None,
) -> Run:  # fmt: skip
    """Run a script under the recorder in a child process and collect its evidence; with ``edited`` as if these were the files' bytes.

    Raises UsageError when the script is not there, or there is no room for temporary files. Nothing that the script writes stays,
    and none of its processes, whatever way it ends.
    """
    check_target(script, module=module)
    job = {"script": script, "module": script if module else "", "args": list(args), "settings": asdict(settings)}
    scratch = Path()
    began = time.monotonic()
    child: subprocess.Popen[bytes] | None = None
    try:
        try:
            scratch = Path(tempfile.mkdtemp(prefix="trainlint-"))
            job["edited"] = _written(scratch / "edited", edited or {})
            (scratch / "job.json").write_text(json.dumps(job), "utf-8")
            output = open(scratch / "output", "ab")  # appending, so that it can be cut while the script writes  # noqa: SIM115
        except OSError as error:
            msg = f"no temporary files can be written ({error.strerror or error}); free some space, or name another folder by TMPDIR"
            raise UsageError(msg) from error
        with output:
            child = subprocess.Popen(
                [sys.executable, "-c", _BOOT, str(scratch / "job.json")], env=_environment(scratch),
                stdin=subprocess.DEVNULL, stdout=sys.stderr if show_output else output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        run = _follow(child, scratch, settings, began, progress)
        if save is not None:
            run.unsaved = _kept(scratch / "evidence.jsonl", save)
        return run
    finally:
        if child is not None:
            _end_group(child)
            end_marked(f"{_MARK}={scratch}")
        if scratch != Path():
            clean_up(scratch)


def _written(folder: Path, files: Mapping[Path, bytes]) -> dict[str, str]:
    """Write what files are to be read as, each under its own name; returns where, by absolute path."""
    found: dict[str, str] = {}
    for number, (path, content) in enumerate(files.items()):
        target = folder / str(number) / path.name
        target.parent.mkdir(parents=True)
        target.write_bytes(content)
        found[os.path.abspath(path)] = str(target)
    return found


def _environment(scratch: Path) -> dict[str, str]:
    around = os.environ if this_place().world == 1 else alone(os.environ)
    environment = {**around, **{k: v for k, v in QUIET_TRACKERS.items() if k not in around}, "TRAINLINT": "1", _MARK: str(scratch)}
    # Spinning threads make small steps many times slower on a busy machine; waiting ones change no result.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return environment


def _kept(evidence: Path, save: Path) -> str:
    """Copy the evidence; why that was not possible, or nothing."""
    try:
        if evidence.exists():
            save.write_bytes(evidence.read_bytes())
    except OSError as error:
        return f"the evidence could not be written to {save}: {error.strerror or error}"
    return ""


def _follow(child: subprocess.Popen[bytes], scratch: Path, settings: Settings, began: float, progress: Callable[[str], None]) -> Run:
    evidence, position = Evidence(), 0
    patience = _Patience(child, began + _START_UP + settings.budget * _RECORDING)
    started: float | None = None
    doing = ""
    while True:
        try:
            code = child.poll()
            position, lines = new_lines(scratch / "evidence.jsonl", position)
            for line in lines:
                text = evidence.take(line)
                if text:
                    doing = text
                    progress(text)
                if started is None and doing.startswith("recording"):
                    started = time.monotonic()
                    patience.extend(started + settings.budget * _RECORDING + 10.0)
                elif "ended" in evidence.status and not patience.long:
                    patience.long = True  # measuring has begun
                    slow = _UNDER_WAY * (evidence.status.get("step_seconds") or 0.0)
                    patience.extend((started or began) + settings.budget * _ALL + _GRACE + slow)
            if code is not None:
                break
            _cut(scratch / "output")
            patience.look()
            time.sleep(_POLL)
        except KeyboardInterrupt:
            progress("interrupted: writing what was seen (once more to stop at once)")
            patience.interrupt()
    seconds = time.monotonic() - began
    ended, crash = _account(evidence, code, place_left(scratch / "stack"), patience, seconds)
    return Run(evidence, ended, crash, _tail(scratch / "output"), seconds, doing)


def _account(evidence: Evidence, code: int, stack: str, patience: _Patience, seconds: float) -> tuple[str, str]:
    """How the script ended, and what ended it."""
    said = evidence.status
    ended, crash, done = str(said.get("ended", "")), str(said.get("crash", "")), bool(said.get("done"))
    place = str(said.get("place", "")) or stack
    at = f" at {place}" if place else ""
    if patience.interrupted:
        return "interrupted", f"interrupted{at}"
    if patience.over and not (done and ended in ("recorded", "ended")):
        return "timeout", f"no end after {seconds:.0f} s; it hung{at}" if at else f"no end after {seconds:.0f} s"
    if not done and (ended != "recorded" or code):
        ended, crash = death(code, ended, at)
    return ended or "killed", crash


class _Patience:
    """Ends the child when it is out of time or the user asks for it: first by an interrupt, in the end by force."""

    def __init__(self, child: subprocess.Popen[bytes], limit: float) -> None:
        self._child = child
        self._limit = limit
        self._next = 0
        self.interrupted = False
        """By the user."""
        self.over = False
        """The time was over."""
        self.long = False
        """What is being waited for is measuring, not the script."""

    def extend(self, limit: float) -> None:
        """Wait until another time (of ``time.monotonic()``), unless the end is being made already."""
        if not self._next:
            self._limit = limit

    def look(self) -> None:
        """Take the next measure when the time is over."""
        if time.monotonic() > self._limit:
            self.over = True
            self._end()

    def interrupt(self) -> None:
        """The user asks for the end; asked twice, it comes at once."""
        if self.interrupted:
            self._next = len(_ENDINGS) - 1
        self.interrupted = True
        self._end()

    def _end(self) -> None:
        number, seconds = _ENDINGS[min(self._next, len(_ENDINGS) - 1)]
        self._next += 1
        self._limit = time.monotonic() + seconds
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child.pid, number)


def death(code: int, ended: str, at: str = "") -> tuple[str, str]:
    """How a process ended that gave no account of itself, and in words. ``at`` is the place where it was, such as `` at train.py:3``."""
    if code < 0:
        name = signal.Signals(-code).name if -code in list(signal.Signals) else str(-code)
        more = " (out of memory?)" if -code == signal.SIGKILL else ""
        return "killed", f"the script's process was ended by {name}{more}{at}"
    if code == UNWRITABLE:
        return (
            "killed",
            f"measurements could no longer be written to {tempfile.gettempdir()}: is the disk full? TMPDIR names another folder",
        )
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


def _cut(output: Path) -> None:
    """Throw the script's output away once it is long: a print in an endless loop would fill the disk."""
    if output.stat().st_size > _MUCH_OUTPUT:
        os.truncate(output, 0)


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """No process of the script's stays behind, its workers included."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
