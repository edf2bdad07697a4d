"""What has been written of a step: its tensors, each with a number, and the tape that is cut from it."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trainlint.record.casts import Cast, casts, merged
from trainlint.record.frames import Place
from trainlint.record.operation import Cut, Operation, State
from trainlint.record.tape import Tape

__all__ = ["Written"]

#: Elements up to which a constant is copied.
_SMALL = 2**16


class Written:
    """Operations of the step that is going on, and the tensors between them. A tensor is known by its slot, a number."""

    devices: tuple[str, ...] = ()
    casts: dict[Place, Cast]
    """Of all steps that a tape was cut from."""

    def _clear(self) -> None:
        self._operations: list[Operation] = []
        self._slot_of: dict[int, int] = {}
        self._alive: list[Tensor | None] = []
        self._dying: dict[int, weakref.ref[Tensor]] = {}
        self._shapes: list[tuple[int, ...]] = []
        self._storages: list[int | None] = []
        self._outside: list[int] = []
        self._batch: dict[int, tuple[int, str]] = {}
        self._observed: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self._state: State | None = None
        self._requires: list[bool] = []
        self._pristine: dict[int, Tensor] = {}
        self._reads: list[tuple[int, str, Place | None]] = []
        self._memory: dict[int, int] = {}
        self._learns = False
        self.calls = 0
        """Calls of models since the start."""
        self.overflow = False

    def _new_slot(self, tensor: Tensor, *, outside: bool = False) -> int:
        slot = len(self._alive)
        self._slot_of[id(tensor)] = slot
        self._alive.append(tensor)  # kept alive so that its identity is not given to another tensor
        self._requires.append(tensor.requires_grad)
        self._shapes.append(tuple(tensor.shape))
        try:
            storage = tensor.untyped_storage()
            self._storages.append(storage.data_ptr())
            if not outside:
                self._memory[storage.data_ptr()] = storage.nbytes()
                self._learns |= tensor.requires_grad
        except (RuntimeError, NotImplementedError, ValueError):  # sparse, meta or not yet initialised
            self._storages.append(None)
        if outside:
            self._outside.append(slot)
        return slot

    def _keep_pristine(self, slot: int) -> None:
        """Copy what the step is about to change, where it is neither a parameter nor made by the step itself."""
        storage = self._storages[slot]
        for outside in self._outside:
            tensor = self._alive[outside]
            if tensor is None or isinstance(tensor, nn.Parameter):
                continue
            if self._storages[outside] == storage and outside not in self._pristine:
                self._pristine[outside] = tensor.detach().clone()

    def cut(self, loss: Tensor, place: Place | None, scale: float) -> Tape | None:
        """The tape of the operations that led to ``loss``; None when it was not made by recorded operations."""
        slot = self._slot_of.get(id(loss))
        if slot is None or self.overflow:
            return None
        keep = self._needed(slot)
        moved: dict[int | None, int] = {storage: position for position, storage in self._moved()}
        if any(position < moved.get(self._storages[s], -1) for position in keep for s in self._operations[position].inputs):
            return None  # what a fixed copy was before it moved on is lost
        for line, cast in casts(self._operations, keep, self._alive).items():
            self.casts[line] = merged(self.casts.get(line), cast)
        outside = set(self._outside)
        dynamic: set[int] = {  # a state carried on from the step before is none: what is detached from it is a constant
            s
            for s in outside
            if s in self._batch or ((t := self._alive[s]) is not None and (isinstance(t, nn.Parameter) or (t.requires_grad and t.is_leaf)))
        }
        dynamic_storages = {self._storages[s] for s in dynamic if self._storages[s]}
        kept: list[int] = []
        for position in sorted(keep):
            op = self._operations[position]
            learns = any(self._requires[s] and ((t := self._alive[s]) is None or not t.is_leaf) for s in op.outputs)
            if (
                learns
                or any(s in dynamic for s in op.inputs)
                or (op.inplace and any(self._storages[s] in dynamic_storages for s in op.inputs))
            ):
                kept.append(position)
                dynamic.update(op.outputs)
                if op.mutates is not None:
                    dynamic.add(op.mutates)
                dynamic_storages.update(self._storages[s] for s in op.outputs if self._storages[s])
        if not kept:
            return None
        kept = self._with_makers(kept)
        operations = [self._operations[p] for p in kept]
        made = {s for op in operations for s in Tape._made(op)}
        used = dict.fromkeys(s for op in operations for s in op.inputs if s not in made)
        weights = {self._storages[s] for s in used if isinstance(self._alive[s], nn.Parameter)}
        if any(op.inplace and op.inputs and self._storages[op.inputs[0]] in weights for op in operations):
            return None  # a step that changes weights itself; playing it again would change them for real
        given = {s: t for s in used if (t := self._alive[s]) is not None}
        if len(given) < len(used) or any(t.requires_grad and not t.is_leaf for t in given.values()):
            return None  # a graph made before this step began
        self._let_go(made)
        return Tape(
            operations=operations,
            loss=slot,
            outside={s: t if isinstance(t, nn.Parameter) else _frozen(t, own=s not in outside) for s, t in given.items()},
            batch={self._batch[s][1]: s for s in used if s in self._batch},
            batch_source=next((self._batch[s][0] for s in used if s in self._batch), None),
            shapes={s: self._shapes[s] for op in operations for s in (*op.inputs, *op.outputs)},
            place=place,
            scale=scale,
            observed={kept.index(p): v for p, v in self._observed.items() if p in keep and p in kept},
            devices=self.devices,
            pristine={s: t for s, t in self._pristine.items() if s in used},
            cuts=tuple(self._cuts(keep)),
        )

    def given(self, loss: Tensor) -> list[Tensor]:
        """The tensors from outside that ``loss`` was made from, those included of which a constant of the tape is made."""
        slot = self._slot_of.get(id(loss))
        if slot is None or self.overflow:
            return []
        outside = set(self._outside)
        used = dict.fromkeys(s for p in sorted(self._needed(slot)) for s in self._operations[p].inputs if s in outside)
        return [t for s in used if s not in self._batch and (t := self._alive[s]) is not None and not t.requires_grad]

    def _with_makers(self, kept: list[int]) -> list[int]:
        """The positions, and those of what made the tensors that they fill in place: an empty tensor that outputs are collected in."""
        producers = {slot: position for position, op in enumerate(self._operations) for slot in Tape._made(op)}
        chosen = set(kept)
        queue = [op.inputs[0] for op in map(self._operations.__getitem__, kept) if op.inplace and op.inputs]
        while queue:
            position = producers.get(queue.pop())
            if position is not None and position not in chosen:
                chosen.add(position)
                queue.extend(self._operations[position].inputs)
        return sorted(chosen)

    def _let_go(self, made: Iterable[int]) -> None:
        """Keep no activation alive that the step itself has done with. The identity of one that dies is forgotten: another may get it."""
        for slot in made:
            tensor = self._alive[slot]
            if tensor is not None:
                self._dying[slot] = weakref.ref(tensor, partial(self._died, id(tensor), slot))
                self._alive[slot] = None

    def _died(self, number: int, slot: int, reference: object) -> None:
        if self._dying.get(slot) is not reference:
            return  # of a step before
        if self._slot_of.get(number) == slot:
            del self._slot_of[number]
        self._storages[slot] = None

    def _needed(self, loss: int) -> set[int]:
        """Positions that lead to the loss, with in-place changes of memory that it reads."""
        slots, storages = {loss}, {self._storages[loss]} - {None}
        keep: set[int] = set()
        moved = {position for position, _ in self._moved()}
        for position in range(len(self._operations) - 1, -1, -1):
            op = self._operations[position]
            if position in moved:
                continue
            made = Tape._made(op)
            if any(s in slots for s in made) or (op.inplace and any(self._storages[s] in storages for s in op.inputs[:1])):
                keep.add(position)
                slots.update(op.inputs)
                storages.update(self._storages[s] for s in op.inputs if self._storages[s])
        return keep

    def _moved(self) -> list[tuple[int, int]]:
        """Positions that change a parameter without gradients, and its memory: a momentum teacher moves on, and is played with what it is then."""
        fixed = (s for s in self._outside if isinstance(self._alive[s], nn.Parameter) and not self._requires[s])
        memory = {storage for s in fixed if (storage := self._storages[s])}
        changed = ((p, self._storages[op.inputs[0]]) for p, op in enumerate(self._operations) if op.inplace and op.inputs)
        return [(position, storage) for position, storage in changed if storage in memory]

    def _cuts(self, keep: set[int]) -> Iterator[Cut]:
        """Calls at which trainable tensors lose their way to the loss."""
        leaves = [s for s in self._outside if self._requires[s]]
        taint: dict[int, int] = {slot: 1 << bit for bit, slot in enumerate(leaves)}

        def ids(bits: int) -> frozenset[int]:
            return frozenset(id(self._alive[slot]) for bit, slot in enumerate(leaves) if bits >> bit & 1)

        for position, op in enumerate(self._operations):
            bits = 0
            for slot in op.inputs:
                bits |= taint.get(slot, 0)
            made = Tape._made(op)
            carries = any(self._requires[s] for s in op.inputs)
            for slot in made:
                taint[slot] = bits
            if bits and carries and position in keep and made and not any(self._requires[s] for s in made):
                yield Cut(
                    op.name if op.state.grad else "no_grad",
                    op.place if op.state.grad else op.state.off_at or op.place,
                    op.module,
                    ids(bits),
                )
        for slot, name, place in self._reads:
            if bits := taint.get(slot, 0):
                yield Cut(name, place, None, ids(bits))


def _frozen(tensor: Tensor, *, own: bool) -> Tensor:
    """A constant of the tape: detached where that changes nothing, so that no graph is kept alive.

    A small one that the step made of its ``own`` is copied: a loop may fill it anew, as the labels of a GAN's next loss.
    """
    if tensor.requires_grad:
        return tensor
    return tensor.detach().clone() if own and tensor.layout is torch.strided and tensor.numel() <= _SMALL else tensor.detach()
