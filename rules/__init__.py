"""The first-party rules, in the order in which they are judged, and what explains what."""

from __future__ import annotations

from trainlint.rule import Rule
from trainlint_rules.batch_view import BatchView
from trainlint_rules.channel_order import ChannelOrder
from trainlint_rules.class_imbalance import ClassImbalance
from trainlint_rules.coupled_weight_decay import CoupledWeightDecay
from trainlint_rules.decay_groups import DecayGroups
from trainlint_rules.eval_mode import EvalMode
from trainlint_rules.frozen_params import FrozenParams
from trainlint_rules.gradient_accumulation import GradientAccumulation
from trainlint_rules.init_loss import InitLoss
from trainlint_rules.init_scale import InitScale
from trainlint_rules.input_degenerate import InputDegenerate
from trainlint_rules.input_finite import InputFinite
from trainlint_rules.input_scale import InputScale
from trainlint_rules.label_range import LabelRange
from trainlint_rules.loop_order import LoopOrder
from trainlint_rules.loss_reduction import LossReduction
from trainlint_rules.loss_shape import LossShape
from trainlint_rules.lr_range import LearningRateRange
from trainlint_rules.no_gradient import NoGradient
from trainlint_rules.non_finite import NonFiniteRule
from trainlint_rules.output_activation import OutputActivation
from trainlint_rules.overfit_batch import OverfitBatch
from trainlint_rules.params_not_optimized import ParamsNotOptimized
from trainlint_rules.sample_mixing import SampleMixing
from trainlint_rules.shuffle import Shuffle
from trainlint_rules.train_mode import TrainMode

__all__ = ["EXPLAINS", "RULES"]

RULES: tuple[type[Rule], ...] = (
    InitLoss, LabelRange, OutputActivation, LossShape, LossReduction, InitScale, SampleMixing,
    BatchView, InputFinite, InputScale, ChannelOrder, InputDegenerate, ClassImbalance, Shuffle,
    FrozenParams, ParamsNotOptimized, NoGradient, TrainMode, EvalMode, GradientAccumulation, LoopOrder, NonFiniteRule, OverfitBatch,
    LearningRateRange,
    CoupledWeightDecay, DecayGroups,
)  # fmt: skip

#: Cause -> symptoms: when the rule on the left fails, it is why those on the right fail.
EXPLAINS: dict[str, tuple[str, ...]] = {}
