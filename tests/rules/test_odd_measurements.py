"""No rule raises, whatever it is given, and every verdict is whole."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from trainlint.finding import Severity
from trainlint.registry import load_catalogue
from trainlint.rule import Rule

RULES = load_catalogue().rules
#: Words that rules know, so that their branches are reached.
WORDS = (
    "", "train", "val", "input", "target", "image", "tokens", "table", "labels", "mask", "cross_entropy", "mse_loss", "nll_loss",
    "binary_cross_entropy_with_logits", "softmax", "sigmoid", "step", "epoch", "never", "backward", "clip", "forward", "Adam", "SGD", "OneCycleLR",
    "CosineAnnealingLR", "ReduceLROnPlateau", "Linear", "Conv2d", "BatchNorm2d", "next step", "float32", "int64", "mean", "sum", "none", "[0]", "3", "1.0",
)  # fmt: skip
NUMBERS = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e-12, 1e12, float("nan"), float("inf"), float("-inf")]), st.floats(-1e6, 1e6, width=32)
)
#: Fields that hold one of a few documented words, or numbers as text.
FIELDS = {
    "phase": st.sampled_from(["train", "val"]),
    "counts": st.dictionaries(st.sampled_from(["0", "1", "3", "1.0", "-1"]), st.integers(0, 5000), max_size=3),
    "target_values": st.none() | st.dictionaries(st.sampled_from(["0", "1", "3", "1.0", "-1"]), st.integers(0, 5000), max_size=3),
}


@functools.lru_cache(maxsize=256)
def values(hint: Any) -> st.SearchStrategy[Any]:
    """Anything that fits a type of a measurement's field."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([values(a) for a in arguments])
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=2).map(tuple) if Ellipsis in arguments else st.tuples(*map(values, arguments))
    if origin in (list, set, frozenset):
        return st.lists(values(arguments[0]), max_size=2).map(origin)
    if origin is not None and issubclass(origin, typing.Mapping | dict):
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=2)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if dataclasses.is_dataclass(hint):
        hints = {k: v for k, v in typing.get_type_hints(hint).items() if typing.get_origin(v) is not typing.ClassVar}
        known = {f.name: FIELDS.get(f.name) or values(hints[f.name]) for f in dataclasses.fields(hint)}
        return st.fixed_dictionaries(known).map(lambda given: hint(**given))
    plain = {
        bool: st.booleans(), int: st.integers(-3, 5000), float: NUMBERS, str: st.sampled_from(WORDS), types.NoneType: st.none(), object: st.none(),
    }  # fmt: skip
    return plain.get(hint, st.none())


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
@settings(max_examples=12, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_rule_judges_or_declines_and_never_raises(rule: Rule, data: st.DataObject) -> None:
    verdict = rule.judge(*(data.draw(values(kind)) for kind in rule.requires))
    assert verdict.kind in ("pass", "fail", "not-run")
    assert verdict.message
    if verdict.kind == "fail":
        assert verdict.fix is not None
        assert verdict.fix.summary
        assert isinstance(verdict.severity, Severity)
