"""Checks that each step lets go of its graph.

## What it checks

A mark is left in the graph of each loss and each model output. Where marks of earlier steps are alive when the next ones are made, and
more of them from step to step, something keeps the history of training; its variable is looked up. The size of each graph is
counted as well.

- **Warning**: the losses or outputs of three or more earlier steps, at least half of all that were made, are alive at once; or
  backward() runs through a graph that is larger from step to step, to three times the first and more.

Healthy and passed: a loss that is kept for printing until the next iteration, values taken with `.item()` or `.detach()`, losses that are
summed up before one backward(), recurrent steps of different lengths.

## Why it matters

Every kept loss keeps the graph that made it, and with `retain_graph=True` all activations as well. Memory grows by the step until
it runs out, hours later. A hidden state that is carried on without `detach()` makes each backward() slower than the last, and trains
through the whole past.

## Example

```python
for x, y in loader:
    loss = criterion(model(x), y)
    loss.backward()
    total += loss
```

## Fix

```python
total += loss.item()
state = state.detach()  # before the next piece of the sequence
```

## Thresholds

- Three graphs made at the same place: loops that keep the last loss for printing have one, alternating schemes one a place. None
  of 30 healthy scripts reached three, Lightning, accelerate and transformers among them.
- Three times the first graph, and larger at each of five steps or more: graphs of texts of different lengths go up and down.

## References

- PyTorch, FAQ, My model reports cuda runtime error out of memory: https://docs.pytorch.org/docs/stable/notes/faq.html
- PyTorch, Autograd mechanics: https://docs.pytorch.org/docs/stable/notes/autograd.html
- Williams, Peng, An efficient gradient-based algorithm for on-line training of recurrent networks, 1990: https://doi.org/10.1162/neco.1990.2.4.490
"""

from __future__ import annotations

import itertools

from trainlint.details import Line, Series
from trainlint.finding import Edit, Fix, Severity, Stage
from trainlint.measurements import Retained
from trainlint.rule import Rule, Verdict, failed, passed

#: Living graphs that are a history, and their least share of all that were made.
HISTORY, SHARE = 3, 0.5
#: Steps in a row with a larger graph each, and how much larger the last is than the first.
STEPS, GROWTH = 5, 3.0


class GraphRetained(Rule):
    """Looks for graphs that live on, and for graphs that grow."""

    code = "TL315"
    name = "graph-retained"
    stage = Stage.GRADIENTS
    severity = Severity.WARNING
    summary = "Each step lets go of its graph"
    why = "A kept loss keeps the graph that made it: memory grows by the step until it runs out, and carried states make each backward slower than the last."
    source = "PyTorch, FAQ, out of memory: https://docs.pytorch.org/docs/stable/notes/faq.html"
    requires = (Retained,)

    def judge(self, retained: Retained) -> Verdict:
        """Judge growth of one graph first: it is the worse."""
        nodes = retained.nodes
        if len(nodes) >= STEPS and nodes[-1] >= GROWTH * nodes[0] and all(b > a for a, b in itertools.pairwise(nodes)):
            return _growing(retained)
        if retained.variable and retained.alive >= HISTORY and retained.alive + 1 >= SHARE * retained.made:
            return _kept(retained)
        return passed(
            f"At most {retained.alive} graph{' of an earlier step was' if retained.alive == 1 else 's of earlier steps were'} alive at once.",
            evidence={"measured": retained.alive, "threshold": HISTORY, "variable": retained.variable},
        )


def _growing(retained: Retained) -> Verdict:
    nodes = retained.nodes
    return failed(
        f"backward() goes through {nodes[0]:,} nodes at its first step and through {nodes[-1]:,} at its {len(nodes)}th, more at each: "
        "something made in earlier steps is carried on with its graph.",
        severity=Severity.WARNING,
        evidence={"measured": nodes[-1], "expected": nodes[0], "threshold": GROWTH, "variable": retained.variable},
        location=retained.backward_where,
        fix=Fix(
            summary="Detach what is carried from step to step, and drop retain_graph=True.",
            code="state = state.detach()",
        ),
        details=(
            Series(
                title="Nodes that backward() goes through",
                x_label="step",
                y_label="nodes",
                lines=(Line(name="nodes", x=tuple(map(float, range(1, len(nodes) + 1))), y=tuple(map(float, nodes))),),
            ),
        ),
    )


def _kept(retained: Retained) -> Verdict:
    what = "losses" if retained.kind == "loss" else "model outputs"
    value = "loss.item()" if retained.kind == "loss" else "outputs.detach()"
    name = retained.variable
    if retained.listed or retained.added:
        fix = Fix(
            summary="Keep the value and not the tensor.",
            code=f"{name}.append({value})" if retained.listed else f"{name} += {value}",
            edit=Edit(kind="keep-value", values={"loss": retained.kind == "loss"}),
        )
    else:
        fix = Fix(summary="Detach what is carried on from call to call.", code="state = state.detach()")
    return failed(
        f"The graphs of {retained.alive} of {retained.made} earlier {what} are alive at once, held by {retained.variable}, and more at each step.",
        severity=Severity.WARNING,
        evidence={"measured": retained.alive, "expected": 1, "threshold": HISTORY, "variable": retained.variable},
        location=retained.where,
        fix=fix,
    )
