"""The books of a watched run: told by the hooks what happens, it samples within its budget and keeps a few numbers."""

from __future__ import annotations

import functools
import math
import os
import statistics
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, DistributedSampler

from trainlint.measurements import Fingerprint, NonFinite, ValidationPass
from trainlint.record.frames import Frames
from trainlint.record.frames import Place as CodePlace
from trainlint.record.structure import tensor_leaves
from trainlint.watching.gauges import Gauge, UpdateRatio, dense, gradient_norm, norms, resident_bytes
from trainlint.watching.history import History
from trainlint.watching.look import Call, Look, Silence
from trainlint.watching.origin import Origins
from trainlint.watching.ranks import Place, fingerprint_due, input_digest, shapes_digest, some

__all__ = ["Monitor", "Pass", "StopTraining"]

#: Shares of the run's time that readings may take: rows of the history with the gradient norm, update ratios, sampled steps.
_ROWS, _RATIOS, _LOOKS = 0.004, 0.001, 0.001
#: The step, counted from 0, that is taped so that a later broken one can be run again.
_TAPED_STEP = 2
#: Training passes whose first step is looked at whatever it costs, and digests of inputs that are kept.
_LOOKED_PASSES, _DIGESTS = 3, 6
#: Attributes of a parameter of which each process holds a part of its own: DTensor, FSDP, Megatron.
_SHARDED = ("_local_tensor", "_is_flat_param", "tensor_model_parallel")
#: Non-finite losses in a row that a gradient scaler may need to find its scale.
_SCALER_SEARCH = 8

P = ParamSpec("P")
R = TypeVar("R")


class StopTraining(BaseException):
    """Ends a doomed run. Not an Exception, so that ``except Exception`` lets it through."""


def guarded(method: Callable[Concatenate[Monitor, P], R]) -> Callable[Concatenate[Monitor, P], R | None]:
    """A listener that fails stops listening; the user's run goes on as if it were alone."""

    @functools.wraps(method)
    def listen(self: Monitor, /, *args: P.args, **kwargs: P.kwargs) -> R | None:
        if not self.on:
            return None
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            self.enabled = False
            self._end_look()
            self.origins.end()
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{os.path.basename(place.filename)}:{place.lineno}"
            self.notes.append(
                f"watching ended at step {self.steps} by a fault of trainlint's own ({type(error).__name__}: {error}, {where}); please report it"
            )
            return None

    return listen


@dataclass(eq=False)
class Pass:
    """One pass over a DataLoader."""

    loader: weakref.ref[DataLoader[Any]]
    number: int
    place: CodePlace | None
    built: CodePlace | None
    batches: int = 0
    backwards: int = 0
    finished: bool = False
    call: Call | None = None
    """The first call of a model in it."""
    losses: list[tuple[int, float, int]] = field(default_factory=list)
    """(batch, value, samples) of each loss computed before any backward()."""
    sampler: DistributedSampler[Any] | None = None
    sampler_epoch: int | None = None


class Monitor:
    """Keeps the books. ``on_news`` is called after a step when measurements may have changed enough to be judged again."""

    def __init__(self, history: History, frames: Frames, place: Place | None = None) -> None:
        self.history = history
        self.frames = frames
        self.rank = place or Place(0, 1, "")
        self.on_news: Callable[[bool], None] = lambda urgent: None
        self.enabled = True
        self.begun = time.monotonic()
        self.origins = Origins(frames)
        self.silence = Silence()
        self.notes: list[str] = []
        # the run
        self.steps = self.epochs = 0
        self.stepped: list[int] = []
        """ids of the optimizers that stepped; the first is the main one."""
        self.loop: CodePlace | None = None
        self.optimizer_place: CodePlace | None = None
        self.loader_place: CodePlace | None = None
        self.device: torch.device | None = None
        self.broken: NonFinite | None = None
        self.memory: list[tuple[int, int]] = []
        self.waited = self.stepping = 0.0
        # modes
        self.train_looks = self.eval_looks = 0
        self.eval_call: Call | None = None
        self.eval_epoch: int | None = None
        self.off_call: Call | None = None
        self.eval_set: CodePlace | None = None
        self.mode_dependent: dict[str, None] = {}
        self.validation: list[ValidationPass] = []
        # ranks
        self.joined = self.sharded = False
        self.shapes = ""
        self.fingerprints: list[Fingerprint] = []
        self.inputs: list[str] = []
        self.batches: list[int] = []
        self.sampler_epochs: list[int] = []
        self.shuffles = False
        self.running = 0
        # working state
        self._pid = os.getpid()
        self._places: weakref.WeakKeyDictionary[Any, CodePlace | None] = weakref.WeakKeyDictionary()
        self._trained: set[int] = set()
        self._numbers: weakref.WeakKeyDictionary[DataLoader[Any], int] = weakref.WeakKeyDictionary()
        self._training_loaders: weakref.WeakSet[DataLoader[Any]] = weakref.WeakSet()
        self._running: list[Pass] = []
        self.current: Pass | None = None
        self._look: Look | None = None
        self._look_steps = Gauge(_LOOKS, at_least=2)
        self._rows, self._ratios = Gauge(_ROWS), Gauge(_RATIOS, at_least=4)
        self._ratio: UpdateRatio | None = None
        self._parameters: list[Tensor] = []
        self._groups = 0
        self._losses: list[Tensor | float] = []
        self._unscaled: Tensor | None = None
        self._in_a_row = 0
        self._last_loss = self._finite_loss = math.nan
        self._norm: float | None = None
        self._clipped: float | None = None
        self._fresh: dict[str, float] = {}
        self._recent: deque[float] = deque(maxlen=31)
        self._step_ended: float | None = None
        self._waiting, self._elsewhere = 0.0, False
        self._kept: deque[Any] = deque(maxlen=2)
        self._row_seconds = self._ratio_seconds = 0.0

    @property
    def on(self) -> bool:
        """Whether to listen: not in a forked worker."""
        return self.enabled and os.getpid() == self._pid

    @property
    def step_seconds(self) -> float | None:
        """Median time of the last steps."""
        return statistics.median(self._recent) if self._recent else None

    @property
    def quickest(self) -> float | None:
        """Least time of the last steps: what a reading is weighed against, whose own least time counts too on a busy machine."""
        return min(self._recent) if self._recent else None

    # -- loaders -------------------------------------------------------------------------------------------------------

    @guarded
    def built(self, thing: Any) -> None:
        """A loader or an optimizer was constructed."""
        self._places[thing] = self.frames.here()
        if isinstance(thing, Optimizer):
            self._trained.update(id(p) for g in thing.param_groups for p in g["params"])

    @guarded
    def pass_begun(self, loader: DataLoader[Any]) -> Pass:
        """iter(loader) is called."""
        number = self._numbers.get(loader, 0)
        self._numbers[loader] = number + 1
        for earlier in [p for p in self._running if p.loader() is loader]:
            self._finish(earlier, complete=False)
        entry = Pass(weakref.ref(loader), number, self.frames.here(), self._places.get(loader))
        self._running.append(entry)
        sampler = _distributed_sampler(loader)
        if sampler is not None:
            entry.sampler, entry.sampler_epoch = sampler, sampler.epoch
        trains = loader in self._training_loaders
        self._begin_look(whole=(trains and number < _LOOKED_PASSES) or (not self.steps and not number))
        return entry

    @guarded
    def batch_loaded(self, entry: Pass, batch: Any, seconds: float) -> None:
        """A pass handed out a batch after so many seconds."""
        if self._look is not None and self._look.calls and not self.origins.taping:
            self._end_look()
        entry.batches += 1
        self.current = entry
        if entry.backwards or entry.loader() in self._training_loaders:
            self._waiting += seconds
            self._kept.append(batch)
            if self.steps == _TAPED_STEP and self.broken is None and self.origins.tape is None:
                self._begin_look(whole=True)
                self.origins.begin(batch)
        else:
            self._elsewhere = True

    @guarded
    def pass_ended(self, entry: Pass) -> None:
        """A pass handed out its last batch."""
        self._finish(entry, complete=True)

    def _finish(self, entry: Pass, *, complete: bool) -> None:
        if entry in self._running:
            self._running.remove(entry)
        if entry.finished:
            return
        entry.finished = True
        if self.current is entry:
            self._end_look()
        if entry.backwards:
            self.epochs += complete
            if complete:
                self.batches.append(entry.batches)
            self._read_memory()
            self.on_news(False)
            return
        if entry.call is not None and entry.batches:
            call = entry.call
            self.validation.append(
                ValidationPass(
                    where=self.frames.location(call.place), loop_where=self.frames.location(entry.place), batches=entry.batches,
                    training_mode=call.training, mode_matters=len(call.off) < len(call.mode_dependent), grad=call.grad,
                )
            )  # fmt: skip
        if entry.losses and self.steps:
            samples = sum(n for _, _, n in entry.losses)
            per_batch = len(entry.losses) / max(len({b for b, _, _ in entry.losses}), 1)
            value = sum(v * n for _, v, n in entry.losses) / max(samples, 1) * per_batch
            self.history.add({"step": self.steps, "epoch": self.epoch, "seconds": self.seconds, "val_loss": value})
            self.on_news(False)

    @property
    def epoch(self) -> int:
        """Number of the training pass, counted from 1; 0 in a loop without a loader."""
        current = self.current
        return max(self.epochs, current.number + 1 if current is not None and current.backwards else self.epochs)

    @property
    def seconds(self) -> float:
        """Since the watch began."""
        return round(time.monotonic() - self.begun, 3)

    # -- models --------------------------------------------------------------------------------------------------------

    def _begin_look(self, *, whole: bool) -> None:
        self._end_look()
        self._look = Look(self.frames, self.silence, whole=whole, stack=self.origins.writer.modules if whole else None)

    def _end_look(self) -> list[Call]:
        look, self._look = self._look, None
        if look is None:
            return []
        look.end()
        if look.whole:
            self._look_steps.spent(self.steps, look.seconds, self.quickest)
        current = self.current
        if current is not None and current.call is None and look.calls:
            current.call = look.calls[0]
        return look.calls

    def _judge_modes(self, calls: list[Call], *, whole: bool) -> None:
        """Note in which mode the models of a training step were called."""
        own = [c for c in calls if c.grad and any(id(p) in self._trained for p in c.module.parameters())]
        for call in own:
            if call.module not in self.origins.models and len(self.origins.models) < 8:
                inner = {id(m) for model in self.origins.models for m in model.modules()}
                if id(call.module) not in inner:
                    self.origins.models.append(call.module)
            self.mode_dependent.update(dict.fromkeys(type(m).__name__ for m in call.mode_dependent))
        if own and len(self.inputs) < _DIGESTS and self.rank.world > 1:
            leaves = [t for _, t in tensor_leaves(own[0].inputs)] or [t for _, t in tensor_leaves(self._kept[-1] if self._kept else ())]
            if digest := input_digest(leaves):
                self.inputs.append(digest)
        if not own or not whole:
            return
        self.train_looks += 1
        if not any(c.training for c in own) and any(c.mode_dependent for c in own):
            self.eval_looks += 1
            if self.eval_call is None:
                self.eval_call, self.eval_epoch = own[0], self.epoch
        elif self.off_call is None:
            self.off_call = next((c for c in own if c.training and c.off), None)

    @guarded
    def evaluated(self) -> None:
        """A model was switched to evaluation mode."""
        self.eval_set = self.frames.here()

    # -- losses and gradients ------------------------------------------------------------------------------------------

    @guarded
    def loss_called(self, value: Any, samples: int) -> None:
        """A loss function of torch gave a value."""
        entry = self.current
        if entry is None or entry.backwards or entry.finished or not isinstance(value, Tensor) or value.numel() != 1:
            return
        if entry.loader() not in self._training_loaders and len(entry.losses) < 100_000:
            entry.losses.append((entry.batches, float(value.detach()), samples))

    @guarded
    def scaled(self, outputs: Any) -> None:
        """A gradient scaler is about to multiply a loss."""
        self._unscaled = outputs if isinstance(outputs, Tensor) else None

    @guarded
    def backward_begun(self, loss: Tensor) -> None:
        """backward() is about to run on ``loss``."""
        if self.origins.taping:
            self.origins.cut(loss)
        entry = self.current
        if entry is not None:
            if not entry.backwards:
                self._first_backward(entry)
            entry.backwards += 1
        look = self._look
        if look is not None:
            calls = self._end_look()
            self._judge_modes(calls, whole=look.whole)
        scaled, self._unscaled = self._unscaled, None
        value = scaled if scaled is not None else loss
        if value.numel() != 1:
            return
        self.device = value.device
        if value.device.type != "cpu":
            self._losses.append(value.detach())
            return
        number = float(value.detach())
        self._losses.append(number)
        self._last_loss = number
        self._check(number, scaled=scaled is not None)

    def _first_backward(self, entry: Pass) -> None:
        entry.losses.clear()
        loader = entry.loader()
        if loader is not None:
            self._training_loaders.add(loader)
        self.loop = self.loop or entry.place
        self.loader_place = self.loader_place or entry.built
        if entry.sampler is not None and entry.sampler_epoch is not None and len(self.sampler_epochs) < 32:
            self.sampler_epochs.append(entry.sampler_epoch)
            self.shuffles = bool(entry.sampler.shuffle)

    def _check(self, loss: float, *, scaled: bool = False) -> None:
        if math.isfinite(loss):
            self._in_a_row, self._finite_loss = 0, loss
            return
        self._in_a_row += 1
        if self.broken is None and self._in_a_row > (_SCALER_SEARCH if scaled else 0):
            self._break("loss", loss)

    def _break(self, what: str, loss: float) -> None:
        self._end_look()
        self.origins.end()
        step = self.steps + 1
        batches = list(reversed(self._kept))
        self.broken = self.origins.explain(
            step=step, loss=loss, before=self._finite_loss, what=what, place=self.frames.here(), batches=batches
        )
        self.on_news(True)

    @guarded
    def clipped(self, norm: Any) -> None:
        """Gradients were clipped by norm; before that it was ``norm``."""
        if self._row_due():
            self._clipped = float(norm)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _row_due(self) -> bool:
        return self._rows.due(self.steps)

    @guarded
    def step_begun(self, optimizer: Optimizer) -> None:
        """An optimizer is about to step."""
        if id(optimizer) not in self.stepped:
            self.stepped.append(id(optimizer))
            self.optimizer_place = self.optimizer_place or self._places.get(optimizer)
        if self.stepped[0] != id(optimizer):
            return
        if self._groups != len(optimizer.param_groups):
            self._groups = len(optimizer.param_groups)
            self._parameters = [p for g in optimizer.param_groups for p in g["params"]]
            self._trained.update(map(id, self._parameters))
            self.sharded = any(any(hasattr(p, mark) for mark in _SHARDED) for p in self._parameters)
        if self.rank.world > 1 and fingerprint_due(self.steps):
            self._fingerprint(optimizer)
        if self._row_due():
            began = time.perf_counter()
            self._norm = gradient_norm(self._parameters)
            self._row_seconds = time.perf_counter() - began
            if self._norm is not None and not math.isfinite(self._norm) and self.broken is None and math.isfinite(self._last_loss):
                self._break("gradient", self._last_loss)
        if self._ratios.due(self.steps):
            began = time.perf_counter()
            self._ratio = UpdateRatio(self._parameters)
            self._ratio_seconds = time.perf_counter() - began
        if self.broken is None and self.origins.keeps(self.steps) and math.isfinite(self._last_loss):
            self.origins.keep_weights(self.steps, self.quickest)

    def _fingerprint(self, optimizer: Optimizer) -> None:
        if not self.shapes:
            self.joined = torch.distributed.is_available() and torch.distributed.is_initialized()
            self.shapes = shapes_digest(self._parameters)
        chosen = [p for p in some(self._parameters) if p.is_floating_point() and p.layout is torch.strided]
        gradients = [p.grad if p.grad is not None and p.grad.layout is torch.strided else None for p in chosen]
        known = iter(norms(dense(gradients)))
        self.fingerprints.append(
            Fingerprint(
                step=self.steps, weights=tuple(norms(dense(chosen))), lr=float(optimizer.param_groups[0].get("lr", math.nan)),
                gradients=tuple(next(known, math.nan) if g is not None else math.nan for g in gradients),
            )
        )  # fmt: skip

    @guarded
    def step_ended(self, optimizer: Optimizer) -> None:
        """An optimizer has stepped."""
        if self.stepped and self.stepped[0] != id(optimizer):
            return
        if self._ratio is not None:
            began = time.perf_counter()
            ratio = self._ratio.ratio()
            self._ratio = None
            self._ratios.spent(self.steps, self._ratio_seconds + time.perf_counter() - began, self.quickest)
            if ratio is not None:
                self._fresh["update_ratio"] = ratio
        row = self._row_due()
        self.steps += 1
        now = time.perf_counter()
        if self._step_ended is not None and not self._elsewhere:
            self._recent.append(now - self._step_ended)
            self.stepping += now - self._step_ended
            self.waited += self._waiting
        self._step_ended, self._waiting, self._elsewhere = now, 0.0, False
        if self.rank.world > 1 and len(self.inputs) < _DIGESTS:
            self._begin_look(whole=False)
        elif self._look_steps.due(self.steps) and self._look is None:
            self._begin_look(whole=True)
        if row:
            self._write_row(optimizer, now)
            self.on_news(False)

    def _write_row(self, optimizer: Optimizer, began: float) -> None:
        losses = [float(v) for v in self._losses if not isinstance(v, Tensor)]
        by_device: dict[torch.device, list[Tensor]] = {}
        for value in self._losses:
            if isinstance(value, Tensor):
                by_device.setdefault(value.device, []).append(value.reshape(()).float())
        for values in by_device.values():
            read = torch.stack(values).tolist()
            losses += read
            self._last_loss = read[-1]
            for number in read:
                self._check(number)
        self._losses.clear()
        row: dict[str, float] = {"step": self.steps, "epoch": self.epoch, "seconds": self.seconds}
        if losses:
            row["loss"] = sum(losses) / len(losses)
        if optimizer.param_groups and "lr" in optimizer.param_groups[0]:
            row["lr"] = float(optimizer.param_groups[0]["lr"])
        norm = self._clipped if self._clipped is not None else self._norm
        if norm is not None:
            row["grad_norm"] = norm
        if self.stepping:
            row["data_share"] = self.waited / self.stepping
        row.update(self._fresh)
        self._fresh, self._clipped = {}, None
        self.history.add(row)
        if self.current is None and self.steps & (self.steps - 1) == 0:
            self._read_memory()
        self._rows.spent(self.steps - 1, self._row_seconds + time.perf_counter() - began, self.quickest)

    @guarded
    def log(self, values: dict[str, float]) -> None:
        """Values that the program hands over itself: a validation loss, an accuracy."""
        if "val_loss" in values:
            self.history.add({"step": self.steps, "epoch": self.epoch, "seconds": self.seconds, **values})
        else:
            self._fresh.update(values)

    def _read_memory(self) -> None:
        held = resident_bytes(self.device)
        if held is not None and len(self.memory) < 10_000:
            self.memory.append((self.steps, held))
            self._fresh["memory"] = float(held)

    @guarded
    def finish(self) -> None:
        """The run is over: close what is open."""
        self._end_look()
        self.origins.end()
        for entry in list(self._running):
            if entry.backwards:
                self.running = entry.batches
            self._finish(entry, complete=False)
        if self._losses and self.broken is None:
            values = [float(v) for v in self._losses]
            self._losses.clear()
            self.history.add({"step": self.steps, "epoch": self.epoch, "seconds": self.seconds, "loss": sum(values) / len(values)})
            for value in values:
                self._check(value)
        self.enabled = False

    def models(self) -> Iterable[nn.Module]:
        """Models that were seen to train."""
        return self.origins.models


def _distributed_sampler(loader: DataLoader[Any]) -> DistributedSampler[Any] | None:
    for holder in (loader, getattr(loader, "batch_sampler", None)):
        sampler = getattr(holder, "sampler", None)
        if isinstance(sampler, DistributedSampler):
            return sampler
    return None
