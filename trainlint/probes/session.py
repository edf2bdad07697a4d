"""Makes measurements on demand, once each, within the budget, and writes them to the evidence as they are made."""

from __future__ import annotations

import ctypes
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress

import torch

from trainlint.engine import Judge
from trainlint.evidence import EvidenceWriter
from trainlint.finding import Finding, Proof
from trainlint.measurements import (
    Activations,
    AxisOrder,
    Batches,
    BatchSize,
    ColourOrder,
    Comparison,
    Curves,
    DataScan,
    Ema,
    Influence,
    Labels,
    LastBatch,
    LearningRate,
    Loop,
    Loss,
    Measurement,
    Mixing,
    NonFinite,
    Optimizers,
    Overfit,
    Padding,
    Parameters,
    Ranks,
    Repeats,
    Replay,
    Retained,
    SampleOrder,
    ShortRuns,
    SoftTargets,
    SplitOverlap,
    TokenOrder,
    Unmeasured,
    WatchedRun,
    WorkerSeeds,
)  # fmt: skip
from trainlint.probes.data.batches import measure_batches
from trainlint.probes.data.data_scan import measure_data_scan
from trainlint.probes.data.last_batch import measure_last_batch
from trainlint.probes.data.repeats import measure_repeats
from trainlint.probes.data.sample_order import measure_sample_order
from trainlint.probes.data.split_overlap import measure_split_overlap
from trainlint.probes.data.worker_seeds import measure_worker_seeds
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.labels.colour_order import measure_colour_order
from trainlint.probes.labels.labels import measure_labels
from trainlint.probes.run.curves import measure_curves
from trainlint.probes.run.ema import measure_ema
from trainlint.probes.run.loop import measure_loop
from trainlint.probes.run.optimizers import measure_optimizers
from trainlint.probes.run.parameters import measure_parameters
from trainlint.probes.run.retained import measure_retained
from trainlint.probes.run.whole_run import measure_ranks, measure_watched_run
from trainlint.probes.step.activations import measure_activations
from trainlint.probes.step.axis_order import measure_axis_order
from trainlint.probes.step.influence import measure_influence
from trainlint.probes.step.loss import measure_loss
from trainlint.probes.step.mixing import measure_mixing
from trainlint.probes.step.non_finite import measure_non_finite
from trainlint.probes.step.padding import measure_padding
from trainlint.probes.step.replay import measure_replay
from trainlint.probes.step.soft_targets import measure_soft_targets
from trainlint.probes.step.token_order import measure_token_order
from trainlint.probes.training.batch_size import measure_batch_size
from trainlint.probes.training.learning_rate import measure_learning_rate
from trainlint.probes.training.overfit import measure_overfit
from trainlint.probes.training.short_runs import measure_short_runs
from trainlint.proof.comparing import compare_configurations
from trainlint.proof.runs import Condition
from trainlint.proof.trying import proofs
from trainlint.record.random_state import randomness_kept, seed_all
from trainlint.record.recording import Recording
from trainlint.record.snapshot import Snapshot, state_tensors
from trainlint.record.tape import Tape
from trainlint.registry import Catalogue
from trainlint.settings import Settings
from trainlint.suppression import heard

__all__ = ["PROBES", "ProbeSession"]

#: Measurement -> what makes it. Those that change weights come last, and are undone.
PROBES: dict[type[Measurement], Callable[[Recording, float, Settings], Measurement]] = {
    Loop: measure_loop,
    Optimizers: measure_optimizers,
    Retained: measure_retained,
    Loss: measure_loss,
    Batches: measure_batches,
    Parameters: measure_parameters,
    AxisOrder: measure_axis_order,
    Activations: measure_activations,
    NonFinite: measure_non_finite,
    Replay: measure_replay,
    SampleOrder: measure_sample_order,
    Repeats: measure_repeats,
    WorkerSeeds: measure_worker_seeds,
    LastBatch: measure_last_batch,
    DataScan: measure_data_scan,
    ColourOrder: measure_colour_order,
    Labels: measure_labels,
    SplitOverlap: measure_split_overlap,
    Influence: measure_influence,
    Mixing: measure_mixing,
    TokenOrder: measure_token_order,
    Padding: measure_padding,
    SoftTargets: measure_soft_targets,
    BatchSize: measure_batch_size,
    Ema: measure_ema,
    Overfit: measure_overfit,
    ShortRuns: measure_short_runs,
    LearningRate: measure_learning_rate,
    Curves: measure_curves,
    WatchedRun: measure_watched_run,
    Ranks: measure_ranks,
}

#: Measurements that every report shows, whichever rules are selected.
_ALWAYS: tuple[type[Measurement], ...] = (Loop, Optimizers, Batches, Replay)
#: Share of what is left of the budget that one probe may take.
_SHARE = {
    DataScan: 0.25, Labels: 0.25, SplitOverlap: 0.25, Influence: 0.3, Mixing: 0.3, TokenOrder: 0.2, Padding: 0.3, SoftTargets: 0.2, BatchSize: 0.1, Overfit: 0.4,
    ShortRuns: 0.4, LearningRate: 0.9,
}  # fmt: skip
#: Seconds in which a probe may find something; a step of the script's, where that is longer.
_LEAST = 1.0
#: Share of the budget that trying fixes may take when measuring has left less.
_FOR_PROOFS = 0.2
#: The same for comparing configurations, which was asked for.
_FOR_COMPARING = 0.5


class ProbeSession:
    """The probes over one recording. Leaves models, buffers, modes and random generators as it found them."""

    def __init__(self, recording: Recording, settings: Settings, evidence: EvidenceWriter | None = None) -> None:
        self.recording = recording
        self.settings = settings
        self.evidence = evidence
        self.seconds: dict[str, float] = {}
        self.known: dict[type[Measurement], Measurement | Unmeasured] = {}
        self.proofs: dict[str, Proof] = {}
        """What came of trying the fixes, by rule."""
        self._deadline = time.monotonic() + max(settings.budget - recording.seconds, 0.0)
        self._least = max(_LEAST, recording.step_time or 0.0)
        self._state = state_tensors(recording.models())
        self._found: Snapshot | None = None
        """The state that probes find, kept before the first that changes it."""

    def judge(self, catalogue: Catalogue) -> tuple[Finding, ...]:
        """Measure what the rules of a catalogue need, in their order, and judge it."""
        # Whatever modes the user's code was in when it was interrupted, probes run in torch's defaults.
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast("cpu", enabled=False),
            randomness_kept(),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # replays would repeat the warnings of the user's own step
            modes = [(m, m.training) for model in self.recording.models() for m in model.modules()]
            try:
                for kind in _ALWAYS:
                    self.measure(kind)
                findings = Judge(catalogue, self.measure, lambda rule: self._say(f"checking {rule.name}"), heard).findings()
                fixes = self._prove(findings) if self.settings.prove else []
                if self.settings.compare:
                    self._compare(fixes)
                return findings
            finally:
                for module, training in modes:
                    module.training = training

    def measure(self, kind: type[Measurement]) -> Measurement | Unmeasured:
        """One measurement, made at its first request."""
        if kind not in self.known:
            self.known[kind] = self._make(kind)
        return self.known[kind]

    def _prove(self, findings: Sequence[Finding]) -> list[Condition]:
        """Try the fixes, with a part of the budget kept for it; returns the conditions of those that helped."""
        began = time.monotonic()
        deadline = max(self._deadline, began + _FOR_PROOFS * self.settings.budget)
        fixes = []
        for rule, proof, condition in proofs(self.recording, findings, self.measure, deadline, self._say):
            self.proofs[rule] = proof
            if condition is not None:
                fixes.append(condition)
            if self.evidence is not None:
                self.evidence.proof(rule, proof)
        return fixes

    def _compare(self, fixes: Sequence[Condition]) -> None:
        """Train the configuration as it is, mended, and by the reference recipe."""
        self._say("comparing configurations")
        rate = self.known.get(LearningRate)
        began = time.monotonic()
        deadline = max(self._deadline, began + _FOR_COMPARING * self.settings.budget)
        snapshot = self._kept()
        try:
            result: Measurement | Unmeasured = compare_configurations(
                self.recording, fixes, rate if isinstance(rate, LearningRate) else None, deadline
            )
        except CannotMeasureError as error:
            result = Unmeasured(name=Comparison.name, reason=str(error))
        except Exception as error:
            result = Unmeasured(name=Comparison.name, reason=_broken(error), broken=True)
        finally:
            snapshot.restore()
        self.known[Comparison] = result
        self.seconds[Comparison.name] = time.monotonic() - began
        if self.evidence is not None:
            self.evidence.measurement(result, self.seconds[Comparison.name])

    def _make(self, kind: type[Measurement]) -> Measurement | Unmeasured:
        began = time.monotonic()
        left = self._deadline - began
        snapshot: Snapshot | None = None
        result: Measurement | Unmeasured
        try:
            if kind in _SHARE and left < self._least:
                result = Unmeasured(
                    name=kind.name, reason=f"the budget of {self.settings.budget:g} s was spent before this could be measured"
                )
            else:
                snapshot = self._kept() if kind in _SHARE else None
                if kind in _SHARE:
                    _give_back()
                deadline = began + left * _SHARE.get(kind, 1.0)
                seed_all(self.settings.seed or 0)  # each draws the same numbers each time, those of the user's transforms included
                result = PROBES[kind](self.recording, deadline, self.settings)
        except CannotMeasureError as error:
            result = Unmeasured(name=kind.name, reason=str(error))
        except (torch.OutOfMemoryError, MemoryError):
            result = Unmeasured(name=kind.name, reason="memory ran out while measuring this")
        except Exception as error:
            if _refused(error):
                reason = f"the recorded step does not run again with other numbers ({type(error).__name__}: {_first_line(error)})"
                result = Unmeasured(name=kind.name, reason=reason)
            else:
                result = Unmeasured(name=kind.name, reason=_broken(error), broken=True)
        finally:
            if snapshot is not None:
                snapshot.restore()
        self.seconds[kind.name] = time.monotonic() - began
        if self.evidence is not None:
            self.evidence.measurement(result, self.seconds[kind.name])
        return result

    def _kept(self) -> Snapshot:
        if self._found is None:
            self._found = Snapshot(self._state)
        return self._found

    def _say(self, text: str) -> None:
        if self.evidence is not None:
            self.evidence.line("progress", text=text)


def _give_back() -> None:
    """Return freed memory to the system, where its C library can: what one probe has used and freed lies in pieces in the way of the next."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _refused(error: Exception) -> bool:
    """Whether an operation of a replay raised it: a step that picks by chance or by value, as a detector does, need not run again."""
    return any(frame.f_code is Tape.replay.__code__ for frame, _ in traceback.walk_tb(error.__traceback__))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else ""


def _broken(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"measuring this failed: {type(error).__name__}: {_first_line(error)} ({frame.filename.rsplit('/', 1)[-1]}:{frame.lineno})"
