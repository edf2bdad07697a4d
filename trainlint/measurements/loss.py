"""The loss: every call of a loss function in the first recorded step, and the value that went to backward()."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainlint.location import Location
from trainlint.measurements.base import Measurement

__all__ = ["Answers", "Loss", "LossCall"]


@dataclass(frozen=True, kw_only=True)
class LossCall:
    """One call of a loss function that the value at backward() depends on."""

    kind: str
    """``cross_entropy``, ``nll_loss``, ``binary_cross_entropy``, ``binary_cross_entropy_with_logits``, ``mse_loss``, ``l1_loss`` …"""
    where: Location | None = None
    built_where: Location | None = None
    """Where the criterion object was built; None for a function."""
    weighed_where: Location | None = None
    """Where the weights that it was given were worked out, by the source."""
    value: float = 0.0
    """Mean over the elements when the call did not reduce."""
    reduction: str = "mean"
    label_smoothing: float = 0.0
    ignore_index: int | None = None
    """Only for class-index losses."""
    blank: int | None = None
    """Only for ctc_loss: the output that stands for no label."""
    too_short: float = 0.0
    """Only for ctc_loss: share of the sequences with fewer time steps than labels, whose loss is infinite."""
    weighted: bool = False
    """Class weights or pos_weight were given."""
    class_weights: tuple[float, ...] = ()
    """Weight of each class in a loss over class indices; empty when none were given, or more than 1,000."""
    pos_weight: float | None = None
    """Median weight of positives in a binary loss; None when none was given."""
    input_shape: tuple[int, ...] = ()
    target_shape: tuple[int, ...] = ()
    target_dtype: str = ""
    classes: int | None = None
    """Size of the class axis; None for losses without classes."""
    elements: int = 0
    """Number of scored elements: what a ``sum`` reduction multiplies by (ignored targets not counted)."""
    batch_size: int = 0
    broadcast: bool = False
    """Input and target had different shapes and were broadcast against each other."""
    broadcast_elements: int = 0
    """Number of elements after broadcasting (0 when it was not)."""
    torn: float = 0.0
    """Share of predictions whose class scores were taken from several places (pixels, time steps) of the output layer."""
    torn_where: Location | None = None
    """The reshape that did it."""
    torn_from: tuple[int, ...] = ()
    """Shape that it was given."""
    input_activation: str | None = None
    """The operation that made the loss's input, looking through reshapes and casts: ``softmax``, ``log_softmax``, ``sigmoid``,
    ``relu``, ``tanh``, ``clamp`` …; None when it is a plain linear or other operation."""
    input_activation_where: Location | None = None
    input_activation_axis: int | None = None
    """For softmax and log_softmax: the axis, counted from 0."""
    input_operation: str = ""
    """Name of the operation that made the input, whatever it is (``linear``, ``conv2d``, ``getitem`` …)."""
    input_operation_where: Location | None = None
    output_weight_scale: float | None = None
    """Standard deviation of the weights that made the input, times the root of their fan-in, before the first step: 0.58 for torch's Linear,
    1 keeps the scale. None when no weight matrix made it."""
    output_weight_where: Location | None = None
    """Where the first module that holds these weights was built."""
    tables_scale: float | None = None
    """Standard deviation, before the first step, of the embeddings whose products are the input; None for inputs of any other kind."""
    tables_where: Location | None = None
    """Where the first of them was built."""
    tables_width: int = 0
    """Length of their rows."""
    input_min: float = 0.0
    input_max: float = 0.0
    input_mean: float = 0.0
    input_std: float = 0.0
    input_rows_sum_to_one: bool = False
    """Along the class axis, within 1e-3, and nowhere negative."""
    input_log_probabilities: bool = False
    """exp() of the input sums to one along the class axis."""
    target_min: float | None = None
    target_max: float | None = None
    target_mean: float | None = None
    target_std: float | None = None
    target_values: dict[str, int] | None = None
    """Counts of target values when there are at most 1,000 different ones."""
    target_is_probabilities: bool = False
    """Floating targets of the input's shape for a class loss: mixup, cutmix, soft labels."""
    chance: float | None = None
    """The same call, same arguments, with a prediction that knows nothing: equal logits, 0.5, the target's mean."""
    chance_how: str = ""
    """What ``chance`` is, in words: ``ln 10``, ``ln 2``, ``variance of the target`` …"""
    label_entropy: float | None = None
    """The value when always predicting the label frequencies of this batch."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The loss of the recorded batch with the output layer's scores set by its targets of 0 and 1, or of classes."""

    scores: tuple[float, ...] = ()
    """Score for what is right, minus it for what is wrong: negative ones are wrong answers."""
    losses: tuple[float, ...] = ()
    exact: float = 0.0
    """The loss when the scores are the targets, 0 and 1."""
    inverse: float = 0.0
    """The same with 0 and 1 exchanged."""
    beyond: float = 0.0
    """The same with 0 and 3: what no probability can be."""
    outside: bool = False
    """The scores that the model gave lie outside of 0 to 1."""
    activated: bool = False
    """A sigmoid, a softmax or the like stands between the scores and the loss, as in a cross entropy that is written out."""
    where: Location | None = None
    """Where the scores are first used."""


@dataclass(frozen=True, kw_only=True)
class Loss(Measurement):
    """The loss of the first training step."""

    name: ClassVar[str] = "loss"
    calls: tuple[LossCall, ...] = ()
    """Loss-function calls of the first training step whose result reached backward(), in order. Empty for a hand-written formula."""
    turns: tuple[LossCall, ...] = ()
    """The same of the first backward() at each further line, where several optimizers take turns."""
    where: Location | None = None
    """Where backward() was called."""
    formula_where: Location | None = None
    """Where the final value was computed."""
    first: float = 0.0
    """The value that went to backward() in the first training step, the gradient scaler's factor taken out."""
    values: tuple[float, ...] = ()
    """The values that went to backward() in every recorded training step."""
    at_init: bool = True
    """False when weights were loaded or training steps were done before: the first loss need not be at chance."""
    not_at_init_because: str = ""
    answers: Answers | None = None
    """None where the step cannot be replayed, or its targets are of another kind."""
    crossed_where: Location | None = None
    """Where the script's own arithmetic made all pairs of a column with one value per sample and a row with one value per sample."""
    crossed: tuple[int, ...] = ()
    """Shape of that column."""
    crossed_by: str = ""
    """Name of that operation, as ``mul``."""
    crossed_side: int = 0
    """Which of its two operands the column is, counted from 0."""
    summed_where: Location | None = None
    """Where a formula adds up all elements of the batch, without dividing by their number, as one term of the loss beside a mean."""
    summed_share: float = 0.0
    """What that part is of the first loss."""
    divergence_where: Location | None = None
    """Where a KL divergence of drawn latent values is summed over them, beside a reconstruction that is a mean over a sample's values."""
    divergence_beside: Location | None = None
    """That reconstruction."""
    divergence_excess: float = 0.0
    """How many times more the divergence weighs than in the evidence bound: the values that the mean is over, times its factor."""
    divergence_factor: float = 0.0
    """What the script multiplies the divergence with."""
    requires_grad_forced: bool = False
    """requires_grad was set by hand on a loss that had no graph."""
    model_outputs: int = 0
    """Number of tensors the model returned."""
    optimizers: int = 1
    """Number of optimizers that train in this run."""
