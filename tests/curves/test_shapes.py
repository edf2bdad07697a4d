"""Every shape is named at every scale and length, and healthy runs of every kind are called healthy."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import HEALTHY, SHAPES, make

from trainlint.curves.classify import classify
from trainlint.curves.runs import Run, Trace
from trainlint.curves.shapes import name_shape

SEEDS = range(12)


@pytest.mark.parametrize("formula", HEALTHY, ids=lambda f: f.__name__)
def test_a_healthy_run_is_called_healthy(formula) -> None:
    found = {seed: name_shape(make(formula, seed)) for seed in SEEDS}
    assert {seed: v.summary for seed, v in found.items() if v.shape != "healthy"} == {}


@pytest.mark.parametrize("formula", SHAPES, ids=lambda f: f.__name__)
def test_a_shape_is_named(formula) -> None:
    # Few points and much noise make single draws ambiguous; four of five must be named.
    found = [name_shape(make(formula, seed)).shape for seed in SEEDS]
    assert sum(shape in SHAPES[formula] for shape in found) >= 0.8 * len(found), found


def curve(*values: float) -> Trace:
    return Trace(np.arange(len(values), dtype=float), np.array(values, dtype=float))


def falling(n: int = 40) -> Trace:
    return curve(*(0.3 + 2 * 0.9**i for i in range(n)))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_names_do_not_depend_on_the_scale(scale: float) -> None:
    for formula in (*SHAPES, *HEALTHY):
        run = make(formula, 5)
        scaled = Run(
            **{**vars(run), **{key: Trace(t.x, t.y * scale) for key in ("train", "val") if (t := getattr(run, key)) is not None}},
        )
        assert name_shape(scaled).shape == name_shape(run).shape, formula.__name__


def test_nan_counts_only_where_the_run_ends_in_it() -> None:
    clean = falling().y
    first, middle, last = clean.copy(), clean.copy(), clean.copy()
    first[0], middle[20], last[30:] = np.nan, np.nan, np.inf
    shapes = [name_shape(Run(train=curve(*y))).shape for y in (first, middle, last)]
    assert shapes[0] != "diverged"
    assert shapes[1] != "diverged"
    assert shapes[2] == "diverged"


@pytest.mark.parametrize(
    "values",
    [
        (0.71, 267, 408, 505, 497, 548, 447, 347, 263, 236, 237),
        (0.71, 2.4, 2.3, 1.7, 1.7, 2.2, 1.8, 2.2, 1.4, 1.8, 1.4, 1.8, 2.0, 2.1, 1.6, 1.6),
        (0.7, 1.6, 1.7, 1.65),
    ],
)
def test_a_loss_that_ends_above_its_start_has_diverged_and_is_not_underfit(values: tuple[float, ...]) -> None:
    (run,) = classify([{"step": 5 * i, "loss": y, "lr": 0.4} for i, y in enumerate(values)]).runs
    assert run.shape == "diverged"
    assert "is never lower" in run.summary
    assert "Lower the learning rate" in run.first_action
    assert "not finite" not in run.first_action


def test_a_loss_that_rises_while_validation_falls_has_not_diverged() -> None:
    harder = curve(*(1 + 0.02 * i for i in range(40)))
    assert name_shape(Run(train=harder, val=falling())).shape != "diverged"


@pytest.mark.parametrize(("label", "shape"), [("step", "healthy"), ("epoch", "flat-then-drop")])
def test_a_shoulder_of_few_steps_is_none(label: str, shape: str) -> None:
    trace = curve(*(0.1 + 0.9 / (1 + np.exp((i - 50) / 5)) for i in range(150)))
    assert name_shape(Run(train=trace, x_label=label)).shape == shape


def test_a_flat_start_of_many_steps_is_named() -> None:
    trace = curve(*(0.1 + 0.9 / (1 + np.exp((i - 500) / 50)) for i in range(1500)))
    assert name_shape(Run(train=trace, x_label="global_step")).shape == "flat-then-drop"


def test_sentences_say_the_unit_of_a_place_and_which_end_is_meant() -> None:
    val = curve(*(0.5 + 0.002 * (i - 12) ** 2 for i in range(39)), 3.5)
    said = name_shape(Run(train=falling(), val=val, x_label="Epoch")).summary
    assert "lowest at epoch 12 " in said
    assert said.count("of the last values)") == 1
    assert said.endswith("(medians of the last values).")


def test_the_numbers_of_a_rise_are_those_of_the_sentence() -> None:
    val = curve(*(0.5 + 0.002 * (i - 12) ** 2 + 0.02 * np.sin(5 * i) for i in range(40)))
    verdict = name_shape(Run(train=falling(), val=val, x_label="epoch"))
    assert f"ends {verdict.evidence['rise']:.0%} higher" in verdict.summary
    assert "p" not in verdict.evidence


@pytest.mark.parametrize(
    ("label", "x", "lost", "scan", "watch"),
    [
        ("step", range(0, 2000, 50), 20, False, True),
        ("epoch", range(40), 20, False, True),
        ("step", range(40), 3, True, False),
        ("epoch", range(1, 41), 0, True, True),
        ("step", range(5000, 7000, 50), 0, False, True),
    ],
)
def test_a_loss_that_is_not_finite_is_sent_to_the_command_that_can_see_it(label: str, x: range, lost: int, scan: bool, watch: bool) -> None:
    (run,) = classify([{label: at, "loss": 2 * 0.9**i if i < lost else float("nan")} for i, at in enumerate(x)]).runs
    assert run.shape == "diverged"
    assert ("`trainlint scan` names" in run.first_action) is scan
    assert ("`trainlint watch`" in run.first_action) is watch


def test_a_loss_that_jumps_is_sent_to_neither() -> None:
    (run,) = classify([{"loss": 2 * 0.9**i if i < 20 else 9000.0} for i in range(40)]).runs
    assert run.shape == "diverged"
    assert "trainlint" not in run.first_action


def test_few_values_are_said_to_be_a_hint() -> None:
    few = name_shape(Run(train=falling(5), x_label="epoch"))
    assert few.shape == "still-improving"
    assert few.summary.endswith("These are 5 values: a hint, not a verdict.")
    assert "%" not in few.summary
    assert few.evidence["few_points"] is True
    many = name_shape(Run(train=falling(200), val=Trace(np.array([50.0, 100, 150]), np.array([0.3, 0.4, 0.5])), x_label="step"))
    assert many.shape == "overfit"
    assert "3 values: a hint" in many.summary
    assert "few_points" not in name_shape(Run(train=falling(8))).evidence
    assert "hint" not in name_shape(Run(train=curve(2.0, 1.5, np.nan, np.nan))).summary


def test_a_perfect_loss_with_nan_gradients_has_diverged() -> None:
    assert name_shape(Run(train=curve(*[0.0] * 12), gradient=curve(*[np.nan] * 12))).shape == "diverged"


def test_a_flat_overflow_has_diverged() -> None:
    assert name_shape(Run(train=curve(*[1e25] * 12))).shape == "diverged"


def test_a_range_of_a_millionth_is_no_fall() -> None:
    verdict = name_shape(Run(val=curve(615.2858, *[615.2847] * 30)))
    assert verdict.shape == "broken"
    assert "615.28" in verdict.summary


def test_a_loss_that_falls_while_the_metric_never_moves_is_underfit() -> None:
    run = Run(train=curve(*(0.6 + 0.4 * 0.8**i for i in range(20))), metric=curve(*[0.7188] * 20), higher_is_better=True)
    assert name_shape(run).shape == "underfit"


def test_the_minimum_of_an_overfit_run_is_given() -> None:
    val = curve(*(0.5 + 0.002 * (i - 12) ** 2 for i in range(40)))
    verdict = name_shape(Run(train=falling(), val=val))
    assert verdict.shape == "overfit"
    assert verdict.evidence["minimum_at"] == 12


def test_a_metric_alone_is_judged_in_its_direction() -> None:
    rising = curve(*(0.9 - 0.8 * 0.85**i for i in range(60)))
    assert name_shape(Run(metric=rising, higher_is_better=True)).shape == "healthy"


def test_losses_that_work_against_each_other_are_not_judged_by_their_height() -> None:
    assert name_shape(Run(train=curve(*(-0.8 + 0.02 * i for i in range(30))), adversarial=True)).shape == "healthy"


@pytest.mark.parametrize("points", [0, 1, 2])
def test_too_few_points_are_refused(points: int) -> None:
    assert name_shape(Run(train=curve(*[0.5] * points))).shape == "too-short"


def test_fine_tuning_that_still_falls_a_little_is_not_underfit() -> None:
    steps = np.arange(400.0)
    noise = np.random.default_rng(0).normal(0, 0.004, 400)
    run = Run(train=Trace(steps * 500, 1.9 - 0.13 * (1 - np.exp(-steps / 150)) + noise), x_label="step")
    assert name_shape(run).shape in ("healthy", "still-improving")


def test_a_loss_that_ends_higher_is_never_said_to_fall() -> None:
    run = Run(
        train=curve(*(0.5 + 0.0001 * i * (-1) ** i for i in range(40))), val=curve(*(0.61 + 0.004 * i for i in range(40))), x_label="epoch"
    )
    assert "falls" not in name_shape(run).summary


def test_few_evaluations_do_not_hide_a_long_training_curve() -> None:
    run = Run(train=falling(200), val=Trace(np.array([50.0, 100, 150, 199]), np.array([0.5, 0.51, 0.5, 0.505])), x_label="step")
    assert name_shape(run).shape == "healthy"


def test_validation_that_rises_while_the_metric_stalls_is_overfit() -> None:
    train = curve(*(0.68 * 0.9**i for i in range(16)))
    val = curve(0.69, 0.67, 0.64, 0.58, 0.547, 0.52, 0.535, 0.532, 0.528, 0.531, 0.537, 0.545, 0.553, 0.564, 0.577, 0.586)
    accuracy = curve(0.56, 0.57, 0.58, 0.68, 0.74, 0.757, 0.741, 0.75, 0.75, 0.76, 0.756, 0.76, 0.758, 0.761, 0.76, 0.761)
    run = Run(train=train, val=val, metric=accuracy, higher_is_better=True, x_label="epoch")
    assert name_shape(run).shape == "overfit"


def test_three_evaluations_that_only_rise_are_overfit_beside_a_falling_training_loss() -> None:
    assert name_shape(Run(train=curve(0.31, 0.20, 0.14), val=curve(0.255, 0.29, 0.375))).shape == "overfit"
    assert name_shape(Run(train=curve(0.31, 0.20, 0.14), val=curve(0.255, 0.25, 0.26))).shape != "overfit"


def test_a_few_hard_batches_of_thousands_are_no_spikes() -> None:
    rng = np.random.default_rng(0)
    y = (2 + 0.5 * np.exp(-np.arange(6000) / 1500)) * np.exp(rng.normal(0, 0.12, 6000))
    y[[700, 2500, 4100]] *= 2.6
    assert name_shape(Run(train=Trace(np.arange(6000.0), y), x_label="step")).shape != "spikes"


def test_a_loss_that_hardly_moves_beside_a_metric_that_does_is_not_broken() -> None:
    rng = np.random.default_rng(0)
    early = np.exp(-np.arange(100) / 5)
    run = Run(
        train=Trace(np.arange(100.0), 6.12 + 0.2 * early + rng.normal(0, 0.015, 100)),
        metric=Trace(np.arange(100.0), 0.8 - 0.2 * early + rng.normal(0, 0.004, 100)),
        higher_is_better=True,
        x_label="epoch",
    )
    assert name_shape(run).shape != "broken"


def test_validation_that_rises_from_the_first_epoch_is_not_underfit() -> None:
    run = Run(train=curve(*(0.0024 * 0.8**i for i in range(10))), val=curve(*(0.0502 + 0.0008 * i for i in range(10))), x_label="epoch")
    assert name_shape(run).shape == "overfit"


def test_a_log_that_begins_late_and_rises_is_no_plateau() -> None:
    x = 67_400 + 50.0 * np.arange(80)
    assert name_shape(Run(train=Trace(x, 4.4 + 0.6 * (1 - np.exp(-np.arange(80) / 25))), x_label="step")).shape == "diverged"


def test_the_flat_tail_of_a_log_that_begins_late_is_not_broken() -> None:
    x = 67_400 + 50.0 * np.arange(80)
    assert name_shape(Run(train=Trace(x, 0.2672 + 0.003 * np.exp(-np.arange(80.0))), x_label="step")).shape == "plateau"


def test_a_metric_that_ends_as_it_began_is_not_healthy() -> None:
    values = 0.5 + np.random.default_rng(0).normal(0, 0.03, 24)
    run = Run(metric=Trace(np.arange(24.0), np.r_[values[:-1], 0.49]), higher_is_better=True, x_label="epoch")
    assert name_shape(run).shape != "healthy"
