"""Listens to passes over loaders: which train, which validate, in which modes, with what losses."""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader, DistributedSampler

from trainlint.measurements import ValidationPass
from trainlint.record.parameters import parameters_of
from trainlint.record.structure import tensor_leaves
from trainlint.watching.books import Books, Pass, guarded
from trainlint.watching.look import Call
from trainlint.watching.ranks import input_digest

__all__ = ["DIGESTS", "PassListener"]

#: The step, counted from 0, that is taped so that a later broken one can be run again.
_TAPED_STEP = 2
#: Training passes whose first step is looked at whatever it costs, and digests of inputs that are kept.
_LOOKED_PASSES, DIGESTS = 3, 6


class PassListener(Books):
    """Told of loaders, their batches, and what models are called on them."""

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
        cut_short = not complete and entry.place == self.loop and entry.loader() in self._training_loaders  # before its first backward()
        if entry.call is not None and entry.batches and not cut_short:
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

    def _judge_modes(self, calls: list[Call], *, whole: bool) -> None:
        """Note in which mode the models of a training step were called."""
        own = [c for c in calls if c.grad and any(id(p) in self._trained for p in parameters_of(c.module))]
        for call in own:
            if call.module not in self.origins.models and len(self.origins.models) < 8:
                inner = {id(m) for model in self.origins.models for m in model.modules()}
                if id(call.module) not in inner:
                    self.origins.models.append(call.module)
            self.mode_dependent.update(dict.fromkeys(type(m).__name__ for m in call.mode_dependent))
        if own and len(self.inputs) < DIGESTS and self.rank.world > 1:
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

    @guarded
    def loss_called(self, value: Any, samples: int) -> None:
        """A loss function of torch gave a value."""
        entry = self.current
        if entry is None or entry.backwards or entry.finished or not isinstance(value, Tensor) or value.numel() != 1:
            return
        if entry.loader() not in self._training_loaders and len(entry.losses) < 100_000:
            entry.losses.append((entry.batches, float(value.detach()), samples))


def _distributed_sampler(loader: DataLoader[Any]) -> DistributedSampler[Any] | None:
    for holder in (loader, getattr(loader, "batch_sampler", None)):
        sampler = getattr(holder, "sampler", None)
        if isinstance(sampler, DistributedSampler):
            return sampler
    return None
