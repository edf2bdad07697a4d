"""Finds seeds that are set to the same number again and again in the loop that trains, so that the same draws follow each time.

What the loop did is known for its recorded steps only, which may hold one such call. Whether it comes again with the same number is
then read from the source: the loop around it, and what its argument depends on.
"""

from __future__ import annotations

import ast
from typing import Any

from torch.utils.data import RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from trainlint.location import Location
from trainlint.probes.data.datasets import sampler_of
from trainlint.probes.data.value_source import calls_in
from trainlint.probes.source.scopes import Scope, bound, called, calls_at, own_nodes, parameters, scope_at
from trainlint.probes.source.statements import Loop, loops_around
from trainlint.record.frames import Place
from trainlint.record.planned import source_tree
from trainlint.record.recording import Recording
from trainlint.record.seeds import Seeding
from trainlint.record.seen import Loader

__all__ = ["reseeding", "sampler_seeded_at"]

#: Calls that set a seed.
_SEEDING = frozenset({"manual_seed", "seed", "default_rng", "RandomState", "Random"})
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def reseeding(recording: Recording) -> Seeding | None:
    """A seed that training begins with again and again, in a loop, and draws its batches, or their order, after it. None where there is none."""
    if recording.own_loop:
        return None
    loaders = recording.loaders_of("train")
    drawn = _drawn_by(loaders) if loaders else recording.seeds.drawn
    for seeding in recording.seeds.seen.values():
        if not seeding.trained or seeding.kind not in drawn or len(set(seeding.values)) > 1:
            continue
        found = _shared_loop(seeding.stack[::-1], recording.seeds.backward[::-1])
        if found is None:
            continue
        depth, loop, nested = found
        if bool(loaders) is nested and _is_same_run(recording, seeding, loop) and not _varies(seeding.stack[::-1], depth, loop):
            return seeding
    return None


def sampler_seeded_at(recording: Recording, sampler: Any) -> Location | None:
    """The line of the sampler's own ``__iter__`` that sets a seed."""
    code = getattr(getattr(type(sampler), "__iter__", None), "__code__", None)
    if code is None or not recording.frames.is_user(code.co_filename):
        return None
    line = calls_in(code.co_filename, code.co_firstlineno, _SEEDING)
    return recording.frames.location((code.co_filename, line, code.co_name)) if line is not None else None


def _drawn_by(loaders: list[Loader]) -> set[str]:
    """The generators that decide on the order of loaders."""
    samplers = [sampler_of(entry.loader) for entry in loaders]
    plain = [s for s in samplers if isinstance(s, RandomSampler | SubsetRandomSampler | WeightedRandomSampler) and s.generator is None]
    return {"torch"} if plain else set()


def _shared_loop(seed: list[Place], backward: list[Place]) -> tuple[int, Loop, bool] | None:
    """``(depth, loop, nested)``: the innermost loop that runs both, its place in the stacks (outermost first), and whether backward() stands in a further one."""
    found: tuple[int, Loop, bool] | None = None
    for depth, (one, other) in enumerate(zip(seed, backward, strict=False)):
        if (one[0], one[2]) != (other[0], other[2]):
            break
        around = loops_around(other)
        shared = [loop for loop in loops_around(one) if loop in around]
        if shared:
            inside = len(around) > len(shared) or any(loops_around(place) for place in backward[depth + 1 :])
            found = depth, shared[-1], inside
        if one != other:
            break
    return found


def _is_same_run(recording: Recording, seeding: Seeding, loop: Loop) -> bool:
    """Whether the loop goes on with one training, and does not begin another in each round."""
    if seeding.optimizers < len(recording.optimizers):
        return False
    built = [seen.place for seen in recording.training]
    inside = any(p is not None and loop.lineno <= p[1] <= (loop.end_lineno or 0) and p[0] == seeding.stack[0][0] for p in built)
    return bool(built) and not inside


def _varies(stack: list[Place], depth: int, loop: Loop) -> bool:
    """Whether the seed may be another number in another round; also where the source does not tell."""
    scope = scope_at(stack[-1], [])
    calls = [c for c in calls_at(scope, stack[-1][1]) if "seed" in called(c).lower()] if scope is not None else []
    wanted: list[ast.expr] = [a for c in calls[:1] for a in (*c.args, *(k.value for k in c.keywords))]
    if len(calls) != 1:
        return True
    for level in range(len(stack) - 1, depth, -1):
        inner, outer = scope_at(stack[level], []), scope_at(stack[level - 1], [])
        if inner is None or outer is None or not isinstance(inner.body, _Function) or _is_worked_out(wanted, inner):
            return True
        names = _names(wanted)
        if names & {n.id for n in own_nodes(inner.body) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}:
            return True
        given = {a.arg for a in parameters(inner.body)} - {"self", "cls"}
        calls = [c for c in calls_at(outer, stack[level - 1][1]) if called(c) == inner.body.name]
        if names & given and len(calls) != 1:
            return True
        method = next((a.arg for a in parameters(inner.body)), "") in ("self", "cls")
        known = bound(calls[0], inner.body, outer, method=method) if calls else {}
        wanted = [known[name][0] for name in sorted(names & given) if name in known]
    last = scope_at(stack[depth], [])
    if last is None or _is_worked_out(wanted, last):
        return True
    return bool(_names(wanted) & {n.id for n in ast.walk(loop) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)})


def _is_worked_out(values: list[ast.expr], scope: Scope) -> bool:
    """Whether a value comes from a call, or from an attribute or element that a method other than the constructor sets."""
    nodes = [n for value in values for n in ast.walk(value)]
    if any(isinstance(n, ast.Subscript) or (isinstance(n, ast.Call) and called(n) != "int") for n in nodes):
        return True
    attributes = {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    tree = source_tree(scope.filename)
    if not attributes or tree is None:
        return False
    building = {id(n) for f in ast.walk(tree) if isinstance(f, _Function) and f.name == "__init__" for n in ast.walk(f)}
    return any(
        isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store) and n.attr in attributes and id(n) not in building
        for n in ast.walk(tree)
    )


def _names(values: list[ast.expr]) -> set[str]:
    return {n.id for value in values for n in ast.walk(value) if isinstance(n, ast.Name)}
