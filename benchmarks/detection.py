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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

sys.path.insert(0, str(Path(__file__).parent))

from population.broken import (
    Begun,
    Broken,
    Ended,
    across_batch,
    broken,
    data_with,
    detached,
    freeze_body,
    large_head,
    model_with,
    no_mask,
    rare,
    root_of_zero,
    shuffled_labels,
    squeeze_loss,
    summed,
    with_nan,
)

__all__ = ["BUGS", "POPULATION"]


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
