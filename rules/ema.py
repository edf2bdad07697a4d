"""Averaged and kept copies of the weights are what they are meant to be.

## What it checks

Copies of the model's weights that move towards them from step to step, in whatever way they are kept: `AveragedModel`,
timm's `ModelEma`, a deep copy or a dict that the loop updates. The decay is measured from the moves themselves.

- **Warning**: the horizon, 1 / (1 - decay) updates, is longer than the whole run, so that more than a third of the
  average is still the weights of the beginning at the end. A decay that is warmed up passes: its measured value is low
  at first.
- **Warning**: a copy that says it is an average, or an exact copy of the model, is evaluated but did not move while the
  model was trained.
- **Warning**: a copy whose update is computed from step to step and never arrives, so that it did not move: the loop over its weights gives the new
  value to a name that nothing reads, `target_param = tau * param + (1 - tau) * target_param`, or to nothing.
- **Warning**: a moving average is copied into the trained model for validation and still stands there at the next step, so that training goes on
  from the average. What is put back passes. Where validation comes after the recording, the running loop is read: it lets the average be written into
  the model, and the method of the same class that puts the trained weights back is called nowhere.
- **Warning**: an average that moves and is evaluated, with batch-norm layers whose running statistics are those of a new
  layer, while those of the trained model have moved: its buffers are left out.
- **Warning**: batch-norm layers whose running statistics will still be more than half those of a new layer at the end of the run, or are those of the
  last batch alone: a momentum below the default that is too small for the run, or one of 0.95 and more.
- **Warning**: weights that the source keeps or copies without a copy: `best = model.state_dict()` under `if loss < best_loss`, loaded later; the
  model itself kept as the best; a target network or an average that loads its own `state_dict()`.
- **Warning**: the best checkpoint is picked, or the run stopped early, in the wrong direction: `metric_for_best_model="mae"` of a Hugging Face
  `TrainingArguments` without `greater_is_better=False`, Lightning's `ModelCheckpoint(monitor="val_acc")`, whose mode is "min" by default,
  skorch's `EarlyStopping(monitor="valid_acc")`, whose lower_is_better is True by default, or a score that `Checkpoint` keeps the best of, and an ignite
  handler whose `score_function` returns a loss and not its negative. Which way
  a metric gets better is told by the words of its name; where they do not tell (`score`, `neg_...`), nothing is said.
- **Note**: an average that was neither updated nor evaluated in the recorded epochs. It may begin later.

Teachers, target networks and checkpoints that stand still on purpose are not spoken of.

## Why it matters

An average that is slower than the run is mostly the initial weights. It evaluates badly however well the model is
trained, and it is what is saved. The best weights kept by reference are the last ones, overfitted or not, and a target network that is
refreshed from itself stays untrained. In the wrong direction the worst checkpoint is kept, and early stopping ends the run because it gets better.

## Example

```python
ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9999))  # for 500 steps
```

## Fix

```python
ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))
```

In `nn.BatchNorm2d(channels, momentum=0.1)` the momentum is the weight of the new batch: other libraries' 0.99 is 0.01 here.

Or warm the decay up: `decay = min(0.9999, (1 + step) / (10 + step))`.

## Thresholds

- Horizon over the run's updates above 1: after T updates the first weights still count for decay ** T, which is 37 % at
  T = 1 / (1 - decay).
- Batch norm: (1 - momentum) ** steps above a half. A momentum of 0.95 leaves a twentieth to all batches before the last; the layer's default is 0.1.
- The suggested decay has a horizon of a tenth of the run.

## References

- torch.optim.swa_utils: <https://docs.pytorch.org/docs/stable/optim.html#weight-averaging-swa-and-ema>
- Saving and loading models, "best_model_state = model.state_dict() returns a reference":
  <https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html>
- torch.nn.BatchNorm2d, momentum: <https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html>
- Morales-Brotons et al., Exponential Moving Average of Weights in Deep Learning: <https://arxiv.org/abs/2411.18704>
- transformers, TrainingArguments, `greater_is_better`: <https://huggingface.co/docs/transformers/main_classes/trainer>
- timm, ModelEmaV3 (decay warm-up): <https://huggingface.co/docs/timm>
"""

from __future__ import annotations

from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.location import Location
from trainlint.measurements import Ema, EmaCopy, KeptBest, KeptWeights, RunningStatistics
from trainlint.rule import Rule, Verdict, failed, passed

LONGER = 1.0
LEAST_UPDATES = 3
#: Share of a new layer's statistics that may be left at the end; momentum from which only the last batch counts; torch's own, which is nobody's mistake.
LEFT, LAST, DEFAULT = 0.5, 0.95, 0.1
#: What arguments say for "higher is better", and for the other way.
_SAID = {
    "greater_is_better": ("True", "False"),
    "lower_is_better": ("False", "True"),
    "mode": ("max", "min"),
    "score_function": ("it as it is", "its negative"),
}


class EmaRule(Rule):
    """Compares the horizon of averages with the run."""

    code = "TL506"
    name = "ema"
    stage = Stage.RECIPE
    severity = Severity.WARNING
    summary = "Averaged and kept copies of the weights are what they are meant to be"
    why = (
        "An average that is slower than the run, or never updated, is mostly the initial weights: it evaluates badly whatever was learned."
    )
    source = "PyTorch, Weight Averaging (SWA and EMA), https://docs.pytorch.org/docs/stable/optim.html#weight-averaging-swa-and-ema"
    requires = (Ema,)

    def judge(self, ema: Ema) -> Verdict:
        """Each copy by itself; the worst first."""
        moving = [c for c in ema.copies if c.updates >= 1 and c.decays and max(c.decays) > 0 and not c.equal_weights]
        total = ema.steps_per_epoch * ema.epochs if ema.steps_per_epoch and ema.epochs else None
        for copy in ema.copies:
            if copy.replaces_weights:
                return _not_restored(copy)
        for copy in moving:
            if copy.left_where is not None:
                return _left(copy, copy.left_where)
        for copy in moving:
            if total is not None and copy.updates >= LEAST_UPDATES and _horizon(copy) > LONGER * _updates(copy, total):
                return _slow(copy, _updates(copy, total))
        for copy in moving:
            if copy.evaluated and copy.fresh_statistics:
                return _untouched(copy)
        still = [c for c in ema.copies if c.updates == 0 and c.watched >= LEAST_UPDATES]
        for copy in still:
            if copy.lost_to is not None:
                return _lost(copy, copy.lost_to)
        for copy in still:
            if copy.evaluated:
                return _still(copy, Severity.WARNING)
        for copy in still:
            if copy.is_average and not copy.equal_weights:
                return _still(copy, Severity.NOTE)
        if ema.kept:
            return _no_copy(ema.kept[0])
        for best in ema.best:
            if best.rises != best.rising_is_better:
                return _worst_kept(best)
        for norms in ema.statistics:
            slow = norms.fresh and total is not None and 0 < norms.momentum < DEFAULT and (1 - norms.momentum) ** total > LEFT
            if slow or norms.momentum >= LAST:
                return _statistics(norms, total)
        if not moving:
            picked = f" {ema.best[0].kind} takes the right direction of {ema.best[0].metric} for the better one." if ema.best else ""
            return passed(f"No moving average of the weights is kept, and no weights are kept without a copy.{picked}")
        worst = max(moving, key=_horizon)
        run = f"of a run of {total:,} steps" if total is not None else "of a run of unknown length"
        return passed(
            f"The averaged weights ({worst.kind}) look back {_horizon(worst):,.0f} updates {run}.", evidence=_evidence(worst, total)
        )


def _horizon(copy: EmaCopy) -> float:
    return 1 / max(1 - max(copy.decays), 1e-9)


def _updates(copy: EmaCopy, steps: int) -> int:
    """Updates of the copy in a whole run."""
    return max(round(steps * copy.updates / max(copy.watched, 1)), 1)


def _slow(copy: EmaCopy, updates: int) -> Verdict:
    decay = min(max(copy.decays), 1.0)
    better = 1 - float(f"{min(10 / updates, 0.5):.1g}")
    # Rounded in what it leaves of the old weights: the numbers of the source are round, the measured one is not.
    used = copy.declared if copy.declared is not None else 1 - float(f"{1 - decay:.2g}")
    shown = f"{copy.declared:g}" if copy.declared is not None else f"{decay:.5g} (measured)"
    return failed(
        f"The averaged weights ({copy.kind}) have a decay of {shown}: they look back {_horizon(copy):,.0f} updates, but the whole run makes "
        f"{updates:,}, so that {decay**updates:.0%} of the average is still the initial weights at the end.",
        severity=Severity.WARNING,
        evidence=_evidence(copy, updates),
        location=copy.where,
        fix=Fix(
            summary=f"Use a decay of about {better:g}, a horizon of a tenth of the run, or warm it up.",
            code=f"decay = min({copy.declared or round(decay, 5):g}, (1 + step) / (10 + step))",
            edit=Edit(kind="average-decay", values={"decay": round(used, 9), "new": round(better, 9)}),
        ),
    )


def _not_restored(copy: EmaCopy) -> Verdict:
    return failed(
        f"The averaged weights ({copy.kind}) are put into the model for validation and stay there: the next optimizer step starts from the average, and "
        "what was trained since is lost but for the share that the average took over.",
        severity=Severity.WARNING,
        evidence=_evidence(copy, None) | {"expected": "the trained weights"},
        location=copy.replaced_where or copy.where,
        fix=Fix(
            summary="Keep the trained weights before validation and put them back after it, or evaluate a copy of the model.",
            code="ema.apply()\ntry:\n    validate(model)\nfinally:\n    ema.restore()",
        ),
    )


def _left(copy: EmaCopy, where: Location) -> Verdict:
    return failed(
        f"The loop puts the averaged weights ({copy.kind}, which look back {_horizon(copy):,.0f} updates) into the model, and the trained ones never come back: "
        f"{copy.restorer}(), which would do it, is called nowhere. Training then goes on from the average.",
        severity=Severity.WARNING,
        evidence=_evidence(copy, None) | {"expected": "the trained weights"},
        location=where,
        fix=Fix(
            summary=f"Call {copy.restorer}() when the averaged weights have been used, before the next step.",
            code=f"{where.text.strip()}\ntry:\n    validate(model)\nfinally:\n    ema.{copy.restorer}(...)",
        ),
    )


def _untouched(copy: EmaCopy) -> Verdict:
    layers = f"{copy.fresh_statistics} batch-norm layer{'s' if copy.fresh_statistics > 1 else ''}"
    return failed(
        f"The averaged weights ({copy.kind}) move, but the running statistics of {layers} in it are still those of a new layer (mean 0, variance 1), "
        "and it is evaluated with them.",
        severity=Severity.WARNING,
        evidence=_evidence(copy, None) | {"measured": copy.fresh_statistics, "expected": 0, "threshold": 0},
        location=copy.where,
        fix=Fix(
            summary="Copy the buffers as well at each update, or build AveragedModel with use_buffers=True.",
            code="for mine, theirs in zip(ema.module.buffers(), model.buffers()):\n    mine.copy_(theirs)",
            edit=Edit(kind="average-buffers"),
        ),
    )


def _statistics(norms: RunningStatistics, steps: int | None) -> Verdict:
    layers = f"{norms.layers} batch-norm layer{'s' if norms.layers > 1 else ''}"
    if norms.momentum >= LAST:
        what = "are those of the last batch alone: momentum is the weight of the new batch, and what other libraries call 0.99 is 0.01 here"
    else:
        left = (1 - norms.momentum) ** (steps or 0)
        what = f"move so slowly that after the {steps:,} steps of the run {left:.0%} of them is still a new layer's mean 0 and variance 1"
    return failed(
        f"The running statistics of {layers} with a momentum of {norms.momentum:g} {what}. Evaluation uses them.",
        severity=Severity.WARNING,
        evidence={"measured": norms.momentum, "expected": DEFAULT, "threshold": LAST, "layers": norms.layers, "run_updates": steps},
        location=norms.where,
        fix=Fix(
            summary="Use the default momentum of 0.1, or 0.01 in a long run.",
            code="nn.BatchNorm2d(channels, momentum=0.1)",
            edit=Edit(kind="norm-momentum", values={"momentum": norms.momentum, "new": _meant(norms.momentum, steps)}),
        ),
    )


def _meant(momentum: float, steps: int | None) -> float:
    """The momentum that is meant by one of other libraries, where the run is long enough for it; else torch's own."""
    other = round(1 - momentum, 6)
    long_enough = steps is None or (1 - other) ** steps <= LEFT
    return other if momentum >= LAST and other > 0 and long_enough else DEFAULT


def _no_copy(kept: KeptWeights) -> Verdict:
    summary = "Copy what is kept."
    if kept.kind == "itself":
        message = f"{kept.what} loads its own state_dict(), which changes nothing."
        summary, code = "Name the model that is trained.", f"{kept.what}.load_state_dict(model.state_dict())"
    elif kept.kind == "model":
        message = f"{kept.what} is another name for the model that goes on being trained, and no copy of it: it holds the last weights, not the best."
        code = f"{kept.what} = copy.deepcopy(model)"
    else:
        message = f"{kept.what} keeps the model's own tensors, which go on being trained: state_dict() makes no copy, so what is loaded or saved later are the last weights."
        code = f"{kept.what} = copy.deepcopy(model.state_dict())"
    edit = Edit(kind="copy-kept", values={"what": kept.what}) if kept.kind != "itself" else None
    return failed(
        message,
        severity=Severity.WARNING,
        evidence={"measured": 0, "expected": "a copy of the weights", "threshold": 0},
        location=kept.where,
        fix=Fix(summary=summary, code=code, edit=edit),
    )


def _worst_kept(best: KeptBest) -> Verdict:
    direction = "lower" if best.rising_is_better is False else "higher"
    said = _SAID.get(best.setting, _SAID["mode"])
    told, better = said if best.rising_is_better else said[::-1]
    scored = best.setting == "score_function"
    how = (
        f"its score function returns {told}"
        if scored
        else f"{best.setting}={told}, its default"
        if best.by_default
        else f"{best.setting}={told}"
    )
    does = " and ".join(
        [*(["keeps the worst weights"] if best.keeps else []), *(["stops the run early while it gets better"] if best.stops else [])]
    )
    written = f'"{better}"' if best.setting == "mode" else better
    return failed(
        f'{best.kind} takes a {direction} "{best.metric}" for the better one ({how}), but that metric gets better by '
        f"{'rising' if best.rises else 'falling'}: it {does}.",
        severity=Severity.WARNING,
        evidence={"measured": told, "expected": better, "metric": best.metric},
        location=best.where or best.built_where,
        fix=Fix(
            summary="Say which way the metric gets better.",
            code=f'def score_function(engine):\n    return {"-" if best.rising_is_better else ""}engine.state.metrics["{best.metric}"]'
            if scored
            else f'{best.kind}(..., "{best.metric}", {best.setting}={written})',
            edit=Edit(
                kind="better-direction", at=best.built_where, values={"metric": best.metric, "setting": best.setting, "better": better}
            )
            if best.built_where is not None
            else None,
        ),
    )


def _still(copy: EmaCopy, severity: Severity) -> Verdict:
    evaluated = "is evaluated, but " if copy.evaluated else ""
    return failed(
        f"The copy of the weights ({copy.kind}) {evaluated}did not move in {copy.watched} recorded steps while the model was trained.",
        severity=severity,
        evidence=_evidence(copy, None),
        location=copy.where,
        fix=Fix(summary="Update the average after each optimizer step.", code="optimizer.step()\nema.update_parameters(model)"),
    )


def _lost(copy: EmaCopy, name: str) -> Verdict:
    written = (copy.where.text if copy.where else "").partition(" = ")[2] or f"tau * param + (1 - tau) * {name or 'kept'}"
    how = f"gives the new value to {name} alone, and nothing reads that" if name else "makes a new tensor, which nothing keeps"
    return failed(
        f"The copy of the weights ({copy.kind}) did not move in {copy.watched} recorded steps while the model was trained, although its update is computed: "
        f"the line {how}. The copy stays as it was when it was made.",
        severity=Severity.WARNING,
        evidence=_evidence(copy, None) | {"expected": "a copy that moves"},
        location=copy.where,
        fix=Fix(
            summary="Write the new value into the copy's own tensor.",
            code=f"with torch.no_grad():\n    {name or 'kept'}.copy_({written})",
            edit=Edit(kind="write-into"),
        ),
    )


def _evidence(copy: EmaCopy, updates: int | None) -> dict[str, Json]:
    return {
        "measured": max(copy.decays, default=None),
        "declared": copy.declared,
        "updates_seen": copy.updates,
        "steps_watched": copy.watched,
        "run_updates": updates,
        "threshold": LONGER,
    }
