"""How far the band of learning rates moves between seeds, on a CNN, a ViT and a small GPT.

    python benchmarks/lr_band.py [SEEDS]

Prints, for each model, the lower and upper end of the band and the suggestion over the seeds, with the ratio of the largest to the
smallest. The classic range test's suggestions (steepest slope, and a tenth of the rate at the minimum) stand beside them.
"""

from __future__ import annotations

import math
import sys
import time

import timm
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from trainlint.measurements import LearningRate
from trainlint.probes.session import ProbeSession
from trainlint.record.frames import Frames
from trainlint.record.hooks import listening
from trainlint.record.recorder import Recorder
from trainlint.settings import Settings


def digits() -> TensorDataset:
    """1,797 digits as 1x8x8 floats in [0, 1]."""
    pixels, labels = load_digits(return_X_y=True)
    return TensorDataset(torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16, torch.tensor(labels))


def text(length: int = 32) -> TensorDataset:
    """Windows of a text with structure: numbers written out and added."""
    source = "".join(f"{a} plus {b} is {a + b}. " for a in range(60) for b in range(60))
    letters = sorted(set(source))
    ids = torch.tensor([letters.index(c) for c in source])
    starts = torch.arange(0, len(ids) - length - 1, 11)
    return TensorDataset(torch.stack([ids[s : s + length + 1] for s in starts]))


class GPT(nn.Module):
    """Two causal blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(30, 64), nn.Embedding(64, 64)
        layer = nn.TransformerEncoderLayer(64, 4, 256, dropout=0.0, batch_first=True, norm_first=True, activation="gelu")
        self.blocks = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(64), enable_nested_tensor=False)
        self.head = nn.Linear(64, 30)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, 30) of token ids (B, T)."""
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        return self.head(self.blocks(self.tokens(ids) + self.places(torch.arange(ids.shape[1])), mask=mask, is_causal=True))


def cnn() -> nn.Module:
    """Three convolutions with batch norm."""
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def vit() -> nn.Module:
    """A ViT of depth 4 and width 64."""
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=8, patch_size=2, in_chans=1, depth=4, embed_dim=64, num_heads=4, num_classes=10, weight_init="jax"
    )


def classify(model: nn.Module, batch: list[Tensor]) -> Tensor:
    """Cross entropy of class labels."""
    return F.cross_entropy(model(batch[0]), batch[1])


def next_token(model: nn.Module, batch: list[Tensor]) -> Tensor:
    """Cross entropy of the next token."""
    return F.cross_entropy(model(batch[0][:, :-1]).flatten(0, 1), batch[0][:, 1:].flatten())


PROGRAMS = {"cnn": (cnn, digits, classify), "vit": (vit, digits, classify), "gpt": (GPT, text, next_token)}


def measure(name: str, seed: int) -> LearningRate:
    """The learning-rate measurement of one program under one seed."""
    build, data, loss_of = PROGRAMS[name]
    torch.manual_seed(seed)
    model, loader = build(), DataLoader(data(), 32, shuffle=True)
    recorder = Recorder(Settings(), Frames())
    with listening(recorder):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for batch, _ in zip(loader, range(8), strict=False):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
    recorder.finish()
    found = ProbeSession(recorder.recording, Settings(seed=seed)).measure(LearningRate)
    assert isinstance(found, LearningRate), found
    return found


def classic(name: str, seed: int) -> tuple[float, float]:
    """Suggestions of a classic range test of 24 steps: the steepest slope, and a tenth of the rate at the minimum."""
    build, data, loss_of = PROGRAMS[name]
    torch.manual_seed(seed)
    model, loader = build(), DataLoader(data(), 32, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters())
    rates: list[float] = []
    losses: list[float] = []
    for step, batch in zip(range(24), loader, strict=False):
        optimizer.param_groups[0]["lr"] = 1e-6 * 1e7 ** (step / 23)
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        optimizer.step()
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append(float(loss.detach()))
        if not losses[-1] < 4 * losses[0]:
            break
    slopes = [(losses[i + 1] - losses[i]) / math.log(rates[i + 1] / rates[i]) for i in range(len(losses) - 1)]
    return rates[slopes.index(min(slopes))], rates[losses.index(min(losses))] / 10


def spread(values: list[float]) -> str:
    """Smallest and largest, and their ratio."""
    return f"{min(values):9.2g} .. {max(values):8.2g}  x{max(values) / min(values):6.1f}"


def main() -> None:
    """Print the table."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    print(
        f"{seeds} seeds, torch {torch.__version__}, {torch.get_num_threads()} threads; AdamW, batch 32; smallest .. largest, their ratio\n"
    )
    for name in PROGRAMS:
        began = time.monotonic()
        found = [measure(name, seed) for seed in range(seeds)]
        seconds = (time.monotonic() - began) / seeds
        ranges = [classic(name, seed) for seed in range(seeds)]
        print(f"{name}  ({seconds:.1f} s a measurement, {sum(len(t.losses) for f in found for t in f.trials) / seeds:.0f} trial steps)")
        for label, values in (
            ("band, lower end", [f.low for f in found]),
            ("band, upper end", [f.high for f in found]),
            ("suggestion", [f.suggestion for f in found]),
            ("classic, steepest", [r[0] for r in ranges]),
            ("classic, minimum / 10", [r[1] for r in ranges]),
        ):
            print(f"  {label:24s} {spread([v for v in values if v is not None])}")


if __name__ == "__main__":
    main()
