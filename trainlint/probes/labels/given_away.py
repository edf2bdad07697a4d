"""Whether the answer stands in the input: one of its values is the target, in every sample."""

from __future__ import annotations

import ast
import re
from typing import Any

import numpy as np
import torch

from trainlint.measurements import GivenAway
from trainlint.probes.data.ridge import Rows
from trainlint.probes.data.split_samples import Split
from trainlint.record.following import body_of
from trainlint.record.frames import Place
from trainlint.record.planned import source_tree

__all__ = ["given_away", "picked_at"]

#: Samples that must agree, the share of different targets among them, values of an input for each target value, and values looked at.
_SAMPLES, _DIFFERENT, _FEW, _MOST = 100, 0.5, 4, 2**22


def given_away(split: Split) -> GivenAway | None:
    """The place in the input at which each sample's measured target stands; None for classes, and where targets are as large as inputs."""
    if split.kind != "values" or len(split.labels) < _SAMPLES:
        return None
    for path, tensors in split.inputs.items():
        shapes = {tuple(t.shape[1:]) for t in tensors}
        if split.kinds[path] == "tokens" or len(shapes) != 1:
            continue
        shape = next(iter(shapes))
        values = torch.cat([t.detach().cpu().double().reshape(1, -1) for t in tensors]).numpy()
        if values.shape[1] < _FEW * split.labels.shape[1] or values.size > _MOST:
            continue  # an autoencoder's target is its input
        for column in split.labels.T:
            if len(np.unique(column)) > _DIFFERENT * len(column) and (place := _place(values, column)) is not None:
                at = tuple(int(i) for i in np.unravel_index(place, shape))
                return GivenAway(path=path, at=at, shape=shape, samples=len(column))
    return None


def _place(values: Rows, column: Rows) -> int | None:
    same = (values == column[:, None]).all(0)
    return int(same.argmax()) if bool(same.any()) else None


def picked_at(dataset: Any, path: str) -> Place | None:
    """The line of ``__getitem__`` that sets what it returns at a path, ``[1]`` or ``['y']``, by its source; which values it picks is the fault."""
    code = getattr(getattr(type(dataset), "__getitem__", None), "__code__", None)
    if code is None:
        return None
    tree = source_tree(code.co_filename)
    body = body_of(tree, code) if tree is not None else None
    inner = [node for statement in body or () for node in ast.walk(statement)]
    key = re.fullmatch(r"\[(\d+)\]|\['(\w+)'\]", path)
    for given in (node.value for node in reversed(inner) if isinstance(node, ast.Return)):
        part: ast.expr | None = None
        if key and key[1] and isinstance(given, ast.Tuple) and int(key[1]) < len(given.elts):
            part = given.elts[int(key[1])]
        elif key and key[2] and isinstance(given, ast.Dict):
            part = next(
                (v for k, v in zip(given.keys, given.values, strict=True) if isinstance(k, ast.Constant) and k.value == key[2]), None
            )
        while isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute):  # y.unsqueeze(0)
            part = part.func.value
        if part is None:
            continue
        names = {n.id for n in ast.walk(part) if isinstance(n, ast.Name)} if isinstance(part, ast.Name) else set()
        sets = [n for n in inner if isinstance(n, ast.Assign) and any(isinstance(t, ast.Name) and t.id in names for t in n.targets)]
        return code.co_filename, (sets[-1] if sets else part).lineno, code.co_name
    return None
