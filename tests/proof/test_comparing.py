"""The configuration as it is, mended, and by the reference recipe, side by side."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from probes.recorded import record
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trainlint.measurements import Comparison, Unmeasured
from trainlint.overview import overview
from trainlint.probes.session import ProbeSession
from trainlint.proof.comparing import merged
from trainlint.proof.runs import Condition
from trainlint.registry import load_catalogue
from trainlint.scanning import judge
from trainlint.settings import Settings

LABELS = torch.arange(96) % 4
X = 2 * torch.randn(4, 6, generator=torch.Generator().manual_seed(3))[LABELS] + torch.randn(
    96, 6, generator=torch.Generator().manual_seed(4)
)
SETTINGS = Settings(select=("output-activation",), budget=60, compare=True)


def compared(model: nn.Module, *, validated: bool) -> tuple[Comparison | Unmeasured, ProbeSession]:
    loader = DataLoader(TensorDataset(X, LABELS), 16, shuffle=True)
    held = DataLoader(TensorDataset(X + 0.1, LABELS), 16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def run() -> None:
        for _ in range(2):
            for step, (x, y) in enumerate(loader):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                if validated and step == 1:
                    with torch.no_grad():
                        for batch, _ in held:
                            model(batch)

    session = ProbeSession(record(run), SETTINGS)
    session.judge(load_catalogue().choose(SETTINGS.select))
    return session.known[Comparison], session


def mlp(*last: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 4), *last)


def test_the_mended_configuration_ends_below_the_broken_one_and_nothing_is_left_changed():
    model = mlp(nn.Softmax(1))
    found, session = compared(model, validated=True)
    assert isinstance(found, Comparison)
    broken, mended, recipe = found.courses
    assert (broken.name, mended.name, recipe.name) == ("as it is", "with the fixes", "reference recipe")
    assert max(mended.finals) < min(broken.finals)
    assert len(mended.accuracies) == len(mended.finals) == 3
    assert found.validation
    state = copy.deepcopy(model.state_dict())
    session._compare([])
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_sound_configuration_is_compared_with_the_recipe_alone():
    found, _ = compared(mlp(), validated=False)
    assert isinstance(found, Comparison)
    assert [c.name for c in found.courses] == ["as it is", "reference recipe"]
    assert not found.validation


def test_fixes_are_put_together():
    both = merged(
        [Condition(rate=lambda p: 0.5, feed=lambda f: {s: t + 1 for s, t in f.items()}), Condition(rate=lambda p: 0.5, clear=True, used=3)]
    )
    assert both.rate(0.3) == 0.25
    assert both.used == 3
    assert float(both.feed({0: torch.zeros(())})[0]) == 1.0
    assert merged([]).change is None


def test_the_report_shows_curves_and_spread():
    from trainlint.evidence import Evidence

    found, session = compared(mlp(nn.Softmax(1)), validated=True)
    evidence = Evidence()
    evidence.measurements = {kind.name: item for kind, item in session.known.items()}
    curves, table = overview(evidence)[:2]
    assert curves.title.startswith("Before and after")
    assert [row[0] for row in table.rows] == ["as it is", "with the fixes", "reference recipe"]
    report = judge(evidence, SETTINGS, name="train.py")
    from trainlint.renderers import load_renderers

    text = load_renderers()["text"].render(report)
    assert "Before and after" in text
    assert "reference recipe" in text
    assert found.name == "comparison"
