"""What a watch costs: training steps with and without it, beside others that look at a run from within.

    nice -n -10 python benchmarks/overhead.py [ROUNDS]

For a small CNN, resnet18, ViT-tiny and a 4-layer GPT it takes a few steps in turn, bare and watched, on one thread, and prints for
each way of watching the median over pairs of (steps watched / steps bare), and the ratio of the sums, in which rare expensive steps
count as well. The first step after each change is not counted. Time is CPU time of the process, so that other programs on the machine disturb little. Ways that are
not installed are left out: wandb (offline), transformers' DebugUnderflowOverflow, gradsnitch (its ``log`` after each backward).
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from trainlint.settings import Settings
from trainlint.watching.hooks import watched
from trainlint.watching.ranks import Place
from trainlint.watching.session import Session

#: Steps that are timed together, rounds that warm up, and of how many rounds the dearer ways take part in one.
_STEPS, _WARM_UP, _SELDOM = 3, 3, 4
#: Steps under the watch before anything is timed: its first readings come closer together.
_BEFORE = 60


class GPT(nn.Module):
    """Four causal blocks."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(96, width), nn.Embedding(64, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.1, batch_first=True, norm_first=True, activation="gelu")
        self.blocks = nn.TransformerEncoder(layer, 4, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, 96)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, 96, T) of token ids (B, T)."""
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        hidden = self.blocks(self.tokens(ids) + self.places(torch.arange(ids.shape[1])), mask=mask, is_causal=True)
        return self.head(hidden).transpose(1, 2)


def cnn() -> nn.Module:
    """Three convolutions for 32x32 colour pictures."""
    layers = [nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(*layers)


def pictures(size: int) -> TensorDataset:
    """256 random pictures of 10 classes."""
    return TensorDataset(torch.randn(256, 3, size, size), torch.randint(0, 10, (256,)))


def text() -> TensorDataset:
    """256 random windows of 64 tokens, with the next token as the target."""
    ids = torch.randint(0, 96, (256, 65))
    return TensorDataset(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())


MODELS: dict[str, Callable[[], tuple[nn.Module, TensorDataset, int]]] = {
    "small CNN": lambda: (cnn(), pictures(32), 16),
    "resnet18": lambda: (timm.create_model("resnet18", num_classes=10), pictures(32), 8),
    "ViT-tiny": lambda: (timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=10), pictures(32), 8),
    "GPT, 4 layers": lambda: (GPT(), text(), 4),
}


class Training:
    """A model with its optimizer and endless batches, trained step by step."""

    def __init__(self, model: nn.Module, data: TensorDataset, batch: int) -> None:
        self.model, self.data, self.batch = model, data, batch
        self.optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
        self.batches: dict[str, Iterator[tuple[Tensor, Tensor]]] = {}
        self.after_backward: Callable[[Tensor], object] = lambda loss: None

    def loader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Batches for some ten thousand steps."""
        sampler = torch.utils.data.RandomSampler(self.data, replacement=True, num_samples=10_000 * self.batch)
        return DataLoader(self.data, batch_size=self.batch, sampler=sampler)

    def step(self, way: str) -> float:
        """CPU seconds of one step."""
        if way not in self.batches:
            self.batches[way] = iter(self.loader())
        batches = self.batches[way]
        began = time.process_time()
        inputs, targets = next(batches)
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(inputs), targets)
        loss.backward()
        self.after_backward(loss)
        self.optimizer.step()
        return time.process_time() - began


def ways(training: Training, folder: Path) -> dict[str, Callable[[], AbstractContextManager[object]]]:
    """Each way of watching as something that is entered around a block."""
    session = Session(Settings(), folder=folder, place=Place(0, 1, ""), say=lambda kind, line: None)
    found: dict[str, Callable[[], AbstractContextManager[object]]] = {
        "bare": nullcontext,
        "trainlint watch": lambda: _watched(session),
        "bare again": nullcontext,
        "torch detect_anomaly": lambda: torch.autograd.detect_anomaly(check_nan=True),
    }
    try:
        from transformers.debug_utils import DebugUnderflowOverflow
    except ImportError:
        pass
    else:
        found["HF DebugUnderflowOverflow"] = lambda: _removed(training.model, lambda: DebugUnderflowOverflow(training.model))
    try:
        import gradsnitch
    except ImportError:
        pass
    else:
        snitch = gradsnitch.watch(training.model, training.optimizer)
        found["gradsnitch"] = lambda: _told(training, lambda loss: snitch.log(len(snitch.rows), loss.item()))
    try:
        import wandb
    except ImportError:
        return found
    run = wandb.init(mode="offline", dir=str(folder), settings=wandb.Settings(silent=True))

    @contextmanager
    def wandb_watch(every: int) -> Iterator[None]:
        run.watch(training.model, log="all", log_freq=every)
        try:
            yield
        finally:
            run.unwatch(training.model)

    found["wandb.watch, each step"] = lambda: wandb_watch(1)
    found["wandb.watch, each 1000 steps"] = lambda: wandb_watch(1000)
    return found


@contextmanager
def _watched(session: Session) -> Iterator[None]:
    """A look at a step that has begun is carried over the bare steps in between."""
    monitor = session.monitor
    if (waiting := getattr(session, "waiting", None)) is not None:
        monitor._begin_look(whole=waiting)
    with watched(monitor):
        yield
    session.waiting = monitor._look.whole if monitor._look is not None else None  # type: ignore[attr-defined]
    if monitor._look is not None:
        monitor._look.end()
        monitor._look = None


@contextmanager
def _told(training: Training, log: Callable[[Tensor], object]) -> Iterator[None]:
    """Something that the loop itself calls after each backward."""
    silent, training.after_backward = training.after_backward, log
    try:
        yield
    finally:
        training.after_backward = silent


@contextmanager
def _removed(model: nn.Module, install: Callable[[], object]) -> Iterator[None]:
    """Hooks that have no way of being taken off again are taken off by hand."""
    install()
    try:
        yield
    finally:
        for module in model.modules():
            module._forward_hooks.clear()


def measure(name: str, rounds: int) -> dict[str, tuple[float, float]]:
    """Way -> (median of paired ratios, ratio of sums) for one model."""
    torch.manual_seed(0)
    training = Training(*MODELS[name]())
    with tempfile.TemporaryDirectory() as folder:
        all_ways = ways(training, Path(folder))
        pairs: dict[str, list[tuple[float, float]]] = {way: [] for way in all_ways if way != "bare"}
        with all_ways["trainlint watch"]():
            for _ in range(_BEFORE):
                training.step("trainlint watch")
        for number in range(rounds + _WARM_UP):
            for way in pairs:
                if way not in ("trainlint watch", "bare again") and number % _SELDOM:
                    continue
                times = {}
                for turn in (("bare", way), (way, "bare"))[number % 2]:  # first place is no advantage
                    with all_ways[turn]():
                        training.step(turn)
                        times[turn] = sum(training.step(turn) for _ in range(_STEPS))
                if number >= _WARM_UP:
                    pairs[way].append((times["bare"], times[way]))
    return {
        way: (statistics.median(b / a for a, b in found), sum(b for _, b in found) / sum(a for a, _ in found))
        for way, found in pairs.items()
    }


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 80
    torch.set_num_threads(1)
    table: dict[str, dict[str, tuple[float, float]]] = {}
    for name in MODELS:
        table[name] = measure(name, rounds)
        print(name, {way: tuple(round(v, 3) for v in pair) for way, pair in table[name].items()}, file=sys.stderr)
    print(f"load {os.getloadavg()[0]:.1f}, torch {torch.__version__}, {rounds} pairs of {_STEPS} steps", file=sys.stderr)
    print("| | " + " | ".join(MODELS) + " |")
    print("|---" * (1 + len(MODELS)) + "|")
    for way in next(iter(table.values())):
        cells = (f"{table[m][way][0]:.3f} ({table[m][way][1]:.3f})" if way in table[m] else "–" for m in MODELS)
        print(f"| {way} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
