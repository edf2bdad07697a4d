"""The training loop as it was seen: events in order, and a digest of every optimizer step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from trainlint.location import Location
from trainlint.measurements.base import Measurement

__all__ = ["CarriedOver", "Event", "GroupInfo", "Loop", "OptimizerInfo", "Optimizers", "SchedulerInfo", "Step", "ValidationPass"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing the loop did."""

    kind: str
    """``epoch`` (a loader's iteration begins), ``batch``, ``forward`` (the model is called), ``loss``, ``backward``, ``clear`` (gradients
    cleared), ``unscale``, ``clip``, ``clip-left-out`` (the method that a trainer calls to clip does not), ``step``, ``schedule``, ``train``, ``eval``, ``load`` (weights loaded), ``set_epoch``."""
    index: int = 0
    phase: str = ""
    """``train``, ``val`` or empty when it belongs to neither."""
    where: Location | None = None
    subject: str = ""
    """The object: ``optimizer 0 (Adam)``, ``loader 1``, the model's class …"""
    info: dict[str, str | float | bool] = field(default_factory=dict)
    """``forward``: training, grad, modules_training (share of mode-dependent modules in training mode). ``backward``: value. ``clip``: max_norm,
    norm (before clipping), scaled (still carries the scaler's factor), tensors, idle (they have no gradients, and no optimizer trains them), used_up (they came from an
    iterator that an earlier call had read to its end). ``clip-left-out``: max_norm (the limit), norm (what it was to limit), by_norm (else by the largest entry). ``step``: lr, skipped. ``schedule``: kind, lr, metric."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call of an optimizer's step(), and how its gradients came about."""

    optimizer: int
    where: Location | None = None
    backwards: int = 0
    """backward() calls since the previous step that gave this optimizer's parameters a gradient."""
    kept: int = 0
    """How many backward() calls the gradients at this step hold: more than ``backwards`` when earlier steps' gradients are still in them,
    fewer when some were cleared away."""
    stale: int = 0
    """backward() calls from before the previous step that are still in the gradients (zero_grad missing)."""
    discarded: int = 0
    """backward() calls since the previous step whose gradients were cleared before this step could use them."""
    discarded_where: Location | None = None
    """The clearing call that threw them away."""
    without_gradient: bool = False
    """No parameter had a gradient when the step was taken."""
    backward_where: Location | None = None
    backward_values: tuple[float, ...] = ()
    """Loss values of the backward() calls in ``backwards``."""
    loss_values: tuple[float, ...] = ()
    """The matching un-divided loss-function values, where known (0 entries when not)."""
    clipped: float | None = None
    """Gradient norm before clipping, None when not clipped."""
    clip_max_norm: float | None = None
    clip_where: Location | None = None
    clip_after_step: bool = False
    """Clipping was called after the step and before the next backward: it clips nothing."""
    clipped_scaled: bool = False
    """Clipped while the gradients still carried the scaler's factor."""
    lr: tuple[float, ...] = ()
    """Learning rate of each group at this step."""
    gradient_norm: float | None = None
    """Total norm over this optimizer's parameters at the step (after clipping)."""
    skipped: bool = False
    """The gradient scaler skipped it."""
    scaler: bool = False


@dataclass(frozen=True, kw_only=True)
class ValidationPass:
    """Model calls on validation batches between training steps."""

    where: Location | None = None
    """Where the model was called."""
    loop_where: Location | None = None
    """Where the loader was iterated."""
    training_mode: bool = False
    """The model was in training mode."""
    mode_matters: bool = False
    """It has dropout, batch norm or other layers that behave differently in training mode."""
    grad: bool = False
    """Gradients were recorded."""
    dropout_where: Location | None = None
    """A line that drops units although the model is in evaluation mode."""
    batches: int = 0
    told_by_calls: bool = False
    """No loader was read: it is known by calls without gradients, or in evaluation mode, between steps."""


@dataclass(frozen=True, kw_only=True)
class Loop(Measurement):
    """Events, steps and modes of the recorded run."""

    name: ClassVar[str] = "loop"
    events: tuple[Event, ...] = ()
    """At most 2,000, from the start."""
    steps: tuple[Step, ...] = ()
    epochs_begun: int = 0
    has_loader: bool = True
    has_validation: bool = False
    optimizers: int = 0
    stepped_optimizers: int = 0
    validation: tuple[ValidationPass, ...] = ()
    train_forwards: int = 0
    eval_mode_forwards: int = 0
    """Training forwards (their result went to backward) made while the model was in eval mode."""
    eval_mode_where: Location | None = None
    """Where that training forward was called."""
    eval_set_where: Location | None = None
    """Where eval() was last called before it."""
    eval_mode_epoch: int | None = None
    """First epoch, counted from 1, in which it happened."""
    eval_mode_modules: tuple[str, ...] = ()
    """Classes of mode-dependent modules (dropout, batch norm …) that were in eval mode in a training forward while the model itself was in training mode or not."""
    mode_dependent: tuple[str, ...] = ()
    """Class names of mode-dependent layers in the model."""
    frozen_eval: bool = False
    """All modules in eval mode hold only frozen parameters (a frozen backbone kept in eval on purpose)."""
    gradient_scaler: bool = False
    accumulation: int = 1
    """Most frequent number of backward() calls a step."""
    step_before_backward: bool = False
    """step() ran before the first backward() in each iteration, so it uses the gradients of the batch before."""
    clear_between_backward_and_step: bool = False
    """zero_grad ran after backward() and before step(), so that the step had nothing to use."""
    clear_where: Location | None = None
    loss_divided_by: float | None = None
    """With accumulation of mean-reduced losses: the value of the loss over what was sent to backward(); 1 where nothing divides it."""
    loss_where: Location | None = None
    """Where the user's code makes the loss, when a trainer calls ``backward()`` on it."""
    divided_where: Location | None = None
    """Where the script divides the loss by the batches of a step, on another line than that of ``backward()``."""
    held_where: Location | None = None
    """The condition under which the script calls steps that accelerate holds back, else where it calls them."""
    manual_updates: bool = False
    """Parameters change between steps without any optimizer."""
    closure: bool = False
    """step() is called with a closure."""
    dropout_where: Location | None = None
    """Where a function drops units in evaluation mode too, when no evaluation was seen but the script's source has one."""
    step_returns_where: Location | None = None
    """Where the training step that a framework calls returns nothing, or its loss, when no loss ever comes back; else where it begins."""
    ours: bool = False
    """The loop is trainlint's own, around a model and a loader in hand: its order says nothing about the user's code."""


@dataclass(frozen=True, kw_only=True)
class GroupInfo:
    """A parameter group at the first step."""

    lr: float
    """At construction; the configured value."""
    first_lr: float
    """At the first step (a warm-up may have lowered it)."""
    weight_decay: float = 0.0
    momentum: float = 0.0
    betas: tuple[float, ...] = ()
    parameters: int = 0
    """Number of elements."""
    tensors: int = 0
    norm_or_bias: int = 0
    """Tensors that are norm weights or biases (fewer than two axes)."""
    pretrained: bool = False
    """Holds parameters whose values were loaded."""
    pretrained_share: float = 0.0
    """Share of its elements whose values were loaded, or trained earlier in the script."""
    depth: float | None = None
    """Mean position of its tensors in the order in which the forward uses them: 0 at the input, 1 at the loss; None when none is used."""
    names: tuple[str, ...] = ()
    """Names of its first tensors, at most four."""
    where: Location | None = None
    """Where its parameters are picked, where the source tells; for an empty group alone."""
    fresh: tuple[str, ...] = ()
    """Names of its tensors whose values are new although most of the group's were loaded, at most four."""


@dataclass(frozen=True, kw_only=True)
class OptimizerInfo:
    """An optimizer that takes steps."""

    index: int
    kind: str
    where: Location | None = None
    groups: tuple[GroupInfo, ...] = ()
    steps: int = 0
    options: dict[str, str | float | bool] = field(default_factory=dict)
    unused_lr: float | None = None
    """The learning rate that the script gave for all groups, where each group has another of its own."""


@dataclass(frozen=True, kw_only=True)
class SchedulerInfo:
    """A learning-rate scheduler."""

    kind: str
    where: Location | None = None
    optimizer: int | None = None
    horizon: int | None = None
    """Steps it was built for: T_max, total_steps, last milestone …; None when it has none."""
    stepped_where: Location | None = None
    calls: int = 0
    calls_per_epoch: float | None = None
    """Mean number of step() calls in one training epoch as compressed here; compare with ``steps_per_epoch_seen``."""
    cadence: str = "unknown"
    """``step`` (after every optimizer step), ``epoch``, ``never`` or ``unknown``."""
    before_optimizer: bool = False
    """Its step() came before the optimizer's first step."""
    metric: tuple[float, ...] = ()
    """Values handed to ReduceLROnPlateau.step()."""
    metric_rises: bool | None = None
    """The metric is one that grows with success (an accuracy), judged by its range and by how it is computed; None when not known."""
    mode: str = ""
    options: dict[str, str | float | bool] = field(default_factory=dict)
    preview: tuple[float, ...] = ()
    """LR of the first group at evenly spaced calls of the schedule, from its first (some 200 points)."""
    preview_calls: int = 0
    """Calls that the preview spans: to the horizon, the end of the run, or the call from which the rate stays as it is."""
    preview_cut: bool = False
    """The schedule goes on beyond them."""
    peak: float | None = None
    """Highest LR of the first group within a million calls, of a schedule that is a function of the call alone; None for others."""
    reached: float | None = None
    """Highest LR of the first group within the calls of the whole run, where their number is known."""
    warmup_where: Location | None = None
    """Where the script says how long the warm-up is, of a schedule that does not reach half of its peak within the run."""
    ignored_warmup: float = 0.0
    """Steps of warm-up, or their share of the run, that a trainer was told for a schedule of its own which begins at its highest rate; 0 where it warms up."""
    told_where: Location | None = None
    """Where that trainer was told which schedule to build."""
    sometimes: bool = False
    """Its step() stands under a condition on how far the run is, so that it may be called in some epochs only."""
    attached: bool = False
    """It is called by the events of a trainer: ``stepped_where`` is where it was attached to one."""
    swings: bool = False
    """Beyond its horizon its rate climbs back, as a cosine does."""
    unit: str = ""
    """``epochs`` or ``updates``, of a scheduler that is told how many of them have gone by (timm's); empty for those that count calls."""
    idle_where: Location | None = None
    """Where such a scheduler is told of the other unit, which changes nothing."""
    rounds: int | None = None
    """Turns of the ``range`` loop that several calls in a row stood in one turn of; None where there is none, or where a loop that a call
    ends each turn of is as long as the schedule."""
    calls_in_round: int = 0
    """Calls seen in one turn of it."""
    orphaned: bool = False
    """Its optimizer takes no step, and another one, which shares no settings with it, trains the same parameters."""


@dataclass(frozen=True, kw_only=True)
class Optimizers(Measurement):
    """Optimizers and schedulers with their settings."""

    name: ClassVar[str] = "optimizers"
    optimizers: tuple[OptimizerInfo, ...] = ()
    schedulers: tuple[SchedulerInfo, ...] = ()
    steps_per_epoch: int | None = None
    """Optimizer steps in a full, uncompressed training epoch (from len(loader) and the accumulation seen)."""
    rate_where: Location | None = None
    """Where the script itself sets a learning rate in an optimizer's groups; only when no scheduler is in use."""
    epochs: int | None = None
    """Epochs that the script means to run: the length of the ``range`` loop around the training loader; None when there is none."""


@dataclass(frozen=True, kw_only=True)
class CarriedOver:
    """A model that is trained on in a loop over folds without beginning anew."""

    name: str
    """The variable that holds it, or the net around it."""
    warm_start: bool = False
    """It is a net of skorch that was told to keep its weights."""
    where: Location | None = None
    """Where the model was built, or the net told so."""
