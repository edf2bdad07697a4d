"""Second sets of the model's weights: found among the live objects before training, and watched from step to step.

A moving average is told by how it moves: ``copy = d * copy + (1 - d) * weights`` gives its decay d exactly, from the copy before
and after one update and the weights in between.
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trainlint.record.frames import Place
from trainlint.record.parameters import named_parameters_of, parameters_of

__all__ = ["UPDATES", "Shadow", "ShadowWatch"]

#: Optimizer steps over which copies are watched.
_STEPS = 16
#: Copies that are watched at most, and the largest, in elements: each is held once more while it is watched.
_MOST, _LARGEST = 6, 200_000_000
_CONTAINERS = (dict, list, OrderedDict)
#: Squared cosine between the copy's move and its way to the weights; rounding takes some of it when the decay is near 1.
_STRAIGHT = 0.7
#: Norms that differ by less are equal.
_SAME = 1e-6
#: Tensors that are looked at for whether the weights were changed between two steps.
_COMPARED = 16
#: Calls on a copy's tensor that an update begins with.
UPDATES = frozenset({"add", "add_", "copy_", "data", "lerp", "lerp_", "mul", "mul_", "__mul__", "__rmul__", "sub_"})


@dataclass(eq=False)
class Shadow:
    """A second set of weights."""

    holder: Any
    """The module, dict or list that holds it."""
    read: Callable[[], list[Tensor] | None]
    """Its tensors now, in the order of the model's; None when it is no longer whole."""
    weights: list[Tensor]
    """The model's own."""
    decays: list[float] = field(default_factory=list)
    updates: int = 0
    watched: int = 0
    foreign: bool = False
    """It moved otherwise than towards the weights: trained, or loaded."""
    last: list[Tensor] | None = None
    place: Place | None = None
    """The line that was first seen to change it."""
    left: list[Tensor] | None = None
    """Norms of the weights as the latest optimizer step left them."""
    replaced: list[Place | None] = field(default_factory=list)
    """For each time that the weights were found replaced by this copy before a step: where the model was evaluated since the last one."""

    def stepped(self) -> None:
        """An optimizer has stepped."""
        self.left = [w.detach().norm() for w in self.weights[:_COMPARED]]

    def has_replaced(self) -> bool:
        """Whether the weights now hold the copy's values, which they did not after the latest step."""
        now = self.read()
        if now is None or self.left is None or not all(torch.equal(n, w.detach()) for n, w in zip(now, self.weights, strict=True)):
            return False
        moved = [not torch.isclose(w.detach().norm(), norm, rtol=_SAME, atol=0) for w, norm in zip(self.weights, self.left, strict=False)]
        return 2 * sum(moved) > len(moved)

    def look(self) -> None:
        """Compare with the last look; the weights are those of the step since then."""
        now = self.read()
        if now is None or self.foreign:
            self.last = None
            return
        before, self.last = self.last, [t.detach().clone() for t in now]
        if before is None:
            return
        self.watched += 1
        moved = [n - b for n, b in zip(self.last, before, strict=True)]
        length = sum(float(m.double().square().sum()) for m in moved)
        if not length:
            return
        self.updates += 1
        way = [w.detach() - b for w, b in zip(self.weights, before, strict=True)]
        whole = sum(float(w.double().square().sum()) for w in way)
        along = sum(float((m.double() * w.double()).sum()) for m, w in zip(moved, way, strict=True))
        if whole <= 0 or along * along < _STRAIGHT * length * whole:
            self.foreign = True
        else:
            self.decays.append(1 - along / whole)


class ShadowWatch:
    """Finds copies once, at the second optimizer step, and looks at them before each of the next."""

    def __init__(self) -> None:
        self.shadows: list[Shadow] = []
        self.tensors: dict[int, Shadow] = {}
        """id of a copy's tensor, or address of its memory -> the copy, while nothing has been seen to change it."""
        self.closed = False
        self._looks = 0

    def after_step(self) -> None:
        """An optimizer has stepped."""
        with torch.no_grad(), suppress(RuntimeError):  # what cannot be read is not compared
            for shadow in self.shadows:
                shadow.stepped()

    def before_step(self, models: Callable[[], Sequence[nn.Module]], steps_done: int, evaluated: Place | None = None) -> None:
        """An optimizer is about to step for the ``steps_done + 1``-th time; ``evaluated`` is where the model ran without gradients since the last."""
        if self.closed or steps_done == 0:
            return
        with torch.no_grad():
            for shadow in self.shadows:
                if shadow.has_replaced():
                    shadow.replaced.append(evaluated)
                    shadow.last = None  # what it moved from is not comparable
        if self._looks > _STEPS:
            return
        self.tensors, watched = {}, self.tensors
        if self._looks == 0:
            self.shadows = _found(models())
            watched = {key: s for s in self.shadows for t in s.read() or () for key in (id(t), t.data_ptr())}
        self._looks += 1
        with torch.no_grad():
            for shadow in self.shadows:
                shadow.look()
        self.tensors = watched

    def key(self, tensor: Any) -> int | None:
        """The key of a copy's tensor, itself or detached as a state_dict() gives it; None for another."""
        if id(tensor) in self.tensors:
            return id(tensor)
        plain = isinstance(tensor, Tensor) and tensor.layout is torch.strided and not tensor.requires_grad and tensor.device.type != "meta"
        with torch._C.DisableTorchFunctionSubclass():
            return key if plain and (key := tensor.data_ptr()) in self.tensors else None

    def touched(self, key: int, place: Place | None) -> None:
        """A tensor of a copy was changed, or read for a change."""
        shadow = self.tensors[key]
        shadow.place = shadow.place or place
        self.tensors = {k: s for k, s in self.tensors.items() if s is not shadow}


def _found(models: Iterable[nn.Module]) -> list[Shadow]:
    """Modules, dicts and lists of tensors with the model's structure and other memory."""
    listed = [(m, dict(named_parameters_of(m))) for m in models]
    listed = [(m, named) for m, named in listed if named and sum(p.numel() for p in named.values()) <= _LARGEST]
    wanted = [(named, {n: p for n, p in named.items() if p.requires_grad}) for _, named in listed]
    own = {id(x) for m, _ in listed for x in m.modules()}
    found: list[Shadow] = []
    sizes = {size for _, trained in wanted if trained for size in range(len(trained), 4 * len(trained) + 65)}
    modules: list[Any] = []
    containers: list[Any] = []
    by_kind: dict[int, list[Any] | None] = {}
    for item in gc.get_objects() if wanted else ():  # there are some hundred thousand: their types and lengths tell most apart
        kind = type(item)  # isinstance() would wake lazy proxies
        try:
            group = by_kind[id(kind)]
        except KeyError:
            group = by_kind[id(kind)] = containers if kind in _CONTAINERS else modules if issubclass(kind, nn.Module) else None
        if group is modules or (group is containers and len(item) in sizes):
            group.append(item)
    for item in (*modules, *containers):  # modules first: containers may hold the same tensors
        for named, trained in wanted:
            shadow = _module(item, named, own) if issubclass(type(item), nn.Module) else _container(item, trained)
            if shadow is None:
                continue
            twin = next((i for i, other in enumerate(found) if _same(shadow, other)), None)
            if twin is None and len(found) < _MOST:
                found.append(shadow)
            elif twin is not None and _wraps(item, found[twin].holder):
                found[twin] = shadow
    return found


def _wraps(item: Any, held: Any) -> bool:
    """Whether a module holds another, which says less about what it is for."""
    return isinstance(item, nn.Module) and isinstance(held, nn.Module) and item is not held and any(m is held for m in item.modules())


def _module(item: nn.Module, named: Mapping[str, Tensor], own: set[int]) -> Shadow | None:
    if id(item) in own or "_parameters" not in vars(item):
        return None
    theirs = dict(named_parameters_of(item))
    if len(theirs) != len(named) or [tuple(p.shape) for p in theirs.values()] != [tuple(p.shape) for p in named.values()]:
        return None

    def read() -> list[Tensor] | None:
        now: list[Tensor] = list(parameters_of(item))
        return now if len(now) == len(named) else None

    return _checked(Shadow(item, read, list(named.values())))


def _container(item: dict[Any, Any] | list[Any], trained: Mapping[str, Tensor]) -> Shadow | None:
    if not trained or not len(trained) <= len(item) <= 4 * len(trained) + 64:
        return None
    if isinstance(item, dict):
        if any(not isinstance(item.get(n), Tensor) for n in trained):
            return None
        return _checked(Shadow(item, lambda: _of_dict(item, trained), list(trained.values())))
    if len(item) != len(trained) or any(not isinstance(t, Tensor) for t in item):
        return None
    return _checked(Shadow(item, lambda: list(item) if len(item) == len(trained) else None, list(trained.values())))


def _of_dict(item: dict[Any, Any], names: Iterable[str]) -> list[Tensor] | None:
    found = [item.get(n) for n in names]
    return found if all(isinstance(t, Tensor) for t in found) else None  # type: ignore[return-value]


def _checked(shadow: Shadow) -> Shadow | None:
    """The shadow, when its tensors have the weights' shapes and none of their memory."""
    now = shadow.read()
    if now is None or [t.shape for t in now] != [w.shape for w in shadow.weights]:
        return None
    if any(t.layout is not torch.strided or t.data_ptr() == w.data_ptr() for t, w in zip(now, shadow.weights, strict=True)):
        return None
    return shadow if all(t.is_floating_point() and t.device == w.device for t, w in zip(now, shadow.weights, strict=True)) else None


def _same(one: Shadow, other: Shadow) -> bool:
    """Whether two hold the same tensors: a module within a wrapper."""
    a, b = one.read(), other.read()
    return a is not None and b is not None and bool(a) and bool(b) and a[0].data_ptr() == b[0].data_ptr()
