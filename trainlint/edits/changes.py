"""Changes to a syntax tree: collected first, made in one pass, all else kept to the byte."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import libcst as cst

from trainlint.edits.script import Script, Statement, Unsure, dotted

__all__ = ["Changes", "argument", "expression", "keyword", "operand", "statement"]


class Changes:
    """What is to become of some nodes of a script."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._replaced: dict[cst.CSTNode, Callable[[Any], cst.CSTNode]] = {}
        self._before: dict[cst.CSTNode, list[Statement]] = {}
        self._after: dict[cst.CSTNode, list[Statement]] = {}
        self._removed: set[cst.CSTNode] = set()
        self._unwrapped: set[cst.CSTNode] = set()

    def __bool__(self) -> bool:
        return bool(self._replaced or self._before or self._after or self._removed or self._unwrapped)

    def replace(self, node: cst.CSTNode, new: cst.CSTNode) -> Changes:
        """Put another node in the place of one."""
        return self.rework(node, lambda updated: new)

    def rework(self, node: cst.CSTNode, how: Callable[[Any], cst.CSTNode]) -> Changes:
        """Make a node anew from itself, changes inside it made already."""
        self._replaced[node] = how
        return self

    def before(self, place: Statement, *new: str | Statement) -> Changes:
        """Put statements before one."""
        self.script.block(place)
        self._before.setdefault(place, []).extend(map(statement, new))
        return self

    def after(self, place: Statement, *new: str | Statement) -> Changes:
        """Put statements after one."""
        self.script.block(place)
        self._after.setdefault(place, []).extend(map(statement, new))
        return self

    def remove(self, place: Statement) -> Changes:
        """Take a statement out; a block that it leaves empty gets a ``pass``."""
        self.script.block(place)
        self._removed.add(place)
        return self

    def move(self, what: Statement, *, before: Statement | None = None, after: Statement | None = None) -> Changes:
        """Take a statement out and put it before or after another one."""
        self.remove(what)
        moved = what.with_changes(leading_lines=[line for line in what.leading_lines if line.comment])
        return self.before(before, moved) if before is not None else self.after(after, moved) if after is not None else self

    def unwrap(self, block: cst.With) -> Changes:
        """Put the statements of a ``with`` in its place."""
        self.script.block(block)
        self._unwrapped.add(block)
        return self

    def import_module(self, name: str) -> Changes:
        """Import a module at the top unless its name is bound there."""
        if self.script.imports.get(name) == name:
            return self
        for place in self.script.module.body:
            if isinstance(place, cst.SimpleStatementLine) and isinstance(place.body[0], (cst.Import, cst.ImportFrom)):
                first = place.body[0]
                if isinstance(first, cst.ImportFrom) and first.module is not None and dotted(first.module) == "__future__":
                    continue
                return self.before(place, f"import {name}")
        raise Unsure(f"{name} is not imported, and there is no import to put it beside")

    def code(self) -> str:
        """The text with all changes made."""
        tree = self.script.module.visit(_Rewriter(self))
        assert isinstance(tree, cst.Module)
        return tree.code

    def _of(self, original: cst.CSTNode, updated: Any) -> Any:
        """What a node becomes."""
        if original in self._replaced:
            updated = self._replaced[original](updated)
        kept: list[Any] = [updated]
        if original in self._removed:
            kept = [] if self._leaves(original) else [statement("pass")]
        elif original in self._unwrapped:
            inner = list(updated.body.body)
            kept = [inner[0].with_changes(leading_lines=[*updated.leading_lines, *inner[0].leading_lines]), *inner[1:]]
        before, after = self._before.get(original, []), self._after.get(original, [])
        if not before and not after and kept == [updated]:
            return updated
        if before and kept and hasattr(kept[0], "leading_lines"):
            # Blank lines stay on top, a comment stays with what it explains.
            blank = list(itertools.takewhile(lambda line: line.comment is None, kept[0].leading_lines))
            before = [before[0].with_changes(leading_lines=[*blank, *before[0].leading_lines]), *before[1:]]
            if isinstance(before[-1], cst.SimpleStatementLine):
                kept = [kept[0].with_changes(leading_lines=kept[0].leading_lines[len(blank) :]), *kept[1:]]
        nodes = [*before, *kept, *after]
        return cst.FlattenSentinel(nodes) if nodes else cst.RemoveFromParent()

    def _leaves(self, removed: cst.CSTNode) -> bool:
        """Whether a block holds anything after its removals."""
        block = self.script.block(removed)  # type: ignore[arg-type] # only statements are removed
        return (
            isinstance(block, cst.Module)
            or any(s not in self._removed or s in self._before or s in self._after for s in block.body)
            or next(s for s in block.body if s in self._removed) is not removed
        )


class _Rewriter(cst.CSTTransformer):
    def __init__(self, changes: Changes) -> None:
        super().__init__()
        self._changes = changes

    def on_leave(self, original_node: cst.CSTNode, updated_node: Any) -> Any:
        return self._changes._of(original_node, updated_node)


def statement(code: str | Statement) -> Statement:
    """A statement from its text."""
    if not isinstance(code, str):
        return code
    parsed = cst.parse_statement(code)
    assert isinstance(parsed, (cst.SimpleStatementLine, cst.BaseCompoundStatement))
    return parsed


def expression(code: str) -> cst.BaseExpression:
    """An expression from its text."""
    return cst.parse_expression(code)


def operand(node: cst.BaseExpression) -> cst.BaseExpression:
    """An expression that may stand before a dot or an operator: in parentheses unless it needs none."""
    simple = (cst.Name, cst.Attribute, cst.Call, cst.Subscript, cst.Integer, cst.Float, cst.List, cst.Dict)
    return node if isinstance(node, simple) or node.lpar else node.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


def argument(call: cst.Call, name: str, position: int | None = None) -> cst.Arg | None:
    """The argument of a call by its keyword, else by its position.

    Raises:
        Unsure: The call unpacks arguments, so that it cannot be told.
    """
    for arg in call.args:
        if arg.keyword is not None and arg.keyword.value == name:
            return arg
    if any(arg.star for arg in call.args):
        raise Unsure(f"a call hands on its arguments by *, so {name} may be among them")
    plain = [arg for arg in call.args if arg.keyword is None]
    return plain[position] if position is not None and position < len(plain) else None


def keyword(call: cst.Call, name: str, value: str, after: str = "") -> cst.Call:
    """The call with a keyword set: replaced where it stands, else put after the keyword ``after``, or last."""
    args = list(call.args)
    for i, arg in enumerate(args):
        if arg.keyword is not None and arg.keyword.value == name:
            args[i] = arg.with_changes(value=expression(value))
            return call.with_changes(args=args)
    if any(arg.star for arg in args):
        raise Unsure(f"a call hands on its arguments by *, so {name} may be among them")
    new = cst.Arg(expression(value), keyword=cst.Name(name), equal=cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace("")))
    if not args:
        return call.with_changes(args=[new])
    at = next((i for i, a in enumerate(args) if a.keyword is not None and a.keyword.value == after), len(args) - 1)
    between = next((_plain(a.comma) for a in args if isinstance(a.comma, cst.Comma) and a is not args[-1]), None)
    if between is None:
        between = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    old = args[at]
    if at < len(args) - 1:
        new = new.with_changes(comma=_plain(old.comma))
        args[at : at + 1] = [old, new]
    else:
        # A comma after the last argument, and the line break behind it, stay at the end.
        new = new.with_changes(comma=_plain(old.comma), whitespace_after_arg=old.whitespace_after_arg)
        args[at:] = [old.with_changes(comma=_commented(between, old.comma), whitespace_after_arg=cst.SimpleWhitespace("")), new]
    return call.with_changes(args=args)


def _plain(comma: Any) -> Any:
    """A comma with its line break, without the comment behind it."""
    space = comma.whitespace_after if isinstance(comma, cst.Comma) else None
    if not isinstance(space, cst.ParenthesizedWhitespace):
        return comma
    line = space.first_line.with_changes(comment=None, whitespace=cst.SimpleWhitespace(""))
    return comma.with_changes(whitespace_after=space.with_changes(first_line=line, empty_lines=[]))


def _commented(comma: cst.Comma, old: Any) -> cst.Comma:
    """A comma with the comment that stood behind another one."""
    to, of = comma.whitespace_after, old.whitespace_after if isinstance(old, cst.Comma) else None
    if isinstance(to, cst.ParenthesizedWhitespace) and isinstance(of, cst.ParenthesizedWhitespace):
        return comma.with_changes(whitespace_after=to.with_changes(first_line=of.first_line))
    return comma
