"""Whether a collate function that joins graphs end to end leaves each edge between nodes of its own graph.

The samples tell what is right: the edges of each must be theirs, moved by the number of nodes before them. Nothing is said of batches whose nodes are
not the samples' own, end to end, nor of edges that keep to separate stretches of another layout.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainlint.measurements import CrossedLinks
from trainlint.probes.data.datasets import Samples
from trainlint.probes.source.joining import joined_at
from trainlint.probes.source.scopes import Function
from trainlint.record.frames import Frames, Place
from trainlint.record.operation import Ref
from trainlint.record.planned import source_tree
from trainlint.record.random_state import randomness_kept, seed_all
from trainlint.record.structure import tensor_leaves
from trainlint.record.tape import Tape

__all__ = ["crossed_links"]

#: Graphs that are joined, and the largest square matrix over all of their nodes that is looked at.
_SAMPLES, _LARGEST = 8, 4096
#: Share of the graphs whose last node has an edge, where edges number the nodes of their own graph.
_LAST = 0.5
#: Operations on the way of edges that pass them on as they are, and those that take them as an index.
_PASSES = frozenset({"__getitem__", "contiguous", "detach", "expand", "long", "squeeze", "t", "to", "unbind", "unsqueeze", "view"})
_TAKES = frozenset(
    {"gather", "index_add", "index_add_", "index_select", "scatter", "scatter_", "scatter_add", "scatter_add_", "scatter_reduce"}
)

Leaves = Mapping[str, Tensor]


def crossed_links(samples: Samples, tape: Tape | None, frames: Frames) -> CrossedLinks | None:
    """What the loader's own collate function makes of the samples' edges; None where that is not known."""
    collate: Any = samples.loader.collate_fn
    collate = getattr(collate, "func", collate)  # functools.partial
    code = getattr(collate, "__code__", None) or getattr(type(collate).__call__, "__code__", None)
    if samples.iterable or not samples.single or code is None or not frames.is_user(code.co_filename) or len(samples.pool) < _SAMPLES:
        return None
    with randomness_kept(), torch.no_grad():
        try:
            if not any(_as_edges(t) is not None or _is_square(t) for t in _leaves(samples.raw(samples.pool[0])).values()):
                return None
            raw = [samples.raw(samples.pool[i * (len(samples.pool) - 1) // (_SAMPLES - 1)]) for i in range(_SAMPLES)]
            seed_all(0)
            graphs, batch = [_leaves(one) for one in raw], _leaves(samples.loader.collate_fn(raw))
            found = _edges(graphs, batch, tape) or _blocks(graphs, batch)
        except Exception:
            return None
    if found is None:
        return None
    path, joined, wrong = found
    counted = _offset_set_at(code.co_filename, code.co_firstlineno)
    place = counted or joined_at(code.co_filename, code.co_firstlineno, joined)
    where = frames.location(place or (code.co_filename, code.co_firstlineno, code.co_name))
    return CrossedLinks(samples=_SAMPLES, wrong=wrong, path=path, where=where, counted=counted is not None)


def _leaves(value: Any) -> dict[str, Tensor]:
    """The tensors of a sample or batch, and the arrays that it holds itself."""
    found = dict(tensor_leaves(value))
    held = (
        value
        if isinstance(value, Mapping)
        else dict(enumerate(value))
        if isinstance(value, list | tuple)
        else getattr(value, "__dict__", {})
    )
    arrays = {
        f"[{k!r}]" if held is not getattr(value, "__dict__", None) else f".{k}": v for k, v in held.items() if isinstance(v, np.ndarray)
    }
    return found | {path: torch.from_numpy(v) for path, v in arrays.items() if v.dtype.kind in "biuf"}


def _as_edges(tensor: Tensor) -> Tensor | None:
    """Pairs of nodes as ``(2, edges)``; None for what is none."""
    if tensor.dim() != 2 or tensor.is_floating_point() or tensor.is_complex() or tensor.dtype is torch.bool or 2 not in tensor.shape:
        return None
    edges = tensor if tensor.shape[0] == 2 else tensor.T
    return edges if edges.shape[1] > 2 and int(edges.min()) >= 0 else None


def _is_square(tensor: Tensor) -> bool:
    return tensor.dim() == 2 and tensor.shape[0] == tensor.shape[1] > 2


def _edges(graphs: Sequence[Leaves], batch: Leaves, tape: Tape | None) -> tuple[str, str, int] | None:
    """The edges of a batch, by the path in a sample and in the batch, and how many graphs' lead to nodes of others."""
    for path, first in graphs[0].items():
        given = [_as_edges(g[path]) for g in graphs if path in g] if _as_edges(first) is not None else []
        edges = [one for one in given if one is not None]
        sizes = _sizes(graphs, batch, edges) if len(edges) == len(graphs) else None
        if sizes is None:
            continue
        for name, joined in batch.items():
            pairs = _as_edges(joined)
            moved = _offsets(pairs, edges) if pairs is not None else None
            if moved is None:
                continue
            right = list(itertools.accumulate(sizes, initial=0))[:-1]
            wrong = sum(a != b for a, b in zip(moved, right, strict=True))
            if not wrong or (_overlap(moved, edges) and (any(moved) or _are_taken_as_they_are(tape, name))):
                return path, name, wrong
    return None


def _sizes(graphs: Sequence[Leaves], batch: Leaves, edges: Sequence[Tensor]) -> list[int] | None:
    """Nodes of each graph: the rows of a tensor that the batch holds end to end, and that the edges fit."""
    last = [int(e.max()) for e in edges]
    for path in graphs[0]:
        parts = [g[path] for g in graphs if path in g]
        if len(parts) < len(graphs) or any(not p.dim() or _as_edges(p) is not None for p in parts):
            continue
        sizes = [len(p) for p in parts]
        fits = all(high < size for high, size in zip(last, sizes, strict=True)) and len(set(sizes)) > 1
        if not fits or sum(high == size - 1 for high, size in zip(last, sizes, strict=True)) < _LAST * len(sizes):
            continue
        if any(len(t) == sum(sizes) and _is_joined(t, parts) for t in batch.values() if t.dim()):
            return sizes
    return None


def _is_joined(tensor: Tensor, parts: Sequence[Tensor]) -> bool:
    if tensor.shape[1:] != parts[0].shape[1:] or len({p.shape[1:] for p in parts}) > 1:
        return False
    return torch.equal(tensor.double(), torch.cat([p.double() for p in parts]))


def _offsets(joined: Tensor, edges: Sequence[Tensor]) -> list[int] | None:
    """By how much each graph's edges were moved; None where they are not the samples' edges in their order."""
    if joined.shape[1] != sum(e.shape[1] for e in edges):
        return None
    moved = [part - e for part, e in zip(joined.split([e.shape[1] for e in edges], dim=1), edges, strict=True)]
    return [int(m[0, 0]) for m in moved] if all(bool((m == m[0, 0]).all()) for m in moved) else None


def _overlap(moved: Sequence[int], edges: Sequence[Tensor]) -> bool:
    """Whether two graphs' edges come to lie on the same nodes."""
    spans = sorted((o + int(e.min()), o + int(e.max())) for o, e in zip(moved, edges, strict=True))
    return any(high >= low for (_, high), (low, _) in itertools.pairwise(spans))


def _are_taken_as_they_are(tape: Tape | None, path: str) -> bool:
    """Whether the model looks nodes up by the batch's edges, and neither moves them nor takes graphs apart first."""
    slot = tape.batch.get(path) if tape is not None else None
    if tape is None or slot is None:
        return False
    queue, seen, taken = [slot], {slot}, False
    while queue:
        current = queue.pop()
        for op in map(tape.operations.__getitem__, tape.consumers(current)):
            index = op.argument(1, "") if op.name == "__getitem__" else None
            if op.name in _TAKES or (op.name == "__getitem__" and isinstance(index, Ref) and index.slot == current):
                taken = True
            elif op.name not in _PASSES or (op.name == "__getitem__" and not isinstance(index, int)):
                return False
            else:
                new = [s for s in op.outputs if s not in seen]
                seen.update(new)
                queue += new
    return taken


def _blocks(graphs: Sequence[Leaves], batch: Leaves) -> tuple[str, str, int] | None:
    """The same for square matrices of links, joined to one: no number but 0 may stand beside the blocks."""
    for path, first in graphs[0].items():
        parts = [g[path] for g in graphs if path in g and _is_square(g[path])] if _is_square(first) else []
        sizes = [len(p) for p in parts]
        total = sum(sizes)
        if len(parts) < len(graphs) or len(set(sizes)) < 2 or total > _LARGEST:
            continue
        links = sum(int(p.count_nonzero()) for p in parts)
        for name, joined in ((n, t.to_dense()) for n, t in batch.items() if tuple(t.shape) == (total, total)):
            inside = torch.block_diag(*(torch.ones(n, n) for n in sizes)).bool()
            beside = (joined != 0) & ~inside
            if int((joined != 0).sum()) <= links:
                return path, name, sum(bool(rows.any()) for rows in beside.split(sizes))
    return None


def _offset_set_at(filename: str, first: int) -> Place | None:
    """The line of a function that sets, within a loop, what is added to something there."""
    tree = source_tree(filename)
    functions = [f for f in ast.walk(tree) if isinstance(f, Function)] if tree is not None else []
    for function in functions:
        if first not in (function.lineno, *(d.lineno for d in function.decorator_list)):
            continue
        added = {
            n.id
            for b in ast.walk(function)
            if isinstance(b, ast.BinOp) and isinstance(b.op, ast.Add)
            for n in (b.left, b.right)
            if isinstance(n, ast.Name)
        }
        lines = [line for name, line in _set_in_loops(function) if name in added]
        return (filename, max(lines), function.name) if lines else None
    return None


def _set_in_loops(function: Function) -> Iterator[tuple[str, int]]:
    for loop in (n for n in ast.walk(function) if isinstance(n, ast.For | ast.While)):
        for node in ast.walk(loop):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign) else []
            yield from ((t.id, t.lineno) for t in targets if isinstance(t, ast.Name))
