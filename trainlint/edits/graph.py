"""Edits that keep the graph of a loss which was made anew from numbers or from other tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import libcst as cst

from trainlint.edits.changes import Changes, argument, expression, operand
from trainlint.edits.script import Script, Unsure, dotted
from trainlint.finding import Json

__all__ = ["keep_graph"]

#: What makes a new tensor, without a graph, of its first argument.
_NEW = tuple(f"torch.{name}" for name in ("tensor", "as_tensor", "asarray", "Tensor", "FloatTensor", "autograd.Variable"))
#: Methods without arguments that leave the graph behind.
_CUTS = ("item", "detach", "numpy", "tolist")
#: Functions of Python that work on tensors as they do on numbers.
_PLAIN = ("sum", "max", "min", "abs")
#: Methods of a tensor that keep its graph and its values, or their mean or sum.
_SAME = ("cpu", "clone", "float", "double", "to", "mean", "sum", "squeeze")
#: Names and operations that a value is followed through.
_DEPTH = 8


def keep_graph(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Use the loss itself where a line makes a new tensor of it, or sets ``requires_grad`` on one.

    With ``values["of"]`` "numbers" it is followed to where the numbers were taken, in the same function, and these are left tensors.
    """
    place = script.statement(line)
    part = place.body[0] if isinstance(place, cst.SimpleStatementLine) else None
    if part is None:
        raise Unsure("the line is the head of a block")
    path = _Path(script)
    if (name := _silenced(script, part)) is not None:
        path.changes.remove(place)
        path.follow(name)
    else:
        calls = [c for c in script.calls(line) if _is_new(script, c) or _asks(script, c)]
        if not calls:
            raise Unsure("it is not seen how the line makes its tensor")
        path.own(calls[0])
    if path.found == 0 and (name is not None or values.get("of") == "numbers"):
        raise Unsure("it is not seen where the numbers come from")
    return path.changes


def _silenced(script: Script, part: cst.BaseSmallStatement) -> cst.BaseExpression | None:
    """What a statement that does nothing else sets ``requires_grad`` on."""
    if isinstance(part, cst.Expr) and isinstance(part.value, cst.Call) and _asks(script, part.value):
        receiver = script.receiver(part.value)
        return receiver if isinstance(receiver, cst.Name) else None
    if isinstance(part, cst.Assign) and len(part.targets) == 1 and isinstance(target := part.targets[0].target, cst.Attribute):
        return target.value if target.attr.value == "requires_grad" and script.code(part.value) == "True" else None
    return None


def _asks(script: Script, call: cst.Call) -> bool:
    given = argument(call, "requires_grad", 0) if script.last(call) == "requires_grad_" else None
    return script.last(call) == "requires_grad_" and (given is None or script.code(given.value) == "True")


def _is_new(script: Script, call: cst.Call) -> bool:
    return script.full(call) in _NEW and bool(call.args) and call.args[0].keyword is None and not call.args[0].star


class _Path:
    """The way of a value back to the tensors it comes from; what leaves the graph behind on it is taken out."""

    def __init__(self, script: Script) -> None:
        self.script, self.changes = script, Changes(script)
        self.found = 0
        """Places where the graph was left behind, but for the tensor made anew that the edit began with."""
        self._seen: set[cst.CSTNode] = set()

    def own(self, call: cst.Call) -> None:
        """Put what a new tensor is made of in its place, a list of tensors as a stack; a statement that then does nothing is left out."""
        self._seen.add(call)
        if _is_new(self.script, call):
            value, is_list = call.args[0].value, self._is_list(call.args[0].value)
            if is_list:
                self.changes.import_module("torch")
            fit = self._fit(call)
            self.changes.rework(call, lambda c: _stacked(c.args[0].value) if is_list else fit(c.args[0].value))
        else:
            receiver = self.script.receiver(call)
            assert receiver is not None
            value = receiver
            self.changes.rework(call, lambda c: c.func.value)
        self.follow(value)
        while isinstance(value, (cst.Call, cst.Attribute)) and _cut(self.script, value) is not None:
            value = _cut(self.script, value) or value
        around = next(self.script.ancestors(call))
        if isinstance(around, cst.Assign) and dotted(value) in {dotted(t.target) for t in around.targets} - {""}:
            self.changes.remove(self.script.statement_of(around))

    def _fit(self, place: cst.BaseExpression) -> Callable[[cst.BaseExpression], cst.BaseExpression]:
        """Puts parentheses around what takes the place of a call, where it needs them."""
        around = next(self.script.ancestors(place))
        inner = (cst.Attribute, cst.Subscript, cst.BinaryOperation, cst.UnaryOperation)
        return operand if isinstance(around, inner) else lambda value: value

    def follow(self, node: cst.BaseExpression, depth: int = 0, *, names: bool = True) -> None:
        """Take out what leaves the graph behind on the way to a value; with ``names`` also where a name got it from."""
        if node in self._seen or depth > _DEPTH:
            return
        self._seen.add(node)
        if (inner := _cut(self.script, node)) is not None:
            self.found += 1
            fit = self._fit(node)
            self.changes.rework(node, lambda n: fit(_uncut(n)))
            # Behind the first cut is a tensor: a detach() further back may be meant.
            self.follow(inner, depth + 1, names=False)
        elif isinstance(node, cst.Call) and (_is_new(self.script, node) or _asks(self.script, node)):
            self.found += 1
            self.own(node)
        elif isinstance(node, cst.Call) and self.script.full(node).partition(".")[0] in ("numpy", "math", "statistics"):
            raise Unsure(f"{self.script.name(node)} leaves torch: what is meant in its place is for you to decide")
        else:
            for part in self._parts(node, names):
                self.follow(part, depth + 1, names=names)

    def _parts(self, node: cst.BaseExpression, names: bool) -> Iterator[cst.BaseExpression]:
        """What a value is made of."""
        if isinstance(node, cst.BinaryOperation):
            yield from (node.left, node.right)
        elif isinstance(node, cst.UnaryOperation):
            yield node.expression
        elif isinstance(node, (cst.List, cst.Tuple)):
            yield from (e.value for e in node.elements)
        elif isinstance(node, (cst.ListComp, cst.GeneratorExp)):
            yield node.elt
        elif isinstance(node, cst.Call) and self.script.name(node) in _PLAIN and node.args:
            yield node.args[0].value
        elif isinstance(node, cst.Call) and self.script.last(node) in _SAME and (receiver := self.script.receiver(node)) is not None:
            yield receiver
        elif isinstance(node, cst.Name) and names:
            scope = self.script.scope(node)
            values = [
                *self.script.assigned(node.value, scope),
                *(a.value for a in self.script.own(cst.AugAssign, scope) if dotted(a.target) == node.value),
                *self._appended(node),
            ]
            # What stands further down, as in a validation loop, has the name for something else.
            yield from (value for value in values if self.script.line(value) <= self.script.line(node))

    def _appended(self, name: cst.Name) -> Iterator[cst.BaseExpression]:
        for call in self.script.own(cst.Call, self.script.scope(name)):
            if self.script.last(call) == "append" and len(call.args) == 1 and dotted(self.script.receiver(call) or call) == name.value:
                yield call.args[0].value

    def _is_list(self, node: cst.BaseExpression) -> bool:
        """Whether a value is a list of tensors that can be stacked."""
        if isinstance(node, (cst.List, cst.Tuple)):
            if any(isinstance(e.value, (cst.Integer, cst.Float, cst.List, cst.Tuple, cst.UnaryOperation)) for e in node.elements):
                raise Unsure("the new tensor is made of numbers that are written out")
            return True
        if isinstance(node, cst.Name):
            values = self.script.assigned(node.value, self.script.scope(node))
            return bool(values) and all(isinstance(v, (cst.List, cst.ListComp)) for v in values)
        return isinstance(node, cst.ListComp)


def _cut(script: Script, node: cst.BaseExpression) -> cst.BaseExpression | None:
    """The tensor that an expression such as ``loss.item()``, ``loss.data`` or ``float(loss)`` takes without its graph."""
    if isinstance(node, cst.Attribute):
        return node.value if node.attr.value == "data" and dotted(node.value) != "self" else None
    if isinstance(node, cst.Call) and script.name(node) == "float" and len(node.args) == 1:
        return node.args[0].value
    if isinstance(node, cst.Call) and script.last(node) in _CUTS and not node.args:
        return script.receiver(node)
    return None


def _uncut(node: cst.BaseExpression) -> cst.BaseExpression:
    """The tensor itself, of what :func:`_cut` knows as a cut."""
    if isinstance(node, cst.Call):
        return node.func.value if isinstance(node.func, cst.Attribute) else node.args[0].value
    return cst.ensure_type(node, cst.Attribute).value


def _stacked(value: cst.BaseExpression) -> cst.Call:
    return cst.Call(expression("torch.stack"), [cst.Arg(value)])
