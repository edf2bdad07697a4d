from __future__ import annotations

import pytest

from trainlint.measurements import WatchedRun
from trainlint_rules.memory_growth import MemoryGrowth

MB = 1_000_000


def judge(*megabytes: float, **options):
    memory = tuple((100 * (i + 1), int(m * MB)) for i, m in enumerate(megabytes))
    return MemoryGrowth().judge(WatchedRun(steps=1000, memory=memory, **options))


def test_growth_by_the_same_amount_in_each_pass_is_a_warning() -> None:
    verdict = judge(300, 400, 420, 440, 460, 480)
    assert verdict.kind == "fail"
    assert "from 400 to 480 MB" in verdict.message


@pytest.mark.parametrize(
    "readings",
    [
        (300, 900, 900, 900, 900),  # the first pass fills caches
        (300, 400, 401, 402, 403),  # allocators move
        (300, 400, 460, 480, 488, 490),  # a cache that fills up
        (300, 400, 500, 450, 500, 520),  # it was freed once
    ],
)
def test_healthy_runs_pass(readings: tuple[float, ...]) -> None:
    assert judge(*readings).kind == "pass"


def test_too_few_passes_are_not_judged() -> None:
    assert judge(300, 400, 500, 600).kind == "not-run"


def test_memory_on_a_gpu_is_named_as_such() -> None:
    assert "GPU" in judge(300, 400, 450, 500, 550, 600, memory_of="cuda").message
