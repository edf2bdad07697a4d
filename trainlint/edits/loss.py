"""Edits at the loss: shapes, reduction, targets, weights."""

from __future__ import annotations

import libcst as cst

from trainlint.edits.changes import Changes, argument, expression, keyword, operand
from trainlint.edits.numbers import number_at
from trainlint.edits.script import Script, Unsure
from trainlint.finding import Json

__all__ = [
    "constants",
    "divide_loss",
    "drop_smoothing",
    "harden_not",
    "ignore_index",
    "pos_weight",
    "reduce",
    "scale_target",
    "squeeze",
    "swap_loss",
    "swap_shares",
]

_LOSSES = {
    "cross_entropy": "CrossEntropyLoss",
    "nll_loss": "NLLLoss",
    "binary_cross_entropy": "BCELoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
    "mse_loss": "MSELoss",
    "l1_loss": "L1Loss",
    "smooth_l1_loss": "SmoothL1Loss",
    "huber_loss": "HuberLoss",
    "kl_div": "KLDivLoss",
}


def loss_call(script: Script, line: int, kind: str) -> cst.Call:
    """The call of the loss function, or of a criterion, with prediction and target on a line."""
    calls = [c for c in script.calls(line) if script.covers(c, line) or True]
    named = [c for c in calls if script.last(c) == kind]
    if len(named) == 1:
        return named[0]
    two = [
        c for c in calls if len([a for a in c.args if not a.star and (a.keyword is None or a.keyword.value in ("input", "target"))]) >= 2
    ]
    two = [c for c in two if "loss" in script.name(c).lower() or "crit" in script.name(c).lower() or _makes(script, c, kind)]
    if len(two) != 1:
        raise Unsure("the line does not call just one loss")
    return two[0]


def _makes(script: Script, call: cst.Call, kind: str) -> bool:
    return any(script.last(b) == _LOSSES.get(kind) for b in (script.built(script.name(call), call) if script.name(call) else []))


def _criterion(script: Script, line: int, kind: str) -> cst.Call:
    """The function call, or the building of the criterion: where options of the loss are set."""
    module = _LOSSES.get(kind, "")
    built = [c for c in script.calls(line) if script.last(c) == module]
    if len(built) == 1:
        return built[0]
    call = loss_call(script, line, kind)
    if script.last(call) == kind:
        return call
    made = [c for c in script.built(script.name(call), call) if script.last(c) == module]
    if len(made) != 1:
        # Handed in as a parameter: the only one of its kind in the file.
        made = [c for c in script.all(cst.Call) if script.last(c) == module]
    if len(made) != 1:
        raise Unsure("it is not clear where the criterion was built")
    return made[0]


def squeeze(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Drop the last axis of the prediction or of the target, or give the target the prediction's shape."""
    call = loss_call(script, line, str(values["loss"]))
    plain = [a for a in call.args if a.keyword is None]
    first = argument(call, "input", 0)
    second = argument(call, "target", 1 if len(plain) > 1 else 0)
    if first is None or second is None:
        raise Unsure("the loss does not get prediction and target by themselves")
    which = values["change"]
    arg = first if which == "prediction" else second
    code = script.code(operand(arg.value))
    if which == "view":
        if not isinstance(first.value, (cst.Name, cst.Attribute)):
            raise Unsure("the prediction has no name")
        return Changes(script).replace(arg.value, expression(f"{code}.view_as({script.code(first.value)})"))
    if isinstance(arg.value, cst.Call) and script.last(arg.value) == "unsqueeze":
        raise Unsure("the axis is added on the same line on purpose")
    return Changes(script).replace(arg.value, expression(f"{code}.squeeze(-1)"))


def reduce(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Set the reduction of a loss that is summed; the mean is the default and needs no argument."""
    call = _criterion(script, line, str(values["loss"]))
    to = str(values["reduction"])
    given = argument(call, "reduction")
    if given is None and to != "mean":
        return Changes(script).rework(call, lambda c: keyword(c, "reduction", f'"{to}"'))
    if given is None or not isinstance(given.value, cst.SimpleString):
        raise Unsure("the reduction is not written in the call")
    if to != "mean":
        quote = given.value.quote
        return Changes(script).replace(given.value, cst.SimpleString(f"{quote}{to}{quote}"))
    return Changes(script).rework(call, lambda c: _without(c, "reduction"))


def _without(call: cst.Call, name: str) -> cst.Call:
    """The call without a keyword."""
    args = [a for a in call.args if a.keyword is None or a.keyword.value != name]
    if args and args[-1] is not call.args[-1]:
        args[-1] = args[-1].with_changes(comma=call.args[-1].comma, whitespace_after_arg=call.args[-1].whitespace_after_arg)
    return call.with_changes(args=args)


def drop_smoothing(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Leave out ``label_smoothing``."""
    call = _criterion(script, line, str(values["loss"]))
    if argument(call, "label_smoothing") is None:
        raise Unsure("label_smoothing is not written in the call")
    return Changes(script).rework(call, lambda c: _without(c, "label_smoothing"))


def swap_loss(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Put another loss function in the place of one: by name, its arguments kept."""
    old, new = str(values["loss"]), str(values["to"])
    call = _criterion(script, line, old)
    name = new if script.last(call) == old else _LOSSES[new]
    if not isinstance(call.func, cst.Attribute):
        raise Unsure("the loss was imported by its own name")
    known = ("weight", "reduction", "ignore_index", "target", "input")
    if any(a.keyword is not None and a.keyword.value not in known for a in call.args):
        raise Unsure("an argument of the loss may not exist in the other one")
    return Changes(script).replace(call.func.attr, cst.Name(name))


def ignore_index(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Let the loss leave out the padding id, by the name that the file has for it."""
    index = str(values["index"])
    call = _criterion(script, line, str(values.get("loss") or "cross_entropy"))
    if argument(call, "ignore_index") is not None:
        raise Unsure("the loss has an ignore_index already")
    names = [name for name, value in constants(script) if "pad" in name.lower() and value == index]
    names = names or [n for n in script.imports if n.isupper() and "PAD" in n]
    return Changes(script).rework(call, lambda c: keyword(c, "ignore_index", names[0] if len(names) == 1 else index))


def constants(script: Script) -> list[tuple[str, str]]:
    """Names that the module gives a value, one by one or several at once, with the text of the value."""
    found = []
    for assign in script.own(cst.Assign, script.module):
        for target in (t.target for t in assign.targets):
            if isinstance(target, cst.Tuple) and isinstance(assign.value, cst.Tuple):
                found += [
                    (script.code(n.value), script.code(v.value)) for n, v in zip(target.elements, assign.value.elements, strict=False)
                ]
            else:
                found.append((script.code(target), script.code(assign.value)))
    return found


def pos_weight(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Weigh positives up in a binary cross-entropy on logits."""
    call = _criterion(script, line, "binary_cross_entropy_with_logits")
    if argument(call, "pos_weight") is not None:
        raise Unsure("positives are weighted already")
    weight = (
        f"torch.tensor({float(str(values['weight'])):.3g})"
        if "." in f"{float(str(values['weight'])):.3g}"
        else (f"torch.tensor({float(str(values['weight'])):.1f})")
    )
    if script.last(call) == "BCEWithLogitsLoss":
        made = keyword
        return Changes(script).import_module("torch").rework(call, lambda c: made(c, "pos_weight", weight))
    first = argument(call, "input", 0)
    if first is None or not isinstance(first.value, (cst.Name, cst.Call, cst.Attribute)):
        raise Unsure("the loss does not get its prediction by itself")
    return Changes(script).import_module("torch").rework(call, lambda c: keyword(c, "pos_weight", weight))


def harden_not(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Leave out the operation that makes hard targets of soft ones."""
    by = str(values["by"]).rpartition(".")[2]
    for call in script.calls(line):
        if script.last(call) != by:
            continue
        receiver = script.receiver(call)
        if script.full(call) == f"torch.{by}" and call.args and call.args[0].keyword is None:
            return Changes(script).replace(call, call.args[0].value)
        if receiver is not None and script.name(call).partition(".")[0] not in script.imports:
            whole = next((n for n in script.ancestors(call)), call)
            if isinstance(whole, cst.Attribute):
                raise Unsure(f"more is done to the result of {by}")
            return Changes(script).replace(call, receiver)
    raise Unsure(f"{by} is not called on the line itself")


def scale_target(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Move or scale the target of the loss by an expression with ``{}`` for it."""
    call = loss_call(script, line, str(values["loss"]))
    plain = [a for a in call.args if a.keyword is None]
    second = argument(call, "target", 1 if len(plain) > 1 else 0)
    if second is None:
        raise Unsure("the loss does not get its target by itself")
    return Changes(script).replace(second.value, expression(str(values["to"]).format(script.code(operand(second.value)))))


def divide_loss(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Divide what goes to backward() by the number of batches a step."""
    call = next((c for c in script.calls(line) if script.last(c) in ("backward", "manual_backward")), None)
    if call is None:
        raise Unsure("the line does not call backward()")
    number = _batches_a_step(script, call, float(str(values["batches"])))
    receiver = script.receiver(call)
    handed = [a for a in call.args if a.keyword is None and not a.star]
    if handed:
        loss = handed[0].value
    elif isinstance(receiver, cst.Call) and script.last(receiver) == "scale" and len(receiver.args) == 1:
        loss = receiver.args[0].value
    elif receiver is not None:
        divided = expression(f"({script.code(operand(receiver))} / {number})")
        return Changes(script).replace(receiver, divided)
    else:
        raise Unsure("it is not clear which value goes to backward()")
    return Changes(script).replace(loss, expression(f"{script.code(operand(loss))} / {number}"))


def _batches_a_step(script: Script, backward: cst.Call, measured: float) -> str:
    """The number as the script writes it: what tells when to step, or how often the loop around backward() runs; else as it was measured."""
    inner = script.around(backward, cst.For)
    runs = inner.iter if inner is not None and not _steps(script, inner.body) else None
    ranged = [runs.args[0].value] if isinstance(runs, cst.Call) and script.last(runs) == "range" and len(runs.args) == 1 else []
    telling = [t.test for t in script.own(cst.If, script.scope(backward)) if _steps(script, t.body)]
    every = [b.right for test in telling for b in script.all(cst.BinaryOperation, test) if isinstance(b.operator, cst.Modulo)]
    found = {script.code(n) for n in (*ranged, *every) if isinstance(n, (cst.Name, cst.Attribute)) or number_at(n) == measured}
    return found.pop() if len(found) == 1 else f"{measured:g}"


def _steps(script: Script, body: cst.CSTNode) -> bool:
    return any(script.last(c) == "step" for c in script.all(cst.Call, body))


def swap_shares(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Exchange the two weights in ``lam * a + (1 - lam) * b``."""
    place = script.statement(line)
    sums = [
        (b.left, b.right)
        for b in script.all(cst.BinaryOperation, place)
        if isinstance(b.operator, cst.Add) and _product(b.left) is not None and _product(b.right) is not None
    ]
    if len(sums) != 1:
        raise Unsure("the line does not add two weighted losses")
    left, right = _product(sums[0][0]), _product(sums[0][1])
    if (
        left is None
        or right is None
        or {script.code(left).replace(" ", ""), script.code(right).replace(" ", "")} not in _shares(script, left, right)
    ):
        raise Unsure("the weights are not a share and what is left of it")
    return Changes(script).replace(left, right).replace(right, left)


def _product(node: cst.BaseExpression) -> cst.BaseExpression | None:
    """The weight of ``weight * loss``."""
    return node.left if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Multiply) else None


def _shares(script: Script, left: cst.BaseExpression, right: cst.BaseExpression) -> list[set[str]]:
    texts = [script.code(n).replace(" ", "") for n in (left, right)]
    return [{text, f"({whole}-{text})"} for text in texts for whole in ("1", "1.0")]
