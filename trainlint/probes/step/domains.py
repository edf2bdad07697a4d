"""Says in words what an operation was given when its result, or its gradient, is not a finite number."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from trainlint.record.operation import Operation, fill_refs

__all__ = ["gradient_words", "plain_name", "result_words"]

_REFLECTED = {"rtruediv": "truediv", "rdiv": "div", "rsub": "sub", "rpow": "pow", "rmul": "mul", "radd": "add", "rmatmul": "matmul"}
_DIVISIONS = ("div", "truediv", "true_divide", "divide")
_NORMS = ("norm", "vector_norm", "linalg_norm", "linalg_vector_norm", "matrix_norm", "cdist", "dist", "pairwise_distance", "pdist")


def plain_name(name: str) -> str:
    """``__truediv__`` and ``__rtruediv__`` -> ``truediv``, ``relu_`` -> ``relu``."""
    name = name.strip("_")
    return _REFLECTED.get(name, name)


def result_words(op: Operation, values: Mapping[int, Tensor]) -> str:
    """What the operation was given, for a non-finite result; at least the range of its inputs."""
    given = _Given(op, values)
    words = _RESULTS[given.name](given) if given.name in _RESULTS and given.tensors else ""
    return words or _overflow(given)


def gradient_words(op: Operation, values: Mapping[int, Tensor]) -> str:
    """The same for a non-finite gradient of a finite result; empty when nothing about the inputs explains it."""
    given = _Given(op, values)
    if not given.tensors:
        return ""
    words = _GRADIENTS[given.name](given) if given.name in _GRADIENTS else ""
    return words or (_RESULTS[given.name](given) if given.name in _RESULTS else "")


class _Given:
    """The arguments of a call with their values."""

    def __init__(self, op: Operation, values: Mapping[int, Tensor]) -> None:
        self.op = op
        self.name = plain_name(op.name)
        known = {s: values[s].detach() for s in (*op.inputs, *op.outputs) if s in values}
        complete = all(s in known for s in op.inputs)
        self.args: tuple[Any, ...] = fill_refs(op.args, known) if complete else ()
        self.kwargs: dict[str, Any] = fill_refs(op.kwargs, known) if complete else {}
        self.tensors = [known[s] for s in op.inputs if s in known and known[s].is_floating_point()]
        self.results = [known[s] for s in op.outputs if s in known and known[s].is_floating_point()]

    def __getitem__(self, position: int) -> Any:
        return self.args[position] if position < len(self.args) else None

    @property
    def low(self) -> float:
        return _range(self.tensors)[0]

    @property
    def high(self) -> float:
        return _range(self.tensors)[1]


def _range(tensors: list[Tensor]) -> tuple[float, float]:
    known = [t[torch.isfinite(t)] for t in tensors]
    ends = [torch.aminmax(t) for t in known if t.numel()]
    return (min(float(e.min) for e in ends), max(float(e.max) for e in ends)) if ends else (math.nan, math.nan)


def _logarithm(given: _Given) -> str:
    edge = -1.0 if given.name == "log1p" else 0.0
    if given.low < edge:
        return f"{given.name} of {'a number below -1' if edge else 'a negative number'} ({given.low:.3g})"
    return f"{given.name} of {edge:g}" if given.low == edge else ""


def _root(given: _Given) -> str:
    if given.low < 0:
        return f"{given.name} of a negative number ({given.low:.3g})"
    return "rsqrt of 0: 1 / 0" if given.name == "rsqrt" and given.low == 0 else ""


def _division(given: _Given) -> str:
    second = given[1] if given[1] is not None else given.kwargs.get("other", 1.0)
    reflected = given.op.name.strip("_").startswith("r")  # rtruediv, reciprocal
    above, below = (torch.as_tensor(v) for v in ((second, given[0]) if reflected else (given[0], second)))
    if not bool((below == 0).any()):
        return ""
    both = (above.to(below.device) == 0) & (below == 0)
    return "division of 0 by 0" if bool(both.any()) else "division by zero"


def _exponential(given: _Given) -> str:
    most = math.log(torch.finfo(given.tensors[0].dtype).max)
    return f"{given.name} of {given.high:.4g} is an overflow in {_kind(given.tensors[0])}" if given.high > most else ""


def _power(given: _Given) -> str:
    base, exponent = (given[1], given[0]) if given.op.name == "__rpow__" else (given[0], given[1])
    if base is None or exponent is None:
        return ""
    base, exponent = torch.as_tensor(base), torch.as_tensor(exponent)
    if bool(((base == 0) & (exponent.to(base.device) < 0)).any()):
        return "0 to a negative power: division by zero"
    if bool(((base < 0) & (exponent.to(base.device) % 1 != 0)).any()):
        return "a negative number to a fractional power"
    return ""


def _softmax(given: _Given) -> str:
    masked = any(bool(torch.isneginf(t).any()) for t in given.tensors) or any(not t.is_floating_point() for t in _all(given))
    return "softmax of a row that is masked entirely" if masked else ""


def _class_loss(given: _Given) -> str:
    scores, target = given[0], given[1] if given[1] is not None else given.kwargs.get("target")
    if not isinstance(scores, Tensor) or not isinstance(target, Tensor) or target.is_floating_point():
        return ""
    ignored = given.kwargs.get("ignore_index", -100)
    if target.numel() == 0 or bool((target == ignored).all()):
        return "every target is ignored, so the mean is a division of 0 by 0"
    if bool(torch.isneginf(scores).any()):
        return "the score of a target's class is minus infinity: log of 0"
    return ""


def _average(given: _Given) -> str:
    if given.tensors[0].numel() == 0:
        return f"{given.name} of an empty tensor: division of 0 by 0"
    single = given.name in ("std", "var") and any(bool(torch.isnan(r).any()) for r in given.results)
    return f"{given.name} of a single value: division of 0 by 0" if single and not math.isnan(given.low) else ""


def _arc(given: _Given) -> str:
    return f"{given.name} of a number outside [-1, 1] ({max(given.high, -given.low):.8g})" if max(given.high, -given.low) > 1 else ""


def _alignment(given: _Given) -> str:
    return "no alignment fits: an input is shorter than its target"


def _overflow(given: _Given) -> str:
    low, high = _range(given.tensors)
    if math.isnan(low):
        return ""
    for result in given.results:
        most = torch.finfo(result.dtype).max
        if bool(torch.isinf(result).any()) or max(high, -low) > math.sqrt(most):
            return f"overflow: {_kind(result)} ends at {most:.3g}, and inputs lie between {low:.3g} and {high:.3g}"
    return f"inputs between {low:.3g} and {high:.3g}"


def _root_at_zero(given: _Given) -> str:
    return "sqrt of 0, where its gradient is infinite" if bool((given.tensors[0] == 0).any()) else ""


def _power_at_zero(given: _Given) -> str:
    exponent = given[1]
    at_zero = bool((given.tensors[0] == 0).any())
    if isinstance(exponent, int | float) and exponent < 1 and at_zero:
        return f"0 to the power {exponent:g}, where its gradient is infinite"
    return "0 to a power that is a tensor: log of 0 in its gradient" if isinstance(exponent, Tensor) and at_zero else ""


def _norm_of_zero(given: _Given) -> str:
    if any(bool((r == 0).any()) for r in given.results):
        return "norm of a zero vector, where its gradient is 0 / 0"
    return ""


def _spread_of_equal(given: _Given) -> str:
    return f"{given.name} of equal values, where its gradient is infinite" if any(bool((r == 0).any()) for r in given.results) else ""


def _arc_at_edge(given: _Given) -> str:
    return f"{given.name} of {1 if given.high >= 1 else -1}, where its gradient is infinite" if max(given.high, -given.low) >= 1 else ""


def _angle_of_nothing(given: _Given) -> str:
    nothing = len(given.tensors) > 1 and bool(((given.tensors[0] == 0) & (given.tensors[1] == 0)).any())
    return "atan2 of (0, 0), where its gradient is 0 / 0" if nothing else ""


def _decomposition(given: _Given) -> str:
    return "its gradient divides by differences of eigenvalues or singular values, and some are equal: division by zero"


def _all(given: _Given) -> list[Tensor]:
    return [a for a in (*given.args, *given.kwargs.values()) if isinstance(a, Tensor)]


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


_Words = dict[str, Callable[[_Given], str]]
_RESULTS: _Words = {
    **dict.fromkeys(("log", "log2", "log10", "log1p", "xlogy"), _logarithm),
    **dict.fromkeys(("sqrt", "rsqrt"), _root),
    **dict.fromkeys((*_DIVISIONS, "reciprocal"), _division),
    **dict.fromkeys(("exp", "exp2", "expm1", "sinh", "cosh"), _exponential),
    **dict.fromkeys(("pow", "float_power"), _power),
    **dict.fromkeys(("softmax", "log_softmax", "scaled_dot_product_attention", "multi_head_attention_forward"), _softmax),
    **dict.fromkeys(("cross_entropy", "nll_loss"), _class_loss),
    **dict.fromkeys(("mean", "std", "var", "mse_loss", "l1_loss", "smooth_l1_loss", "binary_cross_entropy_with_logits"), _average),
    **dict.fromkeys(("acos", "arccos", "asin", "arcsin"), _arc),
    "ctc_loss": _alignment,
}
_GRADIENTS: _Words = {
    "sqrt": _root_at_zero,
    **dict.fromkeys(("pow", "float_power"), _power_at_zero),
    **dict.fromkeys(_NORMS, _norm_of_zero),
    **dict.fromkeys(("std", "var"), _spread_of_equal),
    **dict.fromkeys(("acos", "arccos", "asin", "arcsin"), _arc_at_edge),
    **dict.fromkeys(("atan2", "arctan2"), _angle_of_nothing),
    **dict.fromkeys(("svd", "linalg_svd", "eigh", "linalg_eigh", "linalg_eig", "symeig"), _decomposition),
}
