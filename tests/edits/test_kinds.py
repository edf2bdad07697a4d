"""The names of edits: what rules name exists, and what exists is named."""

import re
import subprocess
import sys
from pathlib import Path

import trainlint_rules
from trainlint.edits.kinds import KINDS
from trainlint.edits.script import Script, Unsure

#: What edits are told, of every sort at once.
VALUES = {
    "lr": 0.003, "batches": 4, "norm": "1", "loss": "cross_entropy", "to": "nll_loss", "reduction": "mean", "change": "prediction", "by": "argmax",
    "index": "0", "weight": 3, "activation": "relu", "owner": "Net.blocks", "cut": "detach", "operation": "sqrt", "p": 0.2, "std": 0.02,
    "size": 32, "calls": 50, "share": 4, "attribute": "state", "method": "copy",
    "mode": "max", "each": "step", "momentum": 0.99, "decay": 0.9999, "what": "best",
    "metric": "loss", "setting": "mode", "event": "EPOCH_STARTED", "better": "min", "new": 0.01, "path": "[1]", "old": "0",
    "places": [{"line": 1, "before": [4, 6, 8], "after": [4, 2, 6, 4], "opened": [4, 6, 2, 4], "order": [0, 2, 1, 3]}],
}  # fmt: skip


def test_rules_name_all_kinds_and_no_others() -> None:
    folder = Path(trainlint_rules.__file__ or "").parent
    named = {kind for path in folder.glob("*.py") for kind in re.findall(r'Edit\(\s*kind="([\w-]+)"', path.read_text("utf-8"))}
    assert named == set(KINDS)


def test_judging_loads_libcst_only_for_a_failure() -> None:
    code = "import sys, trainlint.scanning\nassert not {'libcst', 'torch'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_edit_of_any_line_of_a_script_leaves_python_or_refuses() -> None:
    text = (Path(__file__).parents[1] / "rules" / "amp" / "good.py").read_text("utf-8")
    script, made = Script(text), 0
    for line in range(1, text.count("\n") + 1, 5):
        for kind in KINDS.values():
            try:
                after = kind.make(script, line, dict(VALUES)).code()
            except Unsure:
                continue
            compile(after, "edited.py", "exec")
            made += 1
    assert made
