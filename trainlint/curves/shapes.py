"""Names the shape of a run's curves: which signs there are, which of them comes first, and what to do about it.

The order is the order of repair: what makes everything else meaningless stands first. Every sign that is found is reported; the
first names the run, the others stand in ``also``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from trainlint.curves import breakage, divergence, fit, overfitting
from trainlint.curves.runs import Run
from trainlint.curves.view import Sign, View, once

__all__ = ["SHAPES", "Shape", "Verdict", "name_shape"]


@dataclass(frozen=True)
class Shape:
    """What a shape means."""

    name: str
    means: str
    first_action: str
    not_this: str
    """What it is not but is easily mistaken for, and how it differs; reads on after the word "not"."""
    source: str


_RECIPE = "Karpathy, A Recipe for Training Neural Networks, https://karpathy.github.io/2019/04/25/recipe/"
_CS231N = "CS231n, Learning and Evaluation, https://cs231n.github.io/neural-networks-3/"
_PLAYBOOK = "Deep Learning Tuning Playbook, https://github.com/google-research/tuning_playbook"
_COURSE = (
    "Google, Interpreting loss curves, https://developers.google.com/machine-learning/crash-course/overfitting/interpreting-loss-curves"
)

#: Every shape, most broken first: the order of tables of runs.
SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape("diverged", "the loss becomes NaN or infinite, or jumps up for good",
              "Lower the learning rate by 3 to 10 times, or add warm-up and clip the gradient norm at 1.",
              "overfitting: the training loss itself is lost", _PLAYBOOK),
        Shape("broken", "nothing is learned from the first step on",
              "Do not tune. Run `trainlint scan` on the script: see that one batch can be overfitted, that gradients arrive and that the learning rate is not zero.",
              "a plateau: nothing was ever learned that it could have stalled at", _RECIPE),
        Shape("too-good", "the validation score is near perfect from the start",
              "Look for the answer in the input: duplicates across the splits, a label column among the features, validation on training data.",
              "a success yet: a model that has hardly trained cannot know this much", _RECIPE),
        Shape("overfit", "validation turns up while training goes on falling",
              "Keep the checkpoint of the minimum; then more data or augmentation, weight decay or dropout, or a shorter run.",
              "a divergence: the training loss is fine", _COURSE),
        Shape("oscillating", "the loss swings and goes nowhere",
              "Lower the learning rate by 3 to 10 times; if it still swings, use larger batches and look for bad samples.",
              "batch noise: medians over stretches of the run swing, not single batches", _COURSE),
        Shape("spikes", "the loss jumps and comes back",
              "Clip the gradient norm at 1 and warm the learning rate up for longer; look at the batches at the jumps.",
              "noise: the jumps stand far out of the usual scatter; nor a divergence where the loss returns", _PLAYBOOK),
        Shape("flat-then-drop", "the first part of the run learns nothing, then the loss falls",
              "Mend the start: scale of the initial weights, bias of the last layer at the base rate, a warm-up that is too long, layers that are unfrozen late.",
              "broken: it learns once it has found the way", _RECIPE),
        Shape("early-decay", "progress stops where the learning rate was taken down",
              "Decay later or over the whole run: stretch the schedule to the run's length (cosine or linear to zero at the last step).",
              "a plateau at a constant learning rate: before the decay the loss was falling", _CS231N),
        Shape("underfit", "little is learned, by training and validation alike",
              "Make the model able to fit first: a higher learning rate, less regularisation, a larger model, more informative input; overfit one batch.",
              "overfitting: training is as bad as validation", _COURSE),
        Shape("plateau", "a good part of the run brings nothing at an undiminished learning rate",
              "Lower the learning rate by 3 to 10 times now, or use a schedule that decays to zero; if that brings nothing, stop earlier.",
              "converged for certain: noise does not die down as it does when a schedule has ended", _CS231N),
        Shape("val-better", "validation is better than training",
              "Compare like with like: evaluate the training set without dropout and augmentation, with the same reduction. Then look for a validation split that is too easy.",
              "a fault where training is regularised (dropout, augmentation, mixup) or averaged over an epoch in which the model still improves", _RECIPE),
        Shape("still-improving", "the run stops while the loss is still falling",
              "Train longer, with the schedule stretched to the new length; a higher learning rate may do in the same time.",
              "a plateau, nor converged", _PLAYBOOK),
        Shape("healthy", "the loss falls and flattens",
              "Keep it. To go further, change one thing at a time and compare on validation.",
              "a proof that all is well: what these curves do not show they cannot clear", _PLAYBOOK),
        Shape("too-short", "too few points to say",
              "Log more often, or let the run go on: three points are the least, eight make a verdict sound.",
              "healthy or broken: unknown", _PLAYBOOK),
        Shape("not-a-curve", "no curve of a training run was recognised",
              "Name the columns with --train, --val or --metric, or give the history of one run.",
              "a verdict about any training", _PLAYBOOK),
    )
}  # fmt: skip

_TESTS: tuple[Callable[[View], Sign | None], ...] = (
    divergence.diverged, breakage.broken, overfitting.too_good, overfitting.overfit, breakage.oscillating, breakage.spikes, breakage.flat_then_drop, fit.early_decay,
    fit.underfit, fit.plateau, fit.val_better, fit.still_improving,
)  # fmt: skip
#: Shapes after which nothing else is worth saying.
_FINAL = frozenset({"diverged", "broken"})
FEWEST = 3
"""Values from which on a shape is named."""
SOUND = 8
"""Values from which on a name is more than a hint: of fewer, noise is hardly known."""


@dataclass(frozen=True)
class Verdict:
    """The shape of one run."""

    shape: str
    summary: str
    evidence: dict[str, str | int | float | bool | None]
    also: tuple[str, ...] = ()
    also_do: str = ""
    """What this run's first action has beyond its shape's."""


def name_shape(run: Run) -> Verdict:
    """Name the shape of a run's curves, with the numbers it rests on."""
    view = View.of(run)
    lost = divergence.diverged(view)  # NaN leaves no finite point, yet says enough
    points = max((len(t) for t in (run.train, run.val, run.metric, run.train_metric) if t is not None), default=0)
    seen: dict[str, str | int | float | bool | None] = {"points": points}
    if lost is None and (view.fitted is None or len(view.fitted) < FEWEST):
        return Verdict(
            "too-short", f"There {'is 1 point' if points == 1 else f'are {points} points'}; {FEWEST} are the least to judge by.", seen
        )
    tests = _TESTS if not run.adversarial else (breakage.broken,)
    signs = [lost] if lost else [sign for test in tests if (sign := test(view)) is not None]
    if not signs:
        return _hinted(*_healthy(view, seen))
    first = signs[0]
    also = () if first.shape in _FINAL else tuple(sign.shape for sign in signs[1:])
    return _hinted(Verdict(first.shape, first.summary, first.evidence | seen, also, first.also_do), first.values)


def _hinted(verdict: Verdict, values: int) -> Verdict:
    """A verdict that says when it rests on few values."""
    if not 0 < values < SOUND or verdict.shape == "too-short":
        return verdict
    return replace(
        verdict,
        summary=f"{verdict.summary} These are {values} values: a hint, not a verdict.",
        evidence=verdict.evidence | {"few_points": True},
    )


def _healthy(view: View, seen: dict[str, str | int | float | bool | None]) -> tuple[Verdict, int]:
    """What to say of curves without a sign, and of how many values it is said."""
    curve = view.judged
    assert curve is not None
    start, end = view.shown(curve, curve.start), view.shown(curve, curve.end)
    evidence = {"start": start, "end": end, "noise": curve.noise, **seen}
    if view.run.adversarial:
        said = "Generator and critic work against each other: their losses are finite and move, and say no more than that."
        return Verdict("healthy", said, evidence), len(curve)
    train = view.train
    if curve.fall <= 2 * curve.noise and len(curve.levels) < 8 and train is not None and len(train.levels) >= 8:
        curve, start, end = train, train.start, train.end  # a few evaluations say less than a long training curve
        evidence |= {"start": start, "end": end, "noise": curve.noise}
    if end > start and curve is not view.metric and curve.positive:
        shape, beside = "plateau" if view.begins_late else "underfit", ""
        if view.begins_late and end - start > 0.1 * start and curve.trend().rises(1e-3):
            shape = "diverged"
        if train is not None and curve is not train and train.start - train.end > 0.1 * train.size:
            shape = "overfit" if end - start > 2 * curve.noise else "plateau"
            beside = f", while the training loss goes on to {view.ends(train)}"
        said = once(f"The {view.name_of(curve)} does not fall: it goes from {start:.4g} to {view.ends(curve)}{beside}.")
        return Verdict(shape, said, evidence), len(curve)
    if curve.fall <= 2 * curve.noise and len(curve.levels) < 8:
        said = f"The {view.name_of(curve)} goes from {start:.4g} to {end:.4g} in {len(curve)} points: too little to tell from noise."
        return Verdict("too-short", said, evidence), len(curve)
    if curve is view.metric and len(curve.levels) >= 8 and curve.end > curve.start - curve.noise and not fit.is_good(view):
        return Verdict("plateau", f"The metric goes from {start:.4g} to {view.ends(curve)}: no better than it began.", evidence), len(curve)
    verb = "goes" if curve is view.metric else "falls"
    also = ("plateau",) if fit.plateau(view, least=0.4) else ()
    said = f"The {view.name_of(curve)} {verb} from {start:.4g} to {view.ends(curve)} and shows no fault."
    return Verdict("healthy", said, evidence, also), len(curve)
