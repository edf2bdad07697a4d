from __future__ import annotations

import math

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import LearningRate, Trial
from trainlint_rules.lr_range import LearningRateRange

LINE = Location("train.py", 12, text="opt = torch.optim.AdamW(net.parameters(), lr=args.lr, weight_decay=0.01)  # as in the paper")

#: Learning rate -> loss at the end of a short run that begins at 2.3; None where it diverges.
ENDS = {1e-7: 2.2999, 1e-6: 2.298, 1e-5: 2.28, 1e-4: 2.0, 1e-3: 0.9, 3e-3: 0.6, 1e-2: 0.8, 1e-1: 2.4, 1.0: None}


def judge(configured, ends=ENDS, **changes):
    trials = tuple(
        Trial(lr=lr, losses=(2.3, end or 9e9), diverged=end is None, score=math.inf if end is None else end) for lr, end in ends.items()
    )
    facts = {"low": 3e-4, "high": 2e-2, "suggestion": 3e-3, "first": configured}
    facts |= {"curve_lr": (1e-6, 1e-3, 1.0), "curve_loss": (2.3, 1.0, 8.0), "steps": 30, "where": LINE}
    facts |= {"optimizer": "AdamW"}
    rates = LearningRate(configured=configured, initial=2.3, trials=trials, **(facts | changes))
    return LearningRateRange().judge(rates)


def test_a_rate_within_the_band_passes_with_its_curves():
    verdict = judge(1e-3)
    assert verdict.kind == "pass"
    band = next(m for m in verdict.details[0].marks if m.x2 is not None)
    assert (band.x, band.x2) == (3e-4, 2e-2)
    assert any(m.label == "configured" and m.x == 1e-3 for m in verdict.details[0].marks)


def test_ten_times_outside_the_band_is_within_the_noise():
    assert judge(1e-1).kind == "pass"
    assert judge(5e-5).kind == "pass"


def test_nearer_rates_that_learn_nothing_at_a_third_too_are_a_warning():
    verdict = judge(1e-1, ENDS | {1e-1: None, 3.16e-2: 2.6})
    assert verdict.severity is Severity.WARNING
    assert judge(1e-1, ENDS | {3.16e-2: 2.35}).severity is Severity.WARNING
    assert "5.0 times above" in verdict.message
    assert judge(1e-1, ENDS | {3.16e-2: 1.9}).kind == "pass"
    assert judge(4e-2, ENDS | {3.16e-2: 2.35, 1e-2: 2.4}).kind == "pass", "two times above is within the noise"


def test_a_distance_from_the_band_is_said_as_a_number():
    assert "is 3 times below the band" in judge(1e-4).message
    assert "is 2 times above the band" in judge(4e-2).message
    assert "lies in the band" in judge(1e-3).message


def test_an_end_beyond_the_rates_tried_is_left_open():
    verdict = judge(1e-3, open_low=True)
    assert "(up to 0.02)" in verdict.message
    assert verdict.evidence["expected"] == [None, 2e-2]
    assert "(from 0.0003 on; none that was tried is too high" in judge(1e-3, open_high=True).message


def test_few_batches_are_mentioned():
    assert "only 2 batches" in judge(1e-3, batches=2).message
    assert judge(4e-2, batches=2).kind == "not-run", "few batches flatter high rates"
    assert judge(1.0, batches=2).severity is Severity.ERROR
    assert "batches" not in judge(1e-3, batches=1).message, "one batch may be all that there is"


def test_a_rate_that_diverges_is_an_error():
    verdict = judge(1.0)
    assert verdict.severity is Severity.ERROR
    assert verdict.location == LINE
    assert "diverges" in verdict.message
    assert math.isnan(verdict.details[0].lines[0].y[-1])


def test_a_rate_that_cannot_move_is_an_error():
    verdict = judge(1e-7, ENDS | {1e-7: 2.3026})
    assert verdict.severity is Severity.ERROR
    assert "below the band" in verdict.message


def test_a_low_rate_that_more_steps_make_up_for_is_a_warning():
    assert judge(1e-6).severity is Severity.WARNING


def test_a_low_rate_that_makes_some_progress_is_a_note_and_far_below_a_warning():
    assert judge(2e-5, ENDS | {2e-5: 2.27}).severity is Severity.NOTE
    assert judge(2e-6, ENDS | {2e-6: 2.27}).severity is Severity.WARNING


def test_a_high_rate_behind_a_warm_up_is_a_warning():
    assert judge(1.0, first=0.04).severity is Severity.WARNING


def test_a_high_rate_that_trains_all_the_same_is_a_warning():
    assert judge(1.0, ENDS | {1.0: 2.0}).severity is Severity.WARNING


def test_a_rate_that_was_not_replayed_is_a_warning():
    assert judge(10.0).severity is Severity.WARNING


def test_a_rate_of_zero_is_an_error():
    verdict = judge(0.0)
    assert verdict.severity is Severity.ERROR
    assert "no step changes a weight" in verdict.message


def test_a_warm_up_that_begins_at_zero_is_no_fault():
    assert judge(1e-3, first=0.0).kind == "pass"


def test_the_fix_puts_the_rate_into_the_users_own_line():
    code = judge(1e-6).fix.code
    assert code.startswith("opt = torch.optim.AdamW(net.parameters(), lr=0.003, weight_decay=0.01)\n")
    assert "OneCycleLR" in code
    assert "    opt, max_lr=0.003" in code
    assert judge(1e-6, where=None).fix.code.startswith("optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)")


def test_when_no_rate_trains_the_rate_is_not_blamed():
    assert judge(1.0, {1e-3: 2.31, 1.0: None}).kind == "not-run"
    assert judge(1.0, low=None, high=None, progress=False).kind == "not-run"


def test_an_unknown_rate_is_not_judged():
    assert judge(0.0, optimizer="").kind == "not-run"


def test_a_momentum_that_has_not_added_up_yet_is_reckoned_with():
    verdict = judge(1.5e-2, optimizer="SGD", momentum=0.99, steps=20)
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, LINE)
    assert "adds up 100 steps" in verdict.message
    assert judge(1.5e-2, optimizer="SGD", momentum=0.9, steps=20).kind == "pass"
    assert judge(1e-3, optimizer="SGD", momentum=0.99, steps=20).kind == "pass"


SCHEDULE = Location("train.py", 15, text="schedule = LambdaLR(opt, rate_at)")


def test_a_schedule_that_returns_the_rate_itself_is_an_error_at_its_own_line():
    verdict = judge(9e-6, built=3e-3, schedule_where=SCHEDULE)
    assert verdict.severity is Severity.ERROR
    assert verdict.location == SCHEDULE
    assert "a rate and not a factor" in verdict.message
    assert "/ 0.003" in verdict.fix.code


def test_a_squared_rate_that_trains_all_the_same_or_cannot_be_judged_is_a_warning():
    assert judge(1e-4, built=1e-2, low=5e-5, schedule_where=SCHEDULE).severity is Severity.WARNING
    assert judge(9e-6, built=3e-3, progress=False, schedule_where=SCHEDULE).severity is Severity.WARNING


def test_a_schedule_that_leaves_next_to_nothing_is_a_warning_below_the_band_only():
    verdict = judge(2e-6, built=1e-3, schedule_where=SCHEDULE)
    assert verdict.severity is Severity.WARNING
    assert "at most 0.002" in verdict.message
    assert judge(1e-3, built=1.0, schedule_where=SCHEDULE).kind == "pass", "an optimizer at 1, and a function that returns rates"
    assert judge(1e-3, built=1e-2, schedule_where=SCHEDULE).kind == "pass"


def test_a_rate_that_a_schedule_makes_is_not_looked_for_in_the_source():
    verdict = judge(1.0, built=0.1, schedule_where=SCHEDULE)
    assert "all that LambdaLR makes of 0.1" in verdict.message
    assert verdict.fix.edit is None


def test_warns_of_a_rate_that_a_loaded_state_brought_back():
    line = Location("train.py", 15)
    rates = LearningRate(optimizer="SGD", configured=0.01, first=1e-5, where=LINE, restored_where=line, progress=False)
    verdict = LearningRateRange().judge(rates)
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, line)
    assert "SGD was built with 0.01, but steps with 1e-5, 1,000 times lower" in verdict.message
