"""Puts the recorder's ears on torch: patches a dozen public entry points while recording, and takes them off again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from trainlint.record.hooks.counted_schedules import hook_counted_schedules
from trainlint.record.hooks.functions import hook_compilation, opaque_functions
from trainlint.record.hooks.gradients import hook_gradients
from trainlint.record.hooks.loaders import hook_loaders, note_datasets
from trainlint.record.hooks.modules import hook_modes, hook_modules
from trainlint.record.hooks.optimizers import hook_optimizers, hook_schedulers, step_begun, step_ended
from trainlint.record.hooks.replacing import replace_attribute
from trainlint.record.hooks.seeding import hook_seeds
from trainlint.record.recorder import Recorder

__all__ = ["listening", "note_datasets", "opaque_functions", "replace_attribute"]

_HOOKS = (
    hook_loaders, hook_seeds, hook_modules, hook_gradients, hook_optimizers, hook_schedulers, hook_counted_schedules, hook_modes, hook_compilation
)  # fmt: skip


@contextmanager
def listening(recorder: Recorder) -> Iterator[None]:
    """While the context lasts, what the thread does with torch is told to ``recorder``."""
    with ExitStack() as stack:
        for install in _HOOKS:
            install(recorder, lambda owner, name, new: replace_attribute(stack, owner, name, new))
        before = register_optimizer_step_pre_hook(step_begun(recorder))
        stack.callback(before.remove)
        after = register_optimizer_step_post_hook(step_ended(recorder))
        stack.callback(after.remove)
        stack.enter_context(recorder.writer)
        yield
