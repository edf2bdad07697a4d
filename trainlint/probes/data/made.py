"""Finds the line of the user's code that made the values of a loader's samples."""

from __future__ import annotations

import sys

import torch

from trainlint.probes.data.datasets import Samples
from trainlint.probes.data.value_source import value_source
from trainlint.record.frames import Place
from trainlint.record.random_state import randomness_kept
from trainlint.record.recording import Recording
from trainlint.record.seen import Loader
from trainlint.record.structure import tensor_leaves

__all__ = ["made_at"]


def made_at(recording: Recording, entry: Loader) -> dict[str, Place]:
    """The lines that made a sample's tensors, by their path in the batch; without those that only torch or a library made.

    Values that torch did not make are looked for in the dataset's source. One sample is read again and watched, and put into a batch where the user's own function does that; tensors that the dataset holds were watched when the script made them.
    """
    indices = next((i.indices for i in entry.iterations if i.indices), [])
    samples = Samples(entry.loader, by_lists=bool(indices) and isinstance(indices[0], list))
    if samples.iterable or not samples.pool:
        return {}
    provenance = recording.provenance
    with randomness_kept(), torch.no_grad(), provenance.watching(sys._getframe()):
        try:
            sample = samples.raw(samples.pool[0])
            leaves = samples.leaves(sample) | (dict(tensor_leaves(sample)) if samples.stacked else {})
        except Exception:
            return {}
    found: dict[str, Place] = {}
    for path, tensor in leaves.items():
        making = provenance.of(tensor)
        place = value_source(samples, recording.frames, path) if making is None or making.arranges() else None
        place = place or (making.telling() if making is not None else None)
        if place is not None:
            found[path] = place
    return found
