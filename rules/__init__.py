"""The first-party rules, in the order in which they are judged, and what explains what."""

from __future__ import annotations

from trainlint.rule import Rule
from trainlint_rules.amp import Amp
from trainlint_rules.axis_order import AxisOrder
from trainlint_rules.batch_size import BatchSizeRule
from trainlint_rules.batch_view import BatchView
from trainlint_rules.capacity import Capacity
from trainlint_rules.channel_order import ChannelOrder
from trainlint_rules.class_imbalance import ClassImbalance
from trainlint_rules.coupled_weight_decay import CoupledWeightDecay
from trainlint_rules.curve_shape import CurveShape
from trainlint_rules.dead_units import DeadUnits
from trainlint_rules.decay_groups import DecayGroups
from trainlint_rules.ema import EmaRule
from trainlint_rules.eval_augment import EvalAugment
from trainlint_rules.eval_mode import EvalMode
from trainlint_rules.finetune_lr import FinetuneLearningRate
from trainlint_rules.frozen_params import FrozenParams
from trainlint_rules.grad_clip import GradClip
from trainlint_rules.gradient_accumulation import GradientAccumulation
from trainlint_rules.gradient_exploding import GradientExploding
from trainlint_rules.gradient_vanishing import GradientVanishing
from trainlint_rules.graph_retained import GraphRetained
from trainlint_rules.init_loss import InitLoss
from trainlint_rules.init_scale import InitScale
from trainlint_rules.input_degenerate import InputDegenerate
from trainlint_rules.input_finite import InputFinite
from trainlint_rules.input_ignored import InputIgnored
from trainlint_rules.input_scale import InputScale
from trainlint_rules.label_mapping import LabelMapping
from trainlint_rules.label_noise import LabelNoise
from trainlint_rules.label_range import LabelRange
from trainlint_rules.label_signal import LabelSignal
from trainlint_rules.last_batch import LastBatchRule
from trainlint_rules.loop_order import LoopOrder
from trainlint_rules.loss_reduction import LossReduction
from trainlint_rules.loss_shape import LossShape
from trainlint_rules.lr_groups import LearningRateGroups
from trainlint_rules.lr_range import LearningRateRange
from trainlint_rules.memory_growth import MemoryGrowth
from trainlint_rules.no_gradient import NoGradient
from trainlint_rules.non_finite import NonFiniteRule
from trainlint_rules.output_activation import OutputActivation
from trainlint_rules.over_regularized import OverRegularized
from trainlint_rules.overfit_batch import OverfitBatch
from trainlint_rules.padding import Padding
from trainlint_rules.params_not_optimized import ParamsNotOptimized
from trainlint_rules.rank_data import RankData
from trainlint_rules.rank_sync import RankSync
from trainlint_rules.sample_mixing import SampleMixing
from trainlint_rules.schedule_cadence import ScheduleCadence
from trainlint_rules.schedule_order import ScheduleOrder
from trainlint_rules.shuffle import Shuffle
from trainlint_rules.soft_targets import SoftTargetsRule
from trainlint_rules.split_leak import SplitLeak
from trainlint_rules.token_order import TokenOrder
from trainlint_rules.train_mode import TrainMode
from trainlint_rules.update_ratio import UpdateRatio
from trainlint_rules.warmup_missing import WarmupMissing
from trainlint_rules.worker_seed import WorkerSeed

__all__ = ["EXPLAINS", "RULES"]

#: In the order of the playbook's stages; within a stage a cause stands before its symptoms.
RULES: tuple[type[Rule], ...] = (
    LabelRange, OutputActivation, LossShape, InitLoss, LossReduction, InitScale, InputIgnored, AxisOrder, TokenOrder, SampleMixing,
    BatchView, InputFinite, InputScale, ChannelOrder, InputDegenerate, LabelSignal, LabelMapping, LabelNoise, Padding, ClassImbalance, SplitLeak, Shuffle, WorkerSeed, EvalAugment, LastBatchRule, RankData,
    NoGradient, FrozenParams, ParamsNotOptimized, TrainMode, EvalMode, GradientAccumulation, LoopOrder, GraphRetained, Amp, GradClip, NonFiniteRule, GradientExploding, GradientVanishing, DeadUnits, UpdateRatio, OverfitBatch, RankSync, MemoryGrowth,
    WarmupMissing, LearningRateRange, ScheduleCadence, ScheduleOrder, LearningRateGroups,
    CoupledWeightDecay, DecayGroups, SoftTargetsRule, FinetuneLearningRate, OverRegularized, EmaRule, BatchSizeRule,
    CurveShape,
    Capacity,
)  # fmt: skip

_SLOW = ("overfit-batch", "lr-range", "update-ratio", "over-regularized")
_NO_SIGNAL = (*_SLOW, "gradient-vanishing", "init-loss")
_BLOWN_UP = (*_SLOW, "gradient-exploding", "init-loss", "grad-clip", "dead-units")

#: Cause -> symptoms: when the rule on the left fails, it is why those on the right fail. The one place where this is written down.
EXPLAINS: dict[str, tuple[str, ...]] = {
    "input-finite": ("non-finite", "input-scale", "input-degenerate", *_BLOWN_UP),
    "label-range": ("non-finite", "init-loss", "overfit-batch", "class-imbalance"),
    "output-activation": (*_NO_SIGNAL, "dead-units", "loss-shape", "class-imbalance"),
    "loss-shape": (*_NO_SIGNAL, "class-imbalance"),
    "input-ignored": ("sample-mixing", "no-gradient", "dead-units", *_NO_SIGNAL),
    "axis-order": ("sample-mixing", "channel-order", "capacity", *_SLOW),
    "sample-mixing": ("overfit-batch", "init-loss"),
    "token-order": ("capacity",),
    "loss-reduction": ("gradient-exploding", "lr-range", "non-finite", "grad-clip", "update-ratio", "init-loss", "overfit-batch"),
    "init-scale": ("input-ignored", "init-loss", "gradient-exploding", "gradient-vanishing", "dead-units", "lr-range", "update-ratio", "overfit-batch", "non-finite", "grad-clip"),
    "init-loss": ("gradient-exploding", "lr-range", "update-ratio", "grad-clip"),
    "channel-order": ("input-scale", "label-mapping", "label-signal", *_SLOW),
    "input-scale": ("init-scale", "init-loss", "dead-units", "gradient-exploding", "gradient-vanishing", "non-finite", "grad-clip", *_SLOW),
    "input-degenerate": (*_NO_SIGNAL, "dead-units"),
    "label-signal": ("label-noise", "overfit-batch", "lr-range"),
    "label-mapping": ("class-imbalance",),
    "padding": ("class-imbalance", "init-loss"),
    "no-gradient": ("params-not-optimized", "loop-order", *_NO_SIGNAL),
    "frozen-params": ("no-gradient", *_SLOW),
    "params-not-optimized": _SLOW,
    "train-mode": ("init-scale", "gradient-vanishing", "gradient-exploding", "dead-units", *_SLOW),
    "gradient-accumulation": ("loop-order", "loss-reduction", "gradient-exploding", "lr-range", "update-ratio", "grad-clip"),
    "loop-order": ("gradient-accumulation", "no-gradient", *_SLOW),
    "amp": ("grad-clip", "gradient-vanishing", "non-finite", "update-ratio", "gradient-exploding"),
    "grad-clip": _SLOW,
    "non-finite": ("gradient-exploding", "gradient-vanishing", "dead-units", *_SLOW),
    "gradient-exploding": ("update-ratio", "lr-range", "non-finite", "grad-clip"),
    "dead-units": ("gradient-vanishing", *_SLOW),
    "gradient-vanishing": _SLOW,
    "overfit-batch": ("lr-range", "update-ratio", "over-regularized", "warmup-missing"),
    "lr-range": ("update-ratio", "gradient-exploding", "warmup-missing", "finetune-lr"),
    "schedule-cadence": ("schedule-order", "lr-range"),
    "coupled-weight-decay": ("over-regularized", "decay-groups"),
    "over-regularized": ("decay-groups",),
    "lr-groups": ("finetune-lr", "update-ratio"),
    "finetune-lr": ("update-ratio", "gradient-exploding"),
}  # fmt: skip
