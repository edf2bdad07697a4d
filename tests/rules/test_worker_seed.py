from __future__ import annotations

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Optimizers, WorkerSeeds
from trainlint.rule import Verdict
from trainlint_rules.worker_seed import WorkerSeed

DATA = Location("train.py", 9)


def judge(epochs: int | None = 10, **facts: object) -> Verdict:
    known = {"workers": 4, "random": True, "samples": 16, "where": DATA}
    return WorkerSeed().judge(WorkerSeeds(**{**known, **facts}), Optimizers(epochs=epochs))


def test_warns_of_a_generator_that_every_worker_copies():
    verdict = judge(same_in_workers=True, same_in_epochs=True, held=("numpy.Generator",))
    assert (verdict.severity, verdict.location) == (Severity.WARNING, DATA)
    assert "in all workers and in every epoch" in verdict.message
    assert "numpy.Generator" in verdict.message


def test_warns_of_an_init_function_that_repeats_each_epoch():
    verdict = judge(same_in_epochs=True, by_init=True)
    assert verdict.severity is Severity.WARNING
    assert "worker_init_fn" in verdict.message
    assert "initial_seed" in verdict.fix.code


def test_warns_of_a_constant_seed_where_samples_are_read():
    assert "numpy" in judge(workers=0, random=False, resets=("numpy",)).message


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"random": False, "samples": 0},
        {"workers": 0, "same_in_workers": True, "same_in_epochs": True},
        {"workers": 1, "same_in_workers": True},
        {"same_in_epochs": True, "persistent": True},
        {"same_in_epochs": True, "epochs": 1},
    ],
)
def test_passes_randomness_that_runs_on(facts: dict[str, object]):
    assert judge(**facts).kind == "pass"


def test_warns_when_each_worker_reads_the_whole_stream():
    verdict = judge(workers=3, random=False, samples=0, stream=16, stream_shared=16)
    assert (verdict.severity, verdict.location) == (Severity.WARNING, DATA)
    assert "seen 3 times an epoch" in verdict.message
    assert judge(random=False, samples=0, stream=16, stream_shared=0).kind == "pass"


def test_warns_of_a_seed_that_is_set_in_each_epoch():
    seed = Location("train.py", 40)
    verdict = judge(workers=0, begins_again=("torch", "numpy"), seeded_where=seed)
    assert (verdict.severity, verdict.location) == (Severity.WARNING, seed)
    assert "same order" in verdict.message
    assert verdict.fix.edit.kind == "seed-once"
    assert judge(workers=0, begins_again=("torch",), random=False).kind == "pass"
    assert judge(workers=0, begins_again=("torch",), epochs=1).kind == "pass"
