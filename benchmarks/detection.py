"""Which rule speaks first when a bug is planted in a healthy pipeline.

    python benchmarks/detection.py [--seeds 1] [--jobs 1] [--only WORDS] [--budget 60]

Each bug is planted in several of the pipelines of ``population``. The table has a row for each kind of bug: how often its own rule
spoke, how often it was the one to start with, and which others were named first instead. Bugs that must run as a script of their own
(frameworks, workers, files), or on weights that were trained before, are covered by the bad scripts under ``tests/rules``. Rules
that name symptoms (update-ratio, gradient-exploding, overfit-batch) have no bug of their own here.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from population.broken import Broken
from population.bugs import BUGS

__all__ = ["BUGS", "POPULATION"]


#: Named like the healthy ones, so that one runner does for both.
POPULATION: dict[str, Broken] = {f"{rule} {number}": bug for rule, bugs in BUGS.items() for number, bug in enumerate(bugs)}


def main() -> None:
    """Print the table."""
    from calibrate import in_a_process

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--budget", type=float, default=60.0)
    options = parser.parse_args()
    runs = [(name, seed) for name in POPULATION if options.only in name for seed in range(options.seeds)]
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda run: in_a_process("detection", *run, options.budget), runs))
    print(f"{'planted':24s} {'runs':>4s} {'spoke':>6s} {'first':>6s}  others named first; what else was said where it did not speak")
    total = Counter[str]()
    for rule in BUGS:
        mine = [found for (name, _), found in zip(runs, results, strict=True) if name.rpartition(" ")[0] == rule]
        if not mine:
            continue
        failed = [[f for f in found if f["outcome"] == "fail" and (f["severity"] != "note" or f["name"] == rule)] for found in mine]
        spoke = sum(any(f["name"] == rule for f in found) for found in failed)
        first = [next((f["name"] for f in found if f.get("first")), "nothing") for found in mine]
        others = Counter(f for f in first if f != rule)
        missed = {f["name"] for found in failed if not any(f["name"] == rule for f in found) for f in found}
        total.update(runs=len(mine), spoke=spoke, first=first.count(rule))
        print(
            f"{rule:24s} {len(mine):4d} {spoke:6d} {first.count(rule):6d}  "
            f"{', '.join(f'{k} {v}' for k, v in others.items())}{'; ' + ', '.join(sorted(missed)) if missed else ''}"
        )
    print(f"{'all':24s} {total['runs']:4d} {total['spoke']:6d} {total['first']:6d}")


if __name__ == "__main__":
    main()
