"""Where a Hugging Face Trainer's arguments are written, which set the optimizer that it builds in its own code."""

from __future__ import annotations

import ast
import sys
from types import FrameType
from typing import Any

from trainlint.record.frames import Frames, Place
from trainlint.record.planned import source_tree

__all__ = ["arguments_place", "warmup_told"]


def arguments_place(frames: Frames, named: str = "learning_rate") -> Place | None:
    """The line of ``TrainingArguments(..., learning_rate=...)`` of the trainer that is running; None outside of one.

    Only the file of the user that starts the training is read; where it builds none or several, None.
    """
    filename, arguments = _running(frames)
    return _built(filename, type(arguments).__name__, named) if arguments is not None else None


def warmup_told(frames: Frames) -> float:
    """Steps of warm-up, or their share of the run, that the arguments of the trainer that is running ask for; 0 outside of one."""
    _, arguments = _running(frames)
    told = (getattr(arguments, name, 0) for name in ("warmup_steps", "warmup_ratio"))
    return next((float(n) for n in told if isinstance(n, int | float) and n > 0), 0.0)


def _running(frames: Frames) -> tuple[str, Any]:
    """The user's file that calls a trainer, and its arguments; None in their place where what is running was called by the user's own code."""
    frame: FrameType | None = sys._getframe(1)
    found = None
    while frame is not None:
        name = frame.f_code.co_filename
        if frames.is_user(name):
            return name, found
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == "transformers":
            arguments = getattr(frame.f_locals.get("self"), "args", None)
            if hasattr(arguments, "learning_rate"):
                found = arguments
        frame = frame.f_back
    return "", None


def _built(filename: str, kind: str, named: str) -> Place | None:
    tree = source_tree(filename)
    found: list[tuple[ast.Call, str]] = []

    def visit(node: ast.AST, function: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call) and ast.unparse(child.func).rpartition(".")[2] == kind:
                found.append((child, function))
            visit(child, child.name if isinstance(child, ast.FunctionDef) else function)

    if tree is not None:
        visit(tree, "<module>")
    if len(found) != 1:
        return None
    call, function = found[0]
    argument = next((k for k in call.keywords if k.arg == named), None)
    return filename, argument.value.lineno if argument else call.lineno, function
