"""Other weights for a while: the live parameters and buffers hold given values, then their own again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from trainlint.record.recording import Recording
from trainlint.record.snapshot import Snapshot, state_tensors

__all__ = ["state_kept", "weights_at"]


@contextmanager
def weights_at(recording: Recording, values: Mapping[int, Tensor]) -> Iterator[None]:
    """Copy values, given by id of a parameter or buffer, into the live tensors; leave those as they were found."""
    with state_kept(recording):
        for tensor in _live(recording):
            value = values.get(id(tensor))
            if value is not None and value.shape == tensor.shape:
                tensor.detach().copy_(value)
        yield


@contextmanager
def state_kept(recording: Recording) -> Iterator[None]:
    """Leave parameters and buffers as they were found."""
    snapshot = Snapshot(_live(recording))
    try:
        yield
    finally:
        snapshot.restore()


def _live(recording: Recording) -> list[Tensor]:
    """Parameters and buffers of the models, and what else the optimizers hold; dense ones that have a shape already."""
    held = (p for o in recording.optimizers for p in o.parameters)
    found = {id(t): t for t in (*state_tensors(recording.models()), *held)}
    return [t for t in found.values() if not torch.nn.parameter.is_lazy(t) and not t.is_sparse]
