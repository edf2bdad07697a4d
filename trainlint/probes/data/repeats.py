"""Reads validation samples several times under different random seeds, and compares the readings."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset

from trainlint.measurements import Repeat, Repeats
from trainlint.probes.data.batch_hooks import batch_hooks
from trainlint.probes.data.data_scan import loaders_in
from trainlint.probes.data.datasets import Samples, wrapped
from trainlint.probes.data.generators import generators_kept
from trainlint.probes.data.in_place import changed_in_place, worn_sample
from trainlint.probes.data.leaves import describe
from trainlint.probes.data.randomness import differ
from trainlint.probes.data.roles import DataFlow
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.source.given import attribute_given_at
from trainlint.record.random_state import randomness_kept, seed_all
from trainlint.record.recording import Recording
from trainlint.record.seen import Loader
from trainlint.record.structure import tensor_leaves
from trainlint.settings import Settings

__all__ = ["measure_repeats"]

#: Samples that are read, how often, and for how many seconds at most.
_SAMPLES, _TIMES, _SECONDS = 32, 3, 3.0
#: Elements of a sample that are compared.
_ELEMENTS = 2**16

Readings = list[list[dict[str, Tensor]]]


def measure_repeats(recording: Recording, deadline: float, settings: Settings) -> Repeats:
    """Read validation samples; training samples, which may vary, only to see whether reading changes what their dataset holds."""
    try:
        found = _of_validation(recording, deadline)
    except CannotMeasureError:
        worn = worn_sample(recording)
        if worn is None:
            raise
        return Repeats(worn=worn)
    return found if found.changed_where is not None else replace(found, worn=worn_sample(recording))


def _of_validation(recording: Recording, deadline: float) -> Repeats:
    """Judge the first validation loader whose samples vary, else the first that can be read."""
    flow = DataFlow(recording)
    training = [Samples(entry.loader) for entry in loaders_in(flow, "train")]
    entries = [e for e in loaders_in(flow, "val") if not any(_is_same_data(Samples(e.loader), other) for other in training)]
    if not entries:
        msg = "no validation data was read through a DataLoader"
        raise CannotMeasureError(msg)
    found: Repeats | None = None
    reason = "no validation sample could be read twice"
    for entry in entries[:4]:
        samples = Samples(entry.loader)
        if samples.iterable:
            reason = "validation data is an IterableDataset, which cannot be asked for the same sample twice"
            continue
        one = _measure(recording, flow, entry, samples, training, min(deadline, time.monotonic() + _SECONDS))
        if one is not None and (found is None or any(leaf.varied for leaf in one.leaves)):
            found = one
            if any(leaf.varied for leaf in one.leaves):
                break
    if found is None:
        raise CannotMeasureError(reason)
    return found


def _unread(dataset: Any) -> str:
    """A transform among the attributes that a subset was given beside its own two."""
    if type(dataset) is not Subset:
        return ""
    return next((name for name in vars(dataset) if name not in ("dataset", "indices") and "transform" in name.lower()), "")


def _measure(
    recording: Recording, flow: DataFlow, entry: Loader, samples: Samples, training: Sequence[Samples], end: float
) -> Repeats | None:
    readings, by_collate = _read(samples, end)
    if not readings:
        return None
    batch = next((b for b in flow.batches if b.iteration is not None and b.iteration.loader is entry), None)
    known = batch.leaves if batch is not None else readings[0][0]
    leaves = tuple(_compare(path, flow, entry, known, readings) for path in readings[0][0])
    varies = any(leaf.varied for leaf in leaves)
    hooks = batch_hooks(recording.frames) if not varies else None
    if hooks is not None and (changed_by := _read(samples, end + 1.0, hooks)[0]):
        hooked = tuple(_compare(path, flow, entry, known, changed_by) for path in changed_by[0][0])
        if any(leaf.varied for leaf in hooked):
            with randomness_kept(), torch.no_grad():
                place = hooks.draws_at(samples.batch(samples.raw(samples.pool[0])), recording.frames)
            return Repeats(
                leaves=hooked,
                by_hook=hooks.name,
                hook_where=recording.frames.location(place),
                loader_where=recording.frames.location(entry.place),
                random_transforms=tuple(dict.fromkeys(_random_among(hooks.uses))),
            )
    again = _read(training[0], end + 1.0)[0] if varies and training and not training[0].iterable else []
    changed = changed_in_place(samples, recording.frames) if varies else None
    unread = _unread(samples.dataset) if varies else ""
    return Repeats(
        leaves=leaves,
        unread=unread,
        unread_where=recording.frames.location(attribute_given_at(recording.frames, unread)) if unread else None,
        changed_where=recording.frames.location(changed),
        where=recording.frames.location(recording.dataset_place(entry)),
        loader_where=recording.frames.location(entry.place),
        by_collate=varies and by_collate and changed is None,
        random_transforms=tuple(random_transforms(samples.dataset)),
        shared=any(set(map(id, wrapped(samples.dataset))) & set(map(id, wrapped(other.dataset))) for other in training),
        training_varies=any(_differs(r, path) for r in again for path in r[0]) if again else None,
    )


def _is_same_data(samples: Samples, other: Samples) -> bool:
    """Whether a loader only evaluates on what is trained on: the same dataset, and no indices of its own."""
    if samples.dataset is not other.dataset:
        return False
    mine, theirs = samples.pool, other.pool
    return mine == theirs or len(set(mine[:1000]).intersection(theirs)) > len(mine[:1000]) / 2


def _read(samples: Samples, end: float, after: Callable[[Any], Any] = lambda batch: batch) -> tuple[Readings, bool]:
    """``(readings by sample and seed, whether only the collate function draws)``, as ``after`` makes them; the user's generators are put back."""
    pool = samples.pool
    chosen = [pool[i] for i in range(0, len(pool), max(1, len(pool) // _SAMPLES))][:_SAMPLES]
    readings: Readings = []
    by_collate = True
    with randomness_kept(), generators_kept(samples.dataset, samples.loader.collate_fn), torch.no_grad(), suppress(Exception):
        for place, index in enumerate(chosen):
            one: list[dict[str, Tensor]] = []
            raws: list[Any] = []
            for turn in range(_TIMES):
                seed_all(1009 * turn + 131 * place + 17)
                raws.append(samples.raw(index))
                one.append(dict(tensor_leaves(after(samples.batch(raws[-1])))))
            by_collate &= not differ(raws)
            readings.append(one)
            if time.monotonic() > end:
                break
    return readings, by_collate


def _compare(path: str, flow: DataFlow, entry: Loader, known: Mapping[str, Tensor], readings: Readings) -> Repeat:
    role = flow.role(entry.index, path)
    first = readings[0][0][path]
    tokens = any(flow.role(entry.index, p) == "input" and describe(p, "input", t).kind == "tokens" for p, t in known.items())
    return Repeat(
        path=path,
        role=role,
        kind=describe(path, role, known.get(path, first), beside_tokens=tokens).kind,
        shape=tuple(first.shape),
        samples=len(readings),
        varied=sum(_differs(one, path) for one in readings),
        change=_distance([[_plain(r[path]) for r in one if path in r] for one in readings]),
        recognised=_recognised(readings, path),
    )


def _plain(tensor: Tensor) -> Tensor:
    flat = tensor.detach().double().reshape(-1).nan_to_num()
    return flat[:: max(1, flat.numel() // _ELEMENTS)]


def _differs(readings: Sequence[Mapping[str, Tensor]], path: str) -> bool:
    """Whether readings of one sample differ by more than the rounding of sums in another order."""
    first = readings[0][path]
    others = [r[path] for r in readings[1:] if path in r]
    return len(others) < len(readings) - 1 or any(
        t.shape != first.shape or not torch.allclose(_plain(t), _plain(first), rtol=1e-4, atol=1e-6) for t in others
    )


def _distance(values: Sequence[Sequence[Tensor]]) -> float:
    """Mean distance within samples over that between samples; 1 when sizes differ, 0 when there is only one sample and nothing varies."""
    within = [gap for one in values for other in one[1:] if (gap := _gap(one[0], other)) is not None]
    between = [gap for one, other in itertools.combinations(values, 2) if (gap := _gap(one[0], other[0])) is not None]
    if not within:
        return 1.0
    apart = sum(between) / len(between) if between else 0.0
    mean = sum(within) / len(within)
    return mean / apart if apart else float(mean > 0)


def _gap(one: Tensor, other: Tensor) -> float | None:
    return float((one - other).abs().mean()) if one.numel() == other.numel() and one.numel() else None


def _recognised(readings: Readings, path: str) -> float:
    """How far a reading is known again among first readings of samples with the same label: 1 always, 0 no more than by chance.

    It is looked for by its values as they are, by their order of size (moved pictures keep those), and with brightness and contrast
    taken out; the best of the three counts.
    """
    if len(readings) < 3 or not any(_differs(one, path) for one in readings):
        return 1.0
    groups: dict[object, list[int]] = {}
    for number, one in enumerate(readings):
        label = next((t.item() for p, t in one[0].items() if p != path and t.numel() == 1 and not t.is_floating_point()), None)
        groups.setdefault(label, []).append(number)
    if not any(len(members) > 1 for members in groups.values()):
        groups = {None: list(range(len(readings)))}
    return max(_known_again(readings, path, groups.values(), view) for view in (_plain, _sorted, _standardised))


def _known_again(readings: Readings, path: str, groups: Iterable[list[int]], view: Callable[[Tensor], Tensor]) -> float:
    hits, chance, count = 0, 0.0, 0
    for members in groups:
        firsts = {m: view(readings[m][0][path]) for m in members}
        for member in members if len(members) > 1 else ():
            for other in readings[member][1:]:
                reading = view(other[path])
                gaps = {m: gap for m, first in firsts.items() if (gap := _gap(first, reading)) is not None}
                if len(gaps) > 1:
                    hits += min(gaps, key=gaps.__getitem__) == member
                    chance += 1 / len(gaps)
                    count += 1
    return (hits - chance) / (count - chance) if count else 0.0


def _sorted(tensor: Tensor) -> Tensor:
    return _plain(tensor).sort().values


def _standardised(tensor: Tensor) -> Tensor:
    flat = _plain(tensor)
    return (flat - flat.mean()) / flat.std(correction=0).clamp_min(1e-12)


def random_transforms(dataset: Any) -> Iterator[str]:
    """Yield the classes of random transforms that a dataset applies, in order, looked up inside compositions.

    A transform is random when it draws parameters (``get_params``, ``make_params``), is applied with a probability below 1, or is
    called Random...; libraries keep to these three.
    """
    held = [getattr(one, "__dict__", {}) for one in wrapped(dataset)]
    yield from dict.fromkeys(_random_among([v for values in held if isinstance(values, dict) for v in values.values()]))


def _random_among(values: Iterable[Any]) -> Iterator[str]:
    """Yield the class of each random transform among these, and inside them."""
    for value in values:
        yield from (type(transform).__name__ for transform in _transforms(value) if _is_random(transform))


def _transforms(value: Any, depth: int = 0) -> Iterator[Any]:
    if depth > 4 or isinstance(value, Tensor | np.ndarray | str):
        return
    children: Any = value if isinstance(value, list | tuple) else getattr(value, "transforms", None)
    if not isinstance(children, list | tuple) and isinstance(value, torch.nn.Module):
        children = list(value.children())
    if callable(value) and not isinstance(value, type):
        yield value
    inner = [getattr(value, name, None) for name in ("transform", "target_transform")] if depth else []  # torchvision's StandardTransform
    for child in (*(children[:64] if isinstance(children, list | tuple) else ()), *inner):
        if callable(child) and not isinstance(child, type):
            yield from _transforms(child, depth + 1)


def _is_random(transform: Any) -> bool:
    kind = type(transform)
    chance = getattr(transform, "p", None)
    draws = any(
        name in vars(base)
        for base in kind.__mro__
        for name in ("get_params", "make_params")
        if base.__name__ not in ("Transform", "BasicTransform", "ImageOnlyTransform", "DualTransform")
    )
    return draws or kind.__name__.startswith("Rand") or (isinstance(chance, float) and 0 < chance < 1)
