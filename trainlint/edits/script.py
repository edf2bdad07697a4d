"""A user's source file as text, as a syntax tree with positions, and the questions that edits ask of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TypeVar

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, ParentNodeProvider, PositionProvider

from trainlint.edits.source import EditError

__all__ = ["Block", "Scope", "Script", "Statement", "Unsure", "dotted"]


Statement = cst.SimpleStatementLine | cst.BaseCompoundStatement
Block = cst.Module | cst.IndentedBlock
Scope = cst.FunctionDef | cst.Module
_Node = TypeVar("_Node", bound=cst.CSTNode)


class Unsure(Exception):  # noqa: N818 - no error, an answer
    """The change cannot be made with certainty; the message says why, in words for the user."""


class Script:
    """The syntax tree of a source, with the lines and the parents of its nodes."""

    def __init__(self, text: str) -> None:
        """Parse a text.

        Raises:
            EditError: The text is no Python that can be parsed and written back unchanged.
        """
        try:
            module = cst.parse_module(text)
        except (cst.ParserSyntaxError, RecursionError, ValueError) as error:
            raise EditError(f"it cannot be parsed ({str(error).splitlines()[0]})") from error
        if module.code != text:
            raise EditError("it would not be written back as it is")
        wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
        self.module = module
        self._positions = wrapper.resolve(PositionProvider)
        self._parents = wrapper.resolve(ParentNodeProvider)
        self._nodes: list[cst.CSTNode] = []
        self._range: dict[cst.CSTNode, tuple[int, int]] = {}
        """Of each node where its subtree begins and ends in ``_nodes``."""
        module.visit(_Index(self._nodes, self._range))

    def code(self, node: cst.CSTNode) -> str:
        """The source text of a node."""
        return self.module.code_for_node(node)

    def span(self, node: cst.CSTNode) -> CodeRange:
        """First and last position of a node."""
        return self._positions[node]

    def line(self, node: cst.CSTNode) -> int:
        """First line of a node, counted from 1."""
        return self.span(node).start.line

    def covers(self, node: cst.CSTNode, line: int) -> bool:
        """Whether a line belongs to a node."""
        return self.span(node).start.line <= line <= self.span(node).end.line

    def ancestors(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """The nodes around a node, the nearest first."""
        while (parent := self._parents.get(node)) is not None:
            yield parent
            node = parent

    def around(self, node: cst.CSTNode, kind: type[_Node]) -> _Node | None:
        """The nearest node of a kind around a node."""
        return next((n for n in self.ancestors(node) if isinstance(n, kind)), None)

    def function(self, node: cst.CSTNode) -> cst.FunctionDef | None:
        """The function whose body holds a node."""
        return self.around(node, cst.FunctionDef)

    def scope(self, node: cst.CSTNode) -> Scope:
        """The function whose body holds a node, else the module."""
        return self.function(node) or self.module

    def all(self, kind: type[_Node], within: cst.CSTNode | None = None) -> list[_Node]:
        """All nodes of a kind, in the order of the text; ``within`` itself included."""
        first, last = self._range[self.module if within is None else within]
        return [n for n in self._nodes[first:last] if isinstance(n, kind)]

    def names(self, within: cst.CSTNode) -> set[str]:
        """Names, plain and dotted, that stand in a node."""
        first, last = self._range[within]
        return {dotted(n) for n in self._nodes[first:last]} - {""}

    def own(self, kind: type[_Node], scope: Scope) -> list[_Node]:
        """Like :meth:`all`, without what stands in functions inside the scope."""
        return [n for n in self.all(kind, scope) if n is not scope and self.scope(n) is scope]

    def statement(self, line: int) -> Statement:
        """The innermost statement that covers a line; of a compound one only its header counts.

        Raises:
            Unsure: No statement stands there, or several on one line.
        """
        found: Statement | None = None
        for node in self._nodes:
            if isinstance(node, (cst.SimpleStatementLine, cst.BaseCompoundStatement)) and self.covers(node, line):
                found = node
        if found is None:
            raise Unsure(f"no statement stands on line {line}")
        if isinstance(found, cst.SimpleStatementLine) and len(found.body) != 1:
            raise Unsure(f"line {line} holds several statements")
        return found

    def statement_of(self, node: cst.CSTNode) -> Statement:
        """The statement that a node belongs to.

        Raises:
            Unsure: It shares its line with others, as after a semicolon or a colon.
        """
        for n in (node, *self.ancestors(node)):
            if isinstance(n, cst.SimpleStatementSuite):
                break
            if isinstance(n, cst.SimpleStatementLine):
                if len(n.body) == 1:
                    return n
                break
            if isinstance(n, cst.BaseCompoundStatement):
                return n
        raise Unsure(f"the statement on line {self.line(node)} shares its line with another")

    def block(self, statement: Statement) -> Block:
        """The block that holds a statement.

        Raises:
            Unsure: It follows a colon on the same line.
        """
        parent = next(self.ancestors(statement))
        if isinstance(parent, (cst.Module, cst.IndentedBlock)):
            return parent
        raise Unsure(f"the statement on line {self.line(statement)} is not in a block of its own")

    def siblings(self, statement: Statement) -> Sequence[cst.BaseStatement]:
        """The statements of the block, the statement itself included."""
        return self.block(statement).body

    def calls(self, line: int) -> list[cst.Call]:
        """Calls of the statement at a line that cover it, outer ones first; its other calls after them."""
        statement = self.statement(line)
        calls = [c for c in self.all(cst.Call, statement) if self._in_header(c, statement)]
        return sorted(calls, key=lambda c: not self.covers(c, line))

    def _in_header(self, node: cst.CSTNode, statement: Statement) -> bool:
        for n in self.ancestors(node):
            if n is statement:
                return True
            if isinstance(n, (cst.IndentedBlock, cst.SimpleStatementSuite)):
                return False
        return False

    def name(self, call: cst.Call) -> str:
        """What is called, as written: ``F.cross_entropy``, ``self.model``; empty for anything but dotted names."""
        return dotted(call.func)

    def assigned(self, name: str, scope: Scope | None = None) -> list[cst.BaseExpression]:
        """Values that a dotted name is assigned, anywhere or in one scope."""
        found: list[cst.BaseExpression] = []
        for assign in self.all(cst.Assign) if scope is None else self.own(cst.Assign, scope):
            found += [assign.value for target in assign.targets if dotted(target.target) == name]
        for annotated in self.all(cst.AnnAssign) if scope is None else self.own(cst.AnnAssign, scope):
            if annotated.value is not None and dotted(annotated.target) == name:
                found.append(annotated.value)
        return found

    def visible(self, name: str, node: cst.CSTNode) -> bool:
        """Whether the first word of a dotted name is a parameter or an assigned name where a node stands."""
        first = name.split(".")[0]
        scopes: list[Scope] = [n for n in self.ancestors(node) if isinstance(n, (cst.FunctionDef, cst.Module))]
        return any(first in self.bound(scope) for scope in scopes)

    def bound(self, scope: Scope) -> set[str]:
        """Names that a scope binds: parameters, assignments, loop variables, functions, classes and imports."""
        names: set[str] = set()
        if isinstance(scope, cst.FunctionDef):
            names |= {p.name.value for p in self.all(cst.Param, scope.params)}
        bound: list[cst.CSTNode] = [t.target for t in self.own(cst.AssignTarget, scope)]
        bound += [loop.target for loop in self.own(cst.For, scope)] + [a.target for a in self.own(cst.AnnAssign, scope)]
        for target in bound:
            names |= {n.value for n in self.all(cst.Name, target)}
        for item in self.own(cst.AsName, scope):
            names |= {n.value for n in self.all(cst.Name, item.name)}
        names |= {d.name.value for d in self.own(cst.FunctionDef, scope)} | {d.name.value for d in self.own(cst.ClassDef, scope)}
        for alias in self.own(cst.ImportAlias, scope):
            if alias.asname is None:
                names.add(dotted(alias.name).split(".")[0])
        return names

    @cached_property
    def imports(self) -> dict[str, str]:
        """What each imported name stands for: ``F`` -> ``torch.nn.functional``, ``Adam`` -> ``torch.optim.Adam``."""
        found: dict[str, str] = {}
        for statement in self.all(cst.Import):
            for alias in statement.names:
                name = dotted(alias.name)
                found[self.code(alias.asname.name) if alias.asname else name.split(".")[0]] = name if alias.asname else name.split(".")[0]
        for origin_of in self.all(cst.ImportFrom):
            if isinstance(origin_of.names, cst.ImportStar):
                continue
            origin = dotted(origin_of.module) if origin_of.module else ""
            for alias in origin_of.names:
                name = dotted(alias.name)
                found[self.code(alias.asname.name) if alias.asname else name] = f"{origin}.{name}"
        return found

    def full(self, call: cst.Call) -> str:
        """What is called, imports looked through: ``torch.nn.functional.cross_entropy``; empty for anything but dotted names."""
        first, _, rest = self.name(call).partition(".")
        return ".".join(filter(None, (self.imports.get(first, first), rest)))

    def last(self, call: cst.Call) -> str:
        """The last word of what is called, whatever stands before it: ``backward`` for ``f(x).backward()``."""
        if isinstance(call.func, cst.Attribute):
            return call.func.attr.value
        return self.full(call).rpartition(".")[2]

    def receiver(self, call: cst.Call) -> cst.BaseExpression | None:
        """What a method is called on."""
        return call.func.value if isinstance(call.func, cst.Attribute) else None

    def built(self, attribute: str, near: cst.CSTNode) -> list[cst.Call]:
        """Modules that an attribute such as ``self.act`` is built as, in the class around a node, else anywhere."""
        within = self.around(near, cst.ClassDef) if attribute.startswith("self.") else None
        values = [a.value for a in self.all(cst.Assign, within or self.module) if any(dotted(t.target) == attribute for t in a.targets)]
        return [v for v in values if isinstance(v, cst.Call)] if all(isinstance(v, cst.Call) for v in values) else []


class _Index(cst.CSTVisitor):
    """Lists nodes in the order of the text."""

    def __init__(self, nodes: list[cst.CSTNode], ranges: dict[cst.CSTNode, tuple[int, int]]) -> None:
        super().__init__()
        self._nodes, self._ranges = nodes, ranges

    def on_visit(self, node: cst.CSTNode) -> bool:
        self._ranges[node] = (len(self._nodes), len(self._nodes))
        self._nodes.append(node)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        self._ranges[original_node] = (self._ranges[original_node][0], len(self._nodes))


def dotted(node: cst.CSTNode) -> str:
    """``a.b.c`` for such an expression, else an empty text."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        left = dotted(node.value)
        return f"{left}.{node.attr.value}" if left else ""
    return ""
