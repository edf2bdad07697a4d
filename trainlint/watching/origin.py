"""Where the first NaN or infinity of a long run began: one early step is taped, and the broken one is run again on that tape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from trainlint.measurements import NonFinite
from trainlint.probes.step.origin import Origin, find_origin
from trainlint.probes.step.replay import usable
from trainlint.record.frames import Frames, Place
from trainlint.record.hooks import opaque_functions, replace_attribute
from trainlint.record.parameters import named_parameters_of
from trainlint.record.random_state import random_kept
from trainlint.record.snapshot import Snapshot, state_tensors
from trainlint.record.structure import tensor_leaves
from trainlint.record.tape import Tape
from trainlint.record.tapewriter import TapeWriter
from trainlint.watching.gauges import Gauge

__all__ = ["Origins"]

#: Largest model whose weights are kept now and then, in bytes.
_MOST_BYTES = 256 * 2**20
#: Share of the run's time that keeping weights may take.
_SHARE = 0.001
#: What a replay raises when a tape does not take a batch.
_REFUSALS = (RuntimeError, IndexError, ValueError, TypeError, KeyError, AttributeError, AssertionError)


class Origins:
    """Tapes one step, keeps weights now and then, and explains a step that gave no finite number."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self.writer = TapeWriter(frames)
        self.writer.provenance.on = False
        self.on = True
        self.tape: Tape | None = None
        self.models: list[nn.Module] = []
        self._stack: ExitStack | None = None
        self._gauge = Gauge(_SHARE)
        self._kept: list[Tensor] = []
        self._too_large = False

    @property
    def taping(self) -> bool:
        """Whether a step is being taped now."""
        return self._stack is not None

    def begin(self, batch: Any) -> None:
        """Tape from here to the next backward(). Stands aside where torch functions have another listener, or code is compiled."""
        if self.tape is not None or self.taping or torch._C._len_torch_function_stack() or _compiles():
            return
        stack = self._stack = ExitStack()
        opaque_functions(self, lambda owner, name, new: replace_attribute(stack, owner, name, new))
        self.writer.__enter__()
        self.writer.start([dict(tensor_leaves(batch))])

    def cut(self, loss: Tensor) -> None:
        """The taped step's backward() is about to run."""
        with suppress(Exception):
            self.tape = self.writer.cut(loss, self.frames.here(), 1.0)
        if self.tape is not None:
            self.tape.observed.clear()
        self.end()

    def end(self) -> None:
        """Stop taping."""
        stack, self._stack = self._stack, None
        if stack is None:
            return
        self.writer.stop()
        self.writer.modules.clear()
        stack.close()
        if torch.overrides._get_current_function_mode() is self.writer:
            self.writer.__exit__(None, None, None)

    def keeps(self, step: int) -> bool:
        """Whether it is time to keep the weights."""
        return self.tape is not None and not self._too_large and self._gauge.due(step)

    def keep_weights(self, step: int, step_seconds: float | None) -> None:
        """Copy the weights, which have just given a finite loss."""
        with self._gauge.reading(step, step_seconds):
            live = self._state()
            if not live or sum(t.numel() * t.element_size() for t in live) > _MOST_BYTES:
                self._too_large = True
            elif len(self._kept) != len(live):
                self._kept = [t.clone() for t in live]
            else:
                torch._foreach_copy_(self._kept, live)

    def explain(self, *, step: int, loss: float, before: float, what: str, place: Place | None, batches: Sequence[Any]) -> NonFinite:
        """The first bad operation, by running the step again: at the weights as they are, else at the last ones kept.

        Args:
            step: The broken step, counted from 1.
            loss: Its loss.
            before: The last finite loss before it.
            what: ``loss`` or ``gradient``: where the NaN was met.
            place: Line of its backward().
            batches: The batch of the step, and the one before it.
        """
        origin, steps = None, step
        with suppress(*_REFUSALS):
            origin, earlier = self._search(batches)
            if earlier:
                step, loss = step - 1, before
        names = {id(m): name or type(m).__name__ for model in self.models for name, m in model.named_modules()}
        parameters = {id(p): name for model in self.models for name, p in named_parameters_of(model)}
        if origin is None:
            bad = next((n for model in self.models for n, p in named_parameters_of(model) if not torch.isfinite(p.detach()).all()), "")
            return NonFinite(
                steps=steps, found=True, step=step, what="parameter" if bad else what, where=self.frames.location(place), parameter=bad, loss=loss
            )  # fmt: skip
        op = origin.operation
        return NonFinite(
            steps=steps, found=True, step=step, what=origin.what, operation=origin.name, detail=origin.detail, loss=loss,
            module=names.get(id(op.module), "") if op is not None else "",
            where=self.frames.location((op.place if op is not None else None) or place),
            parameter=parameters.get(id(origin.leaf), "") if origin.leaf is not None else "",
        )  # fmt: skip

    def _search(self, batches: Sequence[Any]) -> tuple[Origin | None, bool]:
        """What was found, and whether in the step before: its gradient made the weights NaN that this step met."""
        live = self._state()
        sound = all(bool(torch.isfinite(t).all()) for t in live if t.is_floating_point())
        with random_kept(), _restored(live):
            if sound:
                return self._find(batches[:1]), False
            if len(self._kept) != len(live):
                return None, False
            for tensor, value in zip(live, self._kept, strict=True):
                tensor.copy_(value)
            if (found := self._find(batches[1:])) is not None:
                return found, True
            return self._find(batches[:1]), False

    def _find(self, batches: Sequence[Any]) -> Origin | None:
        tape = self.tape
        if tape is None:
            return None
        for batch in batches:
            for fill in usable(tape, [dict(tensor_leaves(batch))]):
                with suppress(*_REFUSALS):
                    if (found := find_origin(tape, fill)) is not None:
                        return found
        return None

    def _state(self) -> list[Tensor]:
        return [t.detach() for t in state_tensors(self.models) if not torch.nn.parameter.is_lazy(t) and not t.is_sparse]


@contextmanager
def _restored(tensors: list[Tensor]) -> Iterator[None]:
    """Leave tensors as they were found, and unchanged in the eyes of a graph that waits for its backward()."""
    kept = Snapshot(tensors)
    with ExitStack() as stack:
        for tensor in tensors:
            stack.enter_context(torch.autograd.grad_mode._unsafe_preserve_version_counter(tensor))
        try:
            yield
        finally:
            kept.restore()


def _compiles() -> bool:
    """Whether torch.compile has compiled anything in this process."""
    import sys

    dynamo = sys.modules.get("torch._dynamo.utils")
    counters = getattr(dynamo, "counters", None)
    return bool(counters and counters.get("frames"))
