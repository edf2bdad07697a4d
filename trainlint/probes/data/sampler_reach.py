"""How far a sampler reaches into its dataset, and the line that builds it."""

from __future__ import annotations

import ast
from typing import Any

from torch.utils.data import WeightedRandomSampler

from trainlint.probes.data.datasets import size_of
from trainlint.probes.source.scopes import called, own_nodes, scope_at
from trainlint.record.frames import Place
from trainlint.record.seen import Loader

__all__ = ["reach_of", "sampler_built_at"]


def reach_of(sampler: Any) -> int | None:
    """The number of weights of a sampler that draws by weights: indices from there on never come. None for other samplers."""
    return size_of(sampler.weights) if isinstance(sampler, WeightedRandomSampler) else None


def sampler_built_at(entry: Loader, sampler: Any) -> Place | None:
    """The line that calls the sampler's class: the last before the loader in its function, else the only one in its file."""
    scope = scope_at(entry.place, []) if entry.place is not None else None
    whole = scope_at((entry.place[0], 0, "<module>"), []) if entry.place is not None else None
    if entry.place is None or scope is None or whole is None:
        return None
    filename, before, _ = entry.place
    name = type(sampler).__name__
    near = [n.lineno for n in own_nodes(scope.body) if isinstance(n, ast.Call) and called(n) == name and n.lineno <= before]
    if near:
        return filename, max(near), scope.name
    lines = {n.lineno for n in ast.walk(whole.body) if isinstance(n, ast.Call) and called(n) == name}
    return (filename, lines.pop(), "") if len(lines) == 1 else None
