from __future__ import annotations

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Batches, BatchView, Leaf, ParameterInfo, Parameters
from trainlint_rules.channel_order import ChannelOrder

LOADER = Location("train.py", 14)


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


HWC = leaf((64, 32, 32, 3), kind="tensor", channels_last=True)


def test_errs_when_a_convolution_takes_rows_for_channels():
    verdict = ChannelOrder().judge(batches(HWC), model("Conv2d", (16, 32, 3, 3)))
    assert (verdict.kind, verdict.severity) == ("fail", Severity.ERROR)
    assert verdict.location == LOADER
    assert verdict.evidence["expected"] == [64, 3, 32, 32]


def test_passes_channels_first():
    assert ChannelOrder().judge(batches(leaf((64, 3, 32, 32))), model("Conv2d", (16, 3, 3, 3))).kind == "pass"


def test_a_model_that_moves_the_axis_itself_passes():
    assert ChannelOrder().judge(batches(HWC), model("Conv2d", (16, 3, 3, 3))).kind == "pass"


def test_a_flat_model_does_not_mind_the_order():
    assert ChannelOrder().judge(batches(HWC), model("Linear", (128, 3072))).kind == "pass"


def test_a_three_row_picture_is_ambiguous_and_passes():
    assert ChannelOrder().judge(batches(leaf((64, 3, 20, 3), channels_last=True)), model("Conv2d", (16, 3, 3, 3))).kind == "pass"


def test_warns_when_red_and_blue_are_swapped_in_validation():
    train = leaf((64, 3, 32, 32), means=(0.48, 0.45, 0.40))
    val = Leaf(**{**vars(leaf((64, 3, 32, 32), means=(0.41, 0.45, 0.49))), "channel_std": train.channel_std[::-1]})
    verdict = ChannelOrder().judge(batches(train, val), model("Conv2d", (16, 3, 3, 3)))
    assert verdict.severity is Severity.WARNING


def test_sky_in_a_sorted_validation_set_is_no_swap():
    train, val = leaf((64, 3, 32, 32), means=(0.49, 0.48, 0.45)), leaf((64, 3, 32, 32), means=(0.53, 0.56, 0.59))
    assert ChannelOrder().judge(batches(train, val), model("Conv2d", (16, 3, 3, 3))).kind == "pass"


def test_is_not_run_without_pictures():
    tokens = leaf((32, 20), kind="tokens")
    assert ChannelOrder().judge(batches(tokens), model("Embedding", (100, 8))).kind == "not-run"


def test_errs_when_channels_last_pictures_were_reshaped():
    reshaped = Leaf(**{**vars(leaf((40, 3, 32, 32))), "interleaved": 6.0})
    verdict = ChannelOrder().judge(batches(reshaped), model("Conv2d", (16, 3, 3, 3)))
    assert (verdict.severity, verdict.location) == (Severity.ERROR, LOADER)
    assert "40 × 32 × 32 × 3" in verdict.message
    noise = Leaf(**{**vars(reshaped), "interleaved": 1.0})
    assert ChannelOrder().judge(batches(noise), model("Conv2d", (16, 3, 3, 3))).kind == "pass"
