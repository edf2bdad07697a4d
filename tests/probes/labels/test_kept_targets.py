from __future__ import annotations

import itertools
from contextlib import suppress

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import record
from trainlint.finding import Severity
from trainlint.measurements import KeptAnswers, Labels
from trainlint.probes.labels.kept_targets import kept_answers
from trainlint_rules.label_signal import LabelSignal

DATA = TensorDataset(torch.randn(160, 6), torch.arange(160))


def distilled(*, shuffle: bool, by_number: bool, noise: float = 0.0) -> KeptAnswers | None:
    """What is found where a teacher's answers are kept from one pass for the next."""

    def run() -> None:
        torch.manual_seed(0)
        teacher, student = nn.Linear(6, 5), nn.Linear(6, 5)
        optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
        loader = DataLoader(DATA, 16, shuffle=shuffle)
        with torch.no_grad():
            soft = [teacher(x + noise * torch.randn_like(x)).clone() for x, _ in loader]
            every = teacher(DATA.tensors[0])
        with suppress(IndexError):  # the first pass was cut short
            for i, (x, index) in itertools.chain(enumerate(loader), enumerate(loader)):
                optimizer.zero_grad()
                answers = soft[i] if by_number else every[index]
                F.kl_div(student(x).log_softmax(1), answers.softmax(1), reduction="batchmean").backward()
                optimizer.step()

    return kept_answers(record(run))


def test_answers_by_the_number_of_a_batch_belong_to_other_samples_once_it_is_shuffled() -> None:
    found = distilled(shuffle=True, by_number=True)
    assert found is not None
    assert (found.model, found.steps) == ("Linear", 2)
    assert found.same < 0.5 * found.samples
    verdict = LabelSignal().judge(Labels(kept=found))
    assert verdict.severity is Severity.ERROR
    assert "answer to another sample" in verdict.message


@pytest.mark.parametrize(("shuffle", "by_number", "noise"), [(False, True, 0.0), (False, True, 0.1), (True, False, 0.0)])
def test_answers_to_the_same_samples_are_none(shuffle: bool, by_number: bool, noise: float) -> None:
    assert distilled(shuffle=shuffle, by_number=by_number, noise=noise) is None


def test_a_queue_of_earlier_batches_is_none() -> None:
    def run() -> None:
        torch.manual_seed(0)
        encoder, slow = nn.Linear(6, 5), nn.Linear(6, 5)
        optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
        queue = torch.randn(16, 5)
        for _ in range(3):
            for x, _ in DataLoader(DATA, 16, shuffle=True):
                optimizer.zero_grad()
                with torch.no_grad():
                    keys = slow(x)
                answers = encoder(x)
                logits = torch.cat([(answers * keys).sum(1, keepdim=True), answers @ queue.T], 1)
                F.cross_entropy(logits, torch.zeros(16, dtype=torch.long)).backward()
                optimizer.step()
                queue = keys

    assert kept_answers(record(run)) is None
