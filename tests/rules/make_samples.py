"""Writes rules/samples/<name>.json: what the report shows for each rule's bad script. The catalogue's pages draw them.

python tests/rules/make_samples.py [RULE ...]
"""

from __future__ import annotations

import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from trainlint.finding import Cost, Report, Subject
from trainlint.registry import load_catalogue
from trainlint.scanning import scan
from trainlint.serialise import to_json
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
        report = scan(script, settings=Settings(select=(name,)))
    found = report[name]
    if not found.failed:
        raise SystemExit(f"{name} did not fail: {found.reason or found.message}")
    place = found.location and replace(found.location, file=Path(found.location.file).name)
    finding = replace(found, location=place)
    return Report(subject=Subject(kind="script", name="train.py"), findings=(finding,), start_here=finding, cost=Cost())


if __name__ == "__main__":
    SAMPLES.mkdir(exist_ok=True)
    for rule in sys.argv[1:] or [r.name for r in load_catalogue().rules]:
        (SAMPLES / f"{rule}.json").write_text(to_json(sample(rule), indent=None) + "\n", "utf-8")
        print(rule, flush=True)
