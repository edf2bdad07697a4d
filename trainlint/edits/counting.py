"""Edits of counters that are kept through a loop."""

from __future__ import annotations

import libcst as cst
import libcst.matchers as m

from trainlint.edits.changes import Changes
from trainlint.edits.script import Script, Unsure
from trainlint.finding import Json

__all__ = ["running_sum"]


def running_sum(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Add to a counter what it was set to: ``offset = graph.num_nodes`` becomes ``offset += graph.num_nodes``."""
    place = script.statement(line)
    part = place.body[0] if isinstance(place, cst.SimpleStatementLine) and len(place.body) == 1 else None
    if not isinstance(part, cst.Assign) or len(part.targets) != 1 or not isinstance(part.targets[0].target, cst.Name):
        raise Unsure("the line does not set one counter")
    counter = part.targets[0].target
    if not isinstance(part.value, cst.Name | cst.Attribute | cst.Call | cst.Subscript) or m.findall(part.value, m.Name(counter.value)):
        raise Unsure("the counter is worked out in a way that is not known")
    return Changes(script).rework(part, lambda new: cst.AugAssign(counter, cst.AddAssign(), new.value))
