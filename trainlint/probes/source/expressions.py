"""What an expression of a dataset's class comes down to: the value without conversions, the attribute that it is looked up in."""

from __future__ import annotations

import ast

__all__ = ["bare", "called", "is_mine", "is_name", "looked_in", "part_of"]

#: Calls that only give a value another type or shape of one sample.
_CONVERSIONS = frozenset({
    "FloatTensor", "LongTensor", "Tensor", "array", "as_tensor", "asarray", "clone", "contiguous", "copy", "float", "from_numpy", "int", "item",
    "long", "squeeze", "tensor", "to", "unsqueeze",
})  # fmt: skip


def called(call: ast.Call) -> str:
    """The last word of what is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""


def part_of(returned: ast.expr, path: str) -> ast.expr | None:
    """The element of a tuple, list or dict that a sample's path leads to; None where it is not written there."""
    if isinstance(returned, ast.Tuple | ast.List):
        place = path.strip("[]")
        return returned.elts[int(place)] if place.isdigit() and int(place) < len(returned.elts) else None
    if isinstance(returned, ast.Dict):
        pairs = zip(returned.keys, returned.values, strict=True)
        return next((v for k, v in pairs if isinstance(k, ast.Constant) and path.startswith(f"[{k.value!r}]")), None)
    return None


def bare(value: ast.expr) -> ast.expr:
    """The value without conversions around it, and without an index that picks nothing."""
    while True:
        if isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Constant) and value.slice.value in (None, ...):
            value = value.value
            continue
        if not isinstance(value, ast.Call) or called(value) not in _CONVERSIONS:
            return value
        of = value.func.value if isinstance(value.func, ast.Attribute) else None
        if of is not None and not (isinstance(of, ast.Name) and of.id in ("torch", "np", "numpy")):
            value = of
        elif value.args:
            value = value.args[0]
        else:
            return value


def looked_in(value: ast.expr) -> str | None:
    """Attribute of self that a value is looked up in; None where it is worked out."""
    while isinstance(value, ast.Subscript | ast.Attribute) and not is_mine(value):
        value = value.value
    return value.attr if isinstance(value, ast.Attribute) and is_mine(value) else None


def is_mine(value: ast.expr) -> bool:
    """Whether it is an attribute of self."""
    return isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name) and value.value.id == "self"


def is_name(target: ast.expr, name: str) -> bool:
    """Whether it is this name."""
    return isinstance(target, ast.Name) and target.id == name
