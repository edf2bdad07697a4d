"""Whether the script means to train again after the training that is running: pre-training and fine-tuning in one file."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FrameType
from typing import Any

from torch.optim import Optimizer

from trainlint.record.frames import Frames
from trainlint.record.planned import source_tree

__all__ = ["another_training_follows", "body_of", "value_of"]

_LOOPS = (ast.For, ast.AsyncFor, ast.While)


def another_training_follows(frames: Frames) -> bool:
    """Whether code that comes after the lines now running builds an optimizer, or calls again what is running.

    Only names are looked up, nothing is called. What stands beside the running line within a loop does not count: it belongs to
    the same training.
    """
    frame: FrameType | None = sys._getframe(1)
    running: CodeType | None = None
    while frame is not None:
        if frames.is_user(frame.f_code.co_filename):
            names = {**frame.f_globals, **frame.f_locals}
            for statement in _later(frame.f_code, frame.f_lineno):
                if any(_trains(call, names, running) for call in ast.walk(statement) if isinstance(call, ast.Call)):
                    return True
        running = frame.f_code
        frame = frame.f_back
    return False


def _later(code: CodeType, line: int) -> Iterator[ast.stmt]:
    """Statements of the same function, or of the module, after the one that a line belongs to."""
    tree = source_tree(code.co_filename)
    body = body_of(tree, code) if tree is not None else None
    while body:
        position = next((i for i, s in enumerate(body) if s.lineno <= line <= (s.end_lineno or s.lineno)), None)
        if position is None:
            return
        yield from body[position + 1 :]
        current = body[position]
        if isinstance(current, _LOOPS):
            return
        blocks = [getattr(current, name, []) for name in ("body", "orelse", "finalbody")]
        body = next((b for b in blocks if b and b[0].lineno <= line <= (b[-1].end_lineno or line)), None)


def body_of(tree: ast.Module, code: CodeType) -> list[ast.stmt] | None:
    """The statements of the function, or module, that a code object was made from."""
    if code.co_name == "<module>":
        return tree.body
    functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name == code.co_name)
    return next(
        (f.body for f in functions if f.lineno <= code.co_firstlineno + len(f.decorator_list) and code.co_firstlineno <= f.lineno), None
    )


def _trains(call: ast.Call, names: Mapping[str, Any], running: CodeType | None) -> bool:
    """Whether a call builds an optimizer, itself or in the user's function or constructor that it names, or calls what is running once more.

    A method of something that is not made yet is told by its name alone: ``trainer.fit()`` after another trainer's.
    """
    target = value_of(call.func, names)
    if target is None and isinstance(call.func, ast.Attribute) and running is not None and call.func.attr == running.co_name:
        return True
    if isinstance(target, type):
        if issubclass(target, Optimizer):
            return True
        target = target.__init__
    code = getattr(target, "__code__", None)
    if code is None:
        return False
    if code is running:
        return True
    tree = source_tree(code.co_filename) if "site-packages" not in code.co_filename else None
    body = body_of(tree, code) if tree is not None else None
    inner = {**getattr(target, "__globals__", {})}
    return any(
        isinstance(kind := value_of(c.func, inner), type) and issubclass(kind, Optimizer)
        for statement in body or ()
        for c in ast.walk(statement)
        if isinstance(c, ast.Call)
    )


def value_of(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """What a dotted name stands for now; None when it is no name, or not known yet."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        held = value_of(node.value, names)
        return (
            getattr(held, node.attr, None) if held is not None and not isinstance(getattr(type(held), node.attr, None), property) else None
        )
    return None
