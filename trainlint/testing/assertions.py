"""Assertions on models and loaders: the general ones, and one for each rule that can judge objects.

The stub beside this module declares the generated ones with their types; ``python -m trainlint.testing.assertions`` writes it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from trainlint.errors import InputError, UsageError
from trainlint.finding import Finding
from trainlint.report import Report
from trainlint.rule import Rule

__all__ = ["Assertions", "stub"]

_SETTINGS = ("select", "ignore", "budget", "device", "seed")


class Assertions:
    """What the ``trainlint`` fixture gives. ``assert_<rule>(model, loader, ...)`` exists for each rule, with dashes as underscores."""

    def __init__(self, **settings: Any) -> None:
        for key in settings:
            if key not in _SETTINGS:
                from trainlint.errors import unknown

                msg = f"the trainlint marker has no {unknown(key, _SETTINGS)}"
                raise UsageError(msg)
        if "budget" in settings and isinstance(settings["budget"], str):
            from trainlint.config import seconds

            settings["budget"] = seconds(settings["budget"], "budget")
        self._settings = {"only" if k == "select" else k: v for k, v in settings.items()}

    def check(self, model: Any, loader: Any = None, **options: Any) -> Report:
        """:func:`trainlint.check`, with the marker's settings where no argument says otherwise."""
        from trainlint.checking import check

        return check(model, loader, **{**self._settings, **options})

    def assert_clean(self, model: Any, loader: Any = None, **options: Any) -> Report:
        """Check, and raise FindingsError when anything but a note is found."""
        __tracebackhide__ = True
        return self.check(model, loader, **options).assert_clean()

    def assert_rule(self, rule: str, model: Any, loader: Any = None, **options: Any) -> Finding:
        """Check by one rule, which must pass."""
        __tracebackhide__ = True
        return self.check(model, loader, **{**options, "only": [rule]}).assert_rule(rule)

    def assert_can_overfit(self, model: Any, batch: Any, **options: Any) -> Finding:
        """Training on one batch must drive its loss to near zero; the model is put back afterwards.

        Args:
            model: The model to train.
            batch: One batch, as the loader gives it.
            options: As for :func:`trainlint.check`: ``loss_fn``, ``optimizer``, ``step``.

        Raises:
            FindingsError: It cannot, or it could not be judged; the message says why.
        """
        __tracebackhide__ = True
        return self.assert_rule("overfit-batch", model, [batch] * 4, **options)

    def assert_no_leak(self, train: Iterable[Any], val: Iterable[Any], **options: Any) -> Finding:
        """No validation sample may be among the training samples.

        Args:
            train: Training DataLoader, or dataset.
            val: Validation DataLoader, or dataset.
            options: ``budget`` and ``seed`` as for :func:`trainlint.check`.
        """
        __tracebackhide__ = True
        return self.assert_rule("split-leak", _bystander(), _loader(train), val_loader=_loader(val), step=_constant, **options)

    def __getattr__(self, name: str) -> Callable[..., Finding]:
        from trainlint.registry import load_catalogue

        if not name.startswith("assert_"):
            raise AttributeError(name)
        rules = {_method(r): r for r in load_catalogue().rules if _judges_objects(r)}
        if name not in rules:
            from trainlint.errors import unknown

            msg = f"there is no assertion {unknown(name, rules)}"
            raise AttributeError(msg)
        return functools.partial(self.assert_rule, rules[name].name)

    def __dir__(self) -> Sequence[str]:
        from trainlint.registry import load_catalogue

        return sorted({*super().__dir__(), *(_method(r) for r in load_catalogue().rules if _judges_objects(r))})


def _method(rule: Rule) -> str:
    return f"assert_{rule.name.replace('-', '_')}"


def _judges_objects(rule: Rule) -> bool:
    """Whether check() can run the rule: not when it is about the user's own loop."""
    return not rule.judges_loop


def _bystander() -> Any:
    from torch import nn

    return nn.Linear(1, 1)


def _constant(model: Any, batch: Any) -> Any:  # noqa: ARG001
    """A loss that has nothing to do with the batch: only the data is judged."""
    return model(model.weight.detach()).sum()


def _loader(data: Any) -> Any:
    from torch.utils.data import DataLoader, Dataset

    if isinstance(data, Dataset):
        return DataLoader(data, batch_size=32, collate_fn=list)
    if not isinstance(data, DataLoader):
        msg = f"assert_no_leak(train, val) takes DataLoaders or datasets, got {type(data).__name__}"
        raise InputError(msg)
    return data


_OPTIONS = """\
loss_fn: Callable[..., Tensor] | None = None,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        val_loader: Iterable[Any] | None = None,
        scheduler: Any = None,
        step: Callable[[Any, Any], Tensor] | None = None,
        ignore: Sequence[str] = ...,
        budget: float | None = None,
        device: str | None = None,
        seed: int | None = None,"""


def _declared(name: str, inputs: str, result: str, page: str, more: str = "") -> str:
    text = f'\n        """{page}"""\n' if page else " ...\n"
    return f"    def {name}(\n        self,\n        {inputs}\n        *,\n        {more}{_OPTIONS}\n    ) -> {result}:{text}"


def stub() -> str:
    """The text of the stub: every assertion with its types, the rules' from the registry."""
    from trainlint.registry import load_catalogue

    pair, only = "model: Any,\n        loader: Any = None,", "only: Sequence[str] = ...,\n        "
    methods = [
        _declared("check", pair, "Report", "trainlint.check with the marker's settings.", only),
        _declared("assert_clean", pair, "Report", "Nothing but notes may be found.", only),
        _declared("assert_rule", f"rule: str,\n        {pair}", "Finding", "One rule, by name or code, must pass."),
        _declared("assert_can_overfit", "model: Any,\n        batch: Any,", "Finding", "One batch can be learned by heart."),
        "    def assert_no_leak(self, train: Iterable[Any], val: Iterable[Any], *, budget: float | None = None, seed: int | None = None) -> Finding:\n"
        '        """No validation sample is trained on."""\n\n',
        *(
            f'    {_method(r)}: _RuleAssertion\n    """{r.code}: {r.summary}."""\n'
            for r in sorted(load_catalogue().rules, key=lambda r: r.code)
            if _judges_objects(r) and type(r).__module__.startswith("trainlint_rules.")
        ),
    ]
    return f'''"""Written by `python -m trainlint.testing.assertions` from the installed rules; a test keeps the two equal."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from torch import Tensor
from torch.optim import Optimizer

from trainlint.finding import Finding
from trainlint.report import Report

__all__ = ["Assertions", "stub"]

class _RuleAssertion(Protocol):
{_declared("__call__", pair, "Finding", "")}
class Assertions:
    """What the `trainlint` fixture gives: besides the general ones an assertion for each rule that can judge objects."""

    def __init__(
        self,
        *,
        select: Sequence[str] = ...,
        ignore: Sequence[str] = ...,
        budget: float | str = ...,
        device: str = ...,
        seed: int = ...,
    ) -> None: ...
{"".join(methods)}
def stub() -> str:
    """The text of this file."""
'''


if __name__ == "__main__":
    from pathlib import Path

    Path(__file__).with_suffix(".pyi").write_text(stub(), "utf-8")
