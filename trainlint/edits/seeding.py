"""Edits of where seeds are set."""

from __future__ import annotations

import libcst as cst

from trainlint.edits.changes import Changes
from trainlint.edits.script import Script, Statement, Unsure
from trainlint.finding import Json

__all__ = ["restore_generator", "seed_once"]

_Loop = cst.For | cst.While
#: What reads and gives back the state of the generator that a call seeds, by the call's last word and the generator.
_STATES = {
    ("manual_seed", "torch"): ("get_rng_state", "set_rng_state"), ("seed", "numpy"): ("get_state", "set_state"), ("seed", "random"): ("getstate", "setstate"),
}  # fmt: skip


def seed_once(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Set a seed, and those set beside it, before the outermost loop around it, not in each round."""
    place = script.statement(line)
    if not _seeds(script, place):
        place = _only_one(script)
    block = list(script.siblings(place))
    first = last = block.index(place)
    while first and _seeds(script, block[first - 1]):
        first -= 1
    while last + 1 < len(block) and _seeds(script, block[last + 1]):
        last += 1
    seeds: list[Statement] = [s for s in block[first : last + 1] if isinstance(s, cst.SimpleStatementLine)]
    function = script.function(place)
    loop = _outermost(script, place)
    if loop is None and function is not None:
        return _leave_to_caller(script, seeds, function)
    if loop is None:
        raise Unsure("no loop stands around the line")
    if any(_changing(script, seed, loop) for seed in seeds) or _conditional(script, place, loop):
        raise Unsure("the seed depends on what the loop does")
    changes = Changes(script)
    for seed in seeds:
        changes.move(seed, before=loop)
    return changes


def restore_generator(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Keep a generator's state before a function seeds it, and give it back at the function's end; where no function seeds it, seed once."""
    place = script.statement(line)
    function = script.function(place)
    if function is None or (_outermost(script, place) is not None and _seeds(script, place)):
        return seed_once(script, line, values)
    calls = [c for c in script.calls(line) if "seed" in script.last(c).lower()]
    names = _STATES.get((script.last(calls[0]), str(values.get("generator")))) if len(calls) == 1 else None
    owner = script.name(calls[0]).rpartition(".")[0] if calls else ""
    if names is None or not owner or not _seeds(script, place):
        raise Unsure("the line does not seed the generator by itself")
    returns = script.own(cst.Return, function)
    body = function.body.body
    last = body[-1]
    ends = isinstance(last, cst.SimpleStatementLine) and len(last.body) == 1 and [*last.body] == returns
    if script.block(place) is not function.body or not (ends or not returns) or script.own(cst.Yield, function):
        raise Unsure("the function has more than one way out")
    if "random_state" in script.bound(function):
        raise Unsure("the name random_state is taken")
    changes = Changes(script).before(place, f"random_state = {owner}.{names[0]}()")
    back = f"{owner}.{names[1]}(random_state)"
    if not ends:
        return changes.after(last, back)  # type: ignore[arg-type]
    returned = returns[0].value
    if returned is not None and any(script.all(cst.Call, returned)):
        raise Unsure("what is returned may be drawn by a call")
    return changes.before(last, back)  # type: ignore[arg-type]


def _seeds(script: Script, node: cst.CSTNode) -> bool:
    """Whether a statement does nothing but set a seed: ``torch.manual_seed(0)``, ``seed_everything(seed)``."""
    part = node.body[0] if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1 else None
    return isinstance(part, cst.Expr) and isinstance(part.value, cst.Call) and "seed" in script.last(part.value).lower()


def _only_one(script: Script) -> Statement:
    """The statement that sets a seed in a loop that holds another loop, if there is but one such place in the file."""
    found = [s for s in script.all(cst.SimpleStatementLine) if _seeds(script, s) and _outermost(script, s) is not None]
    if not found or any(script.block(s) is not script.block(found[0]) for s in found):
        raise Unsure("the line sets no seed, and it is not clear which one is set in each epoch")
    around = next(n for n in script.ancestors(found[0]) if isinstance(n, (cst.For, cst.While)))
    if len(script.all(cst.For, around.body)) + len(script.all(cst.While, around.body)) == 0:
        raise Unsure("the seed is not set in a loop over epochs")
    return found[0]


def _outermost(script: Script, node: cst.CSTNode) -> _Loop | None:
    """The outermost loop around a node in the function that holds it."""
    scope = script.scope(node)
    loops = [n for n in script.ancestors(node) if isinstance(n, (cst.For, cst.While)) and script.scope(n) is scope]
    return loops[-1] if loops else None


def _conditional(script: Script, place: cst.CSTNode, loop: cst.CSTNode) -> bool:
    """Whether a statement runs only in some rounds."""
    for node in script.ancestors(place):
        if node is loop:
            return False
        if isinstance(node, (cst.If, cst.Try, cst.Else, cst.ExceptHandler)):
            return True
    return True


def _changing(script: Script, seed: cst.CSTNode, loop: cst.CSTNode) -> bool:
    """Whether a seed is set from what a loop gives names to, or by a call made in it."""
    used = {n.split(".")[0] for n in script.names(seed)}
    targets: list[cst.CSTNode] = [t.target for t in script.all(cst.AssignTarget, loop)]
    targets += [n.target for n in script.all(cst.For, loop)] + [n.target for n in script.all(cst.AugAssign, loop)]
    targets += [n.target for n in script.all(cst.AnnAssign, loop)] + [n.target for n in script.all(cst.NamedExpr, loop)]
    given = {n.value for target in targets for n in script.all(cst.Name, target)}
    return bool(used & given) or len(script.all(cst.Call, seed)) > 1


def _leave_to_caller(script: Script, seeds: list[Statement], function: cst.FunctionDef) -> Changes:
    """Take seeds out of a function that one loop calls, where the same is called, or may be, before that loop."""
    name = function.name.value
    calls = [c for c in script.all(cst.Call) if script.last(c) == name]
    loop = _outermost(script, calls[0]) if len(calls) == 1 else None
    if loop is None:
        raise Unsure(f"{name} is not called in just one loop of this file")
    changes = Changes(script)
    start = script.line(loop)
    for seed in seeds:
        call = script.all(cst.Call, seed)[0]
        changes.remove(seed)
        if any(_is_set(script, c, call, loop, start) for c in script.all(cst.Call)):
            continue
        constant = all(isinstance(a.value, cst.Integer) and not a.star for a in call.args)
        if not constant or script.name(call).split(".")[0] in script.bound(function):
            raise Unsure(f"the seed comes from what {name} is given")
        changes.before(loop, script.code(call))
    return changes


def _is_set(script: Script, other: cst.Call, call: cst.Call, loop: cst.CSTNode, start: int) -> bool:
    """Whether a call sets the same generator's seed once, before a loop, where the loop stands or at the top of the file."""
    if script.name(other) != script.name(call) or not script.name(call) or other is call or script.line(other) >= start:
        return False
    place = script.statement_of(other)
    return (
        _seeds(script, place)
        and script.scope(other) in (script.scope(loop), script.module)
        and script.block(place) in (*script.ancestors(loop), script.module)
    )
