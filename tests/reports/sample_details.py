"""Pictures, tables, curves and bars of the sample reports."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from PIL import Image

from trainlint.details import Bars, ImageGrid, Line, Mark, Picture, Series, Table, Timeline, TimelineEvent

__all__ = ["batch", "gradient_bars", "leaves", "loop", "lr_curve", "overfit_curve", "picture", "update_bars"]


def picture(kind: int, caption: str, *, size: int = 32, flagged: bool = False) -> Picture:
    """A small drawn shape on a noisy ground."""
    noise = np.random.default_rng(kind)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    turn = 0.4 * kind
    u, v = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
    shape = [u**2 + v**2 < 0.4, np.maximum(abs(u), abs(v)) < 0.5, abs(u) + abs(v) < 0.7, (abs(u) < 0.18) | (abs(v) < 0.18)][kind % 4]
    ink = np.array([(214, 102, 74), (72, 136, 190), (104, 160, 92), (206, 168, 72)][kind % 4])
    ground = np.array([38, 44, 56]) + noise.normal(0, 9, (size, size, 3)) + 30 * (y[..., None] + 1)
    pixels = np.clip(np.where(shape[..., None], ink + noise.normal(0, 12, (size, size, 3)), ground), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return Picture(png=base64.b64encode(buffer.getvalue()).decode(), caption=caption, flagged=flagged)


def batch(*, flagged: tuple[int, ...] = ()) -> ImageGrid:
    names = ["circle", "square", "diamond", "cross"]
    pictures = tuple(picture(i, f"{i % 4} {names[i % 4]}", flagged=i in flagged) for i in range(12))
    return ImageGrid(title="First training batch, as the model receives it", pictures=pictures, note="12 of 64 samples, de-normalised")


def loop(*, broken: bool = False) -> Timeline:
    """Five training iterations, then validation."""
    events = [TimelineEvent(kind="train", label="model.train()", file="train.py", line=48)]
    step = [
        ("batch", "training batch", 49),
        ("forward", "Net", 52),
        ("loss", "cross_entropy", 53),
        ("backward", "backward", 54),
        ("step", "Adam", 55),
    ]
    if not broken:
        step.insert(1, ("clear", "zero_grad", 51))
    for _ in range(5):
        events += [
            TimelineEvent(kind=kind, label=label, file="train.py", line=line, flagged=broken and kind == "step")
            for kind, label, line in step
        ]
    events += [TimelineEvent(kind="schedule", label="CosineAnnealingLR", file="train.py", line=58)]
    events += [TimelineEvent(kind="eval", label="model.eval()", file="train.py", line=61)]
    for _ in range(2):
        events += [TimelineEvent(kind="batch", label="validation batch", file="train.py", line=63)]
        events += [TimelineEvent(kind="forward", label="Net", file="train.py", line=64)]
    return Timeline(title="The loop as it was seen", events=tuple(events))


def leaves() -> Table:
    return Table(
        title="Tensors of the first batch",
        columns=("tensor", "role", "shape", "dtype", "min", "max", "mean", "std"),
        rows=(
            ("[0]", "input", "64 × 3 × 32 × 32", "float32", 0.0, 255.0, 120.71, 64.06),
            ("[1]", "target", "64", "int64", 0, 3, 1.52, 1.118),
        ),
    )


def overfit_curve() -> Series:
    steps = tuple(float(i) for i in range(1, 61))
    return Series(
        title="One batch, trained on again and again",
        x_label="step",
        y_label="loss",
        lines=(
            Line(name="Adam, lr 0.001", x=steps, y=tuple(1.386 * math.exp(-i / 60) + 0.2 for i in steps)),
            Line(name="Adam, lr 0.01", x=steps, y=tuple(1.386 * math.exp(-i / 9) + 0.02 + 0.02 * math.sin(i) for i in steps)),
        ),
        log_y=True,
        marks=(Mark(label="10 % of the first loss", y=0.1386),),
    )


def lr_curve() -> Series:
    lrs = tuple(10 ** (-6 + 6 * i / 40) for i in range(41))
    loss = tuple(1.4 - 1.1 / (1 + math.exp(-2.2 * (math.log10(lr) + 3.6))) + (8 * (lr - 0.2) if lr > 0.2 else 0) for lr in lrs)
    return Series(
        title="Loss after 20 replayed steps at each learning rate",
        x_label="learning rate",
        y_label="loss",
        lines=(Line(name="short runs", x=lrs[::4], y=loss[::4]), Line(name="range test", x=lrs, y=tuple(v + 0.15 for v in loss))),
        log_x=True,
        marks=(Mark(label="trains well", x=3e-4, x2=6e-2), Mark(label="configured 1e-5", x=1e-5)),
    )


def gradient_bars(layers: int = 26) -> Bars:
    labels = ("stem.conv", *(f"blocks.{i // 2}.{'attention.projection' if i % 2 else 'mlp.fc1'}" for i in range(layers - 2)), "head")
    values = tuple(10 ** (-6 + 5.5 * i / layers) for i in range(layers))
    return Bars(
        title="Gradient norm of each layer, from input to output",
        value_label="gradient norm",
        labels=labels,
        values=values,
        log=True,
        highlight=tuple(range(5)),
    )


def update_bars() -> Bars:
    return Bars(
        title="Size of the first update relative to the weights",
        value_label="update / weight",
        labels=("conv1", "conv2", "conv3", "fc1", "fc2"),
        values=(2.1e-3, 1.4e-3, 1.1e-3, 8.7e-4, 4.2e-2),
        log=True,
        marks=(Mark(label="usual", x=1e-4, x2=1e-2),),
        highlight=(4,),
    )
