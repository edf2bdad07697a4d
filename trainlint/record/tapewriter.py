"""Writes tapes: follows every torch function of the user's thread and cuts a tape at each backward()."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from trainlint.record.frames import Frames, Place
from trainlint.record.operation import Cut, Operation, Ref, State, random_state, tensors_in
from trainlint.record.provenance import Provenance
from trainlint.record.shadows import UPDATES, ShadowWatch
from trainlint.record.structure import map_tensors
from trainlint.record.tape import Tape

__all__ = ["LOSS_FUNCTIONS", "TapeWriter"]

#: Loss functions of torch.nn.functional whose arguments are kept for the loss measurement.
LOSS_FUNCTIONS = frozenset({
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss", "cross_entropy", "ctc_loss", "gaussian_nll_loss",
    "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss", "margin_ranking_loss", "mse_loss", "multi_margin_loss",
    "multilabel_margin_loss", "multilabel_soft_margin_loss", "nll_loss", "poisson_nll_loss", "smooth_l1_loss", "soft_margin_loss",
    "triplet_margin_loss", "triplet_margin_with_distance_loss",
})  # fmt: skip

#: Functions that draw random numbers from the default generators.
_RANDOM = frozenset({
    "alpha_dropout", "bernoulli", "bernoulli_", "cauchy_", "dropout", "dropout1d", "dropout2d", "dropout3d", "dropout_", "exponential_",
    "feature_alpha_dropout", "geometric_", "gumbel_softmax", "log_normal_", "lstm", "gru", "rnn_tanh", "rnn_relu", "multinomial",
    "multi_head_attention_forward", "normal", "normal_", "poisson", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like",
    "random_", "randperm", "rrelu", "rrelu_", "scaled_dot_product_attention", "trunc_normal_", "uniform_", "apply",
})  # fmt: skip

#: Calls that take values out of the tensor world: what they return is fixed in the tape.
READS = frozenset({"item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "__array__", "__format__"})

_NOT_RECORDED = frozenset({
    "backward", "register_hook", "retain_grad", "register_post_accumulate_grad_hook", "grad", "__repr__", "__reduce_ex__", "requires_grad",
    "is_pinned", "share_memory_",
})  # fmt: skip

#: A step with more operations than this is a generation or sampling loop; its tape is given up.
_MOST_OPERATIONS = 200_000
#: Calls of models, and bytes or operations, after which what was written without a gradient is a validation and no part of a step.
_IDLE_CALLS, _IDLE_BYTES, _IDLE_OPERATIONS = 2, 2**29, 50_000


class _Call(NamedTuple):
    """A call's arguments, written down before it ran."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[int]
    inplace: bool
    random: Any


class TapeWriter(TorchFunctionMode):
    """A function mode that is entered once for the whole recording and writes only while ``active``."""

    def __init__(self, frames: Frames) -> None:
        super().__init__()
        self.frames = frames
        self.active = False
        self.provenance = Provenance(frames)
        """What made the tensors that exist before the first backward()."""
        self.modules: list[nn.Module] = []
        """Stack of the modules whose forward is running."""
        self.devices = tuple(d for d in ("cpu", "cuda", "mps") if d == "cpu" or getattr(torch, d).is_available())
        self.off_at: list[Place | None] = []
        """Stack of the places where gradients were switched off."""
        self.shadows = ShadowWatch()
        self.on_loss: Callable[[str], None] = lambda name: None
        """Told of each call of a loss function outside a model's own forward."""
        self._pid = os.getpid()
        self._clear()

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

    def _give_up(self) -> None:
        """Write no more of this step, and let go of what it made."""
        self._clear()
        self.overflow, self.active = True, False

    @property
    def idle(self) -> bool:
        """Whether much was written and none of it carries a gradient: models that are called in turn without one, as a validation does."""
        if not self.active or self._learns or self.calls < _IDLE_CALLS:
            return False
        return len(self._operations) > _IDLE_OPERATIONS or sum(self._memory.values()) > _IDLE_BYTES

    def start(self, batches: Sequence[Mapping[str, Tensor]] = ()) -> None:
        """Begin a step: forget what was written and name the tensors of the batches that it may use, by path."""
        self._clear()
        for source, batch in enumerate(batches):
            for path, tensor in batch.items():
                if id(tensor) not in self._slot_of:
                    self._new_slot(tensor, outside=True)
                self._batch[self._slot_of[id(tensor)]] = (source, path)
        self.active = True

    def stop(self) -> None:
        """Write no more until the next start."""
        self.active = False
        self._clear()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.shadows.tensors and args and (key := self.shadows.key(args[0])) is not None:
            called = getattr(func, "__name__", "")
            if (getattr(getattr(func, "__self__", None), "__name__", "") if called == "__get__" else called) in UPDATES:
                self.shadows.touched(key, self.frames.here())
        if getattr(func, "__name__", "") in LOSS_FUNCTIONS and not any(owns_parameters(m) for m in self.modules):
            self.on_loss(func.__name__)
        if not self.active or os.getpid() != self._pid:
            result = func(*args, **kwargs)
            if self.provenance.on and not self.modules:
                self.provenance.note(getattr(func, "__name__", ""), args, result)
            return result
        name = getattr(func, "__name__", "")
        if name in ("__get__", "__set__"):
            attribute = getattr(getattr(func, "__self__", None), "__name__", "")
            if name == "__get__" and attribute not in ("T", "mT", "H", "mH", "data", "real", "imag"):
                return func(*args, **kwargs)
            name = attribute + ("=" if name == "__set__" else "")
        if name in _NOT_RECORDED or name in ("grad=", "requires_grad="):
            return func(*args, **kwargs)
        return self.write(name, func, args, kwargs)

    def write(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call ``func`` and write the call down. A call that cannot be written down ends the tape, never the user's step."""
        try:
            before = self._before(name, args, kwargs)
        except Exception:
            self._give_up()
            return func(*args, **kwargs)
        self.active = False  # what it calls inside is not the user's
        try:
            result = func(*args, **kwargs)
        finally:
            self.active = True
        try:
            self._after(name, func, args, kwargs, result, before)
        except Exception:
            self._give_up()
        return result

    def _before(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
        """Write down the arguments as they are before the call changes any."""
        random = random_state() if name in _RANDOM else None
        inputs: list[int] = []

        def take(tensor: Tensor) -> Ref:
            slot = self._slot_of.get(id(tensor))
            if slot is None:
                slot = self._new_slot(tensor, outside=True)
            inputs.append(slot)
            return Ref(slot)

        recorded_args, recorded_kwargs = map_tensors(args, take), map_tensors(kwargs, take)
        inplace = (
            name in ("__setitem__", "data=")
            or (name.endswith("_") and not name.endswith("__"))
            or name.startswith("__i")
            or "out" in kwargs
        )
        if inplace and inputs:
            self._keep_pristine(inputs[0])
        return _Call(recorded_args, recorded_kwargs, inputs, inplace, random)

    def _after(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, call: _Call) -> None:
        """Write down the results."""
        made = list(tensors_in(result))
        if not made and name not in ("__setitem__", "data="):
            if name in READS and call.inputs:
                self._reads.append((call.inputs[0], name, self.frames.here()))
            return
        if len(self._operations) >= _MOST_OPERATIONS:
            self._give_up()
            return
        outputs = tuple(self._new_slot(t) for t in made)
        mutates = None
        if not made and call.inputs:
            self._slot_of[id(args[0])] = mutates = len(self._alive)
            self._alive.append(args[0])
            self._shapes.append(tuple(args[0].shape))
            self._storages.append(self._storages[call.inputs[0]])
            self._requires.append(args[0].requires_grad)
        state = State.now(self.devices, self.off_at[-1] if self.off_at else None)
        if state != self._state:
            self._state = state
        if name in LOSS_FUNCTIONS:
            self._observed[len(self._operations)] = (map_tensors(args, Tensor.detach), map_tensors(kwargs, Tensor.detach))
        module = self.modules[-1] if self.modules else None
        self._operations.append(
            Operation(
                name, func, call.args, call.kwargs, tuple(call.inputs), outputs, mutates, self._state or state, self.frames.here(), module,
                call.random, call.inplace,
            )
        )  # fmt: skip

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
            if any(s in dynamic for s in op.inputs) or (op.inplace and any(self._storages[s] in dynamic_storages for s in op.inputs)):
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
            outside={s: t if isinstance(t, nn.Parameter) else _frozen(t) for s, t in given.items()},
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
        for position in range(len(self._operations) - 1, -1, -1):
            op = self._operations[position]
            made = Tape._made(op)
            if any(s in slots for s in made) or (op.inplace and any(self._storages[s] in storages for s in op.inputs[:1])):
                keep.add(position)
                slots.update(op.inputs)
                storages.update(self._storages[s] for s in op.inputs if self._storages[s])
        return keep

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


def owns_parameters(module: nn.Module) -> bool:
    """Whether it, or a module inside it, has parameters: a model rather than a criterion."""
    return next(module.parameters(), None) is not None


def _frozen(tensor: Tensor) -> Tensor:
    """A constant of the tape: detached where that changes nothing, so that no graph is kept alive."""
    return tensor if tensor.requires_grad else tensor.detach()
