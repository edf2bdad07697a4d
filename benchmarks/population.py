"""Healthy training pipelines of many kinds: what thresholds are measured on, and what bugs are planted in.

Each is a function without arguments that trains for some epochs with validation in between, on data that comes with scikit-learn or
is generated. Names say model, task and what is particular.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from timm.models.mlp_mixer import MlpMixer
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, StepLR
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split

__all__ = ["POPULATION", "Pipeline"]

LossOf = Callable[[nn.Module, Any], Tensor]


@dataclass(frozen=True)
class Pipeline:
    """Parts of a plain training loop. Calling it trains."""

    data: Callable[[], Dataset[Any]]
    model: Callable[[], nn.Module]
    loss: LossOf
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = field(default=lambda p: AdamW(p, lr=1e-3))
    batch_size: int = 32
    epochs: int = 4
    schedule: Callable[[Optimizer, int], Any] | None = None
    """Of the optimizer and the number of all its steps; stepped after each optimizer step."""
    epoch_schedule: Callable[[Optimizer, int], Any] | None = None
    accumulate: int = 1
    clip: float | None = None
    autocast: bool = False

    def __call__(self) -> None:
        train_set, val_set = random_split(self.data(), [0.8, 0.2])
        train_loader = DataLoader(train_set, self.batch_size, shuffle=True, drop_last=True)
        val_loader = DataLoader(val_set, 2 * self.batch_size)
        model = self.model()
        optimizer = self.optimizer([p for p in model.parameters() if p.requires_grad])
        schedule = self.schedule(optimizer, self.epochs * len(train_loader) // self.accumulate) if self.schedule else None
        by_epoch = self.epoch_schedule(optimizer, self.epochs) if self.epoch_schedule else None
        for _ in range(self.epochs):
            model.train()
            for number, batch in enumerate(train_loader):
                with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
                    loss = self.loss(model, batch)
                (loss / self.accumulate).backward()
                if (number + 1) % self.accumulate:
                    continue
                if self.clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), self.clip)
                optimizer.step()
                optimizer.zero_grad()
                if schedule is not None:
                    schedule.step()
            model.eval()
            with torch.no_grad():
                for batch in val_loader:
                    self.loss(model, batch)
            if by_epoch is not None:
                by_epoch.step()


# -- data ----------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _digits() -> tuple[Tensor, Tensor]:
    pixels, labels = load_digits(return_X_y=True)
    pictures = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    return (pictures - 0.305) / 0.376, torch.tensor(labels)


def digits() -> Dataset[Any]:
    """1x8x8, ten classes."""
    return TensorDataset(*_digits())


def flat_digits() -> Dataset[Any]:
    """64 columns, ten classes."""
    pictures, labels = _digits()
    return TensorDataset(pictures.flatten(1), labels)


def photos(count: int = 600) -> Callable[[], Dataset[Any]]:
    """Digits as 3x32x32 pictures in colour."""

    def build() -> Dataset[Any]:
        pictures, labels = _digits()
        large = F.interpolate(pictures[:count], size=32, mode="bilinear") * torch.tensor([1.0, 0.8, 0.6]).reshape(1, 3, 1, 1)
        return TensorDataset(large, labels[:count])

    return build


def odd_even() -> Dataset[Any]:
    """One number a picture: odd or even."""
    pictures, labels = _digits()
    return TensorDataset(pictures, (labels % 2).float().unsqueeze(1))


def tags() -> Dataset[Any]:
    """Five yes-or-no tags a picture."""
    pictures, labels = _digits()
    return TensorDataset(pictures, torch.stack([labels % 2 == 0, labels % 3 == 0, labels > 4, labels < 3, labels % 5 == 1], 1).float())


def table(load: Callable[..., Any], *, classes: bool) -> Callable[[], Dataset[Any]]:
    """A standardised table of scikit-learn's."""

    def build() -> Dataset[Any]:
        x, y = load(return_X_y=True)
        inputs = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32)
        target = torch.tensor(y) if classes else torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32).unsqueeze(1)
        return TensorDataset(inputs, target)

    return build


def masks(count: int = 480) -> Dataset[Any]:
    """Bright discs on noise, 1x24x24, with their masks."""
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[:24, :24]
    pictures, drawn = np.empty((count, 1, 24, 24), "float32"), np.empty((count, 1, 24, 24), "float32")
    for i in range(count):
        cy, cx, r = rng.uniform(6, 18), rng.uniform(6, 18), rng.uniform(3, 6)
        drawn[i, 0] = (yy - cy) ** 2 + (xx - cx) ** 2 < r * r
        pictures[i, 0] = rng.normal(0, 0.5, (24, 24)) + 1.5 * drawn[i, 0]
    return TensorDataset(torch.from_numpy(pictures), torch.from_numpy(drawn))


def text(length: int = 32) -> Dataset[Any]:
    """Windows of sums written out; 1,300 windows of token ids."""
    source = "".join(f"{a} plus {b} is {a + b}. " for a in range(40) for b in range(30))
    letters = sorted(set(source))
    ids = torch.tensor([letters.index(c) for c in source])
    starts = torch.arange(0, len(ids) - length - 1, 16)
    return TensorDataset(torch.stack([ids[s : s + length + 1] for s in starts]))


def sequences(count: int = 800) -> Dataset[Any]:
    """Waves of 40 steps with 3 channels; four frequencies to tell apart."""
    rng = np.random.default_rng(1)
    kinds = rng.integers(0, 4, count)
    time = np.arange(40) / 40
    phase = rng.uniform(0, 2 * math.pi, (count, 3))
    waves = np.sin(2 * math.pi * (kinds[:, None, None] + 1) * time[None, :, None] + phase[:, None, :]) + rng.normal(0, 0.3, (count, 40, 3))
    return TensorDataset(torch.tensor(waves, dtype=torch.float32), torch.tensor(kinds))


def forecasts(count: int = 800) -> Dataset[Any]:
    """Waves and their next value."""
    inputs, _ = sequences(count).tensors  # type: ignore[attr-defined]
    return TensorDataset(inputs[:, :-1], inputs[:, -1, :1])


def reviews(count: int = 800) -> Dataset[Any]:
    """Token ids padded with 0 to 24, with the lengths; which of three groups of words is most frequent."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, count)
    lengths = rng.integers(6, 24, count)
    ids = np.zeros((count, 24), "int64")
    for i in range(count):
        own = rng.random(lengths[i]) < 0.6
        ids[i, : lengths[i]] = np.where(own, 1 + 20 * labels[i] + rng.integers(0, 20, lengths[i]), rng.integers(1, 80, lengths[i]))
    return TensorDataset(torch.tensor(ids), torch.tensor(lengths), torch.tensor(labels))


# -- models --------------------------------------------------------------------------------------------------------------


def mlp(*widths: int, activation: type[nn.Module] = nn.ReLU, norm: bool = False, dropout: float = 0.0) -> Callable[[], nn.Module]:
    """Linear layers of these widths."""

    def build() -> nn.Module:
        layers: list[nn.Module] = []
        for before, after in pairwise(widths[:-1]):
            layers += [nn.Linear(before, after), *([nn.BatchNorm1d(after)] if norm else []), activation()]
            layers += [nn.Dropout(dropout)] if dropout else []
        return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))

    return build


def cnn(outputs: int = 10, *, norm: bool = True, deep: int = 3) -> Callable[[], nn.Module]:
    """Convolutions of width 32 with pooling at the end."""

    def build() -> nn.Module:
        layers: list[nn.Module] = []
        for i in range(deep):
            layers += [nn.Conv2d(32 if i else 1, 32, 3, padding=1, bias=not norm), *([nn.BatchNorm2d(32)] if norm else []), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, outputs))

    return build


def timm_model(name: str, **options: Any) -> Callable[[], nn.Module]:
    """A model of timm's for ten classes, untrained."""
    return lambda: timm.create_model(name, num_classes=10, **options)


class Recurrent(nn.Module):
    """LSTM or GRU over sequences, the last state read."""

    def __init__(self, kind: type[nn.RNNBase], outputs: int, *, two_ways: bool = False) -> None:
        super().__init__()
        self.rnn = kind(3, 32, batch_first=True, bidirectional=two_ways)
        self.head = nn.Linear(64 if two_ways else 32, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, 3) -> (B, outputs)."""
        return self.head(self.rnn(x)[0].mean(1))


class Reader(nn.Module):
    """Transformer encoder over padded token ids with a padding mask, the mean read."""

    def __init__(self, *, packed: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(81, 32, padding_idx=0)
        self.packed = packed
        if packed:
            self.rnn = nn.GRU(32, 32, batch_first=True)
        else:
            layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True, norm_first=True)
            self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 3)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Token ids (B, T) and lengths (B) -> logits (B, 3)."""
        if self.packed:
            packed = nn.utils.rnn.pack_padded_sequence(self.embed(ids), lengths.cpu(), batch_first=True, enforce_sorted=False)
            return self.head(self.rnn(packed)[1][-1])
        there = (ids != 0).unsqueeze(-1)
        hidden = self.blocks(self.embed(ids), src_key_padding_mask=~there.squeeze(-1))
        return self.head((hidden * there).sum(1) / there.sum(1))


class GPT(nn.Module):
    """Two causal blocks with tied embeddings."""

    def __init__(self, vocabulary: int = 30) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, 48), nn.Embedding(64, 48)
        layer = nn.TransformerEncoderLayer(48, 4, 192, dropout=0.1, batch_first=True, norm_first=True, activation="gelu")
        self.blocks = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(48), enable_nested_tensor=False)
        self.head = nn.Linear(48, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        return self.head(self.blocks(self.tokens(ids) + self.places(torch.arange(ids.shape[1])), mask=mask, is_causal=True))


class VAE(nn.Module):
    """64 -> 8 -> 64."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = mlp(64, 64, 16)(), mlp(8, 64, 64)()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction logits, mean and log variance."""
        mean, logvar = self.encode(x).chunk(2, 1)
        return self.decode(mean + torch.randn_like(mean) * (0.5 * logvar).exp()), mean, logvar


class UNet(nn.Module):
    """One level down and up again."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.middle = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        self.up = nn.ConvTranspose2d(32, 16, 2, 2)
        self.head = nn.Sequential(nn.Conv2d(32, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Mask logits of the picture's size."""
        skip = self.down(x)
        return self.head(torch.cat([skip, self.up(self.middle(F.max_pool2d(skip, 2)))], 1))


class Tower(nn.Module):
    """Embeds pictures on the unit sphere, for pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.body = cnn(32)()
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 32), unit length."""
        return F.normalize(self.body(x), dim=1)


def fine_tuned(name: str = "resnet10t", *, frozen: bool) -> Callable[[], nn.Module]:
    """A body with loaded weights and a new head; ``frozen`` trains the head alone."""

    def build() -> nn.Module:
        state = timm.create_model(name, num_classes=10).state_dict()
        model = timm.create_model(name, num_classes=10)
        model.load_state_dict(state)
        if frozen:
            model.requires_grad_(False)
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.momentum = 0.0
        model.reset_classifier(10)
        return model

    return build


# -- losses --------------------------------------------------------------------------------------------------------------


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


def decayed(lr: float, decay: float = 0.05) -> Callable[[Iterable[nn.Parameter]], Optimizer]:
    """AdamW with decay on matrices only."""

    def build(parameters: Iterable[nn.Parameter]) -> Optimizer:
        own = list(parameters)
        return AdamW(
            [
                {"params": [p for p in own if p.dim() > 1], "weight_decay": decay},
                {"params": [p for p in own if p.dim() <= 1], "weight_decay": 0.0},
            ],
            lr=lr,
        )

    return build


def sgd(lr: float, momentum: float = 0.9) -> Callable[[Iterable[nn.Parameter]], Optimizer]:
    """SGD with momentum."""
    return lambda p: SGD(p, lr=lr, momentum=momentum)


def one_cycle(peak: float) -> Callable[[Optimizer, int], Any]:
    """One cycle over all steps."""
    return lambda optimizer, steps: OneCycleLR(optimizer, max_lr=peak, total_steps=steps)


def cosine(optimizer: Optimizer, length: int) -> Any:
    """Half a cosine."""
    return CosineAnnealingLR(optimizer, T_max=length)


def third(optimizer: Optimizer, epochs: int) -> Any:
    """A tenth after each third of the epochs."""
    return StepLR(optimizer, step_size=max(1, epochs // 3))


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
    "gpt": Pipeline(text, GPT, next_token, decayed(1e-3), clip=1.0, schedule=one_cycle(1e-3)),
    "gpt, adam, batch 16": Pipeline(text, GPT, next_token, lambda p: Adam(p, 5e-4), batch_size=16),
    "vae": Pipeline(flat_digits, VAE, evidence_bound),
    "denoising autoencoder": Pipeline(flat_digits, mlp(64, 32, 8, 32, 64), denoise),
    "unet, bce": Pipeline(masks, UNet, yes_no),
    "unet, bce and dice": Pipeline(masks, UNet, dice, sgd(0.05)),
    "contrastive towers": Pipeline(digits, Tower, contrast, decayed(1e-3), batch_size=64),
}
