"""Charts and timelines of the page: odd data is drawn, axes and rows say what they show."""

import math
import re
from dataclasses import replace
from typing import Any

import pytest
import samples

from trainlint.details import Bars, Line, Mark, Series, Timeline, TimelineEvent
from trainlint_reports.charts import draw, summarise
from trainlint_reports.outline import turns

NAN, INF = math.nan, math.inf


def series(x: Any, y: Any, **fields: Any) -> Series:
    return Series(title="t", x_label="x", y_label="y", lines=(Line(name="n", x=tuple(x), y=tuple(y)),), **fields)


def bars(values: Any, **fields: Any) -> Bars:
    return Bars(title="t", value_label="v", labels=tuple(f"layer {i}" for i, _ in enumerate(values)), values=tuple(values), **fields)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "chart",
    [
        Series(title="t", x_label="x", y_label="y", lines=()),
        series((), ()),
        series((1.0,), (NAN,)),
        series((1.0, 2.0, 3.0), (0.0, -1.0, INF), log_x=True, log_y=True),
        series((0.0, 0.0), (5.0, 5.0)),
        series((1.0, 2.0), (1e300, 1e-300)),
        series(range(5000), (float(i % 7) for i in range(5000))),
        series((1.0, 2.0), (1.0, 2.0), marks=tuple(Mark(label=f"a long label {i}", x=1 + i / 10) for i in range(9))),
        series((1.0, 2.0), (1.0, 2.0), marks=(Mark(label="a", x=0.0), Mark(label="b", x=-1.0, x2=0.0), Mark(label="c", y=NAN)), log_x=True),
        bars(()),
        bars((NAN, INF)),
        bars((0.0, 0.0)),
        bars((-1.0, 2.0), marks=(Mark(label="m", y=1.0), Mark(label="band", x=0.5, x2=1.5))),
        bars((0.0, -1.0), log=True),
        bars((NAN,) * 30),
        bars((-1.0,) * 30, marks=(Mark(label="band", x=-2.0, x2=-1.5), Mark(label="m", y=-1.0))),
        bars((float(i) for i in range(300)), log=True, highlight=(3, 999)),
    ],
)
def test_charts_of_odd_data_are_drawn(chart: Series | Bars) -> None:
    drawn = draw(chart, "p")
    for drawing in (drawn.wide, drawn.narrow):
        assert drawing.startswith("<svg")
        assert "#0000" not in drawing
        assert not re.search(r' (d|x|y|width|height|points)="[^"]*(nan|inf)', drawing)
        assert len(drawing) < 80_000


def test_a_loss_that_ends_as_nan_is_drawn_on_the_axis_of_the_whole_run() -> None:
    drawn = draw(series(map(float, range(0, 3000, 50)), (1.0 if i < 30 else NAN for i in range(60))), "p")
    assert ">2400</text>" in drawn.wide


@pytest.mark.parametrize("log", [False, True])
def test_a_mark_beside_the_curves_lengthens_the_axis_and_one_far_away_is_left_out(log: bool) -> None:
    for place, seen in ((0.8, True), (1e-9 if log else -50.0, False)):
        wide = str(draw(series((1.0, 2.0), (1.0, 2.0), marks=(Mark(label="floor", y=place),), log_y=log), "chart").wide)
        heights = [float(y) for y in re.findall(r'<text[^>]* y="([-.\d]+)"[^>]*>floor</text>', wide)]
        assert bool(heights) == seen
        _, top, _, height = map(float, re.search(r'viewBox="([^"]+)"', wide)[1].split())
        assert all(top < y < top + height for y in heights)


def test_a_chart_says_in_words_what_it_shows() -> None:
    assert summarise(samples.overfit_curve()) == (
        "Line chart of loss by step. Adam, lr 0.001: from 1.563 to 0.7099, lowest 0.7099, highest 1.563. "
        "Adam, lr 0.01: from 1.277 to 0.01567, lowest 0.003079, highest 1.277. Marked: 10 % of the first loss (0.1386)."
    )
    assert summarise(samples.gradient_bars()) == (
        "Bar chart of gradient norm, 26 bars. Lowest 1e-6 (stem.conv), highest 0.1943 (head). "
        "At fault: stem.conv, blocks.0.mlp.fc1, blocks.0.attention.projection, blocks.1.mlp.fc1, blocks.1.attention.projection."
    )


def test_names_of_bars_keep_what_tells_them_apart() -> None:
    labels = tuple(f"transformer.h.{i}.attn.c_attn.weight" for i in range(3))
    drawn = draw(Bars(title="t", value_label="v", labels=labels, values=(1.0, 2.0, 3.0)), "p")
    assert ">transformer.h.2.attn.c_attn.weight</text>" in drawn.wide
    assert ">…2.attn.c_attn…</text>" in drawn.narrow


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ((1e-6, 1.0), {"1e-6", "0.0001", "0.01", "1"}),
        ((0.3, 0.8), {"0.3", "0.5", "0.7", "0.9"}),
        ((1.0, 20.0), {"1", "2", "5", "10", "20"}),
        ((1.0, 3e6), {"1", "100", "10,000", "1e6"}),
    ],
)
def test_logarithmic_axes_have_a_few_round_numbers(values: tuple[float, float], ticks: set[str]) -> None:
    drawn = draw(series((1.0, 2.0), values, log_y=True), "p")
    left = set(re.findall(r'<text[^>]*text-anchor="end"[^>]*>([^<]+)</text>', drawn.wide))
    assert left == ticks


def event(kind: str, line: int = 1) -> TimelineEvent:
    return TimelineEvent(kind=kind, label=kind, file="train.py", line=line)


@pytest.mark.parametrize(
    ("kinds", "rows"),
    [
        ("", []),
        (
            "train epoch batch forward step batch forward step eval epoch batch forward batch forward train epoch batch forward step",
            ["train epoch ×1", "batch forward step ×2", "eval epoch ×1", "batch forward ×2 +1"],
        ),
        (
            "clear forward backward step clear forward backward step schedule",
            ["clear forward backward step ×1", "clear forward backward step schedule ×1"],
        ),
        ("forward backward forward backward step clear forward backward", ["forward backward ×1", "forward backward step clear ×1 +1"]),
        (
            "clear batch forward loss clear backward step schedule clear",
            ["clear ×1", "batch forward loss clear backward step schedule ×1 +1"],
        ),
    ],
)
def test_a_timeline_has_a_row_for_each_iteration_and_folds_equal_ones(kinds: str, rows: list[str]) -> None:
    timeline = Timeline(title="t", events=tuple(map(event, kinds.split())))
    folded = [(" ".join(call.event.kind for call in turn.calls), turn.times, turn.again) for turn in turns(timeline)]
    assert [f"{kinds} ×{times}{f' +{again}' if again else ''}" for kinds, times, again in folded] == rows


@pytest.mark.parametrize(
    "order", ["batch clear forward loss backward step", "batch forward loss clear backward step", "forward backward step schedule clear"]
)
def test_a_loop_may_clear_its_gradients_anywhere_between_a_step_and_the_next_backward(order: str) -> None:
    (turn,) = turns(Timeline(title="t", events=tuple(map(event, 3 * order.split()))))
    assert {call.way for call in turn.calls} == {"", "on"}


def test_only_what_a_rule_calls_wrong_is_seen_to_go_back_wrongly() -> None:
    events = tuple(map(event, ["batch", "forward", "loss", "backward", "clear", "clip", "step"]))
    (turn,) = turns(Timeline(title="t", events=tuple(replace(e, flagged=e.kind == "clear") for e in events)))
    assert [call.way for call in turn.calls] == ["", "on", "on", "on", "back wrong", "on", "on"]
    assert all("wrong" not in call.way for turn in turns(Timeline(title="t", events=events)) for call in turn.calls)
