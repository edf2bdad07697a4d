"""Checks that the model is in training mode while it trains.

## What it checks

Every forward whose result went to `backward()`, and the mode of the dropout and batch-norm layers in it.

- **Error**: batch norm with trainable weights ran in evaluation mode in a model that starts from scratch, or the model
  was put in evaluation mode by a validation pass and never back.
- **Warning**: dropout was off from the first step on, or batch norm was in evaluation mode in a model whose weights were
  loaded. Both may be meant; `from_pretrained()` returns a model in evaluation mode, and then it seldom is.

Healthy and passed: a frozen backbone kept in `eval()`, batch norm of a fine-tuned model frozen on purpose while the model
itself is in training mode, an adversarial attack computed in evaluation mode before the real step, a policy that acts in
evaluation mode, models whose layers work alike in both modes.

## Why it matters

In evaluation mode batch norm divides by its running statistics instead of those of the batch. They are no longer
updated, so activations drift away from them, and from scratch (mean 0, variance 1) it does not normalise at all.
Dropout and stochastic depth are simply off.

## Example

```python
model.train()
for epoch in range(epochs):
    for x, y in train_loader:
        ...
    evaluate(model, val_loader)  # calls model.eval(); from the second epoch on training is in evaluation mode
```

## Fix

Switch to training mode at the start of every epoch, or at the end of the function that switched it off.

```python
for epoch in range(epochs):
    model.train()
    for x, y in train_loader:
        ...
    evaluate(model, val_loader)
```

## Thresholds

- None: one training step whose forward ran only in evaluation mode is enough.

## References

- torch.nn.Module.train: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.train
- Ioffe, Szegedy, Batch Normalization, 2015: https://arxiv.org/abs/1502.03167
- Srivastava et al., Dropout, 2014: https://jmlr.org/papers/v15/srivastava14a.html
"""

from __future__ import annotations

from trainlint.details import Timeline
from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.location import Location
from trainlint.measurements import Loop, Parameters
from trainlint.rule import Rule, Verdict, failed, not_run, passed
from trainlint_rules._timelines import drawn

#: Events drawn in the timeline.
DRAWN = 60


class TrainMode(Rule):
    """Looks at the mode of the model in each training forward."""

    code = "TL312"
    name = "train-mode"
    stage = Stage.GRADIENTS
    severity = Severity.ERROR
    summary = "The model is in training mode while it trains"
    why = "In evaluation mode batch norm stops following the batches, so activations drift away from its statistics, and dropout is off."
    source = "torch.nn.Module.train: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html"
    requires = (Loop, Parameters)
    judges_loop = True

    def judge(self, loop: Loop, parameters: Parameters) -> Verdict:
        """Judge the whole model's mode first, then parts of it that stay in evaluation mode."""
        if not loop.train_forwards:
            return not_run("no training forward was seen")
        if not loop.mode_dependent:
            return passed("The model has no dropout, batch norm or other layer that works differently in the two modes.")
        if not loop.eval_mode_forwards and not loop.eval_mode_modules:
            return passed(f"All {loop.train_forwards} training forwards ran in training mode.", evidence=_evidence(loop))
        if loop.frozen_eval:
            return passed("Only frozen parts of the model are in evaluation mode, as they should be.", evidence=_evidence(loop))
        if loop.eval_mode_forwards:
            if _each_step_trains(loop):
                return passed(
                    "Each step also has a forward in training mode, so those in evaluation mode are meant.", evidence=_evidence(loop)
                )
            return _whole(loop, parameters.pretrained)
        return _partly(loop, parameters.pretrained)


def _whole(loop: Loop, pretrained: bool) -> Verdict:
    switched = loop.eval_mode_forwards < loop.train_forwards or (loop.eval_mode_epoch or 1) > 1
    certain = switched or (_has_batch_norm(loop) and not pretrained)
    late = loop.eval_mode_epoch if (loop.eval_mode_epoch or 1) > 1 else None
    by = f" after the eval() at {loop.eval_set_where}" if loop.eval_set_where else ""
    count = f"{loop.eval_mode_forwards} of {loop.train_forwards}"
    if late and _never_back(loop):
        said = f"From epoch {late} on every training forward runs in evaluation mode{by} ({count} recorded)"
    else:
        said = f"{count} training forwards ran in evaluation mode{f' since epoch {late}' if late else ''}{by}"
    return failed(
        f"{said}: {_list(_affected(loop))} {'do' if len(_affected(loop)) > 1 else 'does'} not work as in training.",
        severity=Severity.ERROR if certain else Severity.WARNING,
        evidence={**_evidence(loop), "measured": loop.eval_mode_forwards, "expected": 0, "threshold": 0},
        location=_place(loop),
        fix=Fix(
            summary="Call train() at the start of every epoch, before the loop over the training batches.",
            code="for epoch in range(epochs):\n    model.train()\n    for inputs, targets in train_loader:",
            edit=Edit(kind="train-mode", at=_head(loop)),
        ),
        details=(_timeline(loop),) if loop.events else (),
    )


def _partly(loop: Loop, pretrained: bool) -> Verdict:
    affected = _affected(loop)
    if _has_batch_norm(loop) and pretrained and not any("Drop" in kind for kind in affected):
        return passed(
            "Batch norm of the loaded model is kept in evaluation mode, which is common in fine-tuning.", evidence=_evidence(loop)
        )
    return failed(
        f"{_list(affected)} layers stay in evaluation mode while the model around them is in training mode.",
        severity=Severity.WARNING,
        evidence={**_evidence(loop), "measured": len(affected), "expected": 0, "threshold": 0},
        location=loop.eval_set_where or loop.eval_mode_where,
        fix=Fix(
            summary="Call train() on the whole model after its parts are loaded: from_pretrained() returns them in evaluation mode.",
            code="model.train()",
            edit=Edit(kind="train-mode", at=_head(loop)),
        ),
    )


def _each_step_trains(loop: Loop) -> bool:
    """Whether every optimizer step had a training forward in training mode: an attack or a teacher ran beside it."""
    modes: set[bool] = set()
    steps = mixed = 0
    for event in loop.events:
        if event.kind == "forward" and event.phase == "train" and event.info.get("grad"):
            modes.add(bool(event.info.get("training")))
        elif event.kind == "step":
            steps += bool(modes)
            mixed += True in modes
            modes = set()
    return steps > 0 and mixed == steps


def _never_back(loop: Loop) -> bool:
    """Whether all training forwards that follow the first in evaluation mode are in it too."""
    modes = [bool(e.info.get("training")) for e in loop.events if e.kind == "forward" and e.phase == "train" and e.info.get("grad")]
    return False in modes and not any(modes[modes.index(False) :])


def _place(loop: Loop) -> Location | None:
    """Find the line to change: a train() that is called only once, else the training loop, else the eval() that is never undone."""
    switches = [event.where for event in loop.events if event.kind == "train" and event.where]
    if len(switches) == 1:
        return switches[0]
    if switches:
        return loop.eval_set_where or loop.eval_mode_where
    return _head(loop) or loop.eval_set_where or loop.eval_mode_where


def _head(loop: Loop) -> Location | None:
    """Find where the training loader is iterated."""
    epochs = [event.where for event in loop.events if event.kind == "epoch" and event.phase == "train" and event.where]
    return epochs[-1] if epochs else None


def _affected(loop: Loop) -> tuple[str, ...]:
    """Classes of the layers in evaluation mode; all that depend on the mode when that cannot be told."""
    named = tuple(kind for kind in loop.mode_dependent if any(kind in module for module in loop.eval_mode_modules))
    return tuple(dict.fromkeys(named or loop.mode_dependent))


def _has_batch_norm(loop: Loop) -> bool:
    return any("BatchNorm" in kind for kind in _affected(loop))


def _list(kinds: tuple[str, ...]) -> str:
    return kinds[0] if len(kinds) == 1 else f"{', '.join(kinds[:-1])} and {kinds[-1]}"


def _timeline(loop: Loop) -> Timeline:
    shown = [event for event in loop.events if event.kind in ("epoch", "train", "eval", "forward", "step")][:DRAWN]
    return drawn(
        "Modes along the loop",
        shown,
        lambda event: event.kind == "forward" and event.phase == "train" and not event.info.get("training", True),
    )


def _evidence(loop: Loop) -> dict[str, Json]:
    return {
        "train_forwards": loop.train_forwards,
        "eval_mode_forwards": loop.eval_mode_forwards,
        "layers": list(_affected(loop)),
        "since_epoch": loop.eval_mode_epoch,
    }
