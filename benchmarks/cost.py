"""What a full preflight costs, in steps of the user's own, beside what others take for a part of the same checks.

    OMP_NUM_THREADS=1 nice -n -10 python benchmarks/cost.py [--quick] [MODEL ...]

For a small CNN, resnet18, ViT-tiny and a 4-layer GPT (the models of overhead.py, on digits and text, 32 samples a batch) it runs everything
that ``trainlint.check`` does, its own training steps included, and prints **step-equivalents**: CPU time of the process over the median
CPU time of a bare training step. What imports left in memory is kept from Python's garbage collector, whose one look at it takes a
quarter of a second of whatever runs then. Beside it, in the same process:

- a floor: one recorded step, 4 samples overfitted by a plain loop until 8 % of the loss is left, a range test of 50 steps;
- what others take: torch-lr-finder's range test of 100 steps, 200 steps on one batch, preflight-ml, and Lightning's lr_find followed
  by 200 steps of overfit_batches. Those that are not installed are left out, the last with ``--quick``.

Then keeping and putting back the weights, in steps. ``memory.py`` measures what a scan takes of memory.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from lr_band import digits, text
from overhead import MODELS, Training
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import trainlint
from trainlint.probes import session
from trainlint.record.snapshot import Snapshot, state_tensors
from trainlint.registry import load_catalogue

_BATCH = 32
#: Bare steps that are timed, after some that are not.
_TIMED, _WARM_UP = 15, 3


def data_for(name: str) -> TensorDataset:
    """Pictures of digits in colour, or windows of text with the next token as target: something that can be learned."""
    if name.startswith("GPT"):
        (ids,) = text(64).tensors
        return TensorDataset(ids[:2000, :-1].contiguous(), ids[:2000, 1:].contiguous())
    pixels, labels = digits().tensors
    return TensorDataset(F.interpolate(pixels, 32, mode="bilinear").expand(-1, 3, -1, -1).contiguous() - 0.3, labels)


def fresh(name: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A model at its first weights with its optimizer."""
    torch.manual_seed(0)
    model = MODELS[name]()[0]
    return model, torch.optim.AdamW(model.parameters(), 1e-3)


def bare_step(name: str, data: TensorDataset) -> float:
    """Median CPU seconds of the user's own step."""
    training = Training(fresh(name)[0], data, _BATCH)
    times = [training.step("bare") for _ in range(_WARM_UP + _TIMED)]
    return statistics.median(times[_WARM_UP:])


def cpu(run: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    gc.collect()
    gc.freeze()
    began = time.process_time()
    run()
    return time.process_time() - began


@contextmanager
def timed_probes() -> Iterator[dict[str, float]]:
    """CPU seconds by probe, and of all judging."""
    seconds: dict[str, float] = {}
    kept, judge = dict(session.PROBES), session.ProbeSession.judge

    def timed(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object) -> object:
            began = time.process_time()
            try:
                return call(*args)
            finally:
                seconds[name] = seconds.get(name, 0.0) + time.process_time() - began

        return run

    session.PROBES.update({kind: timed(kind.name, probe) for kind, probe in kept.items()})  # type: ignore[misc]
    session.ProbeSession.judge = timed("all", judge)  # type: ignore[assignment,method-assign]
    try:
        yield seconds
    finally:
        session.PROBES.update(kept)
        session.ProbeSession.judge = judge  # type: ignore[method-assign]


def preflight(name: str, data: TensorDataset) -> dict[str, float]:
    """CPU seconds of the parts of ``trainlint.check``."""
    model, optimizer = fresh(name)
    train, val = random_split(data, [len(data) - len(data) // 10, len(data) // 10], torch.Generator().manual_seed(0))
    loaders = DataLoader(train, _BATCH, shuffle=True), DataLoader(val, _BATCH)
    with timed_probes() as seconds:
        whole = cpu(
            lambda: trainlint.check(model, loaders[0], loss_fn=F.cross_entropy, optimizer=optimizer, val_loader=loaders[1], budget=3600)
        )
    judged = seconds.pop("all")
    parts = {"recording (8 steps), putting back": whole - judged, **seconds, "judging, trying fixes": judged - sum(seconds.values())}
    return {"whole": whole, **parts}


def fit(model: nn.Module, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, ...], steps: int, until: float = 0.0) -> None:
    """Train on one batch for some steps, or until a share of the loss is left."""
    first = None
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        first = first or float(loss.detach())
        if float(loss.detach()) <= until * first:
            return
        loss.backward()
        optimizer.step()


def range_test(model: nn.Module, optimizer: torch.optim.Optimizer, loader: DataLoader[tuple[Tensor, ...]], steps: int) -> None:
    """A plain range test."""
    for step, (inputs, targets) in zip(range(steps), loader, strict=False):
        optimizer.param_groups[0]["lr"] = 1e-6 * 1e7 ** (step / steps)
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()


def floor(name: str, data: TensorDataset) -> float:
    """CPU seconds of the least that one recorded step, overfitting and a range test can take."""
    batch = next(iter(DataLoader(data, _BATCH, shuffle=True)))
    few = tuple(t[:4] for t in batch)
    one, four, test = fresh(name), fresh(name), fresh(name)
    return (
        cpu(lambda: fit(*one, batch, 1))
        + cpu(lambda: fit(*four, few, 200, 0.08))
        + cpu(lambda: range_test(*test, DataLoader(data, _BATCH, shuffle=True), 50))
    )


def peers(name: str, data: TensorDataset) -> dict[str, float]:
    """CPU seconds of other tools, as far as they are installed."""
    loader = DataLoader(data, _BATCH, shuffle=True)
    found: dict[str, float] = {}
    try:
        from torch_lr_finder import LRFinder
    except ImportError:
        pass
    else:
        model, optimizer = fresh(name)
        finder = LRFinder(model, optimizer, F.cross_entropy, device="cpu")
        found["torch-lr-finder, 100 steps"] = cpu(lambda: finder.range_test(loader, end_lr=10, num_iter=100, diverge_th=float("inf")))
    batch = next(iter(loader))
    model, optimizer = fresh(name)
    found["one batch, 200 steps"] = cpu(lambda: fit(model, optimizer, batch, 200))
    try:
        from preflight import run_checks
    except ImportError:
        pass
    else:
        model, _ = fresh(name)
        found["preflight-ml"] = cpu(lambda: run_checks(loader, model=model, loss_fn=F.cross_entropy))
    if "--quick" not in sys.argv and (seconds := lightning(name, data)) is not None:
        found["Lightning: lr_find + overfit_batches"] = seconds
    return found


def lightning(name: str, data: TensorDataset) -> float | None:
    """CPU seconds of Lightning's own pair; None when it is not installed."""
    try:
        import lightning as pl
        from lightning.pytorch.tuner import Tuner
    except ImportError:
        return None

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.lr = fresh(name)[0], 1e-3

        def training_step(self, batch: list[Tensor]) -> Tensor:
            return F.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), self.lr)

    def trainer(folder: str, **options: object) -> pl.Trainer:
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
        return pl.Trainer(accelerator="cpu", default_root_dir=folder, **quiet, **options)  # type: ignore[arg-type]

    def run() -> None:
        loader: DataLoader[tuple[Tensor, ...]] = DataLoader(data, _BATCH, shuffle=True)
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Tuner(trainer(folder, max_epochs=4)).lr_find(Module(), loader, num_training=100, early_stop_threshold=None)
            trainer(folder, max_steps=200, max_epochs=200, overfit_batches=1).fit(Module(), loader)

    return cpu(run)


def keeping(name: str, data: TensorDataset) -> tuple[float, bool]:
    """CPU seconds of putting the weights back and keeping them once, and whether they are the same bits."""
    model, optimizer = fresh(name)
    tensors = state_tensors([model])
    kept = Snapshot(tensors)
    before = [t.detach().clone() for t in tensors]
    fit(model, optimizer, next(iter(DataLoader(data, _BATCH))), 2)
    kept.restore()
    same = all(torch.equal(a, b.detach()) for a, b in zip(before, tensors, strict=True))
    times = [cpu(kept.restore) + cpu(lambda: Snapshot(tensors)) for _ in range(9)]
    return statistics.median(times), same


def measure(name: str) -> dict[str, float]:
    """One model's column: step-equivalents by row, but for the step itself (ms) and the whole in seconds."""
    data = data_for(name)
    step = bare_step(name, data)
    parts = preflight(name, data)
    print(name, {part: round(seconds / step, 1) for part, seconds in parts.items()}, file=sys.stderr)
    others = peers(name, data)
    kept, same = keeping(name, data)
    column = {"bare step (ms)": 1000 * step, "**preflight**": parts["whole"] / step, "preflight (CPU s)": parts["whole"]}
    column |= {f"- {part}": seconds / step for part, seconds in parts.items() if part != "whole"}
    column["floor"] = floor(name, data) / step
    column |= {way: seconds / step for way, seconds in others.items()}
    column["chain: range test + one batch + preflight-ml"] = sum(s for way, s in others.items() if "Lightning" not in way) / step
    column["weights kept and put back" + (", the same bits" if same else ", NOT the same bits")] = kept / step
    return column


def main() -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    load_catalogue()  # importing the rules is no part of a preflight, as importing other tools is none of theirs
    words = [word.lower() for word in sys.argv[1:] if not word.startswith("-")]
    chosen = [m for m in MODELS if not words or any(word in m.lower() for word in words)]
    if not chosen:
        sys.exit(f"no model is called like {', '.join(words)}: {', '.join(MODELS)}")
    table: dict[str, dict[str, float]] = {}
    loads = []
    for name in chosen:
        table[name] = measure(name)
        loads.append(os.getloadavg()[0])
        print(name, {row: round(value, 2) for row, value in table[name].items()}, file=sys.stderr)
    print(f"torch {torch.__version__}, 1 thread of {os.cpu_count()} cores, load {min(loads):.1f} to {max(loads):.1f}, batch {_BATCH}\n")
    print("| | " + " | ".join(table) + " |")
    print("|---" * (1 + len(table)) + "|")
    rows = dict.fromkeys(row for column in table.values() for row in column)
    for row in rows:
        cells = [
            f"{column[row]:.{2 if column[row] < 1 else 1 if column[row] < 20 else 0}f}" if row in column else "–"
            for column in table.values()
        ]
        print(f"| {row} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
