"""Listens to losses, gradients and optimizer steps, and takes readings within the budget."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from trainlint.measurements import Fingerprint
from trainlint.probes.step.growth import growth
from trainlint.watching.books import guarded
from trainlint.watching.gauges import UpdateRatio, dense, gradient_norm, norms
from trainlint.watching.passes import DIGESTS, PassListener
from trainlint.watching.ranks import fingerprint_due, shapes_digest, some

__all__ = ["StepListener"]

#: Attributes of a parameter of which each process holds a part of its own: DTensor, FSDP, Megatron.
_SHARDED = ("_local_tensor", "_is_flat_param", "tensor_model_parallel")
#: Non-finite losses in a row that a gradient scaler may need to find its scale.
_SCALER_SEARCH = 8
#: Rows of the history before a broken step in which it is looked whether anything grew.
_LATE_ROWS = 64


class StepListener(PassListener):
    """Told of each backward and each step."""

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
        found = self.origins.explain(step=step, loss=loss, before=self._finite_loss, what=what, place=self.frames.here(), batches=batches)
        self.broken = replace(found, growth=self._growth(), clipped=self._clips)
        self.on_news(True)

    def _growth(self) -> float | None:
        rows = self.history.rows[-_LATE_ROWS:]
        return growth(
            (*(r.get("loss") for r in rows), *map(float, self._losses)), (*(r.get("grad_norm") for r in rows), self._clipped, self._norm)
        )

    @guarded
    def clipped(self, norm: Any) -> None:
        """Gradients were clipped by norm, which was ``norm`` before; or by value, when it is None."""
        self._clips = True
        if norm is not None and self._row_due():
            self._clipped = float(norm)

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
        if self.rank.world > 1 and len(self.inputs) < DIGESTS:
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
