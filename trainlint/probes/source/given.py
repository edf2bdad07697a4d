"""Where the script gives an object an attribute from outside: ``val_set.transform = plain``."""

from __future__ import annotations

import ast
import sys

from trainlint.probes.source.own_files import own_files
from trainlint.record.frames import Frames, Place
from trainlint.record.planned import source_tree

__all__ = ["attribute_given_at"]


def attribute_given_at(frames: Frames, attribute: str) -> Place | None:
    """The one line of the user's that sets an attribute of this name on something else than ``self``; None where there is none, or are several."""
    trees = {filename: source_tree(filename) for filename in own_files(frames, sys.modules)}
    found = [
        (filename, node.lineno, "<module>")
        for filename, tree in trees.items()
        if tree is not None
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Attribute) and target.attr == attribute and not _is_self(target.value)
    ]
    return found[0] if len(found) == 1 else None


def _is_self(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id == "self"
