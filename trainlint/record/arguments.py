"""Where a Hugging Face Trainer's arguments are written, which set the optimizer that it builds in its own code."""

from __future__ import annotations

import ast
import sys
from types import FrameType

from trainlint.record.frames import Frames, Place
from trainlint.record.planned import source_tree

__all__ = ["arguments_place"]


def arguments_place(frames: Frames) -> Place | None:
    """The line of ``TrainingArguments(..., learning_rate=...)`` of the trainer that is running; None outside of one.

    Only the file of the user that starts the training is read; where it builds none or several, None.
    """
    frame: FrameType | None = sys._getframe(1)
    kind = ""
    while frame is not None:
        name = frame.f_code.co_filename
        if frames.is_user(name):
            return _built(name, kind) if kind else None
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == "transformers":
            arguments = getattr(frame.f_locals.get("self"), "args", None)
            if hasattr(arguments, "learning_rate"):
                kind = type(arguments).__name__
        frame = frame.f_back
    return None


def _built(filename: str, kind: str) -> Place | None:
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
    rate = next((k for k in call.keywords if k.arg == "learning_rate"), None)
    return filename, rate.value.lineno if rate else call.lineno, function
