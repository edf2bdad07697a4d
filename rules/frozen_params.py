"""Finds parameters with `requires_grad=False` that should learn.

## What it checks

- **Error**: every parameter of the model is frozen, so nothing can learn.
- **Error**: `load_state_dict(strict=False)` matched no name of a module that is used: nothing was loaded, frozen or not.
- **Warning**: a tenth or more of the weights of linear, convolutional, attention and recurrent layers are frozen although no weights
  were loaded into the model: they stay at random values for good.
- **Warning**: in a frozen embedding (`nn.Embedding.from_pretrained` freezes by default) a tenth or more of the words that the data uses often have one
  vector between them, such as zeros or an average, while the others have their own: new words cannot be told apart, and never will.
- **Warning**: a frozen backbone's BatchNorm layers are in training mode, so their running statistics drift away from the ones that its
  weights were trained with.
- **Warning**: a network with learned weights makes nothing but targets (a teacher in distillation), yet receives gradients through them and is held by
  the optimizer: it moves towards the student.

A frozen body under loaded weights is fine-tuning and passes. So do frozen embeddings with a vector for each word and fixed position tables, momentum copies of a
trained network (BYOL, MoCo), and a discriminator that is frozen only while the generator steps.

## Why it matters

A frozen layer keeps the values it started with. Under pretrained weights that is the plan; under random ones the layer passes noise on,
and the rest of the network can only do its best with it.

## Example

```python
model = Net()                               # from scratch, nothing loaded
for p in model.features.parameters():
    p.requires_grad = False                 # left over from a fine-tuning script
```

## Fix

Freeze only what was loaded; keep the frozen part in eval mode, so that its BatchNorm statistics stay, too.

```python
model.features.load_state_dict(torch.load("features.pt"))
model.features.requires_grad_(False)
model.features.eval()                       # again after every model.train()
```

## Thresholds

- A tenth of the words that occur five times in the recorded batches, and five of them: with a table of word vectors that fits the tokenizer, words
  without a vector are rare ones. A table of groups, in which the other rows are shared as well, passes. A judgement.
- A tenth of the weights: below it lie fixed filters and projections that are frozen by design. A judgement.
- Everything frozen and moving BatchNorm statistics need no threshold.

## References

- PyTorch, Autograd mechanics, Setting requires_grad: https://docs.pytorch.org/docs/stable/notes/autograd.html
- Keras, Transfer learning and fine-tuning (BatchNormalization in a frozen model): https://keras.io/guides/transfer_learning/
- Grill et al. 2020, BYOL (a momentum copy that is frozen on purpose): https://arxiv.org/abs/2006.07733
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trainlint.details import Table
from trainlint.finding import Edit, Fix, Severity, Stage
from trainlint.measurements import MovingTargets, ParameterInfo, Parameters, SharedRows
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: Share of frozen weights in a model without loaded weights, from which on freezing is called a fault.
FROZEN_SHARE = 0.1
#: Share of the words used often that may have one vector between them in a frozen embedding.
SHARED = 0.1
#: How the class names of layers begin whose weights have to be learned.
WEIGHT_LAYERS = ("Linear", "NonDynamicallyQuantizableLinear", "Conv", "MultiheadAttention", "LSTM", "GRU", "RNN", "Bilinear")
#: Rows of the table.
LISTED = 30


class FrozenParams(Rule):
    """Frozen parameters that should learn."""

    code = "TL302"
    name = "frozen-params"
    stage = Stage.GRADIENTS
    severity = Severity.ERROR
    summary = "Only parameters with loaded values are frozen"
    why = "A frozen layer keeps its starting values for good; if these are random, the rest of the network works on noise."
    source = "PyTorch, Autograd mechanics: https://docs.pytorch.org/docs/stable/notes/autograd.html"
    requires = (Parameters,)

    def judge(self, parameters: Parameters) -> Verdict:
        """Ask what is frozen, whether its values were loaded, and whether its BatchNorm stands still."""
        everything = parameters.parameters
        if not everything:
            return not_run("no model with parameters took part in the recorded steps")
        frozen = [p for p in everything if _frozen(p)]
        if parameters.void_load_where is not None:
            return _void(parameters, frozen)
        if len(frozen) == len(everything) and parameters.loose:
            return passed(
                f"{parameters.model or 'The model'} is frozen, and the optimizer trains {parameters.loose} "
                f"{'tensor' if parameters.loose == 1 else 'tensors'} of the script's own through it, such as an image.",
                evidence={"measured": len(frozen), "trainable": parameters.loose},
            )
        if len(frozen) == len(everything):
            return failed(
                f"All {len(frozen)} parameters of {parameters.model or 'the model'} have requires_grad=False: nothing can learn.",
                severity=Severity.ERROR,
                evidence={"measured": len(frozen), "expected": 0, "trainable": 0},
                location=parameters.frozen_where or parameters.model_where,
                fix=Fix(
                    summary="Leave the part that is to learn unfrozen.",
                    code="model.head.requires_grad_(True)",
                    edit=None if parameters.pretrained else Edit(kind="unfreeze", at=parameters.frozen_where),
                ),
            )
        weights = [p for p in everything if _learns(p)]
        twins = _trainable_twins(everything)
        stuck = [p for p in weights if _frozen(p) and not any((p.shape, variant) in twins for variant in _variants(p.name))]
        share = _size(stuck) / max(1, _size(weights))
        if not parameters.pretrained and share >= FROZEN_SHARE:
            held = sum(p.optimizer is not None for p in stuck)
            return failed(
                f"{len(stuck)} of {len(weights)} weight tensors ({share:.0%} of the weights) have requires_grad=False in a model without "
                f"loaded weights: they stay at their random values{', although the optimizer holds them' if held else ''}.",
                severity=Severity.WARNING,
                evidence={"measured": share, "expected": 0.0, "threshold": FROZEN_SHARE, "tensors": len(stuck), "in an optimizer": held},
                location=parameters.frozen_where or parameters.model_where,
                fix=Fix(
                    summary="Let them learn, or load trained weights before freezing.",
                    code=f"model.{_common(stuck)}requires_grad_(True)",
                    edit=Edit(kind="unfreeze", at=parameters.frozen_where) if parameters.frozen_where else None,
                ),
                details=(_table(stuck),),
            )
        shared = parameters.shared_rows
        if shared is not None and shared.words >= SHARED * shared.used:
            return _together(shared)
        if parameters.moving_targets is not None:
            return _teacher(parameters.moving_targets)
        if parameters.pretrained and parameters.batchnorm_moving_while_frozen:
            count = parameters.batchnorm_moving_while_frozen
            return failed(
                f"{count} BatchNorm layers have frozen weights but are in training mode: their running statistics move away from those "
                "that the loaded weights were trained with.",
                severity=Severity.WARNING,
                evidence={"measured": count, "expected": 0},
                location=parameters.frozen_where or parameters.model_where,
                fix=Fix(
                    summary="Put the frozen layers into eval mode after every model.train().",
                    code="model.train()\nfor module in model.modules():\n    if isinstance(module, nn.BatchNorm2d) "
                    "and not module.weight.requires_grad:\n        module.eval()",
                ),
            )
        if not frozen:
            return passed(f"All {len(everything)} parameters are trainable.", evidence={"measured": 0})
        return passed(
            f"{len(frozen)} of {len(everything)} parameters are frozen{' in a model with loaded weights' if parameters.pretrained else ''}.",
            evidence={"measured": share, "threshold": FROZEN_SHARE, "tensors": len(frozen)},
        )


def _void(parameters: Parameters, frozen: Sequence[ParameterInfo]) -> Verdict:
    """A checkpoint none of whose names is the model's, which strict=False keeps quiet about."""
    given, own = parameters.void_load_names
    then = f", and {len(frozen)} of {len(parameters.parameters)} parameters are then frozen at their random values" if frozen else ""
    return failed(
        f"load_state_dict(strict=False) matched no name, so nothing was loaded: the checkpoint has '{given}', the module '{own}'{then}.",
        severity=Severity.ERROR,
        evidence={"measured": 0, "expected": "names that match", "frozen": len(frozen), "checkpoint": given, "module": own},
        location=parameters.void_load_where,
        fix=Fix(
            summary="Bring the names into line, and look at what load_state_dict() says is missing.",
            code="state = {name.removeprefix('module.'): value for name, value in state.items()}\n"
            "missing = model.load_state_dict(state, strict=False).missing_keys\nassert len(missing) < len(state), missing",
        ),
    )


def _together(shared: SharedRows) -> Verdict:
    """Words without a vector of their own in a table that does not learn."""
    vector = "are zeros" if shared.zeros else "have one vector between them"
    return failed(
        f"{shared.words} of the {shared.used} words that the recorded batches use often {vector} in {shared.name or 'an embedding'}, which is frozen: the "
        "model cannot tell them apart, and they cannot learn.",
        severity=Severity.WARNING,
        evidence={"measured": shared.words / shared.used, "expected": 0.0, "threshold": SHARED, "words": shared.words},
        location=shared.where,
        fix=Fix(
            summary="Let the embedding learn: from_pretrained freezes it unless told otherwise. Or give these words vectors of their own.",
            code="nn.Embedding.from_pretrained(vectors, freeze=False)",
            edit=Edit(kind="learn-table", at=shared.where) if shared.where is not None else None,
        ),
    )


def _teacher(moving: MovingTargets) -> Verdict:
    """A network that is to be learned from, and learns itself."""
    count = len(moving.parameters)
    names = ", ".join(moving.parameters[:2]) + (", …" if count > 2 else "")
    return failed(
        f"The targets of {moving.loss} are made by a network with learned weights ({names}), which receives gradients through them and is stepped by "
        f"the optimizer: its {count} parameters move towards what the other network says, and the loss falls although little is learned.",
        severity=Severity.WARNING,
        evidence={"measured": count, "expected": 0, "targets of": moving.loss},
        location=moving.where,
        fix=Fix(
            summary="Make the targets without gradients, and leave the teacher out of the optimizer.",
            code="teacher.eval()\nwith torch.no_grad():\n    target = teacher(inputs)\noptimizer = torch.optim.Adam(student.parameters())",
            edit=Edit(kind="detach-target", values={"parameters": list(moving.parameters)}),
        ),
    )


def _frozen(parameter: ParameterInfo) -> bool:
    """Frozen throughout: a network that is only held still while another one steps gets gradients later on."""
    return not parameter.requires_grad and not any(parameter.gradient_norms)


def _learns(parameter: ParameterInfo) -> bool:
    return parameter.used and not parameter.norm_or_bias and parameter.module_kind.startswith(WEIGHT_LAYERS)


def _size(parameters: Iterable[ParameterInfo]) -> int:
    return sum(p.size for p in parameters)


def _trainable_twins(everything: Sequence[ParameterInfo]) -> set[tuple[tuple[int, ...], tuple[str, ...]]]:
    """Shapes and names of what a momentum copy may copy; its own names differ by one word (``online.0.weight``, ``target.0.weight``)."""
    return {(p.shape, variant) for p in everything if p.requires_grad for variant in _variants(p.name)}


def _variants(name: str) -> Iterable[tuple[str, ...]]:
    """Leave out one word of the name at a time; numbers are places in a Sequential and stay."""
    words = name.split(".")
    if len(words) > 2:
        for i, word in enumerate(words[:-1]):
            if not word.isdigit():
                yield (*words[:i], "*", *words[i + 1 :])


def _common(parameters: Sequence[ParameterInfo]) -> str:
    """Give the first word of the names with a dot, when it is the same for all."""
    first = {p.name.partition(".")[0] for p in parameters if "." in p.name}
    return f"{first.pop()}." if len(first) == 1 and all("." in p.name for p in parameters) else ""


def _table(stuck: Sequence[ParameterInfo]) -> Table:
    return Table(
        title="Frozen weights",
        columns=("parameter", "layer", "elements"),
        rows=tuple((p.name, p.module_kind, p.size) for p in stuck[:LISTED]),
    )
