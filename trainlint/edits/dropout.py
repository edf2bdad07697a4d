"""Edits of dropout that drops in evaluation: as a function it does unless it is told the mode of its module."""

from __future__ import annotations

import libcst as cst

from trainlint.edits.changes import Changes, argument, expression, keyword, operand
from trainlint.edits.script import Script, Unsure
from trainlint.finding import Json

__all__ = ["tell_mode"]

_FUNCTIONAL = "torch.nn.functional."
#: Functions that drop unless ``training=False`` is handed in.
_ON = ("dropout", "dropout1d", "dropout2d", "dropout3d")
#: Functions that drop only with ``training=True``: one without the flag is no fault.
_OFF = ("alpha_dropout", "feature_alpha_dropout")
#: The function of a layer that is built where it is called: a new one, in training mode, each time.
_LAYERS = {
    "Dropout": "dropout",
    "Dropout1d": "dropout1d",
    "Dropout2d": "dropout2d",
    "Dropout3d": "dropout3d",
    "AlphaDropout": "alpha_dropout",
    "FeatureAlphaDropout": "feature_alpha_dropout",
}


def tell_mode(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Hand dropout on a line the mode of the module whose method calls it, and all others of its class that are told none."""
    calls = [c for c in script.calls(line) if _drops(script, c)]
    if not calls:
        raise Unsure("the line does not call dropout by its name")
    owner, mode = _owner(script, calls[0])
    changes = Changes(script)
    for call in calls:
        _tell(script, changes, call, mode)
    for call in script.all(cst.Call, owner):
        # What is told True elsewhere may be so on purpose.
        untold = _is_functional(script, call) and script.last(call) in _ON and _untold(call)
        if call not in calls and (untold or _built(script, call) is not None):
            _tell(script, changes, call, _owner(script, call)[1])
    return changes


def _is_functional(script: Script, call: cst.Call) -> bool:
    return script.full(call).startswith(_FUNCTIONAL)


def _built(script: Script, call: cst.Call) -> cst.Call | None:
    """The building of a layer that is called at once, as in ``nn.Dropout(0.5)(x)``."""
    inner = call.func
    return inner if isinstance(inner, cst.Call) and script.full(inner).startswith("torch.nn.") and script.last(inner) in _LAYERS else None


def _drops(script: Script, call: cst.Call) -> bool:
    name = script.last(call)
    functional = _is_functional(script, call) and name in (*_ON, *_OFF, "scaled_dot_product_attention")
    return functional or _built(script, call) is not None


def _untold(call: cst.Call) -> bool:
    return not any(arg.star for arg in call.args) and argument(call, "training", 2) is None


def _owner(script: Script, call: cst.Call) -> tuple[cst.ClassDef, str]:
    """The class whose method makes a call, and how the method says the mode: ``self.training``."""
    for node in script.ancestors(call):
        if isinstance(node, cst.FunctionDef) and isinstance(owner := _around(script, node), cst.ClassDef):
            fixed = any(script.code(d.decorator) in ("staticmethod", "classmethod") for d in node.decorators)
            if owner.bases and node.params.params and not fixed:
                return owner, f"{node.params.params[0].name.value}.training"
            break
    raise Unsure("dropout is not called in a method of a module, which knows the mode")


def _around(script: Script, node: cst.CSTNode) -> cst.CSTNode | None:
    """The nearest function or class around a node."""
    return next((n for n in script.ancestors(node) if isinstance(n, (cst.FunctionDef, cst.ClassDef))), None)


def _tell(script: Script, changes: Changes, call: cst.Call, mode: str) -> None:
    """Hand a call the mode."""
    if (layer := _built(script, call)) is not None:
        changes.replace(call, _as_function(script, call, layer, mode))
        return
    if script.last(call) == "scaled_dot_product_attention":
        given = argument(call, "dropout_p", 4)
        if given is None or script.names(given.value) & {mode} or isinstance(given.value, cst.IfExp):
            raise Unsure("the attention is told the mode already, or has no dropout_p")
        changes.replace(given.value, expression(f"{script.code(operand(given.value))} if {mode} else 0.0"))
        return
    given = argument(call, "training", 2)
    if given is None:
        changes.rework(call, lambda c: keyword(c, "training", mode))
    elif script.code(given.value) == "True":
        changes.replace(given.value, expression(mode))
    else:
        raise Unsure(f"dropout is told the mode by {script.code(given.value)}")


def _as_function(script: Script, call: cst.Call, layer: cst.Call, mode: str) -> cst.BaseExpression:
    """``nn.functional.dropout(x, 0.5, training=self.training)`` for a layer that is built and called at once."""
    if len(call.args) != 1 or call.args[0].keyword is not None or call.args[0].star or any(arg.star for arg in layer.args):
        raise Unsure("the layer is not called with just its input")
    functional = next((name for name, full in script.imports.items() if full == _FUNCTIONAL.rstrip(".")), "")
    nn = next((name for name, full in script.imports.items() if full == "torch.nn"), "torch.nn" if "torch" in script.imports else "")
    if not functional and not nn:
        raise Unsure("neither torch.nn nor torch.nn.functional is imported by a name")
    name = f"{functional or f'{nn}.functional'}.{_LAYERS[script.last(layer)]}"
    plain = [a for a in layer.args if a.keyword is None]
    if len(plain) > 1:
        raise Unsure("the layer is told more than its probability by position")
    given = [cst.Arg(call.args[0].value), *(a.with_changes(comma=cst.MaybeSentinel.DEFAULT) for a in layer.args)]
    return keyword(cst.Call(expression(name), given), "training", mode)
