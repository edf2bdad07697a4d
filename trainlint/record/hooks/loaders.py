"""Loaders, their passes and batches, and the epochs that samplers are told."""

from __future__ import annotations

import dis
import functools
import inspect
import sys
from types import FrameType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _BaseDataLoaderIter

from trainlint.record.hooks.lightning import LightningHooks
from trainlint.record.hooks.replacing import Replace
from trainlint.record.recorder import Recorder
from trainlint.record.seen import Iteration

__all__ = ["hook_loaders", "note_datasets"]


def note_datasets(recorder: Recorder) -> None:
    """Note where each dataset is built. For a process of the recorder's own: Python cannot take a ``__new__`` off a class again."""

    def __new__(cls: Any, *args: Any, **kwargs: Any) -> Any:
        following = super(Dataset, cls).__new__
        made = following(cls) if following is object.__new__ else following(cls, *args, **kwargs)
        if recorder.awake:
            recorder.recording.places[id(made)] = recorder.frames.here()
        return made

    Dataset.__new__ = __new__  # type: ignore[method-assign]


def hook_loaders(recorder: Recorder, replace: Replace) -> None:
    """Tell of loaders, cut their passes short when the recorder says so, and note which indices were drawn."""
    passes: dict[int, tuple[Any, Iteration]] = {}
    init, iterate, following, index = (
        DataLoader.__init__,
        DataLoader.__iter__,
        _BaseDataLoaderIter.__next__,
        _BaseDataLoaderIter._next_index,
    )

    @functools.wraps(init)
    def __init__(self: DataLoader[Any], *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if recorder.awake:
            recorder.loader_built(self)

    @functools.wraps(iterate)
    def __iter__(self: DataLoader[Any]) -> Any:
        if not recorder.on:
            return iterate(self)
        lightning.look()
        begun = recorder.iteration_begun(self)  # before the iterator, which asks for indices at once when it has workers
        if begun is None:
            return iterate(self)
        passes[0] = (None, begun)
        kept = getattr(self, "_iterator", None)
        if kept is not None:  # persistent workers: the same iterator again, which asks for indices while it is reset
            passes[id(kept)] = (kept, begun)
        iterator = iterate(self)
        passes[id(iterator)] = (iterator, begun)
        return iterator

    lightning = LightningHooks(recorder, replace)

    @functools.wraps(following)
    def __next__(self: Any) -> Any:
        if recorder.resting and recorder.awake and not recorder.rests(self):
            raise StopIteration
        entry = passes.get(id(self))
        if entry is None or not recorder.on:
            return following(self)
        begun = entry[1]
        cut = begun.cut_short
        if cut or recorder.wants_batch(begun) is False:
            caller = sys._getframe(1)
            if not _counts_on_a_batch(caller):
                if not cut:
                    _end_counted_epoch(caller.f_locals.get("self"))
                raise StopIteration
            begun.cut_short = False
        recorder.writer.active, writing = False, recorder.writer.active
        try:
            batch = following(self)
        finally:
            recorder.writer.active = writing
        if recorder.on:  # no longer where asking for it ended the recording and another training is waited for
            recorder.batch_loaded(begun, batch)
        return batch

    @functools.wraps(index)
    def _next_index(self: Any) -> Any:
        chosen = index(self)
        entry = passes.get(id(self)) or passes.get(0)
        if entry is not None and recorder.on and len(entry[1].indices) < 4096:
            entry[1].indices.append(list(chosen) if isinstance(chosen, list | tuple) else chosen)
        return chosen

    replace(DataLoader, "__init__", __init__)
    replace(DataLoader, "__iter__", __iter__)
    replace(_BaseDataLoaderIter, "__next__", __next__)
    replace(_BaseDataLoaderIter, "_next_index", _next_index)
    sampler = torch.utils.data.DistributedSampler
    set_epoch = sampler.set_epoch

    def noted(self: Any, epoch: int) -> None:
        set_epoch(self, epoch)
        if recorder.on:
            recorder.note("set_epoch", epoch=epoch)

    replace(sampler, "set_epoch", noted)


def _counts_on_a_batch(caller: FrameType) -> bool:
    """Whether a generator asks by next() and is not ready for the end, as those of endless loaders: it would break off by an error."""
    code = caller.f_code
    if not code.co_flags & inspect.CO_GENERATOR or "StopIteration" in code.co_names:
        return False
    return dis.opname[code.co_code[caller.f_lasti]] != "FOR_ITER"


def _end_counted_epoch(engine: Any) -> None:
    """Ignite begins pass after pass until an epoch has the length that it counted on; without one the end of a pass ends the epoch."""
    if any(c.__name__ == "Engine" and c.__module__.startswith("ignite.") for c in type(engine).__mro__):
        engine.state.epoch_length = None
