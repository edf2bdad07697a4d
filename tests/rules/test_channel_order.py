from __future__ import annotations

from dataclasses import replace

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Batches, BatchView, ColourOrder, Leaf, ParameterInfo, Parameters
from trainlint.rule import Verdict
from trainlint_rules.channel_order import ChannelOrder

LOADER, READING = Location("train.py", 14), Location("data.py", 30)
SWAPPED = ColourOrder(
    samples=400, kind="classes", expected=0.96, as_given=0.37, order=(2, 1, 0), reordered=0.9, renamed=0.6, z=12.0, where=READING
)


def leaf(shape: tuple[int, ...], *, kind: str = "image", channels_last: bool = False, means: tuple[float, ...] = ()) -> Leaf:
    return Leaf(
        path="[0]",
        role="input",
        kind=kind,
        shape=shape,
        dtype="float32",
        maximum=1.0,
        mean=0.4,
        std=0.25,
        channel_mean=means,
        channel_std=tuple(0.2 + 0.02 * i for i, _ in enumerate(means)),
        channels_last=channels_last,
    )


def batches(train: Leaf, val: Leaf | None = None) -> Batches:
    others = (BatchView(phase="val", leaves=(val,), inputs=(val,), where=LOADER),) if val else ()
    return Batches(train=(BatchView(phase="train", leaves=(train,), inputs=(train,), where=LOADER),), val=others, first_layer="Conv2d")


def model(kind: str, shape: tuple[int, ...]) -> Parameters:
    return Parameters(
        parameters=(ParameterInfo(name="stem.weight", module="stem", module_kind=kind, shape=shape, size=1, requires_grad=True),)
    )


def judge(batches: Batches, parameters: Parameters, colours: ColourOrder | None = None) -> Verdict:
    return ChannelOrder().judge(batches, parameters, colours or ColourOrder())


HWC = leaf((64, 32, 32, 3), kind="tensor", channels_last=True)


def test_errs_when_a_convolution_takes_rows_for_channels():
    verdict = judge(batches(HWC), model("Conv2d", (16, 32, 3, 3)))
    assert (verdict.kind, verdict.severity) == ("fail", Severity.ERROR)
    assert verdict.location == LOADER
    assert verdict.evidence["expected"] == [64, 3, 32, 32]


def test_passes_channels_first():
    assert judge(batches(leaf((64, 3, 32, 32))), model("Conv2d", (16, 3, 3, 3))).kind == "pass"


def test_a_model_that_moves_the_axis_itself_passes():
    assert judge(batches(HWC), model("Conv2d", (16, 3, 3, 3))).kind == "pass"


def test_a_flat_model_does_not_mind_the_order():
    assert judge(batches(HWC), model("Linear", (128, 3072))).kind == "pass"


def test_a_three_row_picture_is_ambiguous_and_passes():
    assert judge(batches(leaf((64, 3, 20, 3), channels_last=True)), model("Conv2d", (16, 3, 3, 3))).kind == "pass"


def test_warns_when_red_and_blue_are_swapped_in_validation():
    train = leaf((64, 3, 32, 32), means=(0.48, 0.45, 0.40))
    val = Leaf(**{**vars(leaf((64, 3, 32, 32), means=(0.41, 0.45, 0.49))), "channel_std": train.channel_std[::-1]})
    verdict = judge(batches(train, val), model("Conv2d", (16, 3, 3, 3)))
    assert verdict.severity is Severity.WARNING


def test_sky_in_a_sorted_validation_set_is_no_swap():
    train, val = leaf((64, 3, 32, 32), means=(0.49, 0.48, 0.45)), leaf((64, 3, 32, 32), means=(0.53, 0.56, 0.59))
    assert judge(batches(train, val), model("Conv2d", (16, 3, 3, 3))).kind == "pass"


def test_is_not_run_without_pictures():
    tokens = leaf((32, 20), kind="tokens")
    assert judge(batches(tokens), model("Embedding", (100, 8))).kind == "not-run"


def test_errs_when_channels_last_pictures_were_reshaped():
    reshaped = Leaf(**{**vars(leaf((40, 3, 32, 32))), "interleaved": 6.0})
    verdict = judge(batches(reshaped), model("Conv2d", (16, 3, 3, 3)))
    assert (verdict.severity, verdict.location) == (Severity.ERROR, LOADER)
    assert "40 × 32 × 32 × 3" in verdict.message
    noise = Leaf(**{**vars(reshaped), "interleaved": 1.0})
    assert judge(batches(noise), model("Conv2d", (16, 3, 3, 3))).kind == "pass"


def test_errs_when_a_probe_is_right_about_validation_with_its_channels_reversed():
    verdict = judge(batches(leaf((64, 3, 32, 32))), model("Conv2d", (16, 3, 3, 3)), SWAPPED)
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.ERROR, READING)
    assert "37% right on 400 of validation as they are (60% with its classes renamed at best) and 90% right" in verdict.message
    assert "::-1" in verdict.fix.code


def test_warns_when_other_channels_mend_only_a_part():
    verdict = judge(batches(leaf((64, 3, 32, 32))), model("Conv2d", (16, 3, 3, 3)), replace(SWAPPED, reordered=0.72, order=(1, 2, 0)))
    assert verdict.severity is Severity.WARNING
    assert "[1, 2, 0]" in verdict.fix.code


@pytest.mark.parametrize(
    "facts",
    [
        {"order": ()},
        {"renamed": 0.85},  # classes that are told by their colour alone
        {"as_given": 0.75},
        {"reordered": 0.6, "renamed": 0.4},  # pictures of another kind, on which any order is poor
        {"z": 3.0},
        {"expected": 0.3, "as_given": 0.1, "renamed": 0.1, "reordered": 0.32},  # the probe knows little
    ],
)
def test_another_order_of_channels_that_mends_little_passes(facts: dict[str, object]):
    assert judge(batches(leaf((64, 3, 32, 32))), model("Conv2d", (16, 3, 3, 3)), replace(SWAPPED, **facts)).kind == "pass"
