"""A latent that is drawn without a gradient where the network behind it was to learn from what is made of it."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from trainlint.measurements import GraphCut
from trainlint.record.operation import Operation
from trainlint.record.recording import Recording
from trainlint.record.tape import Tape

__all__ = ["sampled_without_gradient"]

#: What draws from a normal distribution for ``Normal.sample()``, and for others that are built on it.
_DRAWS = "normal"
#: Ends of the graph.
_ENDS = frozenset({"detach", "detach_", "data", "argmax"})
#: How terms of a loss are put together.
_SUMS = frozenset({"add", "sub", "stack", "cat", "concat", "concatenate"})
_TAPES = 4


def sampled_without_gradient(recording: Recording, names: dict[int, str]) -> GraphCut | None:
    """The first such draw, with the names of the parameters that make its distribution.

    They have a gradient: that of a term of the loss which sees the distribution and nothing else of the data, as a divergence from a prior does.
    """
    for backward in recording.first_tapes[:_TAPES]:
        tape = backward.tape
        if tape is None:
            continue
        for position in _draws(tape):
            behind = _behind(tape, position)
            if behind and {id(p) for p in behind} <= backward.reached and _Ways(tape, position).only_the_sum_joins():
                return GraphCut(
                    kind="sample",
                    where=recording.frames.location(tape.operations[position].place),
                    parameters=tuple(sorted(names.get(id(p), "an unnamed parameter") for p in behind)),
                )
    return None


def _draws(tape: Tape) -> Iterator[int]:
    """Draws for which the distribution itself switches gradients off, not the script around them."""
    drawn = ((i, op) for i, op in enumerate(tape.operations) if op.name == _DRAWS and len(op.outputs) == 1)
    return (i for i, op in drawn if not op.state.grad and op.state.off_at == op.place)


def _behind(tape: Tape, position: int) -> list[Tensor]:
    """Trainable parameters that a draw's distribution is made of."""
    above = {p for slot in tape.operations[position].inputs for p in tape.upstream(slot)}
    slots = dict.fromkeys(s for p in sorted(above) for s in tape.operations[p].inputs)
    return [tape.leaves[s] for s in slots if s in tape.leaves]


class _Ways:
    """What the loss makes of a draw, and what it makes of the draw's distribution."""

    def __init__(self, tape: Tape, position: int) -> None:
        self.tape = tape
        self.drawn = tape.operations[position]
        self.shape = tape.shapes[self.drawn.outputs[0]]
        self.raw = set(self.drawn.outputs)
        """The draw, and what is made of it before any layer."""
        self.deep = set[int]()
        """What layers make of it."""
        self.own = self._distribution()
        """The distribution's parameters, and what is made of them and of constants."""
        self.joined = set[int]()
        self.plain = {
            s for s, t in tape.outside.items() if s not in tape.leaves and s not in tape.batch.values() and self._same_in_all_rows(t)
        }

    def only_the_sum_joins(self) -> bool:
        """Whether layers take the draw, nothing but a divergence takes its distribution, and both meet in a sum that is the loss."""
        return all(self._follow(op) for op in self.tape.operations) and self.tape.loss in self.joined

    def _follow(self, op: Operation) -> bool:
        """Sort what an operation makes; False where the distribution learns from data by another way."""
        given, made = set(op.inputs), self.tape._made(op)
        layer = bool(given & self.tape.leaves.keys())
        if op is self.drawn or (given & self.own == given and set(made) & self.own):
            return True
        if op.name in _ENDS or not (op.state.grad or op.state is self.drawn.state):
            if given & (self.own | self.plain):
                self.plain.update(made)
            return True
        if given & self.joined:
            self.joined.update(made)
            return not layer
        if given & self.raw:
            (self.deep if layer or given & self.deep else self.raw).update(made)
            return not given & self.own  # the density of the draw, or the draw put straight through
        if given & self.deep:
            meets = bool(given & self.own)
            (self.joined if meets else self.deep).update(made)
            return not meets or (op.name.strip("_").removeprefix("r").removeprefix("i") in _SUMS and not layer)
        if given & self.own:
            self.own.update(made)
            return given <= self.own | self.plain
        if given <= self.plain:
            self.plain.update(made)
        return True

    def _distribution(self) -> set[int]:
        """The slots that the draw's parameters are calculated from, back to the layers that made them."""
        found, queue = set[int](), [s for s in self.drawn.inputs if s not in self.tape.outside]
        while queue:
            slot = queue.pop()
            if slot in found:
                continue
            found.add(slot)
            op = self.tape.operations[self.tape.producers[slot]]
            if not set(op.inputs) & self.tape.leaves.keys():
                queue += [s for s in op.inputs if s not in self.tape.outside]
        return found

    def _same_in_all_rows(self, tensor: Tensor) -> bool:
        """A prior's constant; targets that no loader gave have a row for each sample."""
        if not tensor.dim() or not self.shape or tensor.shape[0] != self.shape[0] or tensor.dim() < len(self.shape):
            return True
        return bool((tensor == tensor[:1]).all())
