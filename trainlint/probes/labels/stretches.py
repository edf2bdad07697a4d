"""Which stretch of a sequence a recorded tensor holds, where it was only rearranged and cut since the loader or the last layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainlint.record.frames import Place
from trainlint.record.operation import Operation, Ref
from trainlint.record.tape import Tape

__all__ = ["Stretch", "stretch_of"]

#: Operations that leave each element beside the same others.
_STILL = frozenset({
    "bfloat16", "clone", "contiguous", "cpu", "cuda", "detach", "double", "flatten", "float", "half", "int", "log_softmax", "long",
    "masked_select", "movedim", "permute", "reshape", "squeeze", "swapaxes", "t", "to", "transpose", "type", "unsqueeze", "view",
})  # fmt: skip
#: Operations that may take another stretch, in ways that are not followed.
_CUTS = frozenset({"cat", "chunk", "index_select", "narrow", "pad", "roll", "select", "split", "tensor_split", "unbind"})
_STEPS = 32


@dataclass(frozen=True)
class Stretch:
    """The places of ``origin`` that a tensor holds."""

    origin: int
    """Slot of what was cut."""
    cuts: tuple[slice, ...] = ()
    """Slices along the sequence, in the order in which they were taken."""
    place: Place | None = None
    """The line of the last cut."""

    def of(self, row: Any) -> Any:
        """The same places of one sequence."""
        for cut in self.cuts:
            row = row[cut]
        return row


def stretch_of(tape: Tape, slot: int) -> Stretch | None:
    """The way back from a slot; None where places were taken in a way that is not followed."""
    cuts: list[slice] = []
    place: Place | None = None
    for _ in range(_STEPS):
        op = tape.operations[tape.producers[slot]] if slot in tape.producers else None
        if op is None or not op.inputs or (op.name not in _STILL | _CUTS and op.name != "__getitem__"):
            return Stretch(slot, tuple(reversed(cuts)), place)
        if op.name in _CUTS:
            return None
        if op.name == "__getitem__" and not isinstance(op.args[1], Ref):  # a mask leaves whole places out
            cut = _slice(op, len(tape.shapes.get(op.inputs[0], ())))
            if cut is None:
                return None
            cuts.append(cut)
            place = place or op.place
        slot = op.inputs[0]
    return None


def _slice(op: Operation, axes: int) -> slice | None:
    """The slice of the one axis behind that of samples that is cut."""
    index = op.args[1] if isinstance(op.args[1], tuple) else (op.args[1],)
    if Ellipsis in index:
        at = index.index(Ellipsis)
        index = (*index[:at], *(slice(None) for _ in range(axes - len(index) + 1)), *index[at + 1 :])
    if not all(isinstance(part, slice) and part.step in (None, 1) for part in index):
        return None
    if not all(isinstance(end, int | None) for part in index for end in (part.start, part.stop)):
        return None
    cut = [(axis, part) for axis, part in enumerate(index) if part != slice(None)]
    return cut[0][1] if len(cut) == 1 and cut[0][0] > 0 else None
