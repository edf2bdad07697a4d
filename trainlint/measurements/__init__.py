"""The vocabulary between probes and rules: frozen, JSON-able facts about a training run, without any verdict.

A probe (``trainlint/probes``) makes a measurement from a recording; a rule reads it. None of this needs torch,
so a rule can be tested with a measurement written by hand, and a saved one can be judged again.
"""

from __future__ import annotations

from trainlint.measurements.base import Measurement, Unmeasured
from trainlint.measurements.batches import Batches, BatchView, DataScan, LabelCount, Leaf, NonFiniteSample, SampleOrder
from trainlint.measurements.experiments import Attempt, LearningRate, Mixing, Overfit, Replay, Trial
from trainlint.measurements.gradients import (
    Activation,
    Activations,
    GraphCut,
    NonFinite,
    ParameterInfo,
    Parameters,
    UnregisteredModule,
)
from trainlint.measurements.loop import Event, GroupInfo, Loop, OptimizerInfo, Optimizers, SchedulerInfo, Step, ValidationPass
from trainlint.measurements.loss import Loss, LossCall
from trainlint.measurements.recipe import BatchSize, Ema, EmaCopy, NormLayer, Regulariser, ShortRun, ShortRuns, SoftTargets, TargetCall

#: Every measurement by its name, in the order in which probes are cheapest.
MEASUREMENTS: dict[str, type[Measurement]] = {
    kind.name: kind
    for kind in (
        Loop, Optimizers, Loss, Batches, Parameters, Activations, NonFinite, DataScan, SampleOrder, Replay, Mixing, SoftTargets,
        BatchSize, Ema, Overfit, ShortRuns, LearningRate,
    )
}  # fmt: skip

__all__ = [
    "MEASUREMENTS",
    "Activation",
    "Activations",
    "Attempt",
    "BatchSize",
    "BatchView",
    "Batches",
    "DataScan",
    "Ema",
    "EmaCopy",
    "Event",
    "GraphCut",
    "GroupInfo",
    "LabelCount",
    "Leaf",
    "LearningRate",
    "Loop",
    "Loss",
    "LossCall",
    "Measurement",
    "Mixing",
    "NonFinite",
    "NonFiniteSample",
    "NormLayer",
    "OptimizerInfo",
    "Optimizers",
    "Overfit",
    "ParameterInfo",
    "Parameters",
    "Regulariser",
    "Replay",
    "SampleOrder",
    "SchedulerInfo",
    "ShortRun",
    "ShortRuns",
    "SoftTargets",
    "Step",
    "TargetCall",
    "Trial",
    "Unmeasured",
    "UnregisteredModule",
    "ValidationPass",
]
