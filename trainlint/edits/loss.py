"""Edits at the loss: output activation, shapes, reduction, targets, weights."""

from __future__ import annotations

import libcst as cst

from trainlint.edits.changes import Changes, argument, expression, keyword, operand
from trainlint.edits.script import Script, Unsure, dotted
from trainlint.finding import Json

__all__ = [
    "drop_activation",
    "drop_smoothing",
    "harden_not",
    "ignore_index",
    "log_softmax",
    "mix_losses",
    "pos_weight",
    "reduce",
    "scale_target",
    "squeeze",
    "swap_loss",
]

#: Modules whose call is an activation.
_MODULES = {
    "softmax": ("Softmax",),
    "log_softmax": ("LogSoftmax",),
    "sigmoid": ("Sigmoid",),
    "relu": ("ReLU",),
    "relu6": ("ReLU6",),
    "tanh": ("Tanh",),
    "softplus": ("Softplus",),
    "elu": ("ELU",),
    "gelu": ("GELU",),
    "silu": ("SiLU",),
}
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


def _built(script: Script, attribute: str, near: cst.CSTNode) -> list[cst.Call]:
    """Modules that an attribute such as ``self.act`` is built as, in the class around a node, else anywhere."""
    within = script.around(near, cst.ClassDef) if attribute.startswith("self.") else None
    values = [a.value for a in script.all(cst.Assign, within or script.module) if any(dotted(t.target) == attribute for t in a.targets)]
    return [v for v in values if isinstance(v, cst.Call)] if all(isinstance(v, cst.Call) for v in values) else []


def _activation(script: Script, line: int, kind: str) -> tuple[cst.Call, cst.BaseExpression]:
    """The outermost call on a line that applies an activation, and what it is applied to."""
    for call in script.calls(line):
        receiver = script.receiver(call)
        name = script.full(call)
        handed = argument(call, "input", 0)
        if script.last(call) in (kind, f"{kind}_"):
            if name in (f"torch.{kind}", f"torch.nn.functional.{kind}", f"torch.special.{kind}"):
                if handed is None:
                    continue
                return call, handed.value
            if receiver is not None and script.name(call).partition(".")[0] not in script.imports:
                return call, receiver if not _is_module(script, call, kind) or handed is None else handed.value
        if handed is not None and len(call.args) == 1 and _is_module(script, call, kind):
            return call, handed.value
    raise Unsure(f"no {kind} is applied on the line itself")


def _is_module(script: Script, call: cst.Call, kind: str) -> bool:
    built = _built(script, script.name(call), call) if script.name(call) else []
    if isinstance(call.func, cst.Call):
        built = [call.func]
    return bool(built) and all(script.last(b) in _MODULES.get(kind, ()) for b in built)


def _last_of_sequential(script: Script, line: int, kind: str) -> cst.Arg:
    """The activation at the end of the ``nn.Sequential`` that is called on a line."""
    found: list[cst.Arg] = []
    for call in script.calls(line):
        for built in _built(script, script.name(call), call) if script.name(call) else []:
            if script.last(built) == "Sequential" and built.args:
                last = built.args[-1]
                if isinstance(last.value, cst.Call) and script.last(last.value) in _MODULES.get(kind, ()):
                    found.append(last)
        if script.last(call) == "Sequential" and call.args:
            last = call.args[-1]
            if isinstance(last.value, cst.Call) and script.last(last.value) in _MODULES.get(kind, ()):
                found.append(last)
    found = list(dict.fromkeys(found))
    if len(found) != 1:
        raise Unsure(f"the {kind} is not the last layer of one nn.Sequential")
    return found[0]


def drop_activation(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Leave out the activation that makes the loss's input: in forward(), or at the end of an ``nn.Sequential``."""
    kind = str(values["activation"])
    try:
        call, inner = _activation(script, line, kind)
    except Unsure:
        last = _last_of_sequential(script, line, kind)
        owner = script.around(last, cst.Call)
        assert owner is not None

        def shorter(updated: cst.Call) -> cst.Call:
            args = list(updated.args[:-1])
            end = updated.args[-1]
            args[-1] = args[-1].with_changes(comma=end.comma, whitespace_after_arg=end.whitespace_after_arg)
            return updated.with_changes(args=args)

        if len(owner.args) < 2 or any(a.star or a.keyword for a in owner.args[-1:]):
            raise
        return Changes(script).rework(owner, shorter)
    return Changes(script).replace(call, inner)


def log_softmax(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Make a softmax a log_softmax."""
    call, _ = _activation(script, line, "softmax")
    if isinstance(call.func, cst.Attribute) and call.func.attr.value == "softmax" and not _is_module(script, call, "softmax"):
        return Changes(script).replace(call.func.attr, cst.Name("log_softmax"))
    for built in _built(script, script.name(call), call):
        if isinstance(built.func, cst.Attribute):
            return Changes(script).replace(built.func.attr, cst.Name("LogSoftmax"))
    raise Unsure("the softmax is called by a name of its own")


def _loss_call(script: Script, line: int, kind: str) -> cst.Call:
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
    return any(script.last(b) == _LOSSES.get(kind) for b in (_built(script, script.name(call), call) if script.name(call) else []))


def _criterion(script: Script, line: int, kind: str) -> cst.Call:
    """The function call, or the building of the criterion: where options of the loss are set."""
    module = _LOSSES.get(kind, "")
    built = [c for c in script.calls(line) if script.last(c) == module]
    if len(built) == 1:
        return built[0]
    call = _loss_call(script, line, kind)
    if script.last(call) == kind:
        return call
    made = [c for c in _built(script, script.name(call), call) if script.last(c) == module]
    if len(made) != 1:
        # Handed in as a parameter: the only one of its kind in the file.
        made = [c for c in script.all(cst.Call) if script.last(c) == module]
    if len(made) != 1:
        raise Unsure("it is not clear where the criterion was built")
    return made[0]


def squeeze(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Drop the last axis of the prediction or of the target, or give the target the prediction's shape."""
    call = _loss_call(script, line, str(values["loss"]))
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
    names = [name for name, value in _constants(script) if "pad" in name.lower() and value == index]
    names = names or [n for n in script.imports if n.isupper() and "PAD" in n]
    return Changes(script).rework(call, lambda c: keyword(c, "ignore_index", names[0] if len(names) == 1 else index))


def _constants(script: Script) -> list[tuple[str, str]]:
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
    call = _loss_call(script, line, str(values["loss"]))
    plain = [a for a in call.args if a.keyword is None]
    second = argument(call, "target", 1 if len(plain) > 1 else 0)
    if second is None:
        raise Unsure("the loss does not get its target by itself")
    return Changes(script).replace(second.value, expression(str(values["to"]).format(script.code(operand(second.value)))))


def mix_losses(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Weigh the losses for both labels of a blended input, as the input was blended in the same function."""
    call = _loss_call(script, line, str(values["loss"]))
    first, second = argument(call, "input", 0), argument(call, "target", 1)
    if first is None or second is None or not isinstance(first.value, (cst.Name, cst.Attribute)):
        raise Unsure("the prediction has no name, and would be computed twice")
    handed = _handed_pair(script, call, script.code(second.value))
    if handed is not None:
        return Changes(script).replace(call, _weighed(script, call, second.value, *handed))
    found: set[tuple[str, str]] = set()
    for total in script.own(cst.BinaryOperation, script.scope(call)):
        if isinstance(total.operator, cst.Add):
            found |= set(filter(None, (_blend(script, total.left, total.right), _blend(script, total.right, total.left))))
    if len(found) != 1:
        raise Unsure("it is not clear how the inputs are blended")
    weight, order = found.pop()
    target = script.code(operand(second.value))
    scope = script.scope(call)
    others = [
        dotted(a.targets[0].target)
        for a in script.own(cst.Assign, scope)
        if isinstance(a.value, cst.Subscript)
        and script.code(a.value).endswith(f"[{order}]")
        and dotted(a.targets[0].target)
        and "target" in dotted(a.targets[0].target)
    ]
    other = others[0] if len(others) == 1 and others[0] != target else _mixed_target(script, scope, target, order)
    return Changes(script).replace(call, _weighed(script, call, second.value, weight, other))


def _weighed(script: Script, call: cst.Call, target: cst.BaseExpression, weight: str, other: str) -> cst.BaseExpression:
    """``lam * loss(out, a) + (1 - lam) * loss(out, b)``, in parentheses where more is done to it."""
    second = script.code(call.deep_replace(target, expression(other)))
    new = expression(f"{weight} * {script.code(call)} + (1 - {weight}) * {second}")
    parent = next(script.ancestors(call))
    return new if isinstance(parent, (cst.Assign, cst.Return)) else operand(new)


def _handed_pair(script: Script, call: cst.Call, target: str) -> tuple[str, str] | None:
    """``(lam, target_b)`` where a function that mixes hands them over together with ``target_a``, the loss's target."""
    for assign in script.own(cst.Assign, script.scope(call)):
        names = assign.targets[0].target
        if not isinstance(names, cst.Tuple) or not isinstance(assign.value, cst.Call):
            continue
        words = [dotted(e.value) for e in names.elements]
        weights = [w for w in words if w.startswith("lam")]
        others = [w for w in words if w != target and len(w) == len(target) > 1 and w[:-1] == target[:-1]]
        if target in words and len(weights) == 1 and len(others) == 1:
            return weights[0], others[0]
    return None


def _mixed_target(script: Script, scope: cst.FunctionDef | cst.Module, target: str, order: str) -> str:
    """The other label: a name of a tuple assignment of ``y, y[order]``, else the target in the other order."""
    for assign in script.own(cst.Assign, scope):
        names, parts = assign.targets[0].target, assign.value
        if isinstance(names, cst.Tuple) and isinstance(parts, cst.Tuple) and len(names.elements) == len(parts.elements):
            for name, part in zip(names.elements, parts.elements, strict=True):
                if script.code(part.value).endswith(f"[{order}]") and "target" in script.code(name.value):
                    return script.code(name.value)
    return f"{target}[{order}]"


def _blend(script: Script, one: cst.BaseExpression, two: cst.BaseExpression) -> tuple[str, str] | None:
    """``(lam, order)`` of ``lam * x + (1 - lam) * x[order]``."""
    if not (isinstance(one, cst.BinaryOperation) and isinstance(two, cst.BinaryOperation)):
        return None
    if not (isinstance(one.operator, cst.Multiply) and isinstance(two.operator, cst.Multiply)):
        return None
    for weight, kept in ((one.left, one.right), (one.right, one.left)):
        for rest, other in ((two.left, two.right), (two.right, two.left)):
            if not (isinstance(weight, (cst.Name, cst.Attribute)) and isinstance(other, cst.Subscript)):
                continue
            same = script.code(other.value) == script.code(kept)
            if same and script.code(rest).strip("() ").replace(" ", "") in (f"1-{script.code(weight)}", f"1.0-{script.code(weight)}"):
                return script.code(weight), ", ".join(script.code(e.slice) for e in other.slice)
    return None
