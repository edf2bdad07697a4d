"""Writes rules/samples/<name>.json: what the report shows for each rule's bad script. The catalogue's pages draw them.

python tests/rules/make_samples.py [RULE ...]
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from test_examples import watch

from trainlint.curves.classify import classify
from trainlint.curves.report import report_of
from trainlint.measurements import Curves, Ranks, WatchedRun
from trainlint.registry import load_catalogue
from trainlint.report import Cost, Report, Subject
from trainlint.scanning import scan
from trainlint.serialise import from_json, to_json
from trainlint.settings import Settings

HERE = Path(__file__).parent
SAMPLES = HERE.parents[1] / "rules" / "samples"


def sample(name: str) -> Report:
    """The rule's finding about its bad script, without what differs from machine to machine."""
    source = (HERE / name / "bad.py").read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "train.py"
        # The mark is for the tests; a reader of the sample would wonder.
        script.write_text(re.sub(r"  # fault: .*", "", source), "utf-8")
        report = from_json(to_json(_report(name, script)).replace(f"{folder}/", ""))
    found = report[name]
    if not found.failed:
        raise SystemExit(f"{name} did not fail: {found.reason or found.message}")
    place = found.location and replace(found.location, file=Path(found.location.file).name)
    finding = replace(found, location=place)
    return Report(subject=Subject(kind="script", name="train.py"), findings=(finding,), start_here=finding, cost=Cost())


def _report(name: str, script: Path) -> Report:
    """By the command that the rule is for: ``scan``, ``watch``, or ``curves`` on the log that the script writes."""
    requires = load_catalogue().find(name).requires
    if Ranks in requires or WatchedRun in requires:
        return from_json(json.dumps(watch(script, script.parent, 2 if Ranks in requires else 1, "--select", name)))
    if Curves in requires:
        subprocess.run([sys.executable, script.name], cwd=script.parent, check=True)
        report = report_of([classify(script.with_name("metrics.csv"))], Settings(select=(name,)))
        return replace(report, findings=tuple(replace(f, location=None) for f in report.findings))
    return scan(script, settings=Settings(select=(name,)))


if __name__ == "__main__":
    SAMPLES.mkdir(exist_ok=True)
    for rule in sys.argv[1:] or [r.name for r in load_catalogue().rules]:
        (SAMPLES / f"{rule}.json").write_text(to_json(sample(rule), indent=None) + "\n", "utf-8")
        print(rule, flush=True)
