"""The first NaN or infinity of the recorded steps, and where it began. When there is none, further batches are tried by replay."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from trainlint.measurements import NonFinite
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.growth import growth
from trainlint.probes.step.origin import Origin, find_origin, is_finite
from trainlint.probes.step.replay import usable
from trainlint.probes.step.weights import state_kept, weights_at
from trainlint.record.random_state import randomness_kept
from trainlint.record.recording import Recording
from trainlint.record.seen import Backward
from trainlint.record.structure import tensor_leaves
from trainlint.record.tape import Tape
from trainlint.record.verify import corresponding
from trainlint.settings import Settings

__all__ = ["measure_non_finite"]

#: Further batches that are tried when all recorded steps were sound, and the most time for them: in steps, and at least in seconds.
_FURTHER, _FURTHER_STEPS, _FURTHER_SECONDS = 64, 3.0, 0.1
#: Operations with a gradient that can be infinite or NaN where their value is not. Without one, further batches need no backward.
_RISKY = frozenset({
    "acos", "acosh", "apply", "asin", "atan2", "atanh", "cdist", "cosine_similarity", "dist", "div", "eigh", "linalg_norm", "log", "log10",
    "log1p", "log2", "logsumexp", "masked_fill", "masked_fill_", "norm", "normalize", "pairwise_distance", "pow", "__pow__", "__rpow__", "prod",
    "reciprocal", "rsqrt", "scaled_dot_product_attention", "sqrt", "std", "svd", "__truediv__", "__rtruediv__", "var", "vector_norm", "where", "xlogy",
})  # fmt: skip
#: What a replay raises when a tape does not take a batch.
_REFUSALS = (RuntimeError, IndexError, ValueError, TypeError, KeyError, AttributeError, AssertionError)


def measure_non_finite(recording: Recording, deadline: float, settings: Settings) -> NonFinite:
    """Explain the first broken step; without one, replay further batches of the training loader at the present weights.

    Further batches count on after the recorded steps, in ``steps`` and in ``step``.
    """
    if not recording.backwards:
        msg = "no backward() was recorded"
        raise CannotMeasureError(msg)
    steps = len(recording.steps) or len(recording.backwards)
    if recording.broken is not None:
        return replace(
            _explain(recording, recording.broken, steps), growth=_growth(recording, recording.broken), clipped=any(s.clip is not None for s in recording.steps)
        )  # fmt: skip
    now = time.monotonic()
    until = now + min(max(_FURTHER_SECONDS, _FURTHER_STEPS * (recording.step_time or 0.0)), (deadline - now) / 3)
    tape = recording.tape
    if tape is None or not _takes_batches(recording, tape):
        return NonFinite(steps=steps)
    return _try_further(recording, tape, steps, until)


# -- recorded steps ----------------------------------------------------------------------------------------------------


def _explain(recording: Recording, broken: Backward, steps: int) -> NonFinite:
    origin, replayed = None, False
    with weights_at(recording, recording.broken_state or recording.initial), suppress(*_REFUSALS):
        for tape, fill in _replays(recording, broken):
            origin, replayed = find_origin(tape, fill), True
    step = 1 + sum(s.happening < broken.happening for s in recording.steps)
    if origin is not None:
        return _found(recording, origin, broken, steps, step, broken.value)
    bad = next((i for i, norm in broken.norms.items() if not math.isfinite(norm)), None)
    return NonFinite(
        steps=steps,
        found=True,
        step=step,
        what="gradient" if math.isfinite(broken.value) else "loss",
        where=recording.frames.location(broken.place),
        parameter=_parameter_names(recording).get(bad, "") if bad is not None else "",
        detail="its values are finite, but their squares are beyond float32" if replayed and math.isfinite(broken.value) else "",
        loss=broken.value,
    )


def _growth(recording: Recording, broken: Backward) -> float | None:
    earlier = [b for b in recording.backwards if b.happening < broken.happening]
    return growth((b.value for b in earlier), (b.norm for b in earlier))


def _replays(recording: Recording, broken: Backward) -> Iterator[tuple[Tape, dict[int, Tensor] | None]]:
    """The broken step's own tape, or the trusted one with the broken step's batch."""
    if broken.tape is not None:
        yield broken.tape, None
    elif recording.tape is not None and recording.trust == "next step" and broken.batch is not None:
        yield from ((recording.tape, fill) for fill in usable(recording.tape, [broken.batch.leaves]))


def _found(recording: Recording, origin: Origin, backward: Backward | None, steps: int, step: int, loss: float) -> NonFinite:
    op = origin.operation
    place = op.place if op is not None else _loader_place(backward) if origin.what == "input" else backward.place if backward else None
    detail = origin.detail
    if origin.what == "parameter" and origin.leaf is not None and (made := _made_by_step(recording, origin.leaf, step)) is not None:
        place, detail = made
    return NonFinite(
        steps=steps,
        found=True,
        step=step,
        what=origin.what,
        operation=origin.name,
        module=recording.module_names().get(id(op.module), "") if op is not None else "",
        where=recording.frames.location(place),
        parameter=_parameter_names(recording).get(id(origin.leaf), "") if origin.leaf is not None else "",
        detail=detail,
        loss=loss,
    )


def _made_by_step(recording: Recording, leaf: Tensor, step: int) -> tuple[Any, str] | None:
    """``(place, words)`` of the optimizer whose step broke a parameter that had a finite gradient."""
    owner = next((o for o in recording.training if any(p is leaf for group in o.optimizer.param_groups for p in group["params"])), None)
    before = recording.steps[step - 2] if 2 <= step <= len(recording.steps) + 1 else None
    if owner is None or before is None or before.norm is None or not math.isfinite(before.norm):
        return None
    dtype = str(leaf.dtype).removeprefix("torch.")
    return owner.place, f"by {type(owner.optimizer).__name__}'s step on finite gradients, in {dtype}"


def _loader_place(backward: Backward | None) -> Any:
    iteration = backward.iteration if backward is not None else None
    return iteration.loader.place if iteration is not None else backward.place if backward is not None else None


def _parameter_names(recording: Recording) -> dict[int, str]:
    return {id(p): name for name, _, _, p in recording.named_parameters()}


# -- further batches ---------------------------------------------------------------------------------------------------


def _takes_batches(recording: Recording, tape: Tape) -> bool:
    """Whether other batches can be fed by their paths: all else that the step took from outside is the same in another step."""
    if recording.trust != "next step" or not tape.batch or tape.scale != 1.0:
        return False
    others = [b.tape for b in recording.backwards if b.tape is not None and b.tape is not tape and b.tape.signature() == tape.signature()]
    fed = set(tape.batch.values())
    for other in others[-1:]:
        pairs = corresponding(tape, other)
        return pairs is not None and all(s in fed or _equal(tape.pristine.get(s, tape.outside[s]), t) for s, t in pairs.items())
    sizes = {tape.outside[s].shape[0] for s in fed if tape.outside[s].dim()}
    return not any(t.dim() and t.shape[0] in sizes for t in tape.constants.values())


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)


def _try_further(recording: Recording, tape: Tape, steps: int, until: float) -> NonFinite:
    backward = recording.tape_backward
    iteration = backward.iteration if backward is not None else None
    leaves = list(tape.leaves.values())
    if iteration is None or not leaves or not all(is_finite(t) for t in leaves):
        return NonFinite(steps=steps)
    tried, risky = 0, _is_risky(tape)
    loader = iteration.loader.loader
    with state_kept(recording), _randomness_kept(loader):
        for batch in _batches(loader):
            for fill in usable(tape, [batch]):
                tried += 1
                with suppress(*_REFUSALS):
                    loss, finite = _run(tape, fill, leaves if risky else [])
                    origin = None if finite else find_origin(tape, fill)
                    if origin is not None:
                        return _found(recording, origin, backward, steps + tried, steps + tried, loss)
            if tried >= _FURTHER or time.monotonic() > until:
                break
    return NonFinite(steps=steps + tried)


def _is_risky(tape: Tape) -> bool:
    """Whether a gradient may break where the loss does not: by an operation that is known for it, or by overflow in half precision."""
    return any(op.name in _RISKY or op.state.autocast for op in tape.operations) or any(t.element_size() < 4 for t in tape.leaves.values())


def _run(tape: Tape, fill: dict[int, Tensor], leaves: list[Tensor]) -> tuple[float, bool]:
    """The loss on one batch, and whether it and the gradients for ``leaves`` are finite."""
    loss = tape.replay({s: t.clone() for s, t in fill.items()}, grad=bool(leaves))[tape.loss].sum()
    value = float(loss.detach())
    if not math.isfinite(value) or not loss.requires_grad:
        return value, math.isfinite(value)
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    return value, all(is_finite(g) for g in gradients if g is not None)


def _batches(loader: DataLoader[Any]) -> Iterator[dict[str, Tensor]]:
    """Batches of a fresh pass, loaded in this process, until the dataset refuses."""
    source = _raw_batches(loader)
    with suppress(Exception):
        while True:
            yield dict(tensor_leaves(next(source)))


def _raw_batches(loader: DataLoader[Any]) -> Iterator[Any]:
    if not loader.num_workers:
        yield from DataLoader.__iter__(loader)
    elif not isinstance(loader.dataset, IterableDataset):
        dataset: Any = loader.dataset
        for chosen in loader.batch_sampler if loader.batch_sampler is not None else loader.sampler:
            yield loader.collate_fn([dataset[i] for i in chosen] if loader.batch_sampler is not None else dataset[chosen])


@contextmanager
def _randomness_kept(loader: DataLoader[Any]) -> Iterator[None]:
    """Leave all random generators, the loader's own among them, as they were found."""
    owners = (loader, loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None))
    held = {id(g): g for o in owners if isinstance(g := getattr(o, "generator", None), torch.Generator)}
    states = [(g, g.get_state()) for g in held.values()]
    try:
        with randomness_kept():
            yield
    finally:
        for generator, state in states:
            generator.set_state(state)
