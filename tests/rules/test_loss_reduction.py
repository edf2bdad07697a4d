from __future__ import annotations

import math

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import GroupInfo, Loop, Loss, LossCall, OptimizerInfo, Optimizers, Step
from trainlint_rules.loss_reduction import LossReduction

LINE = Location("train.py", 60)


def call(value, reduction="sum", kind="mse_loss", batch_size=32, elements=32 * 784, **changes):
    return LossCall(kind=kind, where=LINE, value=value, reduction=reduction, batch_size=batch_size, elements=elements, **changes)


def judge(*calls, optimizer="SGD", lr=0.05, first=None, values=(), accumulation=1):
    first = sum(c.value for c in calls) if first is None else first
    optimizers = Optimizers(optimizers=(OptimizerInfo(index=0, kind=optimizer, groups=(GroupInfo(lr=lr, first_lr=lr),)),))
    loop = Loop(steps=(Step(optimizer=0),) * 3, accumulation=accumulation)
    return LossReduction().judge(Loss(calls=calls, first=first, values=(first, *values)), optimizers, loop)


def test_a_mean_passes():
    assert judge(call(0.9, "mean")).kind == "pass"


def test_a_sum_under_sgd_that_diverges_is_an_error():
    verdict = judge(call(22000.0), values=(9.1e7, math.inf))
    assert verdict.kind == "fail"
    assert verdict.severity is Severity.ERROR
    assert verdict.location == LINE
    assert verdict.details[0].lines[0].y[-1] == math.inf


def test_a_sum_under_sgd_that_has_not_diverged_yet_is_a_warning():
    verdict = judge(call(22000.0), values=(21000.0, 20500.0))
    assert verdict.severity is Severity.WARNING
    assert verdict.evidence["lr_as_it_acts"] == 1.6


def test_a_sum_with_a_learning_rate_made_for_it_passes():
    verdict = judge(call(22000.0), lr=1e-5)
    assert verdict.kind == "pass"
    assert "made for it" in verdict.message


def test_a_sum_of_a_variational_autoencoder_under_adam_passes():
    assert judge(call(17400.0, kind="binary_cross_entropy"), optimizer="Adam", lr=1e-3, first=17900.0).kind == "pass"


def test_a_sum_that_is_divided_before_backward_passes():
    assert judge(call(3206.0, kind="cross_entropy", batch_size=8, elements=512), first=6.26).kind == "pass"
    assert judge(call(17400.0, kind="binary_cross_entropy"), first=17400.0 / 32).kind == "pass"


def test_a_mean_multiplied_by_the_batch_size_is_a_sum():
    verdict = judge(call(2.3, "mean", kind="cross_entropy", elements=32), first=2.3 * 32, lr=0.1)
    assert verdict.severity is Severity.WARNING
    assert "multiplies" in verdict.message


def test_a_weighted_term_and_an_accumulated_loss_pass():
    assert judge(call(2.3, "mean"), first=230.0, lr=0.1).kind == "pass"
    assert judge(call(2.3, "mean"), first=0.575, lr=0.1).kind == "pass"


def test_losses_of_many_time_steps_added_up_pass():
    steps = [call(3.3, "mean", kind="nll_loss", batch_size=1, elements=1) for _ in range(20)]
    assert judge(*steps, lr=0.005).kind == "pass"


def test_divergence_of_a_mean_is_not_blamed_on_the_reduction():
    assert judge(call(0.9, "mean"), values=(900.0, math.nan)).kind == "pass"


def test_the_mean_of_a_divergence_over_classes_is_a_note():
    assert judge(call(0.02, "mean", kind="kl_div")).severity is Severity.NOTE
    assert judge(call(0.2, "batchmean", kind="kl_div")).kind == "pass"


def test_formulas_and_losses_that_are_not_finite_are_not_judged():
    assert judge().kind == "not-run"
    assert judge(call(math.nan)).kind == "not-run"


def test_a_mean_that_is_divided_by_the_batch_size_again_is_a_warning_under_sgd():
    mean = call(2.3, "mean", kind="cross_entropy", elements=32)
    verdict = judge(mean, first=2.3 / 32, lr=0.1)
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, LINE)
    assert "acts like 0.0031" in verdict.message
    assert judge(mean, first=2.3 / 32, lr=1e-3, optimizer="Adam").kind == "pass"
    assert judge(mean, first=2.3 / 32, lr=0.1, accumulation=32).kind == "pass"
    assert judge(mean, first=2.3 / 4, lr=0.1, accumulation=4).kind == "pass"


def test_a_sum_that_drowns_a_mean_is_a_warning():
    calls = (call(1.1, "mean"),)
    for share, kind in ((0.96, "fail"), (0.2, "pass")):
        loss = Loss(calls=calls, first=29.6, values=(29.6,), summed_where=LINE, summed_share=share)
        verdict = LossReduction().judge(loss, Optimizers(), Loop())
        assert verdict.kind == kind


def collapsing(**changes):
    recon = LossCall(kind="binary_cross_entropy", where=LINE, value=0.69, elements=2048, batch_size=32)
    facts = {"divergence_where": LINE, "divergence_beside": LINE, "divergence_excess": 64.0, "divergence_factor": 1.0} | changes
    loss = Loss(calls=(recon,), first=0.7, values=(0.7,), **facts)
    return LossReduction().judge(loss, Optimizers(), Loop())


def test_a_divergence_that_drowns_a_mean_over_values_is_a_warning():
    verdict = collapsing()
    assert verdict.severity is Severity.WARNING
    assert verdict.location == LINE
    assert "64 values of a sample" in verdict.message


@pytest.mark.parametrize("changes", [{"divergence_factor": 0.1}, {"divergence_excess": 6.0}])
def test_a_divergence_that_was_weighed_or_stands_beside_few_values_passes(changes):
    assert collapsing(**changes).kind == "pass"
