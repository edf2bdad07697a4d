"""Finds parameters that take part in the model but that no optimizer updates.

## What it checks

- **Error**: trainable weights receive gradients in the recorded steps but belong to no optimizer, in a model without loaded weights.
- **Error**: an optimizer holds tensors of a module that is not in use any more (it was built before the model or its head was
  replaced), so its steps find no gradients, or the layers that came instead are left out.
- **Error**: layers that receive gradients sit in a plain Python list or dict, which `model.parameters()` does not see.
- **Error**: a forward builds a layer with random weights anew at each step. A norm that is built so is a warning.
- **Warning**: the training loop sets `requires_grad` of frozen layers further on (read off its source), but neither builds an optimizer
  there nor adds them to the one that was built without them.
- **Warning**: parameters in no optimizer in a model with loaded weights, where leaving out the body may be meant; or where some
  parameters are changed by hand; or when only norms and biases are left out.

It passes when parameters receive no gradient (target networks, momentum copies), when each of several models has its own optimizer, and
when only tensors outside the model are optimised (style transfer, latent codes). Updates by hand, without any optimizer, are not
judged.

## Why it matters

Such a layer keeps its random start. The loss still falls, since the other layers adapt to it, and the model ends up worse for no
visible reason.

## Example

```python
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
model.head = nn.Linear(512, 10)             # the optimizer still holds the old head
```

## Fix

Build the optimizer last, when the model is complete; keep layers in `nn.ModuleList` or `nn.ModuleDict`.

```python
model.head = nn.Linear(512, 10)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
```

## Thresholds

- None: a weight that receives gradients at every step and never moves is a fault whatever its size.

## References

- PyTorch, torch.optim, Constructing it: https://docs.pytorch.org/docs/stable/optim.html#constructing-it
- PyTorch, ModuleList (holds submodules so that they are properly registered):
  https://docs.pytorch.org/docs/stable/generated/torch.nn.ModuleList.html
"""

from __future__ import annotations

from collections.abc import Sequence

from trainlint.details import Table
from trainlint.finding import Edit, Fix, Severity, Stage
from trainlint.location import Location
from trainlint.measurements import Loop, ParameterInfo, Parameters
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: Names in the message, and rows of the table.
NAMED, LISTED = 3, 30


class ParamsNotOptimized(Rule):
    """Trainable parameters outside every optimizer."""

    code = "TL303"
    name = "params-not-optimized"
    stage = Stage.GRADIENTS
    severity = Severity.ERROR
    summary = "Every parameter that receives gradients is held by an optimizer"
    why = "A layer that no optimizer holds keeps its random start; the loss still falls, so the loss in quality goes unseen."
    source = "PyTorch, torch.optim: https://docs.pytorch.org/docs/stable/optim.html#constructing-it"
    requires = (Parameters, Loop)

    def judge(self, parameters: Parameters, loop: Loop) -> Verdict:
        """Compare what receives gradients with what the optimizers hold."""
        trainable = [p for p in parameters.parameters if p.requires_grad]
        if not loop.optimizers:
            return not_run("no optimizer was built: the parameters are updated by hand")
        if not trainable:
            return not_run("the model has no trainable parameters")
        missing = [p for p in trainable if p.optimizer is None and _received(p)]
        held = [p for p in trainable if p.optimizer is not None]
        if parameters.rebuilt:
            return _rebuilt(parameters)
        if missing and not held:
            if not loop.steps:
                return not_run("no optimizer step was recorded")
            if all(step.without_gradient for step in loop.steps):
                return _stale(parameters, missing)
            return passed(
                "The optimizer updates tensors outside the model, and its steps find their gradients; the model is left as it is.",
                evidence={"measured": 0, "steps": len(loop.steps)},
            )
        if parameters.unregistered and not parameters.foreign:
            return _unregistered(parameters)
        if missing:
            return _missing(parameters, trainable, missing, held, by_hand=loop.manual_updates)
        if parameters.unfrozen_where is not None:
            return _unfrozen(parameters)
        if not held:
            return not_run("no parameter of the model received a gradient")
        return passed(
            f"All {len(held)} parameters that receive gradients are in {'an optimizer' if loop.optimizers == 1 else 'the optimizers'}.",
            evidence={"measured": 0, "expected": 0, "held": len(held)},
        )


def _received(parameter: ParameterInfo) -> bool:
    return parameter.used and (parameter.gradient_norm > 0.0 or any(parameter.gradient_norms) or parameter.gradient == "nonfinite")


def _stale(parameters: Parameters, missing: Sequence[ParameterInfo]) -> Verdict:
    return failed(
        f"The optimizer holds {parameters.foreign} tensors of a model that is not the one being trained: all {len(missing)} parameters of "
        f"{parameters.model or 'the model'} receive gradients, none is updated.",
        severity=Severity.ERROR,
        evidence={"measured": len(missing), "expected": 0, "foreign": parameters.foreign},
        location=_optimizer(parameters),
        fix=Fix(
            summary="Build the optimizer after the model has its final form.",
            code="model = Net()\noptimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)",
            edit=Edit(kind="all-parameters"),
        ),
        details=(_table(missing),),
    )


def _rebuilt(parameters: Parameters) -> Verdict:
    random = [r for r in parameters.rebuilt if r.weights]
    first = (random or parameters.rebuilt)[0]
    what = f"with {first.weights:,} new random weights at every step" if random else "which cannot learn its scale and shift"
    return failed(
        f"The forward of {first.owner} builds its {first.kind} anew each time it runs, {what}: no optimizer can hold it.",
        severity=Severity.ERROR if random else Severity.WARNING,
        evidence={"measured": len(parameters.rebuilt), "expected": 0, "weights": sum(r.weights for r in parameters.rebuilt)},
        location=first.where or parameters.model_where,
        fix=Fix(
            summary=f"Build the layer once, in {first.owner}.__init__, and call it in forward().",
            code=f"def __init__(self):\n    super().__init__()\n    self.layer = nn.{first.kind}(...)",
        ),
        details=(
            Table(
                title="Layers that a forward builds",
                columns=("layer", "built by", "random weights"),
                rows=tuple((r.kind, r.owner, r.weights) for r in parameters.rebuilt[:LISTED]),
            ),
        ),
    )


def _unregistered(parameters: Parameters) -> Verdict:
    first = parameters.unregistered[0]
    attribute = first.owner.rpartition(".")[2]
    keeper = "nn.ModuleDict" if first.kind.startswith("dict") else "nn.ModuleList"
    return failed(
        f"{first.owner} is a {first.kind} with {first.parameters:,} parameters that the model does not register: "
        "model.parameters() leaves them out, so they never learn.",
        severity=Severity.WARNING if parameters.pretrained else Severity.ERROR,
        evidence={"measured": sum(u.parameters for u in parameters.unregistered), "expected": 0, "owner": first.owner},
        location=first.where or parameters.model_where,
        fix=Fix(
            summary=f"Keep the layers in {keeper}.",
            code=f"self.{attribute} = {keeper}({attribute})",
            edit=Edit(kind="register-modules", values={"owner": first.owner, "named": first.named}),
        ),
        details=(
            Table(
                title="Layers that the model does not register",
                columns=("attribute", "what", "parameters"),
                rows=tuple((u.owner, u.kind, u.parameters) for u in parameters.unregistered[:LISTED]),
            ),
        ),
    )


def _unfrozen(parameters: Parameters) -> Verdict:
    names = ", ".join(parameters.waiting[:NAMED]) + (", …" if len(parameters.waiting) > NAMED else "")
    built = _optimizer(parameters)
    return failed(
        f"The loop sets requires_grad of frozen layers to True further on, but the optimizer{f' of line {built.line}' if built else ''} holds none of "
        f"these {len(parameters.waiting)} parameters ({names}), and none is built for them there: they receive gradients and never move.",
        severity=Severity.WARNING,
        evidence={
            "measured": len(parameters.waiting),
            "expected": 0,
            "frozen now": len(parameters.waiting),
            "held": sum(p.optimizer is not None for p in parameters.parameters),
        },
        location=parameters.unfrozen_where,
        fix=Fix(
            summary="Hand the layers to the optimizer when they are unfrozen, at a lower rate, or build the optimizer anew.",
            code='optimizer.add_param_group({"params": model.backbone.parameters(), "lr": lr / 10})',
        ),
    )


def _missing(
    parameters: Parameters,
    trainable: Sequence[ParameterInfo],
    missing: Sequence[ParameterInfo],
    held: Sequence[ParameterInfo],
    *,
    by_hand: bool,
) -> Verdict:
    weights = [p for p in missing if not p.norm_or_bias]
    replaced = bool(parameters.foreign) and (trainable[-1] in missing or not parameters.pretrained)
    meant = by_hand or (parameters.pretrained and not replaced)
    names = ", ".join(p.name for p in sorted(missing, key=lambda p: p.norm_or_bias)[:NAMED]) + (", …" if len(missing) > NAMED else "")
    share = sum(p.size for p in missing) / max(1, sum(p.size for p in trainable))
    old = f"; it holds {parameters.foreign} tensors of a module that is not in use instead" if replaced else ""
    if meant:
        advice = Fix(
            summary="Freeze them if they are meant to stay (this saves their backward pass), else hand them to the optimizer.",
            code="for p in model.backbone.parameters():\n    p.requires_grad = False",
        )
    else:
        advice = Fix(
            summary="Build the optimizer from all parameters, after the last change to the model.",
            code="optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)",
            edit=Edit(kind="all-parameters"),
        )
    return failed(
        f"{len(missing)} of {len(trainable)} trainable parameters ({share:.0%} of the elements: {names}) receive gradients "
        f"but no optimizer holds them{old}.",
        severity=Severity.WARNING if meant or not weights else Severity.ERROR,
        evidence={"measured": len(missing), "expected": 0, "share": share, "held": len(held), "foreign": parameters.foreign},
        location=_optimizer(parameters),
        fix=advice,
        details=(_table(missing),),
    )


def _optimizer(parameters: Parameters) -> Location | None:
    return next((where for where in parameters.optimizer_where if where), parameters.model_where)


def _table(missing: Sequence[ParameterInfo]) -> Table:
    return Table(
        title="Parameters that receive gradients but are in no optimizer",
        columns=("parameter", "layer", "elements", "gradient norm"),
        rows=tuple((p.name, p.module_kind, p.size, p.gradient_norm) for p in missing[:LISTED]),
    )
