"""Which rule speaks first when a bug is planted in a healthy pipeline.

    python benchmarks/detection.py [--seeds 1] [--jobs 1] [--only WORDS] [--budget 60]

Each bug is planted in several of the pipelines of ``population``. The table has a row for each kind of bug: how often its own rule
spoke, how often it was the one to start with, and which others were named first instead. Bugs that must run as a script of their own
(frameworks, workers, files) are covered by the bad scripts under ``tests/rules``.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau
from torch.utils.data import DataLoader, TensorDataset, random_split

sys.path.insert(0, str(Path(__file__).parent))

from population import POPULATION as HEALTHY
from population import Pipeline

__all__ = ["BUGS", "POPULATION", "Broken"]


@dataclass(frozen=True)
class Broken(Pipeline):
    """A pipeline whose loop itself can be wrong."""

    shuffled: bool = True
    sort: bool = False
    clears: str = "after step"
    """``after step``, ``never`` or ``before step`` (which throws the gradients away)."""
    step_first: bool = False
    mode: str = "train"
    """Mode of the model while training; ``once``: train() is called before the first epoch only."""
    val_mode: str = "eval"
    val_grad: bool = False
    schedule_first: bool = False
    stale_optimizer: bool = False
    """The optimizer is built before the output layer is replaced."""
    prepare: Callable[[nn.Module], Any] | None = None
    val_change: Callable[[Tensor], Tensor] | None = None
    keep_graphs: bool = False
    plateau: str = ""

    def __call__(self) -> None:
        whole = self.data()
        train_set, val_set = random_split(whole, [0.8, 0.2])
        if self.sort:
            train_set.indices.sort(key=lambda i: int(whole[i][-1]))
        train_loader = DataLoader(train_set, self.batch_size, shuffle=self.shuffled, drop_last=True)
        val_loader = DataLoader(val_set, 2 * self.batch_size)
        model = self.model()
        if self.prepare is not None:
            self.prepare(model)
        optimizer = self.optimizer([p for p in model.parameters() if p.requires_grad])
        if self.stale_optimizer:
            last = next(n for n, m in reversed(list(model.named_modules())) if isinstance(m, nn.Linear))
            owner, _, name = last.rpartition(".")
            old = model.get_submodule(last)
            setattr(model.get_submodule(owner), name, nn.Linear(old.in_features, old.out_features))
        schedule = self.schedule(optimizer, self.epochs * len(train_loader)) if self.schedule else None
        by_epoch = self.epoch_schedule(optimizer, self.epochs * len(train_loader)) if self.epoch_schedule else None
        plateau = ReduceLROnPlateau(optimizer, mode="min", patience=1) if self.plateau else None
        history: list[Tensor] = []
        model.train()
        for _ in range(self.epochs):
            if self.mode != "once":
                model.train(self.mode == "train")
            for batch in train_loader:
                if self.step_first:
                    optimizer.step()
                    optimizer.zero_grad()
                loss = self.loss(model, batch)
                loss.backward()
                if self.clears == "before step":
                    optimizer.zero_grad()
                if self.clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), self.clip)
                if schedule is not None and self.schedule_first:
                    schedule.step()
                if not self.step_first:
                    optimizer.step()
                if self.clears == "after step" and not self.step_first:
                    optimizer.zero_grad()
                if schedule is not None and not self.schedule_first:
                    schedule.step()
                if self.keep_graphs:
                    history.append(loss)
            model.train(self.val_mode == "train")
            hits = 0.0
            with torch.set_grad_enabled(self.val_grad):
                for batch in val_loader:
                    inputs = [self.val_change(batch[0]), *batch[1:]] if self.val_change else batch
                    self.loss(model, inputs)
                    if self.plateau:
                        hits += float((model(inputs[0]).argmax(1) == inputs[1]).float().mean())
            if by_epoch is not None:
                by_epoch.step()
            if plateau is not None:
                plateau.step(hits / len(val_loader))


def broken(base: str, **changes: Any) -> Broken:
    """A healthy pipeline with something changed."""
    return Broken(**{**vars(HEALTHY[base]), **changes})


def data_with(base: str, change: Callable[..., tuple[Tensor, ...]], **changes: Any) -> Broken:
    """A healthy pipeline on changed tensors."""
    data = HEALTHY[base].data  # type: ignore[attr-defined]
    return broken(base, data=lambda: TensorDataset(*change(*(t.clone() for t in data().tensors))), **changes)


def model_with(base: str, change: Callable[[nn.Module], Any], **changes: Any) -> Broken:
    """A healthy pipeline with a changed model."""
    build = HEALTHY[base].model  # type: ignore[attr-defined]

    def model() -> nn.Module:
        made = build()
        return change(made) or made

    return broken(base, model=model, **changes)


# -- what can be wrong ---------------------------------------------------------------------------------------------------


class Ended(nn.Module):
    """A model with something behind it."""

    def __init__(self, model: nn.Module, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.end = model, end

    def forward(self, *inputs: Tensor) -> Tensor:
        """The model's output, changed."""
        return self.end(self.model(*inputs))


class Begun(nn.Module):
    """A model with something before it."""

    def __init__(self, model: nn.Module, begin: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.begin = model, begin

    def forward(self, x: Tensor) -> Tensor:
        """The model's output for a changed input."""
        return self.model(self.begin(x))


def large_head(model: nn.Module) -> None:
    """Start with large logits."""
    last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    nn.init.normal_(last.weight, std=4.0)


def freeze_body(model: nn.Module) -> None:
    """Only the output layer learns, over random features."""
    for parameter in list(model.parameters())[:-2]:
        parameter.requires_grad = False


def with_nan(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Every twentieth row lacks a value."""
    x.flatten(1)[::20, 3] = float("nan")
    return x, y


def shuffled_labels(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Labels joined in another order."""
    return x, y[torch.randperm(len(y), generator=torch.Generator().manual_seed(5))]


def rare(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Few of one class."""
    keep = torch.cat([(y == 0).nonzero().flatten(), (y == 1).nonzero().flatten()[:4]])
    return x[keep], y[keep].clamp(max=1)


def no_mask(model: nn.Module) -> None:
    """A language model that sees what it is to predict."""
    model.forward = lambda ids: model.head(model.blocks(model.tokens(ids) + model.places(torch.arange(ids.shape[1]))))


def across_batch(x: Tensor) -> Tensor:
    """Normalise over the batch instead of the classes."""
    return x - x.mean(0, keepdim=True).mul(2)


def squeeze_loss(model: nn.Module, batch: Any) -> Tensor:
    """(B, 1) against (B,)."""
    return F.mse_loss(model(batch[0]), batch[1].squeeze(1))


def summed(model: nn.Module, batch: Any) -> Tensor:
    """The sum over elements."""
    return (
        F.mse_loss(model(batch[0]), batch[1], reduction="sum")
        if batch[1].dtype.is_floating_point
        else F.cross_entropy(model(batch[0]), batch[1], reduction="sum")
    )


def detached(model: nn.Module, batch: Any) -> Tensor:
    """The features are cut off from the output layer."""
    *body, head = list(model.children())
    features = batch[0]
    for layer in body:
        features = layer(features)
    return F.cross_entropy(head(features.detach()), batch[1])


def root_of_zero(model: nn.Module, batch: Any) -> Tensor:
    """A distance whose gradient at zero is not a number."""
    out = model(batch[0])
    return F.cross_entropy(out, batch[1]) + torch.sqrt((out - out.detach()).square().sum(1)).mean()


BUGS: dict[str, list[Broken]] = {
    "init-loss": [model_with("cnn digits, sgd, cosine", large_head), model_with("mlp wine", large_head)],
    "label-range": [
        data_with("mlp digits, sgd", lambda x, y: (x, y + 1), model=lambda: nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 11))),
        data_with(
            "cnn digits, one cycle",
            lambda x, y: (x, y + 1),
            model=lambda: nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 11)),
        ),
    ],
    "output-activation": [
        model_with("mlp digits, sgd", lambda m: Ended(m, lambda x: x.softmax(1))),
        model_with("cnn tags", lambda m: Ended(m, torch.sigmoid)),
        broken("cnn digits, no norm", loss=lambda model, b: F.nll_loss(model(b[0]), b[1])),
        model_with("mlp diabetes regression", lambda m: Ended(m, F.relu)),
    ],
    "loss-shape": [broken("mlp diabetes regression", loss=squeeze_loss), broken("lstm forecast", loss=squeeze_loss)],
    "loss-reduction": [
        broken("denoising autoencoder", loss=lambda m, b: F.mse_loss(m(b[0]), b[0], reduction="sum"), optimizer=lambda p: SGD(p, 0.1)),
        broken("mlp diabetes, huber, sgd", loss=summed, optimizer=lambda p: SGD(p, 0.5)),
    ],
    "sample-mixing": [
        model_with("gpt", no_mask),
        model_with("mlp digits, sgd", lambda m: Ended(m, across_batch)),
        model_with("cnn digits, no norm", lambda m: Begun(m, lambda x: x.reshape(8, 8, 1, -1).permute(3, 2, 0, 1))),
    ],
    "input-finite": [data_with("mlp breast cancer", with_nan), data_with("cnn digits, sgd, cosine", with_nan)],
    "input-scale": [
        data_with("mlp digits, tanh", lambda x, y: ((x * 0.376 + 0.305) * 255, y)),
        data_with("mlp digits, sgd", lambda x, y: ((x * 0.376 + 0.305) * 255, y)),
        broken("cnn digits, no norm", val_change=lambda x: (x * 0.376 + 0.305) * 255),
    ],
    "input-degenerate": [data_with("cnn digits, sgd, cosine", lambda x, y: (x * 0, y))],
    "label-signal": [
        data_with("mlp digits, sgd", shuffled_labels),
        data_with("cnn digits, one cycle", shuffled_labels),
        data_with("mlp breast cancer", shuffled_labels),
    ],
    "class-imbalance": [data_with("mlp digits, sgd", rare), data_with("cnn digits, one cycle", rare)],
    "shuffle": [
        broken("mlp digits, sgd", shuffled=False, sort=True),
        broken("cnn digits, no norm", shuffled=False, sort=True),
        broken("lstm waves", shuffled=False, sort=True),
    ],
    "frozen-params": [broken("cnn digits, no norm", prepare=freeze_body), broken("mlp digits, sgd", prepare=freeze_body)],
    "params-not-optimized": [broken("cnn digits, no norm", stale_optimizer=True), broken("resnet10t", stale_optimizer=True, schedule=None)],
    "no-gradient": [broken("mlp digits, sgd", loss=detached), broken("cnn digits, no norm", loss=detached)],
    "gradient-accumulation": [
        broken("mlp digits, sgd", clears="never"),
        broken("gru waves, two ways", clears="never"),
        broken("vit", clears="never"),
    ],
    "loop-order": [
        broken("mlp digits, sgd", clears="before step"),
        broken("cnn digits, no norm", step_first=True),
        broken("lstm forecast", clears="before step"),
    ],
    "train-mode": [
        broken("cnn digits, sgd, cosine", mode="eval"),
        broken("mlp digits, gelu, dropout, smoothing", mode="once"),
        broken("resnet10t", mode="once"),
    ],
    "eval-mode": [broken("cnn digits, sgd, cosine", val_mode="train"), broken("mlp digits, gelu, dropout, smoothing", val_mode="train")],
    "grad-clip": [broken("mlp digits, sgd", clip=1e-4), broken("cnn digits, sgd, cosine", clip=1e-5)],
    "non-finite": [broken("mlp digits, sgd", loss=root_of_zero), broken("cnn digits, no norm", loss=root_of_zero)],
    "graph-retained": [broken("mlp digits, sgd", keep_graphs=True), broken("cnn digits, no norm", keep_graphs=True)],
    "lr-range": [
        broken("mlp digits, sgd", optimizer=lambda p: SGD(p, 50.0)),
        broken("cnn digits, no norm", optimizer=lambda p: AdamW(p, 1e-8)),
        broken("transformer on padded text", optimizer=lambda p: AdamW(p, 1.0), schedule=None),
    ],
    "schedule-cadence": [
        broken("cnn digits, one cycle", schedule=None, epoch_schedule=lambda o, steps: OneCycleLR(o, 1e-2, total_steps=steps)),
        broken("cnn digits, sgd, cosine", schedule=lambda o, steps: CosineAnnealingLR(o, T_max=4)),
        broken("mlp digits, sgd", plateau="accuracy"),
    ],
    "schedule-order": [broken("cnn digits, one cycle", schedule_first=True)],
    "coupled-weight-decay": [
        broken("mlp digits, sgd", optimizer=lambda p: Adam(p, 1e-3, weight_decay=0.1)),
        broken("cnn digits, no norm", optimizer=lambda p: Adam(p, 1e-3, weight_decay=0.05)),
    ],
}

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
        failed = [[f for f in found if f["outcome"] == "fail" and f["severity"] != "note"] for found in mine]
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
