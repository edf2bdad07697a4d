"""Edits of how inputs and labels are put side by side."""

from __future__ import annotations

import itertools

import libcst as cst

from trainlint.edits.changes import Changes, keyword, statement
from trainlint.edits.script import Script, Unsure, dotted
from trainlint.finding import Json

__all__ = ["draw_once", "order_by_number"]

#: Calls that list files.
_LISTS = ("listdir", "glob", "iglob", "iterdir")
#: Calls that make a tensor of a picture, or give it other axes.
_TO_TENSOR = ("PILToTensor", "ToImage", "ToTensor", "as_tensor", "from_numpy", "pil_to_tensor", "tensor", "to_image", "to_tensor")
#: Transforms that take pictures of so many channels only, or change colours, which a mask has not.
_COLOURS = ("ColorJitter", "Grayscale", "Normalize", "RandomErasing", "RandomGrayscale")
_AXES = ("expand_dims", "permute", "squeeze", "transpose", "unsqueeze")


def order_by_number(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Sort names of files by length first, so that ``scan_2`` comes before ``scan_10``."""
    place = script.statement(line)
    within = script.around(place, cst.ClassDef) or script.function(place)
    found = _sorted_files(script, within) if within is not None else []
    found = found or _sorted_files(script, None)
    if len(found) != 1:
        raise Unsure("it is not clear which files are to be put in another order")
    if len(found[0].args) != 1:
        raise Unsure("the files are sorted by something else than their names")
    changes = Changes(script).rework(found[0], lambda c: keyword(c, "key", "lambda name: (len(str(name)), str(name))"))
    files = found[0].args[0].value
    if isinstance(files, cst.GeneratorExp) and not files.lpar:
        # Beside another argument it needs parentheses of its own.
        changes.replace(files, files.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()]))
    return changes


def _sorted_files(script: Script, within: cst.CSTNode | None) -> list[cst.Call]:
    return [c for c in script.all(cst.Call, within) if script.name(c) == "sorted" and c.args and _is_list(script, c.args[0].value)]


def _is_list(script: Script, node: cst.BaseExpression) -> bool:
    """Whether an expression gives the names of the files of one folder, or those of them that meet a condition."""
    if isinstance(node, (cst.GeneratorExp, cst.ListComp)):
        name = dotted(node.elt).split(".")[0]
        return bool(name) and name == dotted(node.for_in.target) and node.for_in.inner_for_in is None and _is_list(script, node.for_in.iter)
    if not isinstance(node, cst.Call):
        return False
    if script.name(node) == "list" and len(node.args) == 1:
        return _is_list(script, node.args[0].value)
    texts = "".join(script.code(s) for kind in (cst.SimpleString, cst.FormattedStringText) for s in script.all(kind, node))
    several = "**" in texts or "*/" in texts  # folders of other lengths
    return script.last(node) in _LISTS and not several and not any(a.keyword is not None for a in node.args)


def draw_once(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Give picture and mask to a random transform as one tensor, where it is called on the one and then on the other."""
    function = script.function(script.statement(line))
    if function is None:
        raise Unsure("the line stands in no function")
    found = [pair for pair in map(_pair, _neighbours(script, function)) if pair is not None]
    if len(found) != 1:
        raise Unsure("it is not clear which transform picture and mask are given to, one after the other")
    first, second, a, b = found[0]
    assert isinstance(a.value, cst.Call)
    assert isinstance(b.value, cst.Call)
    end = script.span(second).end.line
    calls = script.all(cst.Call, function)
    made = [c for c in calls if script.last(c) in _TO_TENSOR and script.line(c) < script.line(first)]
    later = [c for c in calls if script.last(c) in (*_TO_TENSOR, *_AXES) and script.line(c) > end]
    elsewhere = [c for c in script.all(cst.Call) if script.last(c) in ("ToTensor", "PILToTensor", "ToImage")]
    if later or (elsewhere and not made):
        raise Unsure("picture and mask may be no tensors yet where they are transformed")
    composed = [{script.last(c) for c in script.all(cst.Call, whole)} for whole in script.all(cst.Call) if script.last(whole) == "Compose"]
    if any(steps & set(_COLOURS) and any("Random" in step for step in steps - set(_COLOURS)) for steps in composed):
        raise Unsure("the transform may change colours as well")
    names = [script.code(assign.targets[0].target) for assign in (a, b)]
    given = [script.code(assign.value.args[0].value) for assign in (a, b) if isinstance(assign.value, cst.Call)]
    both = f"{script.code(a.value.func)}(torch.cat([{', '.join(given)}]))"
    new = f"{', '.join(names)} = {both}.split([{', '.join(f'{name}.shape[0]' for name in given)}])"
    return (
        Changes(script).import_module("torch").replace(first, statement(new).with_changes(leading_lines=first.leading_lines)).remove(second)
    )


_Pair = tuple[cst.SimpleStatementLine, cst.SimpleStatementLine, cst.Assign, cst.Assign]


def _neighbours(script: Script, function: cst.FunctionDef) -> list[tuple[cst.BaseStatement, cst.BaseStatement]]:
    """Statements of a function that follow each other."""
    return [pair for block in script.all(cst.IndentedBlock, function) for pair in itertools.pairwise(block.body)]


def _pair(both: tuple[cst.BaseStatement, cst.BaseStatement]) -> _Pair | None:
    """Two assignments of what the same function makes of two names."""
    found: list[tuple[cst.SimpleStatementLine, cst.Assign, str, str, str]] = []
    for node in both:
        assign = node.body[0] if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1 else None
        if not isinstance(node, cst.SimpleStatementLine) or not isinstance(assign, cst.Assign) or len(assign.targets) != 1:
            return None
        call = assign.value
        if not isinstance(call, cst.Call) or len(call.args) != 1 or call.args[0].keyword is not None or call.args[0].star:
            return None
        found.append((node, assign, dotted(assign.targets[0].target), dotted(call.func), dotted(call.args[0].value)))
    (first, a, target, called, given), (second, b, other_target, other_called, other_given) = found
    names = (target, called, given, other_target, other_given)
    if not all(names) or called != other_called or given == other_given or target in (other_target, other_given):
        return None
    return first, second, a, b
