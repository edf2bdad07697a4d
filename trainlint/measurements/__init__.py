"""The vocabulary between probes and rules: frozen, JSON-able facts about a training run, without any verdict.

A probe (``trainlint/probes``) makes a measurement from a recording; a rule reads it. None of this needs torch,
so a rule can be tested with a measurement written by hand, and a saved one can be judged again.
"""

from __future__ import annotations

from trainlint.measurements.axes import AxisOrder, ColourOrder, Reshape
from trainlint.measurements.base import OUT_OF_BUDGET, Measurement, Unmeasured
from trainlint.measurements.batches import (
    Batches,
    BatchView,
    DataScan,
    LabelCount,
    Leaf,
    NonFiniteSample,
    Normaliser,
    SampleOrder,
    SharedBuffer,
)
from trainlint.measurements.curves import CurveRun, Curves
from trainlint.measurements.experiments import Attempt, Comparison, Course, LearningRate, Mixing, Overfit, Replay, Trial
from trainlint.measurements.gradients import (
    Activation,
    Activations,
    BrokenRecurrence,
    GraphCut,
    MovingTargets,
    NonFinite,
    ParameterInfo,
    Parameters,
    RebuiltLayer,
    SharedRows,
    UnregisteredModule,
    Weighing,
    layer_names,
)
from trainlint.measurements.influence import Collapsed, CutStream, Influence, InputEffect, TokenOrder
from trainlint.measurements.kept_answers import KeptAnswers
from trainlint.measurements.labels import (
    BetweenLabels,
    ClassMatch,
    GivenAway,
    Labels,
    Lesson,
    Mismatch,
    Repair,
    Signal,
    Suspect,
    TornPairs,
)
from trainlint.measurements.loop import CarriedOver, Event, GroupInfo, Loop, OptimizerInfo, Optimizers, SchedulerInfo, Step, ValidationPass
from trainlint.measurements.loss import Answers, Loss, LossCall
from trainlint.measurements.memory import Retained
from trainlint.measurements.overlap import Shared, SplitOverlap
from trainlint.measurements.padding import LeftOut, LostEnds, Padding, SharedToken
from trainlint.measurements.places import MirroredPictures, ShiftedTags, TokensAhead
from trainlint.measurements.reading import CrossedLinks, LastBatch, LoaderEnd, Overwritten, Repeat, Repeats, WorkerSeeds
from trainlint.measurements.recipe import (
    Augmentation,
    BatchSize,
    Ema,
    EmaCopy,
    KeptBest,
    KeptWeights,
    NormLayer,
    Regulariser,
    RunningStatistics,
    ShortRun,
    ShortRuns,
    SoftTargets,
    TargetCall,
)
from trainlint.measurements.run import Fingerprint, RankFacts, Ranks, WatchedRun
from trainlint.measurements.view_pairs import ViewPairs

#: Every measurement by its name, in the order in which probes are cheapest.
MEASUREMENTS: dict[str, type[Measurement]] = {
    kind.name: kind
    for kind in (
        Loop, Optimizers, Retained, Loss, Batches, Parameters, AxisOrder, Activations, NonFinite, DataScan, SampleOrder, Repeats, WorkerSeeds, LastBatch,
        ColourOrder, Labels, SplitOverlap, Replay, Influence, Mixing, TokenOrder, Padding, SoftTargets, BatchSize, Ema, Overfit, ShortRuns, LearningRate,
        Comparison, Curves, WatchedRun, Ranks,
    )
}  # fmt: skip

__all__ = [
    "MEASUREMENTS",
    "OUT_OF_BUDGET",
    "Activation",
    "Activations",
    "Answers",
    "Attempt",
    "Augmentation",
    "AxisOrder",
    "BatchSize",
    "BatchView",
    "Batches",
    "BetweenLabels",
    "BrokenRecurrence",
    "CarriedOver",
    "ClassMatch",
    "Collapsed",
    "ColourOrder",
    "Comparison",
    "Course",
    "CrossedLinks",
    "CurveRun",
    "Curves",
    "CutStream",
    "DataScan",
    "Ema",
    "EmaCopy",
    "Event",
    "Fingerprint",
    "GivenAway",
    "GraphCut",
    "GroupInfo",
    "Influence",
    "InputEffect",
    "KeptAnswers",
    "KeptBest",
    "KeptWeights",
    "LabelCount",
    "Labels",
    "LastBatch",
    "Leaf",
    "LearningRate",
    "LeftOut",
    "Lesson",
    "LoaderEnd",
    "Loop",
    "Loss",
    "LossCall",
    "LostEnds",
    "Measurement",
    "MirroredPictures",
    "Mismatch",
    "Mixing",
    "MovingTargets",
    "NonFinite",
    "NonFiniteSample",
    "NormLayer",
    "Normaliser",
    "OptimizerInfo",
    "Optimizers",
    "Overfit",
    "Overwritten",
    "Padding",
    "ParameterInfo",
    "Parameters",
    "RankFacts",
    "Ranks",
    "RebuiltLayer",
    "Regulariser",
    "Repair",
    "Repeat",
    "Repeats",
    "Replay",
    "Reshape",
    "Retained",
    "RunningStatistics",
    "SampleOrder",
    "SchedulerInfo",
    "Shared",
    "SharedBuffer",
    "SharedRows",
    "SharedToken",
    "ShiftedTags",
    "ShortRun",
    "ShortRuns",
    "Signal",
    "SoftTargets",
    "SplitOverlap",
    "Step",
    "Suspect",
    "TargetCall",
    "TokenOrder",
    "TokensAhead",
    "TornPairs",
    "Trial",
    "Unmeasured",
    "UnregisteredModule",
    "ValidationPass",
    "ViewPairs",
    "WatchedRun",
    "Weighing",
    "WorkerSeeds",
    "layer_names",
]
