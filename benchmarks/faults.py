"""What comes of everything that can go wrong with a script: each fault is run as a user would run it, in real processes.

    python benchmarks/faults.py [--only WORDS] [--markdown FILE [--resume]]

The faults are those of ``tests/faults/table.py``. A row is right when the exit code, the message and the status in the report are those
of the table, no process and no temporary folder is left, no file of the user's has changed, no frame of trainlint's is shown, and the
end came in time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "faults"))

from fault import Fault
from table import CURVES, SCANS, WATCHES

__all__ = ["TABLES", "Outcome", "run_fault"]

TABLES: dict[str, dict[str, Fault]] = {"scan": SCANS, "watch": WATCHES, "curves": CURVES}

#: Seconds after which a command counts as hung.
_HUNG = 400.0
_OWN_FRAME = re.compile(r'File "[^"]*/trainlint(_rules|_reports)?/[^"]*", line')


@dataclass(frozen=True)
class Outcome:
    """What came of one fault."""

    code: int | None
    """Exit code; None when the command had to be ended."""
    seconds: float
    out: str
    err: str
    status: str
    """The report's word for how the script ended; empty without a report."""
    wrong: tuple[str, ...]
    """In what it differs from what it is to be."""


def run_fault(command: str, fault: Fault, folder: Path) -> Outcome:
    """Run one command on one broken script in ``folder``."""
    project, temporary = folder / "project", folder / "tmp"
    marks = temporary / "marks"  # where a scan lets a script write
    for made in (project, temporary, marks):
        made.mkdir()
    script = project / fault.name
    script.parent.mkdir(parents=True, exist_ok=True)
    if fault.source:
        script.write_bytes(fault.source if isinstance(fault.source, bytes) else fault.source.encode())
    for name, text in fault.files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    before = _fingerprint(project)
    report, token = folder / "report.json", uuid.uuid4().hex
    own = () if "--output" in fault.options else ("--format", "json", "--output", str(report))
    if command == "watch":
        own = (*own, "--dir", str(folder / "watch"))
    if command == "scan" and fault.select:
        own = (*own, "--select", fault.select)
    call = [sys.executable, "-m", "trainlint", command, *own, *fault.options, *([] if "-m" in fault.options else [fault.name])]
    call += ["--", *fault.args] if fault.args else []
    began = time.monotonic()
    with open(fault.stdout or folder / "out", "w") as out, open(folder / "err", "w") as err:
        process = subprocess.Popen(
            call, cwd=project, stdout=out, stderr=err, stdin=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "MARKS": str(marks), "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1", "FAULT": token},
            preexec_fn=_plain_signals,
        )  # fmt: skip
        if fault.signal:
            while process.poll() is None and not (marks / "here").exists() and time.monotonic() < began + _HUNG:
                time.sleep(0.05)
            time.sleep(0.3)
            process.send_signal(getattr(signal, fault.signal))
        try:
            code: int | None = process.wait(max(1.0, began + _HUNG - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = None
    seconds = time.monotonic() - began
    if fault.signal == "SIGKILL":
        time.sleep(8.0)
    left = _processes(token)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    printed = "" if fault.stdout else (folder / "out").read_text(errors="replace")
    said = (folder / "err").read_text(errors="replace")
    status = json.loads(report.read_text()).get("subject", {}).get("status", "") if report.exists() else ""
    wrong = []
    if code != fault.code:
        wrong.append(f"exit code {code}, not {fault.code}")
    if not re.search(fault.says, said, re.DOTALL) and not re.search(fault.says, printed, re.DOTALL):
        wrong.append("another message")
    if status != fault.status and "--output" not in fault.options:
        wrong.append(f"status {status or 'missing'}, not {fault.status or 'missing'}")
    if _OWN_FRAME.search(said) or ("Traceback" in said and "its own traceback" not in said and " crashed " not in said):
        wrong.append("a stack trace")
    if left:
        wrong.append(f"{len(left)} processes left")
    changed = _differences(before, _fingerprint(project))
    if changed:
        wrong.append(f"changed: {', '.join(changed)}")
    if fault.signal != "SIGKILL" and (stale := [p.name for p in temporary.iterdir() if p.name.startswith("trainlint-")]):
        wrong.append(f"left in the temporary folder: {', '.join(stale)}")
    return Outcome(code, seconds, printed, said, status, tuple(wrong))


def _plain_signals() -> None:
    """A shell may ignore some of them for what it runs in the background."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _fingerprint(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder"
    return found


def _differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return sorted(n for n in {*before, *after} if before.get(n) != after.get(n))


def _processes(token: str) -> list[int]:
    """Processes, other than this one, with the token in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            alive = f"FAULT={token}".encode() in (entry / "environ").read_bytes() and entry.name != str(os.getpid())
            if alive and " Z " not in (entry / "stat").read_text():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _message(outcome: Outcome) -> str:
    """What trainlint said of it: its last own line, and the last of a traceback."""
    lines = [line for line in outcome.err.splitlines() if line.strip()]
    own = [line.removeprefix("trainlint: ") for line in lines if line.startswith("trainlint: ")]
    if not own:
        return ""
    first = own[-1]
    return f"{first} … {lines[-1].strip()}" if first.endswith("traceback:") else first


def main() -> int:
    parser = argparse.ArgumentParser(description="Faults and what comes of them.")
    parser.add_argument("--only", default="", help="words that the names of the faults must hold")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    parser.add_argument("--resume", action="store_true", help="leave out what the file has as specified already")
    parser.add_argument("--show", action="store_true", help="print what trainlint printed")
    options = parser.parse_args()
    rows, bad = [], 0
    before = options.markdown.read_text() if options.markdown is not None and options.markdown.exists() else ""
    done = {tuple(line.split(" | ")[:2]) for line in before.splitlines() if options.resume and line.endswith("| as specified |")}
    for command, faults in TABLES.items():
        for name, fault in faults.items():
            if not all(word in f"{command} {name}" for word in options.only.split()) or (f"| {command}", name) in done:
                continue
            with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
                outcome = run_fault(command, fault, Path(folder))
                message = _message(outcome).replace(str(Path(folder) / "project"), "…").replace(folder, "…")
            bad += bool(outcome.wrong)
            verdict = "; ".join(outcome.wrong) or "as specified"
            print(
                f"{'WRONG' if outcome.wrong else 'ok   '} {outcome.seconds:6.1f} s  {command} | {name} | {outcome.code} | {message[:200]} | {verdict}",
                flush=True,
            )
            if options.show or outcome.wrong:
                print(*(f"      | {line}" for line in (outcome.err or outcome.out).splitlines()[-25:]), sep="\n", flush=True)
            rows.append((command, name, str(outcome.code), outcome.status, message, f"{outcome.seconds:.0f}", verdict))
            if options.markdown is not None:
                options.markdown.write_text(_markdown(rows, options.markdown.read_text() if options.markdown.exists() else ""))
    print(f"{len(rows)} faults, {bad} not as specified")
    return int(bool(bad))


def _markdown(rows: list[tuple[str, ...]], before: str) -> str:
    """The table; rows that were not run this time stay as they were."""
    known = {tuple(line.split(" | ")[:2]): line for line in before.splitlines()}
    for row in rows:
        line = "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ")[:160] for cell in row) + " |"
        known[tuple(line.split(" | ")[:2])] = line
    kept = [known[f"| {command}", fault] for command, faults in TABLES.items() for fault in faults if (f"| {command}", fault) in known]
    lines = [
        "# What comes of faults", "",
        "Made by `python benchmarks/faults.py --markdown docs/faults.md`: each fault of `tests/faults/table.py` was run in real processes, as a",
        "user would run it. As specified: exit code, message and the report's word for the end are those wanted, no process and no temporary",
        "folder was left, no file of the user's changed, no frame of trainlint's was shown. Rows were run on several states of the code;",
        "a fault of that file without a row here was not run since it was written or changed.", "",
        "| command | fault | exit code | the report says | message | seconds | outcome |", "|---|---|---|---|---|---|---|", *kept,
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
