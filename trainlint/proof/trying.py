"""Which trial belongs to which rule, and how all of them are run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import torch

from trainlint.finding import Finding, Proof, Severity
from trainlint.measurements import Measurement, Unmeasured
from trainlint.probes.errors import CannotMeasureError
from trainlint.proof import axes_trials, data_trials, label_trials, loop_trials, loss_trials, mixing_trials, optimizer_trials, target_trials
from trainlint.proof.runs import Bench, Condition, not_tried
from trainlint.record.recording import Recording
from trainlint.record.snapshot import Snapshot, state_tensors

__all__ = ["ELSEWHERE", "TRIALS", "proofs"]

#: Name of a rule -> what tries its fix.
TRIALS: dict[str, Callable[[Bench], Proof]] = {
    "output-activation": loss_trials.output_activation,
    "loss-shape": loss_trials.loss_shape,
    "loss-reduction": loss_trials.loss_reduction,
    "padding": target_trials.padding,
    "class-imbalance": target_trials.class_imbalance,
    "label-range": loss_trials.label_range,
    "soft-targets": loss_trials.soft_targets,
    "axis-order": axes_trials.axis_order,
    "sample-mixing": mixing_trials.sample_mixing,
    "gradient-accumulation": loop_trials.gradient_accumulation,
    "loop-order": loop_trials.loop_order,
    "amp": loop_trials.amp,
    "grad-clip": loop_trials.grad_clip,
    "train-mode": loop_trials.train_mode,
    "schedule-cadence": loop_trials.schedule_cadence,
    "shuffle": loop_trials.shuffle,
    "lr-range": optimizer_trials.lr_range,
    "finetune-lr": optimizer_trials.finetune_lr,
    "lr-groups": optimizer_trials.lr_groups,
    "warmup-missing": optimizer_trials.warmup_missing,
    "over-regularized": optimizer_trials.over_regularized,
    "coupled-weight-decay": optimizer_trials.coupled_weight_decay,
    "params-not-optimized": optimizer_trials.params_not_optimized,
    "frozen-params": optimizer_trials.frozen_params,
    "no-gradient": optimizer_trials.no_gradient,
    "input-scale": data_trials.input_scale,
    "input-finite": data_trials.input_finite,
    "non-finite": data_trials.non_finite,
    "label-mapping": label_trials.label_mapping,
    "label-signal": label_trials.label_signal,
    "init-loss": data_trials.init_loss,
    "init-scale": data_trials.init_weights,
    "dead-units": data_trials.init_weights,
    "gradient-vanishing": data_trials.init_weights,
    "gradient-exploding": data_trials.init_weights,
}

#: Rules whose fix changes what no training step does: which samples are read, how the model is validated, what is kept of a step.
ELSEWHERE = frozenset({
    "ema", "eval-augment", "eval-mode", "graph-retained", "input-degenerate", "label-noise", "last-batch",
    "memory-growth", "split-leak", "worker-seed",
})  # fmt: skip

_UNTOUCHED = "its fix lies in the script's data, validation or bookkeeping, which a replayed training step does not touch"


def proofs(
    recording: Recording,
    findings: Sequence[Finding],
    measure: Callable[[type[Measurement]], Measurement | Unmeasured],
    deadline: float,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[tuple[str, Proof, Condition | None]]:
    """Try the fix of each error and warning, the worst first; the models are left as they were found.

    Yields the rule's name, what came of it, and the condition of a fix that helped; nothing for a rule that has no trial, unless its fix lies
    where none could reach. ``deadline`` is in ``time.monotonic()``'s seconds.
    """
    failures = sorted((f for f in findings if f.failed and f.severity is not Severity.NOTE), key=lambda f: f.severity.rank)
    for place, finding in enumerate(failures):
        trial = TRIALS.get(finding.name)
        if trial is None:
            if finding.name in ELSEWHERE:
                yield finding.name, not_tried(_UNTOUCHED), None
            continue
        say(f"trying the fix for {finding.name}")
        now = time.monotonic()
        share = now + max(deadline - now, 0.0) / (len(failures) - place)
        bench = Bench(recording, finding, measure, share)
        proof = _tried(trial, bench)
        yield finding.name, proof, bench.fix if proof.helped else None


def _tried(trial: Callable[[Bench], Proof], bench: Bench) -> Proof:
    snapshot = Snapshot(state_tensors(bench.recording.models()))
    try:
        return trial(bench)
    except CannotMeasureError as error:
        return not_tried(str(error))
    except (torch.OutOfMemoryError, MemoryError):
        return not_tried("memory ran out while trying it")
    except Exception as error:
        return not_tried(f"trying it failed ({type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]})")
    finally:
        snapshot.restore()
