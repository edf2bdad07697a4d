"""Healthy training pipelines of many kinds: what thresholds are measured on, and what bugs are planted in.

Each is a function without arguments that trains for some epochs with validation in between, on data that comes with scikit-learn or
is generated. Names say model, task and what is particular.
"""

from __future__ import annotations

from collections.abc import Callable

from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from timm.models.mlp_mixer import MlpMixer
from torch import nn
from torch.optim import Adam, AdamW, RMSprop

from population.data import digits, flat_digits, forecasts, masks, odd_even, photos, reviews, sentences, sequences, spots, table, tags, text
from population.losses import (
    classify,
    contrast,
    denoise,
    dice,
    evidence_bound,
    huber,
    log_likelihood,
    mixup,
    next_token,
    own_formula,
    smoothed,
    squared,
    yes_no,
)
from population.models import GPT, VAE, Reader, Recurrent, Tagger, Tower, UNet, cnn, fine_tuned, mlp, timm_model
from population.optimizers import cosine, decayed, one_cycle, sgd, third
from population.pipeline import Pipeline

__all__ = ["POPULATION", "Pipeline"]

SMALL_VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 4}

POPULATION: dict[str, Callable[[], None]] = {
    "mlp digits, sgd": Pipeline(flat_digits, mlp(64, 64, 10), classify, sgd(0.05)),
    "mlp digits, adam, batch 8": Pipeline(flat_digits, mlp(64, 64, 10), classify, lambda p: Adam(p, 1e-3), batch_size=8),
    "mlp digits, batch norm, batch 128": Pipeline(flat_digits, mlp(64, 128, 64, 10, norm=True), classify, sgd(0.05), batch_size=128),
    "mlp digits, tanh": Pipeline(flat_digits, mlp(64, 48, 48, 10, activation=nn.Tanh), classify, sgd(0.05)),
    "mlp digits, gelu, dropout, smoothing": Pipeline(flat_digits, mlp(64, 128, 64, 10, activation=nn.GELU, dropout=0.3), smoothed),
    "mlp digits, rmsprop": Pipeline(flat_digits, mlp(64, 64, 10), classify, lambda p: RMSprop(p, 1e-3)),
    "mlp digits, nll": Pipeline(flat_digits, mlp(64, 64, 10), log_likelihood),
    "mlp digits, loss by hand": Pipeline(flat_digits, mlp(64, 64, 10), own_formula),
    "mlp digits, mixup": Pipeline(flat_digits, mlp(64, 128, 10), mixup),
    "mlp wine": Pipeline(table(load_wine, classes=True), mlp(13, 32, 3), classify, batch_size=16, epochs=12),
    "mlp breast cancer": Pipeline(table(load_breast_cancer, classes=True), mlp(30, 32, 2), classify, epochs=8),
    "mlp diabetes regression": Pipeline(table(load_diabetes, classes=False), mlp(10, 64, 1), squared, epochs=8),
    "mlp diabetes, huber, sgd": Pipeline(table(load_diabetes, classes=False), mlp(10, 64, 1), huber, sgd(0.02), epochs=8),
    "cnn digits, sgd, cosine": Pipeline(digits, cnn(), classify, sgd(0.05), schedule=cosine),
    "cnn digits, one cycle": Pipeline(digits, cnn(), classify, schedule=one_cycle(1e-2)),
    "cnn digits, step schedule": Pipeline(digits, cnn(), classify, sgd(0.05), epochs=6, epoch_schedule=third),
    "cnn digits, no norm": Pipeline(digits, cnn(norm=False), classify),
    "cnn digits, six layers": Pipeline(digits, cnn(deep=6), classify, decayed(2e-3)),
    "cnn digits, accumulation 4": Pipeline(digits, cnn(), classify, batch_size=8, accumulate=4),
    "cnn digits, clip, bf16": Pipeline(digits, cnn(), classify, clip=1.0, autocast=True),
    "cnn odd or even": Pipeline(odd_even, cnn(1), yes_no),
    "cnn tags": Pipeline(tags, cnn(5), yes_no),
    "cnn digits, mixup, cosine": Pipeline(digits, cnn(), mixup, decayed(2e-3), schedule=cosine),
    "cnn boxes": Pipeline(spots, cnn(4), squared, epochs=8),
    "resnet10t": Pipeline(photos(), timm_model("resnet10t"), classify, sgd(0.05), schedule=cosine),
    "vit": Pipeline(photos(), timm_model("vit_tiny_patch16_224", **SMALL_VIT), smoothed, decayed(1e-3), schedule=one_cycle(1e-3)),
    "vit, drop path": Pipeline(
        photos(), timm_model("vit_tiny_patch16_224", drop_path_rate=0.1, **SMALL_VIT), classify, decayed(5e-4), schedule=one_cycle(5e-4)
    ),
    "convnext": Pipeline(photos(400), timm_model("convnext_atto", drop_path_rate=0.1), classify, decayed(1e-3), schedule=one_cycle(1e-3)),
    "mobilenet": Pipeline(photos(400), timm_model("mobilenetv3_small_050"), classify, sgd(0.05), batch_size=64),
    "efficientnet": Pipeline(photos(300), timm_model("efficientnet_lite0"), classify, lambda p: RMSprop(p, 1e-3)),
    "regnet": Pipeline(photos(400), timm_model("regnetx_002"), classify, sgd(0.05)),
    "mixer": Pipeline(photos(), lambda: MlpMixer(10, img_size=32, patch_size=8, num_blocks=3, embed_dim=64), classify, decayed(1e-3)),
    "resnet10t, fine-tuned": Pipeline(photos(), fine_tuned(frozen=False), classify, decayed(1e-4)),
    "resnet10t, head alone": Pipeline(photos(), fine_tuned(frozen=True), classify, lambda p: AdamW(p, 1e-2)),
    "lstm waves": Pipeline(sequences, lambda: Recurrent(nn.LSTM, 4), classify, lambda p: Adam(p, 3e-3), clip=1.0),
    "gru waves, two ways": Pipeline(sequences, lambda: Recurrent(nn.GRU, 4, two_ways=True), classify, lambda p: Adam(p, 3e-3)),
    "lstm forecast": Pipeline(forecasts, lambda: Recurrent(nn.LSTM, 1), squared, lambda p: Adam(p, 3e-3)),
    "transformer on padded text": Pipeline(reviews, Reader, classify, decayed(1e-3), schedule=one_cycle(1e-3)),
    "gru on packed text": Pipeline(reviews, lambda: Reader(packed=True), classify, lambda p: Adam(p, 2e-3)),
    "gru tagger": Pipeline(sentences, Tagger, classify, decayed(3e-3)),
    "gpt": Pipeline(text, GPT, next_token, decayed(1e-3), clip=1.0, schedule=one_cycle(1e-3)),
    "gpt, adam, batch 16": Pipeline(text, GPT, next_token, lambda p: Adam(p, 5e-4), batch_size=16),
    "vae": Pipeline(flat_digits, VAE, evidence_bound),
    "denoising autoencoder": Pipeline(flat_digits, mlp(64, 32, 8, 32, 64), denoise),
    "unet, bce": Pipeline(masks, UNet, yes_no),
    "unet, bce and dice": Pipeline(masks, UNet, dice, sgd(0.05)),
    "contrastive towers": Pipeline(digits, Tower, contrast, decayed(1e-3), batch_size=64),
}
