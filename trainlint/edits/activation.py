"""Edits at a model's output activation."""

from __future__ import annotations

import libcst as cst

from trainlint.edits.changes import Changes, argument
from trainlint.edits.script import Script, Unsure
from trainlint.finding import Json

__all__ = ["drop_activation", "log_softmax"]

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
    built = script.built(script.name(call), call) if script.name(call) else []
    if isinstance(call.func, cst.Call):
        built = [call.func]
    return bool(built) and all(script.last(b) in _MODULES.get(kind, ()) for b in built)


def _last_of_sequential(script: Script, line: int, kind: str) -> cst.Arg:
    """The activation at the end of the ``nn.Sequential`` that is called on a line."""
    found: list[cst.Arg] = []
    for call in script.calls(line):
        for built in script.built(script.name(call), call) if script.name(call) else []:
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
    for built in script.built(script.name(call), call):
        if isinstance(built.func, cst.Attribute):
            return Changes(script).replace(built.func.attr, cst.Name("LogSoftmax"))
    raise Unsure("the softmax is called by a name of its own")
