"""The adapters in the real frameworks: checked before the first step, nothing of the training changed, stopped on an error."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import trainlint
from trainlint.adapters.preflight import Preflight

sys.path.insert(0, str(Path(__file__).parent.parent))
from framework_kinds import hugging_face_trainer, lightning_module
from kinds import loader, mlp, x, y

QUICK = {"only": ["output-activation", "input-finite"], "budget": 60}


class Watch:
    """Keeps what it is told."""

    def __init__(self, model: nn.Module, optimizers: Any) -> None:
        self.told: list[Any] = []

    def start(self) -> None:
        self.told.append("start")

    def step(self, **values: float) -> None:
        self.told.append(values)

    def finish(self) -> None:
        self.told.append("finish")


def watcher() -> tuple[Callable[..., Watch], list[Watch]]:
    made: list[Watch] = []

    def watch(model: nn.Module, optimizers: Any) -> Watch:
        made.append(Watch(model, optimizers))
        return made[-1]

    return watch, made


def lightning(folder: Path, **options: Any) -> tuple[nn.Module, Preflight | None]:
    import lightning as library

    from trainlint.adapters.lightning import TrainlintCallback

    callback = TrainlintCallback(**options) if options else None
    module = lightning_module()
    trainer = library.Trainer(
        max_steps=4, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        callbacks=[callback] if callback else [],
    )  # fmt: skip
    trainer.fit(module, loader(x, y), loader(x, y))
    return module, callback and callback.preflight


def hugging_face(folder: Path, **options: Any) -> tuple[nn.Module, Preflight | None]:
    from trainlint.adapters.transformers import TrainlintCallback

    trainer = hugging_face_trainer(str(folder))
    callback = TrainlintCallback(trainer, **options) if options else None
    if callback:
        trainer.add_callback(callback)
    trainer.train()
    return trainer.model, callback and callback.preflight


def ignite(folder: Path, model: nn.Module | None = None, **options: Any) -> tuple[nn.Module, Preflight | None]:
    from ignite.engine import Engine

    from trainlint.adapters.ignite import attach

    model = model or mlp()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)

    def update(engine: Engine, batch: Any) -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        return loss.item()

    engine = Engine(update)
    preflight = attach(engine, model, optimizer=optimizer, loss_fn=F.cross_entropy, **options) if options else None
    engine.run(loader(x, y), max_epochs=1)
    return model, preflight


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fit", [lightning, hugging_face, ignite])
def test_a_fit_is_checked_and_watched_and_trains_as_without(fit, tmp_path: Path) -> None:
    torch.manual_seed(1)
    plain, _ = fit(tmp_path)
    watch, made = watcher()
    torch.manual_seed(1)
    checked, preflight = fit(tmp_path, watch=watch, html=tmp_path / "report.html", **QUICK)
    assert {f.outcome for f in preflight.report} == {trainlint.Outcome.PASS}
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), checked.parameters(), strict=True))
    assert made[0].told[0] == "start"
    assert made[0].told[-1] == "finish"
    assert (tmp_path / "report.html").exists()


def test_an_error_stops_the_fit_before_its_first_step(tmp_path: Path) -> None:
    model = nn.Sequential(mlp(), nn.Softmax(1))
    weights = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(trainlint.TrainlintError, match="output-activation"):
        ignite(tmp_path, model, **QUICK)
    assert all(torch.equal(p, w) for p, w in zip(model.parameters(), weights, strict=True))


def test_without_stop_on_an_error_is_only_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, preflight = ignite(tmp_path, nn.Sequential(mlp(), nn.Softmax(1)), stop_on=None, **QUICK)
    assert "TL103 output-activation (error)" in capsys.readouterr().err
    assert not preflight.report


def test_a_wrong_option_is_named() -> None:
    with pytest.raises(trainlint.UsageError, match="stop_on= takes"):
        Preflight(stop_on="fatal")


def test_the_product_s_own_watch_follows_the_whole_fit(tmp_path: Path) -> None:
    watch = functools.partial(trainlint.watch, folder=tmp_path / "watch", progress=lambda text: None)
    torch.manual_seed(1)
    plain, _ = ignite(tmp_path)
    torch.manual_seed(1)
    watched, preflight = ignite(tmp_path, watch=watch, **QUICK)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), watched.parameters(), strict=True))
    assert isinstance(preflight.watched, trainlint.Report)
    assert preflight.watched
    steps = [json.loads(line) for line in (tmp_path / "watch" / "history.jsonl").read_text().splitlines()]
    assert steps
