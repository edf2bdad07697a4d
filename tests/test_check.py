"""check() judges objects and leaves them bit for bit as they were."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import trainlint

QUICK = ("init-loss", "overfit-batch", "lr-range", "update-ratio", "no-gradient")


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 3))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(8, 12, batch_first=True), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x.flatten(1, 2))[0][:, -1])


def data(seed: int = 0, n: int = 64) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, 8, 8, generator=generator)
    return TensorDataset(x, (x.mean((1, 2, 3)) * 20).round().clamp(-1, 1).long() + 1)


OPTIMIZERS: dict[str, Callable] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-3),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-3),
}


def losses_of_training(build: Callable[[], nn.Module], optimizer_name: str, *, before: int, checked: bool, seed: int) -> list[float]:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    model = build()
    optimizer = OPTIMIZERS[optimizer_name](model.parameters())
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    loader = DataLoader(data(), 16, shuffle=True, generator=torch.Generator().manual_seed(seed))
    losses = []

    def train(steps: int) -> None:
        model.train()
        while steps:
            for x, y in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x + 0.1 * random.random() + 0.1 * np.random.rand()), y)
                loss.backward()
                optimizer.step()
                scheduler.step()
                losses.append(loss.item())
                steps -= 1
                if not steps:
                    return

    train(before)
    if checked:
        trainlint.check(
            model,
            loader,
            loss_fn=F.cross_entropy,
            optimizer=optimizer,
            scheduler=scheduler,
            val_loader=DataLoader(data(1), 16),
            only=QUICK,
            budget=20,
        )
    train(6)
    return losses


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    build=st.sampled_from([cnn, mlp, Recurrent]),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    before=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_training_after_check_gives_the_same_losses_as_without(
    build: Callable[[], nn.Module], optimizer: str, before: int, seed: int
) -> None:
    plain = losses_of_training(build, optimizer, before=before, checked=False, seed=seed)
    assert losses_of_training(build, optimizer, before=before, checked=True, seed=seed) == plain


def test_gradients_flags_modes_and_hooks_are_put_back() -> None:
    model = cnn().eval()
    model[0].weight.requires_grad_(False)
    model[3].train()
    handle = model[6].register_forward_hook(lambda module, args, output: None)
    gradient = torch.randn_like(model[6].weight)
    model[6].weight.grad = gradient
    kept, hooks = gradient.clone(), [dict(m._forward_hooks) for m in model.modules()]
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    trainlint.check(model, DataLoader(data(), 16), loss_fn=F.cross_entropy, only=QUICK, budget=20)
    assert model[6].weight.grad is gradient
    assert torch.equal(gradient, kept)
    assert model[0].weight.grad is None
    assert not model[0].weight.requires_grad
    assert [m.training for m in (model, model[1], model[3])] == [False, False, True]
    assert [dict(m._forward_hooks) for m in model.modules()] == hooks
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    handle.remove()


def test_a_fresh_optimizer_has_no_state_afterwards() -> None:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters())
    trainlint.check(model, DataLoader(data(), 16), loss_fn=F.cross_entropy, optimizer=optimizer, only=QUICK, budget=20)
    assert not optimizer.state
    assert optimizer.param_groups[0]["lr"] == 1e-3


def test_a_sound_pair_passes_and_a_broken_one_names_its_rule() -> None:
    loader = DataLoader(data(n=128), 32, shuffle=True)
    assert trainlint.check(mlp(), loader, budget=30)
    broken = nn.Sequential(mlp(), nn.Softmax(dim=1))
    report = trainlint.check(broken, loader, loss_fn=F.cross_entropy, budget=30)
    assert not report
    assert report.start_here is not None
    assert report.start_here.name == "output-activation"


def test_what_was_assumed_is_said() -> None:
    report = trainlint.check(mlp(), DataLoader(data(), 16), only=["init-loss"])
    notes = " ".join(report.subject.notes)
    assert "cross entropy was inferred" in notes
    assert "AdamW" in notes


def test_rules_about_the_loop_say_that_it_is_not_the_users() -> None:
    finding = trainlint.check(mlp(), DataLoader(data(), 16), only=["loop-order"])["loop-order"]
    assert finding.outcome is trainlint.Outcome.NOT_RUN
    assert "loop of its own" in finding.reason


class Cut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(64, 32), nn.Linear(32, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x.flatten(1)).relu().detach())


class Unregistered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = [nn.Linear(64, 64)], nn.Linear(64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers[0](x.flatten(1)).relu())


class Rooted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x.flatten(1)).sqrt()


@pytest.mark.parametrize(
    ("build", "rule"), [(Cut, "no-gradient"), (Unregistered, "params-not-optimized"), (Rooted, "non-finite")], ids=lambda x: str(x)
)
def test_faults_of_the_model_are_found_in_its_own_file(build: Callable[[], nn.Module], rule: str) -> None:
    finding = trainlint.check(build(), DataLoader(data(), 16), loss_fn=F.cross_entropy, only=[rule], budget=20)[rule]
    assert finding.failed
    assert finding.location is not None
    assert finding.location.file.endswith("test_check.py")


def test_an_optimizer_that_stood_in_is_not_judged() -> None:
    report = trainlint.check(mlp(), DataLoader(data(), 16), only=["decay-groups", "lr-range", "shuffle"], budget=20)
    assert [f.name for f in report.findings if f.outcome is trainlint.Outcome.NOT_RUN] == ["lr-range", "decay-groups"]
    assert report["shuffle"].failed  # needs no optimizer of the user's


class Returning(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = mlp()

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.body(images)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def test_mappings_and_models_that_return_their_loss_are_taken() -> None:
    batches = [{"images": x, "labels": y} for x, y in DataLoader(data(), 16)]
    assert trainlint.check(Returning(), batches, only=["init-loss"])["init-loss"].outcome is trainlint.Outcome.PASS


def test_a_step_function_covers_everything_else() -> None:
    report = trainlint.check(
        mlp(), DataLoader(data(), 16), step=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]), only=["init-loss"]
    )
    assert report["init-loss"].outcome is trainlint.Outcome.PASS


class OnceOnly(IterableDataset):
    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration


@pytest.mark.parametrize(
    ("model", "loader", "options", "says"),
    [
        (lambda: print, list, {}, "must be a torch.nn.Module"),
        (mlp, lambda: 3, {}, "something to iterate batches from"),
        (mlp, list, {}, "gave no batch"),
        (mlp, lambda: DataLoader(data(n=4), 16, drop_last=True), {}, "drop_last"),
        (mlp, lambda: (b for b in DataLoader(data(), 16)), {}, "use it up"),
        (mlp, lambda: DataLoader(OnceOnly()), {}, "starts afresh"),
        (mlp, lambda: [(torch.randn(4, 5), torch.zeros(4).long())], {}, "cannot be called on a batch"),
        (mlp, lambda: [(torch.randn(4, 64), torch.zeros(4, 2, 2))], {}, "pass loss_fn="),
        (mlp, lambda: DataLoader(data(), 16), {"loss_fn": lambda o, y: F.cross_entropy(o, y, reduction="none")}, "one number"),
        (lambda: mlp().requires_grad_(False), lambda: DataLoader(data(), 16), {}, "nothing to train"),
        (mlp, lambda: DataLoader(data(), 16), {"optimizer": "adam"}, "torch.optim.Optimizer"),
        (mlp, lambda: DataLoader(data(), 16), {"only": "init-loss"}, "list of rule names"),
        (mlp, lambda: DataLoader(data(), 16), {"only": ["init-los"]}, "did you mean 'init-loss'"),
    ],
)
def test_what_cannot_be_used_is_one_clear_error(model, loader, options, says: str) -> None:
    with pytest.raises(trainlint.UsageError, match=says):
        trainlint.check(model(), loader(), **options)


class Announced(torch.utils.data.Sampler):
    """Draws its order from the epoch that it is told, as samplers of several processes do."""

    def __init__(self, size: int) -> None:
        self.size, self.epoch = size, 5

    def __len__(self) -> int:
        return self.size

    def __iter__(self):
        return iter(torch.randperm(self.size, generator=torch.Generator().manual_seed(self.epoch)).tolist())

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


def test_a_sampler_that_is_told_the_epoch_is_told_it_and_put_back() -> None:
    sampler = Announced(64)
    report = trainlint.check(mlp(), DataLoader(data(), 16, sampler=sampler), only=["shuffle"], budget=20)
    assert not report["shuffle"].failed
    assert sampler.epoch == 5
