"""Edits of the data: scale, missing values, labels, and transforms of the validation part."""

from __future__ import annotations

import libcst as cst

from trainlint.edits.changes import Changes, argument, expression, keyword, operand
from trainlint.edits.script import Script, Unsure, dotted
from trainlint.finding import Json

__all__ = ["count_from_zero", "fill_missing", "nearest_labels", "plain_validation", "rescale", "standardise"]

#: Calls that make a tensor of other data.
_TENSORS = ("tensor", "from_numpy", "as_tensor", "FloatTensor", "LongTensor", "float", "long", "to", "type")


def _value(script: Script, line: int) -> cst.BaseExpression:
    """The expression that a line assigns or returns to one name."""
    place = script.statement(line)
    part = place.body[0] if isinstance(place, cst.SimpleStatementLine) else None
    if isinstance(part, cst.Assign) and len(part.targets) == 1 and dotted(part.targets[0].target):
        return part.value
    if isinstance(part, cst.Return) and part.value is not None and not isinstance(part.value, cst.Tuple):
        return part.value
    raise Unsure("the line does not make just one value")


def _tensor(script: Script, node: cst.BaseExpression) -> cst.BaseExpression:
    """The expression, if it is seen to make a tensor."""
    if isinstance(node, cst.Call) and any(script.last(c) in _TENSORS for c in script.all(cst.Call, node)):
        return node
    raise Unsure("it is not clear that the line makes a tensor")


def rescale(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Divide what a line makes by a number."""
    node = _tensor(script, _value(script, line))
    return Changes(script).replace(node, expression(f"{script.code(operand(node))} / {values['by']}"))


def fill_missing(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Put 0 in the place of missing values of what a line makes."""
    node = _tensor(script, _value(script, line))
    return Changes(script).import_module("torch").replace(node, expression(f"torch.nan_to_num({script.code(node)})"))


def count_from_zero(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Count labels from zero where they become integers."""
    calls = [c for c in script.calls(line) if script.last(c) == "long" and not c.args]
    calls = calls or [c for c in script.calls(line) if script.full(c) in ("torch.tensor", "torch.as_tensor", "torch.from_numpy")]
    if len(calls) != 1:
        raise Unsure("the line does not make just one tensor of labels")
    parent = next(script.ancestors(calls[0]))
    plain = isinstance(parent, (cst.Assign, cst.Return, cst.Arg, cst.Element))
    new = f"{script.code(calls[0])} - 1"
    return Changes(script).replace(calls[0], expression(new if plain else f"({new})"))


#: Calls that resize or turn pictures, by how they are told to interpolate.
_RESIZE = ("resize", "rotate", "affine", "Resize", "RandomRotation", "RandomResizedCrop", "interpolate", "zoom")


def nearest_labels(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Resize or turn a label map with the nearest label."""
    calls = [c for c in script.calls(line) if script.last(c) in _RESIZE]
    if len(calls) != 1:
        raise Unsure("the line does not resize or turn just one map")
    call, owner = calls[0], script.name(calls[0]).rpartition(".")[0]
    given = {name: a for name in ("interpolation", "mode", "order", "resample") if (a := argument(call, name)) is not None}
    if len(given) == 1:
        name, old = next(iter(given.items()))
        if name in ("interpolation", "resample") and isinstance(old.value, cst.Attribute):
            return Changes(script).replace(old.value, expression(f"{script.code(old.value.value)}.NEAREST"))
        if name == "order":
            return Changes(script).replace(old.value, expression("0"))
        if name == "mode":
            kept = [a for a in call.args if a.keyword is None or a.keyword.value not in ("align_corners", "antialias")]
            plain = [a.with_changes(value=expression('"nearest"')) if a is old else a for a in kept]
            plain[-1] = plain[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
            return Changes(script).rework(call, lambda c: c.with_changes(args=plain))
    if not given and owner.rpartition(".")[2] in ("TF", "F", "functional", "transforms", "T", "v2") and "torchvision" in script.full(call):
        return Changes(script).rework(call, lambda c: keyword(c, "interpolation", f"{owner}.InterpolationMode.NEAREST"))
    raise Unsure("it is not clear how the line interpolates")


_TRAIN = ("train", "tr", "fit")
_OTHERS = ("val", "valid", "test", "dev", "eval", "te")


def standardise(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Standardise inputs by the training part's statistics, right after the line that makes both parts."""
    place = script.statement(line)
    part = place.body[0] if isinstance(place, cst.SimpleStatementLine) else None
    if not isinstance(part, cst.Assign) or not isinstance(part.targets[0].target, cst.Tuple) or not isinstance(part.value, cst.Tuple):
        raise Unsure("the line does not make the training and the validation part together")
    names = [dotted(e.value) for e in part.targets[0].target.elements]
    if len(names) != len(part.value.elements):
        raise Unsure("the line does not make the training and the validation part together")
    parts = {n: _part(n) for n, e in zip(names, part.value.elements, strict=True) if n and _makes_floats(script, e.value)}
    train = [n for n, kind in parts.items() if kind == "train"]
    rest = [n for n, kind in parts.items() if kind == "other"]
    if len(train) != 1 or len(train) + len(rest) != len(names) or {"mean", "std"} & script.bound(script.scope(place)):
        raise Unsure("it is not clear which part is for training")
    first = f"mean, std = {train[0]}.mean(dim=0), {train[0]}.std(dim=0).clamp(min=1e-6)"
    scaled = ", ".join(f"({n} - mean) / std" for n in (*train, *rest))
    return Changes(script).after(place, first, f"{', '.join((*train, *rest))} = {scaled}")


def _makes_floats(script: Script, node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Call) and ("float" in script.code(node) or script.last(node) == "FloatTensor")


def _part(name: str) -> str:
    words = name.lower().replace(".", "_").split("_")
    return "train" if set(words) & set(_TRAIN) else "other" if set(words) & set(_OTHERS) else ""


#: Transforms that draw nothing.
_PLAIN = (
    "CenterCrop", "ConvertImageDtype", "Grayscale", "Normalize", "PILToTensor", "Pad", "Resize", "ToDtype", "ToImage", "ToPILImage", "ToTensor",
)  # fmt: skip


def plain_validation(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Give the validation part of a random_split a dataset of its own, with a transform that draws nothing."""
    place = script.statement(line)
    assign = place.body[0] if isinstance(place, cst.SimpleStatementLine) else None
    if not isinstance(assign, cst.Assign) or not isinstance(assign.value, cst.Call):
        raise Unsure("the line does not build the dataset")
    data, built = dotted(assign.targets[0].target), assign.value
    given = argument(built, "transform")
    splits = [
        a
        for a in script.all(cst.Assign)
        if isinstance(a.value, cst.Call)
        and script.last(a.value) == "random_split"
        and a.value.args
        and dotted(a.value.args[0].value) == data
    ]
    target = splits[0].targets[0].target if len(splits) == 1 else None
    if not data or given is None or not isinstance(target, cst.Tuple):
        raise Unsure("the dataset is not split by random_split in this file")
    held = [dotted(e.value) for e in target.elements if _part(dotted(e.value)) == "other"]
    if len(held) != 1:
        raise Unsure("it is not clear which part is for validation")
    plain = _plain_transform(script, given.value)
    subset = next((n for n, full in script.imports.items() if full == "torch.utils.data.Subset"), "")
    changes = Changes(script)
    if not subset:
        changes.import_module("torch")
        subset = "torch.utils.data.Subset"
    again = script.code(built.with_deep_changes(given, value=expression(plain)))
    return changes.after(script.statement_of(splits[0]), f"{held[0]} = {subset}({again}, {held[0]}.indices)")


def _plain_transform(script: Script, node: cst.BaseExpression) -> str:
    """A transform like a given one without what is random in it: one of the file's own, else the same without those steps."""
    own = script.assigned(dotted(node)) if dotted(node) else [node]
    composed = own[0] if len(own) == 1 else None
    if not isinstance(composed, cst.Call) or script.last(composed) != "Compose" or len(composed.args) != 1:
        raise Unsure("the transform is not a Compose of this file")
    steps = composed.args[0].value
    if not isinstance(steps, cst.List):
        raise Unsure("the steps of the transform are not a list")
    kept = [e.value for e in steps.elements if isinstance(e.value, cst.Call) and script.last(e.value) in _PLAIN]
    others = [e.value for e in steps.elements if e.value not in kept]
    if not all(
        isinstance(o, cst.Call) and (script.last(o).startswith("Random") or "Jitter" in script.last(o) or "Aug" in script.last(o))
        for o in others
    ):
        raise Unsure("not all steps of the transform are known")
    inner = [script.code(k) for k in kept]
    for assign in script.all(cst.Assign):
        value = assign.value
        if isinstance(value, cst.Call) and script.last(value) == "Compose" and value.args and isinstance(value.args[0].value, cst.List):
            same = [script.code(e.value) for e in value.args[0].value.elements] == inner
            if same and dotted(assign.targets[0].target):
                return dotted(assign.targets[0].target)
    return f"{script.name(composed)}([{', '.join(inner)}])"
