"""The bugs that are planted, by the rule that is to find them, each in several pipelines."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from population.broken import Broken, broken, data_with, model_with
from population.faults import (
    Begun,
    Ended,
    across_batch,
    alike,
    all_zero,
    as_if_channels_last,
    below_zero,
    beside,
    blank,
    body_and_head,
    detached,
    drowned,
    freeze_body,
    hardened_mixup,
    heads_by_view,
    in_training,
    in_validation,
    jittered,
    large_head,
    leaked,
    mirrored_alone,
    next_class,
    no_mask,
    noisy_labels,
    one_over,
    rare,
    read_all,
    relu_recurrence,
    reversed_channels,
    root_of_zero,
    rows_as_features,
    scaled,
    shuffled_labels,
    smoothed_twice,
    squeeze_loss,
    summed,
    swapped,
    with_nan,
)
from population.models import Recurrent, mlp

__all__ = ["BUGS"]

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
    "axis-order": [
        model_with("lstm waves", lambda m: Begun(m, rows_as_features)),
        model_with("gru waves, two ways", lambda m: Begun(m, rows_as_features)),
        model_with("vit", heads_by_view),
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
        data_with("gru tagger", beside(1)),
        data_with("gru tagger", beside(-1)),
        broken("cnn boxes", divide=in_training(mirrored_alone)),
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
    "init-scale": [
        model_with("mlp digits, sgd", alike),
        model_with("lstm waves", alike),
        model_with("mlp digits, tanh", all_zero),
        broken("mlp digits, sgd", model=mlp(64, *[128] * 12, 10), prepare=scaled(4.0)),
        model_with("lstm waves", relu_recurrence, clip=None),
        model_with("lstm forecast", relu_recurrence),
    ],
    "input-ignored": [
        model_with("mlp digits, sgd", lambda m: Begun(m, blank)),
        model_with("cnn digits, no norm", lambda m: Begun(m, blank)),
    ],
    "channel-order": [data_with("resnet10t", as_if_channels_last), broken("mobilenet", divide=in_validation(reversed_channels))],
    "label-mapping": [
        broken("mlp digits, sgd", divide=in_validation(next_class)),
        broken("cnn digits, no norm", divide=in_validation(swapped)),
    ],
    "label-noise": [data_with("mlp digits, sgd", noisy_labels), data_with("cnn digits, one cycle", noisy_labels)],
    "padding": [model_with("transformer on padded text", read_all)],
    "split-leak": [broken("mlp digits, sgd", divide=leaked), broken("resnet10t", divide=leaked), broken("lstm waves", divide=leaked)],
    "eval-augment": [
        broken("cnn digits, no norm", divide=in_validation(jittered)),
        broken("mlp breast cancer", divide=in_validation(jittered)),
    ],
    "last-batch": [data_with("mlp digits, batch norm, batch 128", one_over, batch_size=32, drop_last=False)],
    "gradient-vanishing": [
        broken("mlp digits, sgd", model=mlp(64, *[64] * 12, 10, activation=nn.Sigmoid)),
        broken("mlp wine", model=mlp(13, *[32] * 10, 3, activation=nn.Sigmoid)),
    ],
    "dead-units": [model_with("mlp digits, sgd", below_zero), model_with("cnn digits, no norm", below_zero)],
    "lr-groups": [broken("resnet10t, fine-tuned", groups=body_and_head(1e-2, 1e-4), optimizer=AdamW)],
    "decay-groups": [
        broken("mlp digits, batch norm, batch 128", batch_size=32, optimizer=lambda p: AdamW(p, 1e-2, weight_decay=1.0), epochs=12),
        broken("vit", optimizer=lambda p: AdamW(p, 2e-3, weight_decay=1.0), epochs=20),
    ],
    "soft-targets": [
        broken("mlp digits, mixup", loss=hardened_mixup),
        broken("cnn digits, mixup, cosine", loss=hardened_mixup),
        broken("cnn digits, no norm", loss=smoothed_twice),
    ],
    "over-regularized": [
        broken("mlp digits, sgd", model=mlp(64, 128, 64, 10, dropout=0.95)),
        broken("cnn digits, no norm", divide=in_training(drowned)),
    ],
    "ema": [broken("cnn digits, no norm", average=0.9999), broken("mlp digits, sgd", average=0.99999)],
    "batch-size": [broken("mlp digits, batch norm, batch 128", batch_size=2), broken("resnet10t", batch_size=2)],
    "capacity": [broken("mlp digits, sgd", model=mlp(64, 1, 10)), broken("lstm waves", model=lambda: Recurrent(nn.LSTM, 4, hidden=1))],
}
