"""Whether a call stands under a condition on how far the script has come: ``if epoch >= warmup: scheduler.step()``."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

from trainlint.record.following import body_of, value_of
from trainlint.record.frames import Frames
from trainlint.record.planned import source_tree

__all__ = ["called_sometimes"]


def called_sometimes(frames: Frames, target: object, method: str) -> bool:
    """Whether a function that is running calls ``target.method()`` in a loop, under a condition on what the loop changes.

    Names are looked up, nothing is called.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frames.is_user(frame.f_code.co_filename):
            tree = source_tree(frame.f_code.co_filename)
            names = {**frame.f_globals, **frame.f_locals}
            for statement in (body_of(tree, frame.f_code) if tree is not None else None) or ():
                if any(_is_call(call, target, method, names) for call in _conditional(statement, frozenset(), False)):
                    return True
        frame = frame.f_back
    return False


def _conditional(node: ast.AST, changing: frozenset[str], under: bool) -> Iterator[ast.Call]:
    """Calls below a node that stand under such a condition."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
        return
    if isinstance(node, ast.Call) and under:
        yield node
    if isinstance(node, ast.For | ast.While):
        changing |= frozenset(_assigned(node))
    elif isinstance(node, ast.If):
        under = under or any(ast.unparse(part) in changing for part in ast.walk(node.test) if isinstance(part, ast.Name | ast.Attribute))
    for child in ast.iter_child_nodes(node):
        yield from _conditional(child, changing, under)


def _assigned(loop: ast.For | ast.While) -> Iterator[str]:
    """Names and attributes that a loop changes."""
    for node in ast.walk(loop):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign | ast.For) else []
        for target in targets:
            yield from (ast.unparse(part) for part in ast.walk(target) if isinstance(part, ast.Name | ast.Attribute))


def _is_call(call: ast.Call, target: object, method: str, names: Mapping[str, Any]) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr == method and value_of(call.func.value, names) is target
