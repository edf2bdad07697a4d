"""Models of many kinds, small enough to train in seconds."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["GPT", "VAE", "Reader", "Recurrent", "Tagger", "Tower", "UNet", "cnn", "fine_tuned", "mlp", "timm_model"]


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

    def __init__(self, kind: type[nn.RNNBase], outputs: int, *, hidden: int = 32, two_ways: bool = False) -> None:
        super().__init__()
        self.rnn = kind(3, hidden, batch_first=True, bidirectional=two_ways)
        self.head = nn.Linear(2 * hidden if two_ways else hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, 3) -> (B, outputs)."""
        return self.head(self.rnn(x)[0].mean(1))


class Tagger(nn.Module):
    """A GRU over token ids, both ways, with scores for six tags at each place."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(200, 32)
        self.rnn = nn.GRU(32, 32, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, 6)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) -> (B, 6, T)."""
        return self.head(self.rnn(self.embed(ids))[0]).transpose(1, 2)


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
