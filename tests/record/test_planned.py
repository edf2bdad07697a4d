"""How many epochs a script, or the trainer that it uses, means to run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from trainlint.record.frames import Frames
from trainlint.record.planned import planned_epochs


def test_the_nearest_range_counts() -> None:
    found = []
    for _ in range(3):
        for _ in range(2 + 5):
            found.append(planned_epochs(Frames()))
    assert set(found) == {7}


@pytest.mark.parametrize(
    ("module", "names", "number"),
    [
        ("lightning.pytorch.loops", {"self": SimpleNamespace(max_epochs=12)}, 12),
        ("lightning.pytorch.loops", {"self": SimpleNamespace(max_epochs=-1)}, None),
        ("transformers.trainer", {"num_train_epochs": 4}, 4),
        ("ignite.engine.engine", {"self": SimpleNamespace(state=SimpleNamespace(max_epochs=5))}, 5),
        ("ignite.engine.engine", {"self": SimpleNamespace(state=SimpleNamespace(max_epochs=1))}, None),
        ("elsewhere", {"num_train_epochs": 4}, None),
    ],
)
def test_a_trainer_knows_its_own(module: str, names: dict[str, object], number: int | None) -> None:
    source = compile("def run(self=None, num_train_epochs=None):\n    return planned()\n", f"<frozen {module}>", "exec")
    scope: dict[str, object] = {"__name__": module, "planned": lambda: planned_epochs(Frames())}
    exec(source, scope)
    assert scope["run"](**names) == number  # type: ignore[operator]
