"""check() leaves models, optimizers, schedulers, loaders and torch's own settings bit for bit as they were, whatever they are made of."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

import trainlint

ONLY = ("init-loss", "overfit-batch", "update-ratio")


class Tied(nn.Module):
    """One weight at both ends."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(3, 8), nn.Linear(8, 3, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.embed((x[:, 0] > 0).long()) + x.mean(1, keepdim=True)))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(4, 6, num_layers=2, dropout=0.2, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x.view(len(x), 2, 4))[0][:, -1])


class Stateful(nn.Module):
    """Buffers that are changed in place and by assignment, and a plain attribute that holds a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 3)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("later", None)
        self.last: Tensor | None = None
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        self.later, self.last, self.calls = x.detach().std(0), x.detach(), self.calls + 1
        return self.body(x - self.mean)


class Averaged(nn.Module):
    """Brings its own exponential average, which no loss reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 3)
        self.average = copy.deepcopy(self.body).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.body.parameters(), strict=True):
                mean.lerp_(value, 0.1)
        return self.body(x)


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def frozen() -> nn.Module:
    model = plain()
    model[0].requires_grad_(False).eval()
    return model


def parametrised(wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    model = plain()
    model[0] = wrap(model[0])
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "batch norm and dropout": lambda: nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)),
    "tied weights": Tied,
    "LSTM": Recurrent,
    "buffers and attributes": Stateful,
    "weight norm": lambda: parametrised(parametrizations.weight_norm),
    "spectral norm": lambda: parametrised(parametrizations.spectral_norm),
    "spectral norm by hooks": lambda: parametrised(torch.nn.utils.spectral_norm),
    "an average of itself": Averaged,
    "frozen parts": frozen,
    "averaged model": lambda: AveragedModel(plain()),
}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=1e-3, amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=torch.tensor(1e-3)),
    "LBFGS": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=1e-2),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=1e-3, centered=True),
}
SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "OneCycleLR": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=40, cycle_momentum=False),
    "ReduceLROnPlateau": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=2),
    "SequentialLR": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o, [torch.optim.lr_scheduler.ConstantLR(o, 0.1), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)], [3]
    ),
}


def loader(seed: int = 0) -> DataLoader[Any]:
    x = torch.randn(48, 8, generator=torch.Generator().manual_seed(seed))
    return DataLoader(TensorDataset(x, (x[:, :2] > 0).sum(1)), 8, shuffle=True, generator=torch.Generator().manual_seed(seed))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, Tensor], scaler: torch.amp.GradScaler) -> None:
    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(model(batch[0]), batch[1])
        scaler.scale(value).backward()
        return value

    if isinstance(optimizer, torch.optim.LBFGS):
        optimizer.step(loss)  # type: ignore[arg-type]
    else:
        loss()
        scaler.step(optimizer)
        scaler.update()


def plainly(value: Any) -> Any:
    """Something that compares equal exactly when all bits are: tensors become their bytes."""
    if isinstance(value, Tensor):
        raw = value.detach().cpu().contiguous()
        return str(value.dtype), tuple(value.shape), raw.view(torch.uint8).numpy().tobytes() if raw.dim() else raw.reshape(1).view(torch.uint8).numpy().tobytes(), value.requires_grad  # fmt: skip
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, dict):
        return {k if isinstance(k, str | int) else id(k): plainly(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plainly(v) for v in value]
    return value if isinstance(value, int | float | str | bool | bytes | type(None)) else f"{type(value).__name__} {id(value)}"


def state(model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any, scaler: Any, data: DataLoader[Any]) -> dict[str, Any]:
    """Everything that check() could have touched."""
    return plainly({
        "modules": {name: {**vars(m), "class": type(m).__name__} for name, m in model.named_modules()},
        "weights": dict(model.state_dict()), "identities": [id(t) for t in (*model.parameters(), *model.buffers())],
        "gradients": [p.grad for p in model.parameters()], "gradient identities": [id(p.grad) for p in model.parameters() if p.grad is not None],
        "optimizer": optimizer.state_dict(), "attributes": {k: v for k, v in vars(optimizer).items() if k not in ("state", "param_groups")},
        "held": [[id(p) for p in g["params"]] for g in optimizer.param_groups],
        "scheduler": {k: v for k, v in scheduler.state_dict().items() if not callable(v)}, "scaler": scaler.state_dict(),
        "random": [torch.get_rng_state(), random.getstate(), np.random.get_state(), data.generator.get_state()],
        "torch": [str(torch.get_default_dtype()), torch.get_num_threads(), torch.is_grad_enabled(), torch.is_anomaly_enabled(), torch.are_deterministic_algorithms_enabled(), str(torch.get_default_device())],
        "classes": [nn.Module.__call__, nn.Module.__init__, Tensor.backward, torch.optim.Optimizer.zero_grad, DataLoader.__iter__],
    })  # fmt: skip


PAIRS = [(m, list(OPTIMIZERS)[i % len(OPTIMIZERS)], list(SCHEDULERS)[i % len(SCHEDULERS)]) for i, m in enumerate(MODELS)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("model_name", "optimizer_name", "scheduler_name"), PAIRS, ids=lambda name: name)
def test_everything_is_bit_for_bit_as_it_was(model_name: str, optimizer_name: str, scheduler_name: str) -> None:
    random.seed(0)
    np.random.seed(0)
    model, data = MODELS[model_name](), loader()
    optimizer = OPTIMIZERS[optimizer_name]([p for p in model.parameters() if p.requires_grad])
    scheduler, scaler = SCHEDULERS[scheduler_name](optimizer), torch.amp.GradScaler("cpu", init_scale=128.0)
    model.layer_hook = model.register_forward_hook(lambda *_: None)
    for batch in data:
        step(model, optimizer, batch, scaler)
    held = {id(p): p.grad for p in model.parameters()}
    before = state(model, optimizer, scheduler, scaler, data)
    report = trainlint.check(
        model, data, loss_fn=F.cross_entropy, optimizer=optimizer, scheduler=scheduler, val_loader=loader(1), only=ONLY, budget=20
    )
    after = state(model, optimizer, scheduler, scaler, data)
    assert not [f.reason for f in report.findings if "failed" in f.reason]
    assert {k: v for k, v in before.items() if after[k] != v} == {}
    assert all(p.grad is held[id(p)] for p in model.parameters())


def test_settings_of_torch_are_left_alone() -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        model, x = plain(), torch.randn(32, 8)
        with torch.no_grad():
            trainlint.check(model, DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), 8), only=("init-loss", "overfit-batch"), budget=10)
            assert not torch.is_grad_enabled()
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(before)


def test_a_model_of_unknown_shapes_is_refused_and_left_lazy() -> None:
    model = nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(3))
    with pytest.raises(trainlint.UsageError, match=r"LazyLinear.*run one batch through it first"):
        trainlint.check(model, loader(), loss_fn=F.cross_entropy)
    assert isinstance(model[0], nn.LazyLinear)
