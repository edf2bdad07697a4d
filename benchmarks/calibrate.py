"""What every rule measures on healthy pipelines, beside its threshold.

    python benchmarks/calibrate.py [--seeds 3] [--jobs 1] [--only WORDS] [--budget 60]

Trains each pipeline of ``population`` under each seed as a scan would, judges it by the whole catalogue, and prints: every failure
(an error here is a defect, a warning must be defended); for each rule with a numeric threshold how often it was judged, the smallest,
median and largest value measured and the threshold; and how often each rule could not be judged, with its most frequent reason.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))


def judge(pipeline: Any, seed: int, budget: float) -> list[dict[str, Any]]:
    """Record a pipeline's first steps and give the findings of all rules, as plain data."""
    import torch

    from trainlint.engine import root_cause
    from trainlint.probes.session import ProbeSession
    from trainlint.record.frames import Frames
    from trainlint.record.hooks import listening
    from trainlint.record.recorder import Recorder, StopRecording
    from trainlint.registry import load_catalogue
    from trainlint.settings import Settings

    settings = Settings(seed=seed, budget=budget)
    found: list[dict[str, Any]] = []

    def measure(recording: Any) -> None:
        catalogue = load_catalogue()
        findings = ProbeSession(recording, settings).judge(catalogue)
        first = root_cause(findings, catalogue.explains)
        for finding in findings:
            found.append(
                {
                    "name": finding.name, "outcome": finding.outcome.value, "severity": finding.severity.value, "reason": finding.reason,
                    "message": finding.message, "measured": finding.evidence.get("measured"), "threshold": finding.evidence.get("threshold"),
                    "line": str(finding.location) if finding.location else "", "first": finding is first,
                }
            )  # fmt: skip

    torch.manual_seed(seed)
    recorder = Recorder(settings, Frames(), measure)
    with listening(recorder):
        with contextlib.suppress(StopRecording):
            pipeline()
        recorder.finish()
    return found


def in_a_process(module: str, name: str, seed: int, budget: float) -> list[dict[str, Any]]:
    """The same in a process of its own, so that pipelines cannot disturb each other."""
    code = (
        f"import sys, json, warnings; warnings.simplefilter('ignore'); sys.path.insert(0, {str(Path(__file__).parent)!r}); import torch; torch.set_num_threads(1); "
        f"import calibrate, {module} as m; print('FOUND ' + json.dumps(calibrate.judge(m.POPULATION[{name!r}], {seed}, {budget})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    line = next((text for text in done.stdout.splitlines() if text.startswith("FOUND ")), None)
    if line is None:
        return [{"name": "(crashed)", "outcome": "fail", "severity": "error", "message": done.stderr.strip()[-300:], "line": ""}]
    found: list[dict[str, Any]] = json.loads(line.removeprefix("FOUND "))
    return found


def number(value: Any) -> float | None:
    """A measured value that can stand in a table."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def main() -> None:
    """Print the tables."""
    from population import POPULATION

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--budget", type=float, default=60.0)
    options = parser.parse_args()
    runs = [(name, seed) for seed in range(options.seeds) for name in POPULATION if options.only in name]

    def judged(run: tuple[str, int]) -> list[dict[str, Any]]:
        found = in_a_process("population", *run, options.budget)
        failed = [f"{f['severity']} {f['name']}" for f in found if f["outcome"] == "fail"]
        print(f"{run[0]}, seed {run[1]}: {', '.join(failed) or 'clean'}", file=sys.stderr, flush=True)
        return found

    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(judged, runs))
    failures: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    values: dict[str, list[float]] = defaultdict(list)
    thresholds: dict[str, float] = {}
    unjudged: dict[str, Counter[str]] = defaultdict(Counter)
    for (name, seed), found in zip(runs, results, strict=True):
        for f in found:
            if f["outcome"] == "fail":
                failures[f["severity"], f["name"], name].append(f"seed {seed}: {f['message']}")
            elif f["outcome"] != "pass":
                unjudged[f["name"]][f["reason"]] += 1
            measured, threshold = number(f.get("measured")), number(f.get("threshold"))
            if measured is not None and threshold is not None:
                values[f["name"]].append(measured)
                thresholds[f["name"]] = threshold
    print(f"{len({n for n, _ in runs})} pipelines x {options.seeds} seeds\n")
    for severity in ("error", "warning", "note"):
        some = {key: said for key, said in failures.items() if key[0] == severity}
        print(f"{severity}s: {len(some)}")
        for (_, rule, name), said in sorted(some.items()):
            print(f"  {rule:22s} {name:36s} {len(said)}/{options.seeds}  {said[0]}")
    print(f"\n{'rule':24s} {'judged':>6s} {'smallest':>10s} {'median':>10s} {'largest':>10s} {'threshold':>10s}")
    for rule, measured in sorted(values.items()):
        low, middle, high = min(measured), statistics.median(measured), max(measured)
        print(f"{rule:24s} {len(measured):6d} {low:10.3g} {middle:10.3g} {high:10.3g} {thresholds[rule]:10.3g}")
    print("\nnot judged:")
    for rule, reasons in sorted(unjudged.items()):
        reason, count = reasons.most_common(1)[0]
        print(f"  {rule:24s} {sum(reasons.values()):4d} of {len(runs)}, {count} of them: {reason[:110]}")


if __name__ == "__main__":
    main()
