"""The loss by learning rate, drawn as the band was read from it: for the overview and for the rule that judges the rate."""

from __future__ import annotations

import math

from trainlint.details import Line, Mark, Series
from trainlint.measurements import LearningRate, Trial

__all__ = ["rate_chart"]


def rate_chart(rates: LearningRate) -> Series:
    """What short runs made of the loss at each rate, the band, and the loss below which a rate belongs to it.

    An end of the band is where the progress, of which a run above the first loss has made none, falls through that limit. The line goes through these
    ends, so that it crosses the limit where the band begins and stops. Runs that got low by leaps are no part of it.
    """
    trials = sorted((t for t in rates.trials if t.lr > 0), key=lambda t: t.lr)
    apart = [t for t in trials if _leapt(t, rates)]
    points = {t.lr: math.nan if t in apart or t.diverged else t.score for t in trials}
    ends = [end for end in (rates.low, rates.high) if end is not None and rates.limit is not None and end not in points]
    points |= {end: rates.limit for end in ends if rates.limit is not None}
    at = tuple(sorted(points))
    lines = [
        Line(
            name=f"short runs ({rates.steps} steps)",
            x=at,
            y=tuple(points[lr] for lr in at),
            between=tuple(i for i, lr in enumerate(at) if lr in ends),
        )
    ]
    if apart:
        lines.append(Line(name="low only by leaps", x=tuple(t.lr for t in apart), y=tuple(t.score for t in apart)))
    if rates.curve_lr:
        lines.append(Line(name="range test (one run, rising rate)", x=rates.curve_lr, y=rates.curve_loss))
    marks = [Mark(label="before any step", y=rates.initial)]
    if rates.limit is not None:
        marks.append(Mark(label="half of the best progress", y=rates.limit))
    if rates.configured > 0:
        marks.append(Mark(label="configured", x=rates.configured))
    if rates.low is not None and rates.high is not None:
        marks.append(Mark(label="trains well", x=rates.low, x2=rates.high))
    if rates.suggestion:
        marks.append(Mark(label="suggested", x=rates.suggestion))
    return Series(
        title="Loss by learning rate", x_label="learning rate", y_label="loss", lines=tuple(lines), log_x=True, marks=tuple(marks)
    )


def _leapt(trial: Trial, rates: LearningRate) -> bool:
    """Whether a run ended low enough and is outside the band all the same."""
    if trial.diverged or rates.limit is None or rates.low is None or rates.high is None:
        return False
    return trial.score < rates.limit and not rates.low <= trial.lr <= rates.high
