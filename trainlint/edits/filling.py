"""Edits of what fills sequences up to one length."""

from __future__ import annotations

import re

import libcst as cst

from trainlint.edits.changes import Changes, argument, expression, keyword
from trainlint.edits.loss import constants
from trainlint.edits.numbers import number_at
from trainlint.edits.script import Script, Unsure
from trainlint.finding import Json

__all__ = ["fill_targets"]

_INDEX, _KEY = re.compile(r"\[(\d+)\]"), re.compile(r"\[(['\"])(\w+)\1\]")


def fill_targets(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Fill one part of a batch up with another value, where the one function that makes batches returns it from ``pad_sequence``."""
    path, old, new = (str(values[name]) for name in ("path", "old", "new"))
    calls = [call for r in script.all(cst.Return) if (call := _padding(script, r, path)) is not None]
    if len(calls) != 1:
        raise Unsure("it is not clear where the targets are filled up")
    given = argument(calls[0], "padding_value", 2)
    if given is None and float(old) == 0:
        return Changes(script).rework(calls[0], lambda c: keyword(c, "padding_value", new))
    if given is None or _number(script, given.value) != float(old):
        raise Unsure(f"the targets are not seen to be filled up with {old}")
    return Changes(script).replace(given.value, expression(new))


def _padding(script: Script, returned: cst.Return, path: str) -> cst.Call | None:
    """The call of ``pad_sequence`` that makes the part of a returned tuple or dict which a path such as ``[1]`` names."""
    part: cst.BaseExpression | None = None
    if isinstance(returned.value, cst.Tuple) and (at := _INDEX.fullmatch(path)) and int(at[1]) < len(returned.value.elements):
        elements = returned.value.elements
        part = elements[int(at[1])].value if all(isinstance(e, cst.Element) for e in elements) else None
    elif isinstance(returned.value, cst.Dict) and (named := _KEY.fullmatch(path)):
        entries = [e for e in returned.value.elements if isinstance(e, cst.DictElement) and isinstance(e.key, cst.SimpleString)]
        part = next((e.value for e in entries if isinstance(e.key, cst.SimpleString) and e.key.evaluated_value == named[2]), None)
    if isinstance(part, cst.Name):
        made = script.assigned(part.value, script.scope(returned))
        part = made[0] if len(made) == 1 else None
    return part if isinstance(part, cst.Call) and script.last(part) == "pad_sequence" else None


def _number(script: Script, node: cst.BaseExpression) -> float | None:
    """A number as it stands, or the one that a name of the module is given."""
    if isinstance(node, cst.Name):
        found = [value for name, value in constants(script) if name == node.value]
        return number_at(expression(found[0])) if len(found) == 1 else None
    return number_at(node)
