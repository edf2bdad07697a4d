"""Finds the operation that made the first NaN or infinity of a replayed step, forwards or backwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from trainlint.probes.step.domains import gradient_words, plain_name, result_words
from trainlint.record.operation import Operation
from trainlint.record.random_state import random_state, restore_random
from trainlint.record.tape import Tape

__all__ = ["Origin", "find_origin", "is_finite"]

_MINUS, _PLUS, _NAN = 1, 2, 4
#: Operations that write an infinity because they were told to: masks.
_MASKS = frozenset({
    "fill_", "fill_diagonal_", "full_like", "index_fill", "index_fill_", "index_put", "index_put_", "masked_fill", "masked_fill_",
    "masked_scatter", "new_full", "scatter", "scatter_", "tril", "tril_", "triu", "triu_", "where", "__setitem__",
})  # fmt: skip
_TAKE_MASKS = ("softmax", "log_softmax", "logsumexp", "scaled_dot_product_attention", "multi_head_attention_forward", "cross_entropy")


@dataclass(frozen=True)
class Origin:
    """Where a NaN or an infinity began."""

    what: str
    """``input``, ``parameter``, ``activation``, ``loss`` or ``gradient``."""
    operation: Operation | None = None
    name: str = ""
    """The operation as the user's code calls it."""
    detail: str = ""
    leaf: Tensor | None = None
    """For a gradient or a parameter: a trainable tensor that has it."""
    path: str = ""
    """For an input: its path in the batch."""


def find_origin(tape: Tape, fill: Mapping[int, Tensor] | None = None) -> Origin | None:
    """Replay forward and backward; None when everything stays finite. With a ``fill`` the step draws new random numbers."""
    return _Search(tape, fill).run()


def is_finite(tensor: Tensor) -> bool:
    """Whether there is neither NaN nor infinity."""
    values = tensor.detach()
    if values.is_sparse:
        values = values.coalesce().values()
    return not (values.is_floating_point() or values.is_complex()) or bool(torch.isfinite(values).all())


class _Search:
    """One replay of a step and what it showed, by slot."""

    def __init__(self, tape: Tape, fill: Mapping[int, Tensor] | None) -> None:
        self.tape, self.fill = tape, dict(fill or {})
        self.random_of = None if fill else tape
        self.random = random_state()
        self.values: dict[int, int] = {}
        """Which kinds of non-finite values a slot holds."""
        self.gradients: dict[int, bool] = {}
        """Whether the gradient of a slot is finite."""

    def run(self) -> Origin | None:
        tape = self.tape
        for slot, tensor in {**tape.outside, **tape.pristine, **self.fill}.items():
            self.values[slot] = _kinds(tensor)
        loss = self._replay(observe=self._note)[tape.loss].sum()
        if not is_finite(loss):
            return self._forward()
        leaves = tape.leaves
        hooks = [_hook(t, self._gradient_noter(s)) for s, t in leaves.items()]
        try:
            found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True) if loss.requires_grad and leaves else ()
        finally:
            for hook in hooks:
                hook.remove()
        bad = [slot for slot, gradient in zip(leaves, found, strict=False) if gradient is not None and not is_finite(gradient)]
        return self._backward(bad[0]) if bad else None

    def _replay(self, **options: object) -> dict[int, Tensor]:
        restore_random(self.random)
        return self.tape.replay({s: t.clone() for s, t in self.fill.items()}, random_of=self.random_of, **options)  # type: ignore[arg-type]

    def _note(self, _: int, op: Operation, made: tuple[Tensor, ...]) -> None:
        for slot, tensor in zip(Tape._made(op), made, strict=False):
            self.values[slot] = _kinds(tensor)
            if tensor.requires_grad and not tensor.is_leaf:
                _hook(tensor, self._gradient_noter(slot))

    def _gradient_noter(self, slot: int) -> Callable[[Tensor], None]:
        def note(gradient: Tensor) -> None:
            self.gradients[slot] = is_finite(gradient)

        return note

    # -- forwards ------------------------------------------------------------------------------------------------------

    def _forward(self) -> Origin:
        slot, position = self._first_bad()
        if position is None:
            tensor = self.tape.outside[slot]
            path = next((p for p, s in self.tape.batch.items() if s == slot), "")
            what = "parameter" if isinstance(tensor, nn.Parameter) or tensor.requires_grad else "input"
            return Origin(what, detail=_rows(self.fill.get(slot, tensor), path) if what == "input" else "", leaf=tensor, path=path)
        op = self.tape.operations[position]
        inputs = self._inputs_of([position])
        detail = result_words(op, inputs)
        return Origin("activation" if op.module is not None else "loss", op, plain_name(op.name), detail)

    def _first_bad(self) -> tuple[int, int | None]:
        """From the loss back along values of the same kind to where that kind first appears: (slot, position of its maker).

        A NaN made of infinities goes on to the operation that made those, unless they are a mask's.
        """
        tape, slot = self.tape, self.tape.loss
        kinds = self.values[slot] & _NAN or self.values[slot]
        met: tuple[int, int] | None = None  # the last operation that turned one kind into another
        while (position := tape.producers.get(slot)) is not None:
            op = tape.operations[position]
            bad = [s for s in op.inputs if self.values.get(s)]
            carried = next((s for s in bad if self.values[s] & kinds), None)
            if carried is not None:
                slot = carried
            elif bad:
                met = slot, position
                slot, kinds = bad[0], self.values[bad[0]]
            else:
                break
        if met is None:
            return slot, position
        if position is not None:
            return met if tape.operations[position].name in _MASKS else (slot, position)
        # A mask that comes from outside ends in a softmax; data with infinities ends in a layer.
        is_mask = not self.values[slot] & _NAN and tape.operations[met[1]].name in _TAKE_MASKS
        return met if is_mask else (slot, position)

    # -- backwards -----------------------------------------------------------------------------------------------------

    def _backward(self, leaf: int) -> Origin:
        """From a leaf towards the loss as long as gradients are bad; the next operation is the one whose backward made them so."""
        tape, slot = self.tape, leaf
        while True:
            users = tape.consumers(slot)
            ahead = [s for p in users for s in self._made(p) if self.gradients.get(s) is False and s != slot]
            if not ahead:
                break
            slot = ahead[-1]
        users = [p for p in users if any(s in self.gradients for s in self._made(p))] or users
        values = self._inputs_of(users)
        worded = [(p, gradient_words(tape.operations[p], values)) for p in users]
        position, detail = next((w for w in worded if w[1]), worded[0] if worded else (None, ""))
        op = tape.operations[position] if position is not None else None
        return Origin("gradient", op, plain_name(op.name) if op is not None else "", detail, leaf=tape.leaves[leaf])

    def _made(self, position: int) -> tuple[int, ...]:
        return Tape._made(self.tape.operations[position])

    def _inputs_of(self, positions: list[int]) -> dict[int, Tensor]:
        """Values of the slots that some operations take and give, by another replay."""
        if not positions:
            return {}
        wanted = {s for p in positions for s in (*self.tape.operations[p].inputs, *self._made(p))}
        kept: dict[int, Tensor] = {s: t for s, t in {**self.tape.outside, **self.tape.pristine, **self.fill}.items() if s in wanted}

        def keep(_: int, op: Operation, made: tuple[Tensor, ...]) -> None:
            kept.update((s, t.detach().clone()) for s, t in zip(Tape._made(op), made, strict=False) if s in wanted)

        self._replay(observe=keep, grad=False, until=max(positions))
        return kept


def _hook(tensor: Tensor, note: Callable[[Tensor], None]) -> RemovableHandle:
    return tensor.register_hook(note)  # type: ignore[no-any-return]


def _kinds(tensor: Tensor) -> int:
    if is_finite(tensor):
        return 0
    values = tensor.detach()
    values = values.coalesce().values() if values.is_sparse else values
    if values.is_complex():
        values = torch.view_as_real(values)
    return _NAN * bool(torch.isnan(values).any()) | _MINUS * bool(torch.isneginf(values).any()) | _PLUS * bool(torch.isposinf(values).any())


def _rows(tensor: Tensor, path: str) -> str:
    """``NaN in [0], rows 3 and 7 of the batch``."""
    word = "NaN" if bool(torch.isnan(tensor).any()) else "infinity"
    place = f" in {path}" if path else ""
    if not tensor.dim():
        return word + place
    rows = (~torch.isfinite(tensor)).reshape(tensor.shape[0], -1).any(dim=1).nonzero().flatten().tolist()
    shown = ", ".join(map(str, rows[:5])) + (" …" if len(rows) > 5 else "")
    return f"{word}{place}, {'row' if len(rows) == 1 else 'rows'} {shown} of the batch"
