"""Finds statements of the user's functions by reading their source: where samples are given out, where a step returns."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from types import CodeType

from trainlint.probes.source.scopes import Function, own_nodes
from trainlint.record.frames import Place
from trainlint.record.planned import source_tree

__all__ = ["Loop", "condition_around", "given_out_at", "loops_around", "step_returns_at"]

Loop = ast.For | ast.AsyncFor | ast.While


def given_out_at(code: CodeType) -> Place:
    """The loop of a generator function around its ``yield``, the outermost ``for``; without a loop the ``yield`` or ``return`` itself.

    The function's first line where its source cannot be read, or has none of them.
    """
    function = next(
        (f for f in _functions(code.co_filename) if code.co_firstlineno in (f.lineno, *(d.lineno for d in f.decorator_list))), None
    )
    line = None
    if function is not None:
        own = list(own_nodes(function))
        loops = [n for n in own if isinstance(n, ast.For | ast.AsyncFor | ast.While) and any(map(_gives, ast.walk(n)))]
        counted = [n.lineno for n in loops if not isinstance(n, ast.While)]
        given = [n.lineno for n in own if isinstance(n, ast.Yield | ast.YieldFrom)]
        returned = [n.lineno for n in own if isinstance(n, ast.Return) and n.value is not None]
        line = min(counted or [n.lineno for n in loops[-1:]] or given or returned, default=None)
    return code.co_filename, line or code.co_firstlineno, code.co_name


def step_returns_at(filenames: Iterable[str], name: str) -> Place | None:
    """Where the one function of this name in some files returns nothing, else where it returns its result, else where it begins.

    None where there is no such function, or several.
    """
    found = [(filename, f) for filename in dict.fromkeys(filenames) for f in _functions(filename) if f.name == name]
    if len(found) != 1:
        return None
    filename, function = found[0]
    returns = [n for n in own_nodes(function) if isinstance(n, ast.Return)]
    bare = [n for n in returns if n.value is None or (isinstance(n.value, ast.Constant) and n.value.value is None)]
    return filename, min((n.lineno for n in bare or returns), default=function.lineno), name


def loops_around(place: Place) -> list[Loop]:
    """The loops, of the function that a line belongs to, whose body holds the line; the outermost first."""
    tree = source_tree(place[0])
    inside = [n for n in ast.walk(tree) if isinstance(n, Function) and n.lineno <= place[1] <= (n.end_lineno or n.lineno)] if tree else []
    body = max(inside, key=lambda n: n.lineno, default=tree)
    loops = [n for n in own_nodes(body) if isinstance(n, Loop)] if isinstance(body, ast.Module | Function) else []
    return sorted((n for n in loops if n.body[0].lineno <= place[1] <= (n.body[-1].end_lineno or 0)), key=lambda n: n.lineno)


def condition_around(place: Place) -> Place | None:
    """The innermost ``if`` around a line, within the innermost loop that holds the line; None where it stands under none."""
    loops = loops_around(place)
    tests = [
        n for n in ast.walk(loops[-1]) if isinstance(n, ast.If) and n.body[0].lineno <= place[1] <= (n.body[-1].end_lineno or n.lineno)
    ] if loops else []  # fmt: skip
    inner = max(tests, key=lambda n: n.lineno, default=None)
    return (place[0], inner.lineno, place[2]) if inner is not None else None


def _functions(filename: str) -> Iterator[Function]:
    tree = source_tree(filename)
    yield from (n for n in ast.walk(tree) if isinstance(n, Function)) if tree is not None else ()


def _gives(node: ast.AST) -> bool:
    return isinstance(node, ast.Yield | ast.YieldFrom)
