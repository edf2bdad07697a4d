"""Where the graph ends between trainable parameters and the loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trainlint.measurements import GraphCut
from trainlint.record.recording import Recording

__all__ = ["graph_cuts"]

#: How a cut is called in the report, where torch's own name says little.
_CUT_NAMES = {
    "data": "data",
    "item": "item",
    "tolist": "tolist",
    "numpy": "numpy",
    "__array__": "numpy",
    "tensor": "new tensor",
    "as_tensor": "new tensor",
}
_INTEGER = ("long", "int", "round", "floor", "ceil", "sign", "__gt__", "__lt__", "__ge__", "__le__", "__eq__", "gt", "lt", "ge", "le", "eq")


def graph_cuts(recording: Recording, names: dict[int, str], reached: set[int]) -> Iterator[GraphCut]:
    """Cuts behind which there is a trainable parameter that no backward() reached."""
    lost = {id(p) for *_, p in recording.named_parameters() if p.requires_grad and id(p) not in reached}
    lost |= {id(p) for o in recording.training for p in o.parameters if p.requires_grad and id(p) not in reached}
    modules = recording.module_names()
    found: dict[tuple[str, Any], tuple[set[int], str]] = {}
    own = _just_before_steps(recording, lost)
    # What an earlier step made, as the fakes of an adversarial pair, is known to a later one by itself and not by its parameters.
    later = {c.kind: c for b in recording.backwards if b.index in own for c in b.cuts if c.leaves - names.keys()}
    for backward in recording.backwards:
        for cut in backward.cuts:
            if behind := cut.leaves & lost:
                cut = later.get(cut.kind, cut) if backward.index not in own else cut
                place = recording.grad_off if cut.kind == "no_grad" and recording.grad_off else cut.place
                module = modules.get(id(cut.module), "") if cut.module is not None else ""
                found.setdefault((cut.kind, place), (set(), module))[0].update(behind)
    for (name, place), (behind_all, module) in found.items():
        yield GraphCut(
            kind="integer cast" if name in _INTEGER else _CUT_NAMES.get(name, name),
            where=recording.frames.location(place),
            parameters=tuple(sorted(names.get(i, "an unnamed parameter") for i in behind_all)),
            module=module,
        )


def _just_before_steps(recording: Recording, parameters: set[int]) -> set[int]:
    """The backward() calls that come last before a step of an optimizer that holds any of these: those of other optimizers may be cut on purpose."""
    steps = [s.happening for o in recording.optimizers if any(id(p) in parameters for p in o.parameters) for s in o.steps]
    return {
        max(earlier, key=lambda b: b.happening).index for at in steps if (earlier := [b for b in recording.backwards if b.happening < at])
    }
