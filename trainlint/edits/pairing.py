"""Edits of how inputs and labels are put side by side."""

from __future__ import annotations

import libcst as cst

from trainlint.edits.changes import Changes, keyword
from trainlint.edits.script import Script, Unsure, dotted
from trainlint.finding import Json

__all__ = ["order_by_number"]

#: Calls that list files.
_LISTS = ("listdir", "glob", "iglob", "iterdir")


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
