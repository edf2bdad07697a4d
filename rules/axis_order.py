"""Axes are swapped by transposing them, not by reshaping.

## What it checks

`view` and `reshape` move no number: they cut the same memory into other pieces. Each one of the recorded step is compared with the shape
before it. An **error** where the result has the same axes in another order, or splits off parts of an axis and puts them before one that they lie behind:

- heads: `(B, T, C)` read as `(B, heads, T, C // heads)`, or brought together again without being transposed back;
- sequences: `(B, C, T)` read as `(B, T, C)`, and logits `(B, classes, T)` as `(B * T, classes)`;
- pictures: `(B, H, W, C)` read as `(B, C, H, W)`, patches `(B, N, C)` as `(B, C, h, w)`;
- heads of detectors: `(B, boxes * C, H, W)` read as `(B, H * W * boxes, C)`, where scores, classes and places are then taken from the last axis;
- batches: what a collate function stacks along another axis (`pad_sequence` gives `(T, B)`) read as `(B, T)`. It is handed one sample several times:
  rows that are not equal then, but are along another axis, tell.

Only sizes that differ can tell: with as many heads as time steps the right and the wrong reading look the same. Not judged either: what does not
depend on the batch, or is padded before or sliced after (as relative positions are shifted), or is read by no operation to which the order of axes
matters; two axes of which one is a multiple of the other, unless layers make and read features by that size (frames may have been stacked); the code of
libraries. Where samples themselves come apart, sample-mixing says so.

## Why it matters

Shapes fit, nothing crashes, and the loss goes down: every layer learns from what it is given. But a head then holds pieces of several time steps, a pixel
those of its neighbours, and the order in which attention or a convolution could find something is gone.

## Example

```python
q = self.q(x).view(B, self.heads, T, C // self.heads)
```

## Fix

Split the axis where it lies, then swap. On the way back swap first, then join.

```python
q = self.q(x).view(B, T, self.heads, C // self.heads).transpose(1, 2)
y = y.transpose(1, 2).reshape(B, T, C)
```

## Thresholds

None: sizes have one reading or they have not. Of 272 models of timm (97 families), 155 small ones of transformers and 29 of torchvision none is told to
have a slip, all of them looked at before heads of detectors were. Four of them turn axes by a reshape on purpose, for relative positions or sliding windows, and are known by slices and padding; two join
neighbours whose sizes happen to be those of other axes.

## References

- PyTorch, Tensor.view: <https://docs.pytorch.org/docs/stable/generated/torch.Tensor.view.html>
- Karpathy, A Recipe for Training Neural Networks, "use backprop to chart dependencies": <https://karpathy.github.io/2019/04/25/recipe/>
- Vaswani et al., Attention Is All You Need, section 3.2.2 on heads: <https://arxiv.org/abs/1706.03762>
"""

from __future__ import annotations

from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.measurements import AxisOrder as Reshapes
from trainlint.measurements import Reshape
from trainlint.rule import Rule, Verdict, failed, passed


class AxisOrder(Rule):
    """Looks for reshapes where a transpose was meant."""

    code = "TL109"
    name = "axis-order"
    stage = Stage.WIRING
    severity = Severity.ERROR
    summary = "Axes are swapped by transposing, not by reshaping"
    why = "A reshape moves no number: what it calls a head, a time step or a pixel is made of pieces of several."
    source = "PyTorch, Tensor.view: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.view.html"
    requires = (Reshapes,)

    def judge(self, found: Reshapes) -> Verdict:
        """The first reshape that scrambles is told, with the lines of the others."""
        if not found.slips:
            count = f"None of {found.reshapes} reshapes brings" if found.reshapes else "There is no reshape that could bring"
            return passed(f"{count} axes into another order.", evidence={"measured": 0, "reshapes": found.reshapes})
        first, others = found.slips[0], found.slips[1:]
        lines = [f"{o.where.file}:{o.where.line}" for o in others if o.where is not None]
        more = f" So do {len(others)} more: {', '.join(lines[:3])}{', ...' if len(lines) > 3 else ''}." if others else ""
        evidence: dict[str, Json] = {
            "measured": len(found.slips),
            "expected": 0,
            "reshapes": found.reshapes,
            "before": list(first.before),
            "after": list(first.after),
        }
        return failed(
            f"{first.operation} reads {first.before} as {first.after} without moving a number: the same axes in another order, so that "
            f"{first.reader or 'what follows'} is given pieces of several where it expects one.{more}",
            severity=Severity.ERROR,
            evidence=evidence,
            location=first.where,
            fix=Fix(
                summary="Split axes where they lie and swap them by transpose or permute; join them after they are swapped back.",
                code=_mended(first),
                edit=Edit(kind="swap-axes", values={"places": [_place(s) for s in found.slips if _with(first, s)]}),
            ),
        )


def _with(first: Reshape, other: Reshape) -> bool:
    """Whether both stand in one file."""
    return (
        first.where is not None and other.where is not None and (first.where.file, first.where.cell) == (other.where.file, other.where.cell)
    )


def _place(slip: Reshape) -> Json:
    line = slip.where.line if slip.where is not None else 0
    return {"line": line, "before": list(slip.before), "after": list(slip.after), "opened": list(slip.opened), "order": list(slip.order)}


def _mended(slip: Reshape) -> str:
    """The reshape as it was meant, in the sizes of the recorded step."""
    swapped = tuple(slip.opened[axis] for axis in slip.order if 0 <= axis < len(slip.opened))
    cut = "" if slip.opened == slip.before else f".reshape({_sizes(slip.opened, slip.before)})"
    join = "" if swapped == slip.after else f".reshape({_sizes(slip.after, slip.before)})"
    return f"x = x{cut}{_move(slip.order)}{join}  # {slip.before} -> {slip.after}"


def _sizes(shape: tuple[int, ...], before: tuple[int, ...]) -> str:
    """The sizes as arguments, that of the batch as it is at run time."""
    batch = "x.size(0)" if shape[:1] == before[:1] else "-1"
    return ", ".join([batch, *map(str, shape[1:])])


def _move(order: tuple[int, ...]) -> str:
    moved = [axis for axis, source in enumerate(order) if axis != source]
    if len(moved) == 2:
        return f".transpose({moved[0]}, {moved[1]})"
    return f".permute({', '.join(map(str, order))})"
