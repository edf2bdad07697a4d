"""Whether a collate function brings axes into another order by a reshape, so that each row of its batch holds pieces of many samples.

One sample is put into a batch several times. The rows must then be equal; where they are not, but are once the numbers are read with the
axis of the samples at another place, the samples lie along that axis in memory.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from trainlint.measurements import Reshape
from trainlint.probes.data.datasets import Samples
from trainlint.probes.data.value_source import calls_in
from trainlint.record.frames import Frames
from trainlint.record.random_state import randomness_kept
from trainlint.record.structure import tensor_leaves

__all__ = ["collate_reshapes"]

#: Times that a sample is put into the batch: a prime number that hardly any other axis has for its size.
_COPIES = 11
#: Samples that are tried, from all over the dataset: a short one may be the same whichever way it is read.
_TRIED = 3
_RESHAPES = frozenset({"view", "reshape", "flatten", "unflatten", "view_as", "reshape_as", "resize", "resize_"})


def collate_reshapes(samples: Samples, role: Callable[[str], str], frames: Frames) -> tuple[Reshape, ...]:
    """The slip of the user's own collate function in an input; empty where there is none, or it cannot be asked."""
    collate: Any = samples.loader.collate_fn
    inner = getattr(collate, "func", collate)  # functools.partial
    code = getattr(inner, "__code__", None) or getattr(type(inner).__call__, "__code__", None)
    if samples.iterable or not samples.single or code is None or not frames.is_user(code.co_filename):
        return ()
    line = calls_in(code.co_filename, code.co_firstlineno, _RESHAPES)
    if line is None or not samples.pool:
        return ()
    where = frames.location((code.co_filename, line, code.co_name))
    with randomness_kept(), torch.no_grad():
        try:
            batches = list(_repeated(samples, collate))
        except Exception:  # it may want samples that differ
            return ()
    for batch in batches:
        for path, tensor in batch.items():
            axis = _axis_of_samples(tensor) if role(path) == "input" else None
            if axis is not None:
                after = tuple(tensor.shape)
                opened = (*after[1 : axis + 1], _COPIES, *after[axis + 1 :])
                order = (axis, *(i for i in range(len(after)) if i != axis))
                return (
                    Reshape(
                        operation=code.co_name, before=opened, after=after, opened=opened, order=order, reader="the model", where=where
                    ),
                )
    return ()


def _repeated(samples: Samples, collate: Callable[[list[Any]], Any]) -> Iterator[dict[str, Tensor]]:
    last = len(samples.pool) - 1
    for place in range(_TRIED):
        sample = samples.raw(samples.pool[place * last // (_TRIED - 1)])
        yield dict(tensor_leaves(collate([copy.deepcopy(sample) for _ in range(_COPIES)])))


def _axis_of_samples(tensor: Tensor) -> int | None:
    """The axis along which equal samples lie in memory, where it is not the first and a sample is more than one number over and over."""
    if tensor.dim() < 2 or len(tensor) != _COPIES or bool((tensor == tensor[:1]).all()):
        return None
    sizes = tuple(tensor.shape[1:])
    for axis in range(1, len(sizes) + 1):
        rows = tensor.reshape(*sizes[:axis], _COPIES, *sizes[axis:]).movedim(axis, 0)
        if bool((rows == rows[:1]).all()):
            return axis
    return None
