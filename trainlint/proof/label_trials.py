"""Trials of fixes to labels: the samples that were read, trained on and judged with their labels as they come and as they should."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from trainlint.finding import Proof
from trainlint.measurements import Labels
from trainlint.probes.data.split_samples import Split, read_split
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.labels.mask_fit import turned_upright
from trainlint.probes.labels.pairing import paired
from trainlint.probes.step.parts import batch_rows
from trainlint.probes.step.replay import Rehearsal
from trainlint.proof.runs import Bench, Condition, Fill, compared, not_tried

__all__ = ["label_mapping", "label_signal"]

#: Share of the samples that is kept back, and batches that both conditions are judged on at most.
_KEPT_BACK, _JUDGED = 0.4, 4


def label_signal(bench: Bench) -> Proof:
    """With the pairing of labels and inputs, or of tags and tokens, under which a cheap probe finds that they fit."""
    labels = bench.measure(Labels)
    if isinstance(labels, Labels) and labels.torn is None and labels.shifted is not None and labels.shifted.phase == "train":
        return _moved(bench, labels.shifted.path, labels.shifted.shift, "With each tag beside its own token")
    if isinstance(labels, Labels) and labels.torn is None and labels.ahead is not None and labels.ahead.in_data:
        return _moved(bench, labels.ahead.path, labels.ahead.in_data, "With labels that are the input's own tokens")
    wanted = bench.finding.evidence.get("repair")
    signal = next((s for s in labels.signals if s.repair and s.repair.name == wanted), None) if isinstance(labels, Labels) else None
    if signal is None or signal.repair is None:
        return not_tried("which label belongs to which input is not known")
    if signal.phase != "train":
        return not_tried("training does not see these labels, so that no training step can show what they are worth")
    split = read_split(bench.recording, "train", bench.deadline)
    others = _others(bench)
    masks = split.kind == "masks"
    mended = turned_upright(split, next(iter(others), None)) if masks else _looked_up(split, paired(split, others, signal.repair.name))
    words = "With each mask turned as its picture is" if masks else f"With {signal.repair.name}"
    with bench.rehearsal() as trial:
        fills, swapped = _batches(trial, split, mended)
        back = math.ceil(_KEPT_BACK * len(fills))
        if back == len(fills):
            return not_tried("too few samples were read to train on some and judge on others")
        trial.fills = [dict(f) for f in fills[back:]]
        return _judged(bench, trial, swapped, fills[:back], words, "loss on held-out samples")


def _moved(bench: Bench, path: str, places: int, words: str) -> Proof:
    """With labels moved by this many places along their sequence; what is moved over an end comes in at the other."""
    with bench.rehearsal() as trial:
        slot = trial.tape.batch.get(path)
        if slot is None:
            return not_tried("the labels that the step compares are not those of the batch")

        def mend(fill: Fill) -> Fill:
            return {**fill, slot: fill.get(slot, trial.tape.outside[slot]).roll(places, 1)}

        return compared(bench, trial, before=Condition(), after=Condition(feed=mend), words=words)


def _others(bench: Bench) -> list[Split]:
    """The validation samples, where they can be read."""
    try:
        return [read_split(bench.recording, "val", bench.deadline)]
    except CannotMeasureError:
        return []


def label_mapping(bench: Bench) -> Proof:
    """With validation labels renamed as training names the same classes."""
    labels = bench.measure(Labels)
    names = _renamed(labels) if isinstance(labels, Labels) else {}
    if not names:
        return not_tried("which validation label stands for which of training is not known")
    train, val = (read_split(bench.recording, phase, bench.deadline) for phase in ("train", "val"))
    known = _by_label(train)
    mended = [known.get(names.get(float(label), float(label))) for label in val.labels]
    with bench.rehearsal() as trial:
        fills, swapped = _batches(trial, val, mended)
        words = "With validation labels renamed as training names them"
        return _judged(bench, trial, swapped, fills, words, "loss on validation samples")


def _judged(bench: Bench, trial: Rehearsal, swapped: Mapping[int, Tensor], held: Sequence[Fill], words: str, measure: str) -> Proof:
    def mend(fill: Fill) -> Fill:
        return {slot: swapped.get(id(tensor), tensor) for slot, tensor in fill.items()}

    proof = compared(
        bench, trial, before=Condition(), after=Condition(feed=mend), words=words, measure=measure, judged_on=list(held)[:_JUDGED]
    )
    bench.fix = None  # it is known for the samples that were read alone
    return proof


def _batches(trial: Rehearsal, split: Split, mended: Sequence[Tensor | None]) -> tuple[list[Fill], dict[int, Tensor]]:
    """Batches of the samples whose mended target is known, in random order, and that target by the id of the tensor it replaces."""
    tape, slot = trial.tape, trial.tape.batch.get(split.target)
    size = batch_rows(tape)
    if slot is None or not size or set(tape.batch) - {*split.inputs, split.target}:
        msg = "the step uses more of a batch than one input and its target"
        raise CannotMeasureError(msg)
    known = np.array([i for i, target in enumerate(mended) if target is not None], dtype=np.int64)
    order = np.random.default_rng(0).permutation(known)
    fills: list[Fill] = []
    swapped: dict[int, Tensor] = {}
    for first in range(0, len(order) - size + 1, size):
        rows = order[first : first + size].tolist()
        try:
            fill = {
                s: torch.cat([(split.masks if s == slot else split.inputs[path])[i] for i in rows]).to(tape.outside[s].device)
                for path, s in tape.batch.items()
            }
            new = torch.cat([t for i in rows if (t := mended[i]) is not None]).to(fill[slot].device)
        except RuntimeError as error:
            msg = "samples have different shapes"
            raise CannotMeasureError(msg) from error
        if any(t.shape != tape.outside[s].shape or t.dtype != tape.outside[s].dtype for s, t in fill.items()):
            msg = "single samples do not make a batch as the loader's"
            raise CannotMeasureError(msg)
        fills.append(fill)
        swapped[id(fill[slot])] = new
    if not fills:
        msg = "too few samples were read for one batch"
        raise CannotMeasureError(msg)
    return fills, swapped


def _by_label(split: Split) -> dict[float, Tensor]:
    """One sample's target for each class."""
    return {float(label): target for label, target in zip(split.labels, split.masks, strict=True)}


def _looked_up(split: Split, labels: np.ndarray) -> list[Tensor | None]:
    """Targets for other labels of the same kind; None where a label is not known."""
    if split.kind == "classes":
        known = _by_label(split)
        return [known.get(float(label)) for label in labels]
    made: list[Tensor | None] = []
    for label, target in zip(labels, split.masks, strict=True):
        if target.numel() != label.size:
            msg = "targets have more columns than were read"
            raise CannotMeasureError(msg)
        made.append(torch.as_tensor(label).to(target.dtype).reshape(target.shape) if np.isfinite(label).all() else None)
    return made


def _renamed(labels: Labels) -> dict[float, float]:
    """Validation label -> training label of the same class, where they differ: by name, by a constant step, or by looks."""
    train, val = ((labels.names or {}).get(phase, {}) for phase in ("train", "val"))
    mine = {name: float(label) for label, name in train.items()}
    named = {float(label): mine[name] for label, name in val.items() if name in mine and mine[name] != float(label)}
    if named:
        return named
    if labels.match is not None and labels.match.moved:
        return {c: m for c, m in zip(labels.match.classes, labels.match.matched, strict=False) if c != m}
    if labels.unseen and len(labels.train_labels) == len(labels.val_labels):
        return dict(zip(labels.val_labels, labels.train_labels, strict=True))
    return {}
