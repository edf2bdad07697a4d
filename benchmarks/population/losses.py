"""Losses as functions of a model and a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "classify",
    "contrast",
    "denoise",
    "dice",
    "evidence_bound",
    "huber",
    "log_likelihood",
    "mixup",
    "next_token",
    "own_formula",
    "smoothed",
    "squared",
    "yes_no",
]


def classify(model: nn.Module, batch: Any) -> Tensor:
    """Cross entropy; the last of the batch is the label."""
    return F.cross_entropy(model(*batch[:-1]), batch[-1])


def smoothed(model: nn.Module, batch: Any) -> Tensor:
    """Cross entropy with label smoothing while training."""
    return F.cross_entropy(model(batch[0]), batch[1], label_smoothing=0.1 if model.training else 0.0)


def log_likelihood(model: nn.Module, batch: Any) -> Tensor:
    """log_softmax and nll_loss, a correct pair."""
    return F.nll_loss(F.log_softmax(model(batch[0]), dim=1), batch[1])


def yes_no(model: nn.Module, batch: Any) -> Tensor:
    """Binary cross entropy with logits."""
    return F.binary_cross_entropy_with_logits(model(batch[0]), batch[1])


def squared(model: nn.Module, batch: Any) -> Tensor:
    """Mean squared error."""
    return F.mse_loss(model(batch[0]), batch[1])


def huber(model: nn.Module, batch: Any) -> Tensor:
    """Smooth absolute error."""
    return F.smooth_l1_loss(model(batch[0]), batch[1])


def dice(model: nn.Module, batch: Any) -> Tensor:
    """Binary cross entropy plus dice."""
    logits, wanted = model(batch[0]), batch[1]
    given = logits.sigmoid()
    overlap = 2 * (given * wanted).sum((1, 2, 3)) / ((given + wanted).sum((1, 2, 3)) + 1)
    return F.binary_cross_entropy_with_logits(logits, wanted) + (1 - overlap).mean()


def next_token(model: nn.Module, batch: Any) -> Tensor:
    """Cross entropy of the next token."""
    return F.cross_entropy(model(batch[0][:, :-1]).flatten(0, 1), batch[0][:, 1:].flatten())


def evidence_bound(model: nn.Module, batch: Any) -> Tensor:
    """A VAE's loss, averaged over samples."""
    x = batch[0]
    made, mean, logvar = model(x)
    reconstruction = F.mse_loss(made, x, reduction="none").sum(1)
    divergence = -0.5 * (1 + logvar - mean.square() - logvar.exp()).sum(1)
    return (reconstruction + divergence).mean()


def denoise(model: nn.Module, batch: Any) -> Tensor:
    """The clean picture from a noisy one."""
    clean = batch[0]
    return F.mse_loss(model(clean + 0.3 * torch.randn_like(clean)), clean)


def mixup(model: nn.Module, batch: Any) -> Tensor:
    """Mixed inputs, both labels scored, while training."""
    x, y = batch
    if not model.training:
        return F.cross_entropy(model(x), y)
    share, order = float(np.random.beta(0.4, 0.4)), torch.randperm(len(x))
    out = model(share * x + (1 - share) * x[order])
    return share * F.cross_entropy(out, y) + (1 - share) * F.cross_entropy(out, y[order])


def contrast(model: nn.Module, batch: Any) -> Tensor:
    """Two noisy views of each picture find each other among the batch."""
    x = batch[0]
    one, other = model(x + 0.2 * torch.randn_like(x)), model(x + 0.2 * torch.randn_like(x))
    scores = model.scale.exp() * one @ other.T
    return F.cross_entropy(scores, torch.arange(len(x)))


def own_formula(model: nn.Module, batch: Any) -> Tensor:
    """Cross entropy written by hand."""
    scores = model(batch[0])
    return (torch.logsumexp(scores, 1) - scores.gather(1, batch[1].unsqueeze(1)).squeeze(1)).mean()
