"""Fixes of padding tried by replay: what is left out of the loss, and what the runs are judged by."""

from __future__ import annotations

import time

import pytest
import torch
import torch.nn.functional as F
from probes.recorded import fit, record
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from trainlint.finding import Proof
from trainlint.measurements import Padding
from trainlint.probes.session import ProbeSession
from trainlint.proof.comparing import compare_configurations
from trainlint.proof.runs import Bench
from trainlint.proof.target_trials import padding
from trainlint.record.recording import Recording
from trainlint.registry import load_catalogue
from trainlint.settings import Settings

SAMPLES, LENGTH, VOCABULARY, CLASSES = 96, 16, 20, 3


def tagged(fill: int, *, classes_from: int = 0) -> tuple[Tensor, Tensor]:
    """Ids, most of them padding, and a tag of each real one: its remainder by 3."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, VOCABULARY, (SAMPLES, LENGTH), generator=generator)
    lengths = torch.randint(2, 8, (SAMPLES,), generator=generator)
    lengths[::8] = LENGTH
    behind = torch.arange(LENGTH) >= lengths[:, None]
    return ids.masked_fill(behind, 0), (ids % CLASSES + classes_from).masked_fill(behind, fill)


def trained(ids: Tensor, tags: Tensor) -> Recording:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(VOCABULARY, 8), nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, CLASSES + 1))
    loader = DataLoader(TensorDataset(ids, tags), 16, shuffle=True)

    def loss(model: nn.Module, batch: list[Tensor]) -> Tensor:
        return F.cross_entropy(model(batch[0]).reshape(-1, CLASSES + 1), batch[1].reshape(-1))

    return record(lambda: fit(model, loader, loss, torch.optim.Adam(model.parameters(), lr=1e-2)))


def tried(recording: Recording) -> tuple[ProbeSession, Proof, Bench]:
    session = ProbeSession(recording, Settings(select=("padding",), budget=60))
    (finding,) = session.judge(load_catalogue().choose(("padding",)))
    bench = Bench(recording, finding, session.measure, time.monotonic() + 30)
    return session, padding(bench), bench


def test_a_class_that_also_fills_up_is_kept_by_the_fix_and_by_what_it_is_judged_by():
    recording = trained(*tagged(fill=0))
    session, proof, bench = tried(recording)
    facts = session.measure(Padding)
    assert isinstance(facts, Padding)
    assert (facts.fill, facts.target) == (0, "[1]")
    assert facts.real == pytest.approx(1 / 3, abs=0.1)
    assert proof.tried
    assert proof.summary.startswith("With targets at padded positions left out, the loss of the real positions")
    assert proof.after is not None
    assert bench.fix is not None
    compared = compare_configurations(recording, [bench.fix], None, time.monotonic() + 60)
    mended = next(course for course in compared.courses if course.name == "with the fixes")
    assert min(mended.accuracies) > 0.9, "real positions of all classes are scored, padded ones are not"


def test_what_only_fills_up_is_ignored_by_its_index():
    recording = trained(*tagged(fill=0, classes_from=1))
    session, proof, _ = tried(recording)
    facts = session.measure(Padding)
    assert isinstance(facts, Padding)
    assert (facts.fill, facts.real) == (0, 0.0)
    assert proof.helped, proof.summary
    assert proof.summary.startswith("With ignore_index=0, ")


def test_the_index_to_ignore_is_that_of_the_targets():
    session, proof, _ = tried(trained(*tagged(fill=3)))
    facts = session.measure(Padding)
    assert isinstance(facts, Padding)
    assert (facts.value, facts.fill, facts.real) == (0.0, 3, 0.0)
    assert proof.summary.startswith("With ignore_index=3, ")
