"""Told of loaders, their passes and batches; cuts passes short when enough of them was seen."""

from __future__ import annotations

import time
from typing import Any

from torch.utils.data import DataLoader

from trainlint.record.generators import generator_states
from trainlint.record.listeners.books import guarded
from trainlint.record.listeners.ending import Ending
from trainlint.record.planned import planned_epochs
from trainlint.record.seen import Batch, Iteration, Loader
from trainlint.record.structure import tensor_leaves

__all__ = ["LoaderListener"]

#: Largest batch that is copied and kept, in bytes.
_KEEP_BYTES = 256 * 2**20


class LoaderListener(Ending):
    """Which batches come, from which loader, and how many are needed."""

    @guarded
    def loader_built(self, loader: DataLoader[Any]) -> None:
        """A DataLoader was constructed."""
        if loader not in self._loaders:
            entry = Loader(loader, len(self.recording.loaders), self.frames.here(), callers=self.frames.stack()[1:])
            self._loaders[loader] = entry
            self.recording.loaders.append(entry)

    @guarded
    def seeded(self, kind: str, value: object) -> None:
        """A global generator is about to be seeded."""
        stack = self.frames.stack()
        if kind == "torch":
            self.recording.seeded_at = stack
        self.recording.seeds.seeded(kind, value, stack, self.steps_done, len(self.recording.optimizers))

    @guarded
    def iteration_begun(self, loader: DataLoader[Any]) -> Iteration:
        """iter(loader) was called."""
        self.loader_built(loader)
        entry = self._loaders[loader]
        iteration = Iteration(entry, len(entry.iterations), self.frames.here(), begun=time.monotonic(), generators=generator_states())
        running = {(file, function) for file, _, function in self.frames.stack()}
        iteration.seeded_at = next((p for p in self.recording.seeded_at if (p[0], p[2]) in running), None)
        if iteration.number == 0:
            entry.planned = planned_epochs(self.frames)
        entry.iterations.append(iteration)
        return iteration

    @guarded
    def wants_batch(self, iteration: Iteration) -> bool:
        """Whether a pass may go on; False cuts it short."""
        self._finish_if_done(iteration)
        settings, phase = self.settings, iteration.phase
        if phase == "train":
            enough = self._enough(iteration)
        elif phase == "val":
            enough = iteration.batches >= settings.val_batches and not (
                iteration.grad_forwards and iteration.batches < settings.train_batches
            )
        else:
            enough = iteration.batches >= settings.train_batches and time.monotonic() - iteration.begun > 10
        iteration.cut_short |= enough
        return not enough

    def _enough(self, iteration: Iteration) -> bool:
        return iteration.batches >= self.settings.train_batches and (iteration.steps >= 3 or iteration.batches >= 96)

    def ends_here(self) -> bool:
        """Whether the current training pass will be cut short before its next batch."""
        return self.on and self.current is not None and self.current.phase == "train" and self._enough(self.current)

    @guarded
    def batch_loaded(self, iteration: Iteration, batch: Any) -> None:
        """A pass handed out a batch."""
        iteration.batches += 1
        if iteration in self._current:
            self._current.remove(iteration)
        self._current.append(iteration)
        if iteration.batches == 1:
            self.note("epoch", f"loader {iteration.loader.index}", iteration.place, number=iteration.number)
        elif iteration.batches == 2:
            iteration.drawn = frozenset(n for n, state in generator_states().items() if state != iteration.generators.get(n))
        self.note("batch", f"loader {iteration.loader.index}", number=iteration.batches)
        try:
            leaves = dict(tensor_leaves(batch))
        except Exception:
            leaves = {}
        kept = sum(1 for b in self.recording.batches if b.iteration is iteration)
        size = sum(t.numel() * t.element_size() for t in leaves.values())
        if kept < self.settings.train_batches and len(self.recording.batches) < 40 and size < _KEEP_BYTES:
            copies = {p: t.detach().clone() for p, t in leaves.items()}
            self._last_batch = Batch(iteration, copies, {id(t): p for p, t in leaves.items()}, iteration.batches - 1)
            self.recording.batches.append(self._last_batch)
        else:
            self._last_batch = None
        self._recent = []
        self._pending_inputs = []
        # A loader that fetches ahead hands out a batch before the step on the one before it.
        self._handed = [*self._handed[-1:], (self._last_batch, leaves)]
        self._start_tape()
        self.on_progress(f"batch {iteration.batches} of loader {iteration.loader.index}")
