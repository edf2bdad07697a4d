from __future__ import annotations

import math

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Loss, LossCall
from trainlint_rules.init_loss import InitLoss

LN10 = math.log(10)
LINE = Location("train.py", 41)


def call(kind="cross_entropy", value=2.4, chance=LN10, **changes):
    facts = {"chance_how": "ln 10", "label_entropy": 2.2, "elements": 64, "batch_size": 64, "classes": 10, "input_operation": "linear"}
    return LossCall(kind=kind, where=LINE, value=value, chance=chance, **(facts | changes))


def judge(*calls, **changes):
    return InitLoss().judge(Loss(calls=calls, first=changes.pop("first", sum(c.value for c in calls)), **changes))


def test_a_start_at_chance_passes():
    verdict = judge(call(value=2.41))
    assert verdict.kind == "pass"
    assert "2.41" in verdict.message
    assert "ln 10" in verdict.message


def test_a_start_far_above_chance_is_reported_with_both_values():
    verdict = judge(call(value=31.0, input_std=9.0))
    assert verdict.kind == "fail"
    assert verdict.severity is Severity.WARNING
    assert verdict.location == LINE
    assert verdict.evidence["measured"] == 31.0
    assert verdict.details[0].values == (31.0, LN10)


def test_a_start_far_below_chance_says_that_the_answer_is_in_the_input():
    verdict = judge(call(value=0.2))
    assert verdict.kind == "fail"
    assert "the answer is in its input" in verdict.message


def test_he_initialised_outputs_are_no_fault():
    assert judge(call(value=LN10 + 1.0)).kind == "pass"


def test_a_single_sample_may_be_far_from_chance():
    assert judge(call(value=4.6, elements=1)).kind == "pass"
    assert judge(call(value=0.4, elements=1)).kind == "pass"


def test_a_sum_is_compared_with_the_sum_of_guessing():
    assert judge(call(value=3206.0, chance=3190.0, reduction="sum", elements=512), first=6.26).kind == "pass"
    assert judge(call(value=9000.0, chance=3190.0, reduction="sum", elements=512), first=17.6).kind == "fail"


def test_steps_of_a_sequence_are_judged_together():
    steps = [call(value=v, elements=1) for v in (5.5, 1.0, 2.0, 1.2)]
    assert judge(*steps).kind == "pass"


def test_accumulated_losses_are_judged_at_the_call():
    assert judge(call(value=2.35), first=0.59).kind == "pass"


def test_a_bias_set_to_the_base_rate_is_no_leak():
    rare = call("binary_cross_entropy_with_logits", value=0.06, chance=math.log(2), chance_how="ln 2", label_entropy=0.056, elements=4096)
    assert judge(rare).kind == "pass"


def test_a_loaded_model_may_be_below_chance_but_not_worse_than_guessing():
    assert judge(call(value=0.1), at_init=False, not_at_init_because="weights were loaded").kind == "pass"
    verdict = judge(call(value=9.0), at_init=False, not_at_init_because="weights were loaded")
    assert verdict.kind == "fail"
    assert "weights were loaded" in verdict.message


def test_margin_losses_that_scale_their_logits_are_no_fault():
    verdict = judge(call(value=16.7, input_operation="mul"))
    assert verdict.kind == "pass"
    assert "scaled on purpose" in verdict.message


def test_scores_given_to_nll_loss_are_left_to_output_activation():
    assert judge(call("nll_loss", value=-0.1)).kind == "not-run"


def test_an_unscaled_regression_target_is_reported():
    prices = call("mse_loss", value=34000.0, chance=900.0, chance_how="variance of the target", target_mean=182.0, target_std=30.0)
    verdict = judge(prices)
    assert verdict.kind == "fail"
    assert "182" in verdict.message


def test_rewards_of_one_and_constant_gan_targets_are_no_fault():
    assert judge(call("mse_loss", value=1.0, chance=0.01, target_mean=1.0, target_std=0.1)).kind == "pass"
    assert judge(call("mse_loss", value=0.9, chance=0.0, target_mean=1.0, target_std=0.0)).kind == "not-run"


def test_several_optimizers_hand_written_and_unknown_losses_are_not_judged():
    assert judge(call(value=31.0), optimizers=2).kind == "not-run"
    assert judge(first=12.0).kind == "not-run"
    assert judge(call("triplet_margin_loss", value=1.0, chance=None)).kind == "not-run"
    assert judge(call(value=math.nan)).kind == "not-run"


def test_guessing_names_the_number_of_calls_that_are_taken_together():
    assert "(ln 10 for each of 2 calls)" in judge(call(value=31.0), call(value=30.0)).message


TABLES = Location("train.py", 8)


def products(kind="mse_loss", **changes):
    """Ratings around 3.4 from products of two embeddings."""
    facts = {
        "value": 47.7,
        "chance": 0.96,
        "target_mean": 3.4,
        "target_std": 0.98,
        "input_mean": 3.4,
        "input_std": 6.9,
        "tables_scale": 1.0,
    }
    return judge(call(kind, **(facts | {"tables_where": TABLES, "tables_width": 48} | changes)))


def test_products_of_large_embeddings_are_reported_where_they_are_built():
    verdict = products()
    assert verdict.severity is Severity.WARNING
    assert verdict.location == TABLES
    assert "48 products of embeddings" in verdict.message
    assert products("l1_loss", value=5.6, chance=0.8).kind == "fail"
    assert products("huber_loss", value=5.1, chance=0.45).kind == "fail"


def test_small_embeddings_and_few_products_pass():
    assert products(tables_scale=0.05, value=0.97, input_std=0.02).kind == "pass"
    assert products(value=5.0, input_std=2.0).kind == "pass"
    assert products(tables_scale=None).kind == "pass", "outputs of unit scale before small targets are common and harmless"


def test_confident_logits_of_embeddings_are_reported_where_they_are_built():
    verdict = judge(
        call("binary_cross_entropy_with_logits", value=3.0, chance=math.log(2), input_std=7.0, tables_scale=1.0, tables_where=TABLES)
    )
    assert verdict.location == TABLES
