"""The line that works out what a loss weighs classes by."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainlint.probes.step.loss_weights import weighed_at

FOUND = {
    "a variable": "ratio = torch.tensor([sick / well])  # HERE\nloss = nn.BCEWithLogitsLoss(pos_weight=ratio.to(device))  # LOSS\n",
    "kept in bounds": (
        "ratio = sick / well  # HERE\nratio = torch.tensor(ratio).clamp(max=50)\nloss = F.binary_cross_entropy_with_logits(out, y, pos_weight=ratio)  # LOSS\n"
    ),
    "a function that works it out": (
        "def weigh(y):\n    share = y.mean()\n    return share / (1 - share)  # HERE\n\n"
        "def run(y):\n    w = weigh(y)\n    return nn.BCEWithLogitsLoss(pos_weight=w)  # LOSS\n"
    ),
    "handed to the one call": (
        "def fit(model, weights):\n    return nn.CrossEntropyLoss(weights)  # LOSS\n\n"
        "counts = torch.bincount(y)\nweights = counts / counts.sum()  # HERE\nfit(model, weights)\n"
    ),
    "an attribute": (
        "class Lit(L.LightningModule):\n    def __init__(self, y):\n        self.w = torch.as_tensor(y.mean() / 2)  # HERE\n"
        "        self.loss = nn.BCEWithLogitsLoss(\n            pos_weight=self.w)  # LOSS\n"
    ),
    "handed to the constructor": (
        "class Task:\n    def __init__(self, w):\n        self.loss = nn.BCEWithLogitsLoss(pos_weight=w)  # LOSS\n\nrare = sick / well  # HERE\ntask = Task(torch.tensor(rare))\n"
    ),
    "a number": "w = torch.tensor(0.01)  # HERE\nloss = nn.BCEWithLogitsLoss(pos_weight=w)  # LOSS\n",
}
UNTOLD = {
    "a setting": "args = parser.parse_args()\nloss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(args.weight))  # LOSS\n",
    "an entry": "settings = load()\nloss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(settings['weight']))  # LOSS\n",
    "two callers": "def make(w):\n    return nn.CrossEntropyLoss(weight=w)  # LOSS\n\na, b = make(one / two), make(two / one)\n",
    "no weights": "loss = nn.BCEWithLogitsLoss()  # LOSS\n",
}


def told(tmp_path: Path, text: str) -> int | None:
    script = tmp_path / "script.py"
    script.write_text(text)
    line = next(n for n, line in enumerate(text.splitlines(), 1) if line.endswith("# LOSS"))
    found = weighed_at((str(script), line, ""))
    return found[1] if found is not None else None


@pytest.mark.parametrize("text", FOUND.values(), ids=list(FOUND))
def test_weights_are_followed_to_their_line(tmp_path: Path, text: str) -> None:
    line = told(tmp_path, text)
    assert line is not None
    assert text.splitlines()[line - 1].endswith("# HERE")


@pytest.mark.parametrize("text", UNTOLD.values(), ids=list(UNTOLD))
def test_weights_from_elsewhere_are_not_told(tmp_path: Path, text: str) -> None:
    assert told(tmp_path, text) is None
