from __future__ import annotations

from dataclasses import replace

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Activation, Activations, Batches, BatchView, Leaf, Loss, LossCall, Normaliser
from trainlint.rule import Verdict
from trainlint_rules.input_scale import InputScale

LOADER, VAL_LOADER, CRITERION = Location("train.py", 20), Location("train.py", 21), Location("train.py", 30)
MLP = Activations(layers=(Activation(module="0", kind="Linear"), Activation(module="1", kind="ReLU")))


def image(minimum: float, maximum: float, mean: float, std: float, channels: int = 1, side: int = 28) -> Leaf:
    return Leaf(
        path="[0]",
        role="input",
        kind="image",
        shape=(64, channels, side, side),
        dtype="float32",
        minimum=minimum,
        maximum=maximum,
        mean=mean,
        std=std,
        channel_mean=(mean,) * channels,
        channel_std=(std,) * channels,
    )


def table(means: tuple[float, ...], stds: tuple[float, ...]) -> Leaf:
    rms2 = sum(m * m + s * s for m, s in zip(means, stds, strict=True)) / len(means)
    mean = sum(means) / len(means)
    return Leaf(
        path="[0]",
        role="input",
        kind="table",
        shape=(32, len(means)),
        dtype="float32",
        minimum=min(m - 2 * s for m, s in zip(means, stds, strict=True)),
        maximum=max(m + 2 * s for m, s in zip(means, stds, strict=True)),
        mean=mean,
        std=(rms2 - mean * mean) ** 0.5,
        channel_mean=means,
        channel_std=stds,
    )


NORMALISED, UNIT, RAW = image(-0.42, 2.8, 0.0, 1.0), image(0, 1, 0.13, 0.31), image(0, 255, 33, 79)


def judge(
    train: Leaf,
    val: Leaf | None = None,
    *,
    activations: Activations = MLP,
    calls: tuple[LossCall, ...] = (),
    optimizers: int = 1,
    **facts: object,
) -> Verdict:
    views = (BatchView(phase="train", leaves=(train,), inputs=(train,), where=LOADER),)
    others = (BatchView(phase="val", leaves=(val,), inputs=(val,), where=VAL_LOADER),) if val else ()
    batches = Batches(**{"train": views, "val": others, "first_layer": "Linear", **facts})
    return InputScale().judge(batches, Loss(calls=calls, optimizers=optimizers), activations)


@pytest.mark.parametrize("leaf", [NORMALISED, UNIT, image(0, 16, 4.9, 6.0)])
def test_passes_inputs_around_one(leaf):
    assert judge(leaf, leaf).kind == "pass"


def test_warns_of_raw_pixels():
    verdict = judge(RAW, RAW)
    assert verdict.severity is Severity.WARNING
    assert "Raw pixels" in verdict.message
    assert verdict.location == LOADER


def test_errs_when_raw_pixels_saturate_the_units_behind_them():
    saturated = Activations(layers=(Activation(module="0", kind="Linear"), Activation(module="1", kind="Tanh", saturated=0.93)))
    verdict = judge(RAW, activations=saturated)
    assert verdict.severity is Severity.ERROR
    assert "93%" in verdict.message


@pytest.mark.parametrize("facts", [{"normalised_inside": True}, {"first_layer": "BatchNorm2d"}])
def test_passes_raw_pixels_that_the_model_normalises_itself(facts):
    assert judge(RAW, **facts).kind == "pass"


def test_only_notes_raw_pixels_before_a_convolution_with_batch_norm():
    kinds = ("Conv2d", "BatchNorm2d", "ReLU")
    activations = Activations(layers=tuple(Activation(module=kind, kind=kind) for kind in kinds))
    assert judge(RAW, activations=activations, first_layer="Conv2d").severity is Severity.NOTE


def test_judges_what_entered_the_model_not_what_the_loader_gave():
    loaded = Leaf(path="[0]", role="input", kind="image", shape=(64, 1, 28, 28), dtype="uint8", maximum=255.0, mean=33.0, std=79.0)
    batch = BatchView(phase="train", leaves=(loaded,), inputs=(NORMALISED,), where=LOADER)
    assert InputScale().judge(Batches(train=(batch,), first_layer="Conv2d"), Loss(), MLP).kind == "pass"


def test_mean_subtracted_pixels_of_old_pretrained_weights_pass():
    assert judge(image(-124, 152, 0, 60, channels=3, side=224), pretrained=True, first_layer="Conv2d").kind == "pass"


def test_warns_of_columns_on_very_different_scales():
    verdict = judge(table((13.0, 2.3, 0.36, 750.0), (0.8, 1.1, 0.12, 310.0)))
    assert verdict.severity is Severity.WARNING
    assert "column 3" in verdict.message
    assert verdict.details[0].highlight == (3,)


def test_points_at_the_line_whose_scaled_values_nothing_reads():
    lost = Location("train.py", 14)
    for leaf in (table((13.0, 2.3, 0.36, 750.0), (0.8, 1.1, 0.12, 310.0)), RAW):
        verdict = judge(leaf, leaf, lost_scaling=lost)
        assert verdict.location == lost
        assert "Line 14 scales them, but nothing reads its result." in verdict.message
        assert verdict.fix.edit is None
    assert judge(NORMALISED, NORMALISED, lost_scaling=lost).kind == "pass"


def test_errs_when_uneven_columns_saturate_the_units_behind_them():
    saturated = Activations(layers=(Activation(module="0", kind="Linear"), Activation(module="1", kind="Tanh", saturated=0.9)))
    assert judge(table((13.0, 2.3, 0.36, 750.0), (0.8, 1.1, 0.12, 310.0)), activations=saturated).severity is Severity.ERROR


def test_rare_one_hot_columns_are_no_uneven_scale():
    assert judge(table((0.0, 0.0, 0.02, 0.5), (1.0, 1.0, 0.03, 0.5))).kind == "pass"


def test_ids_in_a_float_table_are_at_most_a_note():
    assert judge(table((5000.0, 0.5), (2900.0, 0.5)), first_layer="Embedding").severity is Severity.NOTE


def test_a_time_step_beside_a_picture_is_not_the_data():
    step = Leaf(path="t", role="input", kind="scalar", shape=(64,), dtype="float32", maximum=999.0, mean=500.0, std=288.0)
    batch = BatchView(phase="train", leaves=(NORMALISED, step), inputs=(NORMALISED, step))
    assert InputScale().judge(Batches(train=(batch,), first_layer="Conv2d"), Loss(), MLP).kind == "pass"


def test_errs_when_only_training_is_normalised():
    verdict = judge(NORMALISED, UNIT)
    assert verdict.severity is Severity.ERROR
    assert verdict.location == VAL_LOADER


def test_several_optimizers_make_a_skew_a_warning():
    assert judge(NORMALISED, UNIT, optimizers=2).severity is Severity.WARNING


def test_noise_added_in_training_is_no_skew():
    assert judge(image(-1.4, 2.4, 0.13, 0.59), UNIT).kind == "pass"


def test_darker_validation_pictures_are_no_skew():
    assert judge(UNIT, image(0, 1, 0.05, 0.1)).kind == "pass"


def test_errs_when_only_the_training_table_is_standardised():
    verdict = judge(table((0.0,) * 4, (1.0,) * 4), table((13.0, 2.3, 19.0, 99.0), (0.8, 1.1, 3.3, 14.0)))
    assert verdict.severity is Severity.ERROR


def test_a_small_validation_batch_of_a_standardised_table_passes():
    assert judge(table((0.0,) * 4, (1.0,) * 4), table((0.3, -0.2, 0.4, 0.1), (0.6, 1.4, 1.9, 0.7))).kind == "pass"


def test_warns_of_pictures_normalised_twice():
    verdict = judge(image(-11.0, 9.4, -2.1, 4.8, channels=3, side=64), first_layer="Conv2d")
    assert verdict.severity is Severity.WARNING
    assert "twice" in verdict.message


def test_black_and_white_pictures_normalised_once_pass():
    assert judge(image(-2.12, 2.64, 0.2, 2.2, channels=3, side=64), first_layer="Conv2d").kind == "pass"


def test_warns_of_pictures_divided_twice():
    assert "255 twice" in judge(image(0, 1 / 255, 0.0005, 0.0012)).message


def test_notes_unit_pictures_in_front_of_pretrained_weights():
    verdict = judge(image(0, 1, 0.45, 0.26, channels=3, side=224), pretrained=True, first_layer="Conv2d")
    assert verdict.severity is Severity.NOTE


def regression(target_mean: float, target_std: float, mean: float = 0.01, std: float = 0.2, kind: str = "mse_loss") -> tuple[LossCall, ...]:
    return (LossCall(kind=kind, where=CRITERION, target_mean=target_mean, target_std=target_std, input_mean=mean, input_std=std),)


def test_warns_of_an_unscaled_regression_target():
    verdict = judge(NORMALISED, calls=regression(152.0, 77.0))
    assert verdict.severity is Severity.WARNING
    assert verdict.location == CRITERION


def test_a_model_that_scales_its_output_to_the_target_passes():
    assert judge(NORMALISED, calls=regression(152.0, 77.0, mean=150.0, std=9.0)).kind == "pass"


def test_class_scores_have_no_target_scale():
    assert judge(NORMALISED, calls=regression(152.0, 77.0, kind="cross_entropy")).kind == "pass"


def test_the_worst_fault_speaks_and_names_the_others():
    verdict = judge(NORMALISED, UNIT, calls=regression(152.0, 77.0))
    assert verdict.severity is Severity.ERROR
    assert "regression target" in str(verdict.evidence["also"])


def test_token_ids_are_not_judged():
    tokens = Leaf(path="[0]", role="input", kind="tokens", shape=(32, 20), dtype="int64", maximum=29999.0, mean=5000.0, std=5000.0)
    assert judge(tokens, first_layer="Embedding").kind == "not-run"


def test_warns_of_pictures_without_contrast():
    verdict = judge(image(-1.0, -0.992, -0.999, 0.002))
    assert verdict.severity is Severity.WARNING
    assert "next to nothing of them is left" in verdict.message


def test_constants_of_pixels_from_0_to_255_are_told_where_the_transform_was_built():
    built = Location("train.py", 12)
    by = Normaliser(means=(123.7, 116.3, 103.5), stds=(58.4, 57.1, 57.4), where=built)
    flat = replace(
        image(-2.12, -1.79, -1.98, 0.12, channels=3),
        channel_mean=((0.48 - 123.7) / 58.4, (0.46 - 116.3) / 57.1, (0.4 - 103.5) / 57.4),
        channel_std=(0.27 / 58.4, 0.26 / 57.1, 0.28 / 57.4),
    )
    verdict = judge(flat, normaliser=by)
    assert verdict.severity is Severity.WARNING
    assert "as for pixels from 0 to 255" in verdict.message
    assert verdict.location == built


@pytest.mark.parametrize(
    ("leaf", "mean", "std"),
    [
        (image(-1.8, 2.1, 0.0, 1.0), 123.7, 58.4),  # raw pixels, as the constants want them
        (image(-1, 1, -0.1, 0.6), 0.5, 0.5),
        (image(-0.5, 0.5, 0.0, 0.2), 1.2, 2.0),  # a measurement about the constants' mean
        (image(-1.2, 3.4, 0.2, 1.1), 1.1, 1.5),
    ],
)
def test_constants_that_fit_the_pictures_are_fine(leaf, mean, std):
    assert judge(leaf, normaliser=Normaliser(means=(mean,), stds=(std,))).kind == "pass"


def test_warns_of_validation_that_was_scaled_alone():
    leaf = table((0.5, 0.4), (0.2, 0.3))
    views = [
        BatchView(phase=phase, leaves=(leaf,), inputs=(leaf,), where=where) for phase, where in (("train", LOADER), ("val", VAL_LOADER))
    ]
    batches = Batches(train=(views[0],), val=(views[1],), first_layer="Linear", val_scaled_to="the range 0 to 1", val_scaled_columns=3)
    verdict = InputScale().judge(batches, Loss(), MLP)
    assert (verdict.severity, verdict.location) == (Severity.WARNING, VAL_LOADER)
    assert "range 0 to 1" in verdict.message
    assert verdict.fix.edit.kind == "transform-only"
