"""Finds parameters that the loss cannot reach: a detached tensor, a conversion to numbers, a forward without gradients.

## What it checks

- **Error**: the loss of the first training step is connected to no parameter at all.
- **Error**: an optimizer holds weights whose only way to the loss leads through a `detach()`, `no_grad`, `argmax`, `item()`, numpy or a
  new tensor, and they never receive a gradient in the recorded steps. In a model with loaded weights it is a warning for `detach()` and
  `no_grad`, which is also how a body is kept fixed.
- **Error**: the loss is a new tensor made of numbers, and `requires_grad` is set on it, which silences torch's own error.
- **Warning**: weights whose gradients are exactly zero, because they lead through a softmax over an axis with one entry.
- **Warning**: a tenth or more of the trainable elements took part in the forward and never received a gradient, without a known cut.
- **Warning**: the recurrent weights of a bidirectional layer's reverse direction receive a gradient of exactly zero while those of its
  forward direction learn: only the last time step is read, where the reverse direction has seen one step.
- **Warning**: the state of a recurrent layer is detached between each two steps of one pass over a sequence, four or more, so that every parameter has a gradient
  and nothing is propagated back through time. That is told of torch's cells, of layers called with one step at a time, and of a cell of one's own of which only
  the last step reaches the loss. A state detached between windows of several steps passes.
- **Warning**: a latent is drawn from a normal distribution by `sample()`, which has no gradient, and layers that learn are built on it, while the network that makes
  the distribution learns only from a term of the loss that sees the distribution and nothing else of the data (a divergence from a prior). Policy gradients
  (a density of what was drawn), straight-through estimators, and distributions that are fitted to targets pass.
- **Note**: a tenth or more of them belong to layers that the forward never called.

A teacher with learned weights that makes targets alone, without gradients, passes. Small unused parts pass (a pooler in a Hugging Face model), exactly zero gradients do too (zero-initialised residual branches), and so
do networks whose optimizer has not stepped yet.

## Why it matters

A parameter without gradient never changes. Training goes on with what is behind the cut, and the loss falls a little, which hides the
fault.

## Example

```python
features = self.encoder(x).detach()         # the encoder never learns
return self.head(features)
```

## Fix

Stay in tensors with a graph from the input to the loss; detach only what is logged or stored.

```python
features = self.encoder(x)
return self.head(features)
```

## Thresholds

- A tenth of the trainable elements: unused parts of public models lie below (BERT's pooler has 0.5 % of its elements); to be
  calibrated.
- A cut graph needs no threshold.

## References

- PyTorch, Autograd mechanics: https://docs.pytorch.org/docs/stable/notes/autograd.html
- PyTorch, Probability distributions, pathwise derivative: https://docs.pytorch.org/docs/stable/distributions.html#pathwise-derivative
- PyTorch, Tensor.detach: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.detach.html
"""

from __future__ import annotations

from collections.abc import Sequence

from trainlint.details import Table
from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.location import Location
from trainlint.measurements import BrokenRecurrence, GraphCut, Loop, ParameterInfo, Parameters
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: Share of the trainable elements without gradient, from which on it is worth a word.
SHARE = 0.1
#: Cuts that are also used on purpose, to keep loaded weights as they are.
DELIBERATE = ("detach", "no_grad")
#: Cuts that leave numbers, of which a tensor was made that requires_grad is set on.
NUMBERS = ("item", "numpy", "tolist")
#: Rows of the table.
LISTED = 30

_INSTEAD = {
    "detach": ("Leave out detach() on the way from the parameters to the loss.", "features = self.encoder(x)"),
    "no_grad": ("Take this part of the training forward out of no_grad.", "features = self.encoder(x)      # outside torch.no_grad()"),
    "argmax": ("argmax has no gradient: give the loss the scores themselves.", "loss = F.cross_entropy(scores, targets)"),
    "item": ("Keep the loss a tensor; use item() only for what is printed.", "loss = loss_a + loss_b\nrunning += loss.item()"),
    "numpy": ("Stay in torch: numpy arrays carry no graph.", "distance = torch.linalg.vector_norm(a - b)"),
    "new tensor": ("torch.tensor() copies the numbers and drops the graph: stack the tensors.", "losses = torch.stack(losses)"),
}


class NoGradient(Rule):
    """Parameters that get no gradient although an optimizer holds them."""

    code = "TL304"
    name = "no-gradient"
    stage = Stage.GRADIENTS
    severity = Severity.ERROR
    summary = "Every parameter that is to learn receives a gradient"
    why = "A parameter without gradient never changes; what lies behind the cut still learns a little, which hides the fault."
    source = "PyTorch, Autograd mechanics: https://docs.pytorch.org/docs/stable/notes/autograd.html"
    requires = (Parameters, Loop)

    def judge(self, parameters: Parameters, loop: Loop) -> Verdict:
        """Ask whether the loss has a graph, what is behind a cut, and what is left without explanation."""
        stepped = {step.optimizer for step in loop.steps}
        learning = [p for p in parameters.parameters if p.name not in parameters.teachers]
        trainable = [p for p in learning if p.requires_grad and (p.optimizer is None or p.optimizer in stepped or not stepped)]
        if not any(p.requires_grad for p in parameters.parameters):
            return not_run("every parameter is frozen")
        if not parameters.loss_has_graph:
            return _no_graph(parameters)
        if not trainable:
            return not_run("no trainable parameter belongs to an optimizer that stepped")
        silent = [p for p in trainable if p.optimizer is not None and _silent(p)]
        by_name = {p.name: p for p in silent}
        for cut in sorted(parameters.cuts, key=lambda cut: -len(cut.parameters)):
            behind = [by_name[name] for name in cut.parameters if name in by_name]
            if any(not p.norm_or_bias for p in behind):
                return _cut(cut, behind, trainable, pretrained=parameters.pretrained)
        if blind := _one_step_back(trainable):
            return _last_step_read(blind, parameters)
        if parameters.recurrence is not None:
            return _step_by_step(parameters.recurrence)
        if parameters.constant is not None:
            behind = [p for p in trainable if p.name in parameters.constant.parameters]
            if any(not p.norm_or_bias for p in behind):
                return _one_entry(parameters.constant, behind)
        if parameters.sampled is not None:
            return _sampled(parameters.sampled)
        share = _share(silent, trainable)
        if share >= SHARE:
            return _unexplained(parameters, silent, trainable, loop.step_returns_where)
        return passed(
            f"{len(trainable) - len(silent)} of {len(trainable)} trainable parameters received a gradient"
            + (f"; the others are {share:.1%} of the elements." if silent else "."),
            evidence={"measured": share, "threshold": SHARE, "without gradient": len(silent)},
        )


def _silent(parameter: ParameterInfo) -> bool:
    """No gradient in any recorded step. Exactly zero is a gradient."""
    return parameter.gradient == "none" and not any(parameter.gradient_norms)


def _one_step_back(trainable: Sequence[ParameterInfo]) -> list[ParameterInfo]:
    """Recurrent weights of reverse directions with a gradient of exactly zero in all steps, those of the forward direction having one."""
    learns = {p.name for p in trainable if any(p.gradient_norms)}
    return [
        p
        for p in trainable
        if p.name.rpartition(".")[2].startswith("weight_hh_")
        and p.name.endswith("_reverse")
        and p.gradient == "zero"
        and not any(p.gradient_norms)
        and {p.name.removesuffix("_reverse"), p.name.replace("weight_hh_", "weight_ih_")} <= learns
    ]


def _last_step_read(blind: Sequence[ParameterInfo], parameters: Parameters) -> Verdict:
    first = blind[0]
    return failed(
        f"{first.name} has a gradient of exactly zero in every step while the forward direction's has not: only the last time step of "
        f"the {first.module_kind}'s output is read, where its reverse direction has seen one step of the sequence.",
        severity=Severity.WARNING,
        evidence={"measured": 0.0, "parameters": len(blind)},
        location=parameters.model_where,
        fix=Fix(
            summary="Read each direction's final state, or pool the outputs over time.",
            code="output, (h, c) = self.lstm(x)\nfeatures = torch.cat([h[-2], h[-1]], dim=1)",
        ),
        details=(_table(blind),),
    )


def _share(silent: Sequence[ParameterInfo], trainable: Sequence[ParameterInfo]) -> float:
    return sum(p.size for p in silent) / max(1, sum(p.size for p in trainable))


def _no_graph(parameters: Parameters) -> Verdict:
    cut = next(iter(parameters.cuts), None)
    where: Location | None
    if parameters.grad_globally_off:
        where, reason = parameters.grad_globally_off, "gradients were switched off for the whole program"
        advice = Fix(
            summary="Switch gradients off for validation only.",
            code="with torch.no_grad():\n    validate(model)",
            edit=Edit(kind="allow-gradients"),
        )
    elif parameters.forced_where is not None and (cut is None or cut.where is None or cut.kind in NUMBERS):
        where, reason = parameters.forced_where, "requires_grad is set here on a tensor that comes from numbers, not from the model"
        advice = Fix(
            summary="Keep the loss as torch computed it: a new tensor has no graph, and requires_grad on it only silences the error.",
            code="loss = torch.stack(losses).mean()  # not torch.tensor(losses, requires_grad=True)",
            edit=Edit(kind="keep-graph", values={"of": "numbers" if cut else "tensors"}),
        )
    elif parameters.no_grad_calls and (cut is None or cut.where is None or cut.kind == "no_grad"):
        where, reason = parameters.no_grad_calls[0], "the training forward ran without gradients"
        advice = Fix(
            summary="Call the model outside no_grad when training.",
            code="outputs = model(inputs)  # outside no_grad()",
            edit=Edit(kind="keep-gradients", values={"cut": "no_grad"}),
        )
    elif cut:
        where, reason, advice = cut.where or parameters.model_where, f"the graph ends at {_article(cut.kind)}", _fix(cut)
    else:
        where, reason = parameters.model_where, "the graph ends somewhere between the model's output and the loss"
        advice = Fix(
            summary="Compute the loss from the model's output with torch operations alone, and do not set requires_grad on it.",
            code="loss = criterion(model(inputs), targets)\nloss.backward()",
        )
    return failed(
        f"The loss depends on no parameter: {reason}, so nothing can learn.",
        severity=Severity.ERROR,
        evidence={"measured": 0, "expected": len(parameters.parameters)},
        location=where,
        fix=advice,
    )


def _cut(cut: GraphCut, behind: Sequence[ParameterInfo], trainable: Sequence[ParameterInfo], *, pretrained: bool) -> Verdict:
    share = _share(behind, trainable)
    meant = pretrained and cut.kind in DELIBERATE
    return failed(
        f"{len(behind)} parameters ({share:.0%} of the trainable elements, {behind[0].name} first) never receive a gradient: "
        f"their only way to the loss leads through {_article(cut.kind)}.",
        severity=Severity.WARNING if meant else Severity.ERROR,
        evidence={"measured": len(behind), "expected": 0, "share": share, "cut": cut.kind},
        location=cut.where,
        fix=_fix(cut),
        details=(_table(behind),),
    )


def _step_by_step(broken: BrokenRecurrence) -> Verdict:
    taught = "only the last step teaches it" if broken.reached <= 1 else "each step teaches it alone"
    lines: list[Json] = list(broken.lines)
    return failed(
        f"Nothing is propagated back through time: between each two of the {broken.steps} steps of {broken.layer} the state leads through "
        f"{_article(broken.kind)}, so that {taught}, and what an early step should keep for a later one is never learned. "
        "Ignore this where steps are to be learned one by one.",
        severity=Severity.WARNING,
        evidence={"measured": broken.reached, "expected": broken.steps, "steps": broken.steps, "cut": broken.kind},
        location=broken.where,
        fix=Fix(
            summary="Hand the state on as it is within a sequence; detach it between sequences, or between windows of many steps, only.",
            code="for t in range(x.size(1)):\n    h, c = self.cell(x[:, t], (h, c))",
            edit=Edit(kind="keep-gradients", at=broken.where, values={"cut": "detach", "lines": lines}) if lines else None,
        ),
    )


def _one_entry(cut: GraphCut, behind: Sequence[ParameterInfo]) -> Verdict:
    return failed(
        f"{len(behind)} parameters ({behind[0].name} first) get gradients of exactly zero: they lead through a {cut.kind} over an axis with one entry, "
        "which is the same whatever goes in.",
        severity=Severity.WARNING,
        evidence={"measured": len(behind), "expected": 0, "operation": cut.kind},
        location=cut.where,
        fix=Fix(
            summary="Normalise over the axis whose entries compete: the positions of a sequence, the members of a set, the classes.",
            code="weights = scores.softmax(dim=1)  # scores: (batch, positions, 1)",
        ),
        details=(_table(behind),),
    )


def _sampled(cut: GraphCut) -> Verdict:
    return failed(
        f"What is drawn here carries no gradient, so that {len(cut.parameters)} parameters that make its distribution ({', '.join(cut.parameters[:1])} first) learn nothing from "
        "what is made of the draw: their only gradient is that of a term that sees the distribution alone, which pulls it to one and the same for all samples.",
        severity=Severity.WARNING,
        evidence={"measured": len(cut.parameters), "expected": 0, "parameters": list(cut.parameters[:LISTED])},
        location=cut.where,
        fix=Fix(
            summary="Draw with rsample(), which is differentiable by the distribution's parameters (the reparametrisation); sample() is for evaluation and policy gradients.",
            code="z = torch.distributions.Normal(mean, std).rsample()   # mean + std * torch.randn_like(std)",
            edit=Edit(kind="keep-gradients", at=cut.where, values={"cut": cut.kind}),
        ),
    )


def _unexplained(
    parameters: Parameters, silent: Sequence[ParameterInfo], trainable: Sequence[ParameterInfo], returns: Location | None
) -> Verdict:
    used = [p for p in silent if p.used]
    severe = _share(used, trainable) >= SHARE
    shown = used if severe else silent
    share = _share(shown, trainable)
    what = "took part in the forward but never received a gradient" if severe else "are never reached by the forward"
    return failed(
        f"{len(shown)} of {len(trainable)} trainable parameters ({share:.0%} of the elements, {shown[0].name} first) {what}.",
        severity=Severity.WARNING if severe else Severity.NOTE,
        evidence={"measured": share, "expected": 0.0, "threshold": SHARE, "parameters": len(shown)},
        location=returns or parameters.model_where,
        fix=_RETURN
        if returns is not None
        else Fix(summary="Use their output in the loss, or remove or freeze them.", code="model.unused_part.requires_grad_(False)"),
        details=(_table(shown),),
    )


#: A framework skips a training step that gives it no loss.
_RETURN = Fix(summary="Return the loss on every path through the training step.", code="return loss", edit=Edit(kind="return-loss"))


def _article(kind: str) -> str:
    return {
        "detach": "a detach()",
        "detach_": "a detach_()",
        "data": "its .data",
        "no_grad": "no_grad",
        "argmax": "an argmax",
        "item": "an item()",
    }.get(kind, kind)


def _fix(cut: GraphCut) -> Fix:
    summary, code = _INSTEAD.get(cut.kind, ("Keep every operation from the parameters to the loss differentiable.", ""))
    edit = Edit(kind="keep-gradients", at=cut.where, values={"cut": cut.kind}) if cut.kind in ("detach", "no_grad", "item") else None
    if cut.kind == "new tensor":
        edit = Edit(kind="keep-graph", at=cut.where, values={"of": "tensors"})
    return Fix(summary=summary, code=code, edit=edit)


def _table(parameters: Sequence[ParameterInfo]) -> Table:
    return Table(
        title="Parameters without gradient",
        columns=("parameter", "layer", "elements"),
        rows=tuple((p.name, p.module_kind, p.size) for p in parameters[:LISTED]),
    )
