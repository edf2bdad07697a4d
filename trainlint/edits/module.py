"""Edits of modules: registration, mixed samples, numbers at the edge, dropout, initial weights."""

from __future__ import annotations

import libcst as cst

from trainlint.edits.changes import Changes, argument, expression, keyword, operand
from trainlint.edits.numbers import number_at
from trainlint.edits.script import Script, Unsure, dotted
from trainlint.finding import Json

__all__ = ["batch_axis_first", "batch_first", "causal", "lower_dropout", "off_the_edge", "register", "scale_weights"]


def _torch_nn(script: Script) -> str:
    """How the file calls ``torch.nn``."""
    names = [name for name, full in script.imports.items() if full == "torch.nn"]
    if names:
        return names[0]
    if "torch" in script.imports:
        return "torch.nn"
    raise Unsure("torch.nn is not imported")


def register(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Keep modules in a ModuleList or ModuleDict, not in a list or dict."""
    attribute = f"self.{str(values['owner']).rpartition('.')[2]}"
    owner = str(values["owner"]).rpartition(".")[0].rpartition(".")[2]
    assigns = [a for a in script.all(cst.Assign) if len(a.targets) == 1 and dotted(a.targets[0].target) == attribute]
    classes = {id(a): script.around(a, cst.ClassDef) for a in assigns}
    named = [a for a in assigns if (c := classes[id(a)]) is not None and c.name.value == owner]
    here = [a for a in named or assigns if script.covers(a, line)] or named or assigns
    if len(here) != 1:
        raise Unsure(f"{attribute} is not assigned at one place")
    value, nn = here[0].value, _torch_nn(script)
    if isinstance(value, cst.List):
        if not all(isinstance(e.value, cst.Call) for e in value.elements):
            raise Unsure("the list holds more than modules that are built in it")
        keeper = "ModuleList"
    elif isinstance(value, cst.ListComp) and isinstance(value.elt, cst.Call):
        keeper = "ModuleList"
    elif isinstance(value, cst.Dict) and value.elements:
        entries = [e for e in value.elements if isinstance(e, cst.DictElement)]
        if len(entries) != len(value.elements) or not all(
            isinstance(e.key, cst.SimpleString) and isinstance(e.value, cst.Call) for e in entries
        ):
            raise Unsure("the keys or values of the dict are not plain")
        keeper = "ModuleDict"
    elif isinstance(value, cst.DictComp) and isinstance(value.value, cst.Call) and values.get("named"):
        keeper = "ModuleDict"
    else:
        raise Unsure(f"{attribute} is not assigned a list or dict of modules")
    cls = classes[id(here[0])]
    if any(
        dotted(s.value) == attribute and isinstance(e.slice, cst.Slice) and cls is None for s in script.all(cst.Subscript) for e in s.slice
    ):
        raise Unsure("the list is sliced")
    call = cst.Call(cst.parse_expression(f"{nn}.{keeper}"), [cst.Arg(value)])
    if isinstance(value, cst.List) and not value.elements:
        call = cst.Call(cst.parse_expression(f"{nn}.{keeper}"))
    return Changes(script).replace(value, call)


def _built(script: Script, call: cst.Call) -> list[cst.Call]:
    """Modules that what is called was built as, with those handed to their building."""
    name, owner = script.name(call), script.around(call, cst.ClassDef)
    if not name:
        return []
    found = [a.value for a in script.all(cst.Assign, owner or script.module) if any(dotted(t.target) == name for t in a.targets)]
    inner = []
    for value in found:
        for part in script.all(cst.Name, value):
            inner += script.assigned(part.value, script.scope(value))
    return [c for value in (*found, *inner) for c in script.all(cst.Call, value)]


def _layers(script: Script, line: int, *suffixes: str) -> list[cst.Call]:
    found = {id(b): b for c in script.calls(line) for b in _built(script, c) if script.last(b).endswith(suffixes)}
    return list(found.values())


def batch_first(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Tell a recurrent or attention layer that the batch comes first."""
    layers = _layers(script, line, "EncoderLayer", "DecoderLayer", "LSTM", "GRU", "RNN", "MultiheadAttention")
    if not layers or any(argument(c, "batch_first") is not None for c in layers):
        raise Unsure("the layer's building is not seen, or says where the batch stands")
    function = script.function(script.statement(line))
    taken = [script.code(s) for s in script.all(cst.Subscript, function or script.module)]
    if any(s.endswith(("[-1]", "[0]")) for s in taken):
        raise Unsure("the first axis of a result is indexed as if it were time")
    changes = Changes(script)
    for layer in layers:
        changes.rework(layer, lambda c: keyword(c, "batch_first", "True"))
    return changes


def batch_axis_first(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Swap the first two axes of a recurrent layer's last state before it is flattened by sample."""
    calls = [c for c in script.calls(line) if script.last(c) in ("view", "reshape") and isinstance(c.func, cst.Attribute)]
    if len(calls) != 1:
        raise Unsure("the line does not reshape just one tensor")
    state = dotted(calls[0].func.value) if isinstance(calls[0].func, cst.Attribute) else ""
    scope = script.scope(calls[0])
    states: set[str] = set()
    for assign in script.own(cst.Assign, scope):
        target = assign.targets[0].target
        if isinstance(target, cst.Tuple) and len(target.elements) == 2 and isinstance(assign.value, cst.Call):
            recurrent = any(script.last(b) in ("LSTM", "GRU", "RNN") for b in _built(script, assign.value))
            if recurrent:
                states |= {n.value for n in script.all(cst.Name, target.elements[1])}
    if not state or state not in states or len(script.assigned(state, scope)) > 0:
        raise Unsure("it is not clear on which axis the samples stand")
    args = ", ".join(script.code(a.with_changes(comma=cst.MaybeSentinel.DEFAULT)) for a in calls[0].args)
    return Changes(script).replace(calls[0], expression(f"{state}.transpose(0, 1).reshape({args})"))


def causal(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Give attention a mask that hides later positions."""
    for call in script.calls(line):
        if script.last(call) == "scaled_dot_product_attention":
            given = argument(call, "is_causal", 5)
            if argument(call, "attn_mask", 3) is not None or (given is not None and script.code(given.value) != "False"):
                raise Unsure("the attention has a mask already")
            if given is not None:
                return Changes(script).replace(given.value, expression("True"))
            return Changes(script).rework(call, lambda c: keyword(c, "is_causal", "True"))
    encoders = [c for c in script.calls(line) if any(script.last(b) == "TransformerEncoder" for b in _built(script, c))]
    if len(encoders) != 1 or len(encoders[0].args) != 1 or not isinstance(encoders[0].args[0].value, cst.Name):
        raise Unsure("the line does not call a TransformerEncoder with just its input")
    call = encoders[0]
    first = any(
        (given := argument(b, "batch_first")) is not None and script.code(given.value) == "True"
        for b in _built(script, call)
        if script.last(b) == "TransformerEncoderLayer"
    )
    value = script.code(call.args[0].value)
    mask = f"{_torch_nn(script)}.Transformer.generate_square_subsequent_mask({value}.size({int(first)}), device={value}.device)"
    return Changes(script).rework(call, lambda c: keyword(keyword(c, "mask", mask), "is_causal", "True"))


def off_the_edge(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Keep a root or a logarithm off zero."""
    kind = str(values["operation"])
    if kind not in ("sqrt", "rsqrt", "log"):
        raise Unsure(f"what keeps {kind} off its edge depends on what is meant")
    calls = [c for c in script.calls(line) if script.last(c) == kind]
    if len(calls) != 1:
        raise Unsure(f"{kind} does not stand on the line just once")
    call, receiver = calls[0], script.receiver(calls[0])
    torch_call = script.full(call) == f"torch.{kind}"
    inner = call.args[0].value if torch_call and call.args else receiver
    if inner is None or (not torch_call and call.args) or (receiver is not None and dotted(receiver) in ("math", "np", "numpy")):
        raise Unsure(f"it is not clear what {kind} is taken of")
    code = script.code(operand(inner))
    new = f"{code}.clamp(min=1e-9)" if kind == "log" else f"{script.code(inner)} + 1e-8"
    if torch_call or kind == "log":
        return Changes(script).replace(inner, expression(new))
    return Changes(script).replace(inner, expression(f"({new})"))


def lower_dropout(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Lower the probability of a dropout layer that is a number in its building."""
    calls = [c for c in script.calls(line) if "Drop" in script.last(c) or script.last(c) == "dropout"]
    given = argument(calls[0], "p", 0 if script.last(calls[0]) != "dropout" else 1) if len(calls) == 1 else None
    if given is None or number_at(given.value) is None:
        raise Unsure("the probability is not a number on this line")
    return Changes(script).replace(given.value, expression(str(values["p"])))


def scale_weights(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Start an embedding small, right after it is built, and those of its class with it: they are summed, so their scales go together."""
    place = script.statement(line)
    owner = script.around(place, cst.ClassDef)
    built = {s: n for s in script.all(cst.SimpleStatementLine, owner or script.module) if (n := _embedding(script, s))}
    if place not in built:
        raise Unsure("the line does not build an embedding")
    if owner is None:
        built = {s: n for s, n in built.items() if s is place}
    targets: list[cst.CSTNode] = [t.target for t in script.all(cst.AssignTarget)]
    targets += [a.value for c in script.all(cst.Call) if "init" in script.full(c) for a in c.args]
    if any(dotted(node).startswith(f"{name}.weight") for node in targets for name in built.values()):
        raise Unsure("the embedding's weight is set elsewhere")
    changes = Changes(script)
    for each, name in built.items():
        changes.after(each, f"{_torch_nn(script)}.init.normal_({name}.weight, std={values['std']})")
    return changes


def _embedding(script: Script, place: cst.SimpleStatementLine) -> str:
    """The name that a statement gives an embedding which it builds; empty for any other statement."""
    assign = place.body[0] if len(place.body) == 1 else None
    if isinstance(assign, cst.Assign) and isinstance(assign.value, cst.Call) and script.last(assign.value) == "Embedding":
        return dotted(assign.targets[0].target)
    return ""
