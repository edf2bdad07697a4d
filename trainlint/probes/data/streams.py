"""Where a dataset that is iterated over hands its samples out, which is where their order is made."""

from __future__ import annotations

from torch.utils.data import ChainDataset, IterableDataset

from trainlint.probes.data.datasets import Samples, wrapped
from trainlint.probes.source.statements import given_out_at
from trainlint.record.frames import Frames, Place

__all__ = ["streamed_at"]


def streamed_at(samples: Samples, frames: Frames) -> Place | None:
    """The outermost loop around what the innermost stream yields.

    None where several are chained, or it is a library's: these are ordered where they were built.
    """
    streams = [one for one in wrapped(samples.dataset) if isinstance(one, IterableDataset)]
    if any(isinstance(one, ChainDataset) for one in streams):
        return None
    code = getattr(getattr(type(streams[-1]), "__iter__", None), "__code__", None) if streams else None
    return given_out_at(code) if code is not None and frames.is_user(code.co_filename) else None
