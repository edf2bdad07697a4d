"""Batches that a sampler fills with samples of one group each."""

from __future__ import annotations

from trainlint.probes.data.leaves import describe
from trainlint.probes.data.roles import DataFlow
from trainlint.record.seen import Loader

__all__ = ["single_valued"]


def single_valued(flow: DataFlow, entry: Loader) -> tuple[float, ...]:
    """The value of each recorded batch's labels, where every batch has one value only; empty where one has several.

    A metric's loss compares labels and computes nothing of them, so they are what is no input and holds an integer a sample.
    """
    batches = [
        b for b in flow.recording.batches if b.iteration is not None and b.iteration.loader is entry and b.iteration.phase == "train"
    ]
    if not batches:
        return ()
    paths = [p for p, t in batches[0].leaves.items() if flow.role(entry.index, p) != "input" and describe(p, "target", t).kind == "labels"]
    if len(paths) != 1 or any(paths[0] not in b.leaves for b in batches):
        return ()
    labels = [b.leaves[paths[0]].reshape(-1) for b in batches]
    return tuple(float(found[0]) for found in labels) if all(len(f) > 1 and bool((f == f[0]).all()) for f in labels) else ()
