"""What a hook of the user's makes of a batch before Lightning validates on it: the same hook serves training."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import CodeType, FrameType
from typing import Any

from trainlint.probes.data.drawing import lines_that_draw_in
from trainlint.record.frames import Frames, Place

__all__ = ["BatchHooks", "batch_hooks"]

#: Hooks that get every batch, in their order.
_HOOKS = ("on_before_batch_transfer", "on_after_batch_transfer")


@dataclass(frozen=True)
class BatchHooks:
    """The hooks of the trainer that is running."""

    trainer: Any
    hooks: Sequence[Callable[[Any, int], Any]]

    @property
    def name(self) -> str:
        """That of the last."""
        return str(self.hooks[-1].__name__)

    @property
    def uses(self) -> list[Any]:
        """What the hooks may use of the object that they belong to."""
        held = [(getattr(h, "__self__", None), name) for h in self.hooks for name in _names(_code(h))]
        return [value for owner, name in held if (value := getattr(owner, name, None)) is not None]

    def __call__(self, batch: Any) -> Any:
        """The batch as it enters the validation step."""
        with _validating(self.trainer):
            for hook in self.hooks:
                batch = hook(batch, 0)
        return batch

    def draws_at(self, batch: Any, frames: Frames) -> Place:
        """The first line that draws random numbers meanwhile; where that is not seen, the last hook's own."""
        with _validating(self.trainer):
            for hook in self.hooks:
                if lines := lines_that_draw_in([partial(hook, batch, 0)], frames):
                    return lines[0]
                batch = hook(batch, 0)
        code = _code(self.hooks[-1])
        return code.co_filename, code.co_firstlineno, code.co_name


def batch_hooks(frames: Frames) -> BatchHooks | None:
    """The hooks that the user wrote for the trainer on the stack; None where there is no such trainer, or it has none."""
    trainer = _trainer()
    hooks = []
    for name in _HOOKS if trainer is not None else ():
        for holder in (trainer.datamodule, trainer.lightning_module):  # Lightning asks the data module first
            hook = getattr(holder, name, None)
            code = getattr(hook, "__code__", None)
            if callable(hook) and code is not None and frames.is_user(code.co_filename):
                hooks.append(hook)
                break
    return BatchHooks(trainer, hooks) if hooks else None


def _code(hook: Any) -> CodeType:
    code: CodeType = hook.__code__
    return code


def _names(code: CodeType) -> Iterator[str]:
    """Names in a function and in those that it defines, as comprehensions are."""
    yield from code.co_names
    for inner in code.co_consts:
        yield from _names(inner) if isinstance(inner, CodeType) else ()


def _trainer() -> Any:
    """Lightning's trainer whose loop runs now."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] in ("lightning", "pytorch_lightning") and all(
            hasattr(owner, name) for name in ("fit_loop", "lightning_module", "datamodule", "state")
        ):
            return owner
        frame = frame.f_back
    return None


@contextmanager
def _validating(trainer: Any) -> Iterator[None]:
    """As hooks see the trainer and the model while Lightning validates."""
    stage, modes = trainer.state.stage, [(m, m.training) for m in trainer.lightning_module.modules()]
    try:
        trainer.state.stage = type(stage).VALIDATING
        for module, _ in modes:
            module.training = False
        yield
    finally:
        trainer.state.stage = stage
        for module, training in modes:
            module.training = training
