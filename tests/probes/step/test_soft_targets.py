from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, default_collate

from probes.recorded import measured, train
from trainlint.measurements import SoftTargets
from trainlint.probes.step.soft_targets import measure_soft_targets

CLASSES = 5


def pairs(targets=None) -> DataLoader:
    torch.manual_seed(0)
    labels = torch.arange(64) % CLASSES
    return DataLoader(TensorDataset(torch.randn(64, 12), labels if targets is None else targets), batch_size=16)


def facts(loss, loader=None, model=None) -> SoftTargets:
    torch.manual_seed(1)
    return measured(measure_soft_targets, train(model or nn.Linear(12, CLASSES), loader or pairs(), loss))


def mixed(x, other, lam=0.7):
    return lam * x + (1 - lam) * x[other]


def test_half_of_mixup_is_seen_and_the_whole_is_told_from_it():
    def one(model, batch):
        x, y = batch
        return F.cross_entropy(model(mixed(x, torch.randperm(len(x)))), y)

    def both(model, batch):
        x, y = batch
        other = torch.randperm(len(x))
        out = model(mixed(x, other))
        return 0.7 * F.cross_entropy(out, y) + 0.3 * F.cross_entropy(out, y[other])

    half, whole = facts(one), facts(both)
    assert (half.inputs_mixed, half.labels_mixed) == (True, False)
    assert abs(half.blend - 0.3) < 0.01
    assert half.mixed_where is not None
    assert (whole.inputs_mixed, whole.labels_mixed) == (True, True)


def test_blended_one_hot_targets_are_both_labels():
    def soft(model, batch):
        x, y = batch
        other = torch.arange(len(x)).roll(3)
        t = F.one_hot(y, CLASSES).float()
        return F.cross_entropy(model(mixed(x, other)), mixed(t, other))

    found = facts(soft)
    assert (found.inputs_mixed, found.labels_mixed, found.hardened_by) == (True, True, "")
    assert found.calls[0].soft


def test_an_argmax_of_blended_targets_hardens_them():
    def hard(model, batch):
        x, y = batch
        t = mixed(F.one_hot(y, CLASSES).float(), torch.arange(len(x)).roll(3))
        return F.cross_entropy(model(x), t.argmax(1))

    found = facts(hard)
    assert found.hardened_by == "argmax"
    assert found.hardened_rows > 0.5
    assert found.hardened_where is not None


def test_soft_targets_of_the_data_that_are_cast_are_hardened():
    soft = torch.rand(64, CLASSES)
    found = facts(lambda m, b: F.binary_cross_entropy_with_logits(m(b[0]), b[1].round()), pairs(soft))
    assert found.hardened_by == "round"


def test_one_hot_labels_and_pseudo_labels_are_left_alone():
    hot = F.one_hot(torch.arange(64) % CLASSES, CLASSES).float()
    assert facts(lambda m, b: F.cross_entropy(m(b[0]), b[1].argmax(1)), pairs(hot)).hardened_by == ""
    teacher = nn.Linear(12, CLASSES)
    assert facts(lambda m, b: F.cross_entropy(m(b[0]), teacher(b[0]).softmax(1).argmax(1))).hardened_by == ""


def test_smoothing_twice_is_measured():
    smooth = F.one_hot(torch.arange(64) % CLASSES, CLASSES).float() * 0.9 + 0.1 / CLASSES
    call = facts(lambda m, b: F.cross_entropy(m(b[0]), b[1], label_smoothing=0.1), pairs(smooth)).calls[0]
    assert abs(call.smoothed_by - 0.1) < 1e-3
    assert call.label_smoothing == 0.1
    tags = (torch.rand(64, CLASSES) < 0.6).float()
    assert facts(lambda m, b: F.cross_entropy(m(b[0]), b[1]), pairs(tags)).calls[0].multi_hot


def test_normalising_over_the_batch_is_no_blend():
    def normed(model, batch):
        x, y = batch
        return F.cross_entropy(model((x - x.mean(0)) / x.std(0)), y)

    assert facts(normed).inputs_mixed is False
    assert facts(lambda m, b: F.cross_entropy(m(b[0] * 2), b[1])).inputs_mixed is False


def test_nodes_that_meet_along_given_edges_are_no_blend():
    def neighbours(model, batch):
        x, y, other = batch
        return F.cross_entropy(model(x + x[other]), y)

    x, y = pairs().dataset.tensors
    loader = DataLoader(TensorDataset(x, y, torch.arange(64).roll(1) % 16), batch_size=16)
    assert facts(neighbours, loader).inputs_mixed is False


def collated(labels) -> SoftTargets:
    """Mixup in the collate function; ``labels(y, other)`` are the targets that it gives."""

    def collate(rows):
        x, y = default_collate(rows)
        other = torch.randperm(len(x))
        return mixed(x, other), labels(y, other)

    data = TensorDataset(torch.randn(64, 12), torch.arange(64) % CLASSES)
    loader = DataLoader(data, batch_size=16, collate_fn=collate)
    return facts(lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]), loader)


def test_a_collate_function_that_blends_inputs_alone_is_seen():
    half = collated(lambda y, other: y)
    assert (half.inputs_mixed, half.labels_mixed, half.collated) == (True, False, True)
    assert abs(half.blend - 0.3) < 0.01
    assert half.mixed_where is not None
    assert half.mixed_where.function == "mixed"


def test_a_collate_function_that_blends_labels_too_is_told_from_it():
    whole = collated(lambda y, other: mixed(F.one_hot(y, CLASSES).float(), other))
    assert (whole.inputs_mixed, whole.labels_mixed) == (True, True)
    assert abs(whole.own_weight - 0.7) < 0.01


def test_a_collate_function_that_exchanges_the_shares_of_the_labels_is_told():
    exchanged = collated(lambda y, other: mixed(F.one_hot(y, CLASSES).float()[other], other.argsort()))
    assert abs(exchanged.blend - 0.3) < 0.01
    assert abs(exchanged.own_weight - 0.3) < 0.01
    assert exchanged.labels_where is not None


@pytest.mark.parametrize("own", [0.7, 0.3])
def test_the_weight_of_a_samples_own_label_is_told(own):
    def both(model, batch):
        x, y = batch
        other = torch.randperm(len(x))
        out = model(mixed(x, other))
        return own * F.cross_entropy(out, y) + (1 - own) * F.cross_entropy(out, y[other])

    assert facts(both).own_weight == pytest.approx(own)
