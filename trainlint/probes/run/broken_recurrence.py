"""Recurrent layers whose state leaves the graph between each two time steps of one pass, so that nothing is propagated back through time.

Truncation detaches between windows of several steps, mostly of several backward() calls; here each step of the recorded one stands alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainlint.measurements import BrokenRecurrence
from trainlint.record.operation import Operation, Ref
from trainlint.record.recording import Recording
from trainlint.record.tape import Tape

__all__ = ["broken_recurrence"]

#: Operations that leave the graph and keep the numbers.
_CUTS = frozenset({"data", "detach", "detach_"})
_CELLS = frozenset({"gru_cell", "lstm_cell", "rnn_relu_cell", "rnn_tanh_cell"})
_LAYERS = frozenset({"gru", "lstm", "rnn_relu", "rnn_tanh"})
#: What a cell of one's own is made of, with the axes of its input where it takes one step of a batch.
_PARTS = {"linear": 2, "matmul": 2, "__matmul__": 2, "mm": 2, "conv2d": 4}
#: Operations that take one step out of a sequence.
_SLICES = frozenset({"__getitem__", "__iter__", "chunk", "index_select", "narrow", "select", "split", "tensor_split", "unbind"})
#: Fewest steps of a pass; operations before a step in which its input is looked for.
_LEAST, _NEAR = 4, 64


def broken_recurrence(recording: Recording) -> BrokenRecurrence | None:
    """The first layer of the recorded steps whose calls are linked by detached values alone; nothing is run again."""
    tape = next((b.tape for b in recording.backwards if b.tape is not None), None)
    if tape is None or sum(op.name in _CUTS for op in tape.operations) < _LEAST - 1:
        return None
    taught: set[int] | None = None
    for calls in _repeated(tape):
        fed = _fed_through_cuts(tape, calls)
        if fed is None or not _reads_on(tape, calls, fed):
            continue
        taught = _with_gradient(tape) if taught is None else taught
        first, reached = tape.operations[calls[0]], sum(any(s in taught for s in tape.operations[p].outputs) for p in calls)
        if first.name in _PARTS and reached != 1:
            continue  # a network that is asked again for what it gave, as a sampler is, and taught at each answer
        cuts = [tape.operations[p] for p in _before(tape, calls, 1) if tape.operations[p].name in _CUTS]
        places = [recording.frames.location(op.place) for op in cuts]
        lines = sorted({place.line for place in places if place is not None and places[0] is not None and place.file == places[0].file})
        at_home = all(op.place is not None and first.place is not None and op.place[::2] == first.place[::2] for op in cuts)
        return BrokenRecurrence(
            kind=cuts[0].name if cuts else "detach",
            layer=first.name,
            steps=len(calls),
            reached=reached,
            lines=tuple(lines) if at_home and all(op.name == "detach" for op in cuts) else (),
            where=places[0] if places else recording.frames.location(first.place),
        )
    return None


def _repeated(tape: Tape) -> Iterator[list[int]]:
    """Positions of the calls of one recurrent layer, a step at a time; of what may be a cell of one's own last."""
    weights = {s for s, p in tape.parameters.items() if p.dim() > 1 and p.requires_grad}
    found: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for position, op in enumerate(tape.operations):
        own = tuple(s for s in op.inputs if s in weights)
        if own and _is_step(tape, op):
            found.setdefault((op.name, own), []).append(position)
    many = [calls for calls in found.values() if len(calls) >= _LEAST and all(tape.operations[p].state.grad for p in calls)]
    yield from sorted(many, key=lambda calls: tape.operations[calls[0]].name in _PARTS)


def _is_step(tape: Tape, op: Operation) -> bool:
    """Whether a call is given one time step."""
    if op.name in _CELLS:
        return True
    given = op.args[0] if op.args else None
    shape = tape.shapes.get(given.slot, ()) if isinstance(given, Ref) else ()
    if op.name in _LAYERS:
        flags = [a for a in op.args if isinstance(a, bool)]  # biases, training, both directions, batch first
        return len(shape) >= 2 and shape[1 if len(shape) == 3 and len(flags) == 4 and flags[3] else 0] == 1
    return len(shape) == _PARTS.get(op.name)


def _fed_through_cuts(tape: Tape, calls: Sequence[int]) -> set[int] | None:
    """Slots that depend on any of the calls; None unless each call is given what the one before made and no gradient would reach that."""
    number = {position: k for k, position in enumerate(calls)}
    fed: dict[int, int] = {}
    linked: dict[int, int] = {}
    for position in range(calls[0], calls[-1] + 1):
        op = tape.operations[position]
        value = max((fed.get(s, -1) for s in op.inputs), default=-1)
        graph = max((linked.get(s, -1) for s in op.inputs), default=-1)
        if position in number:
            if number[position] and not (graph < 0 and value == number[position] - 1):
                return None
            value = graph = number[position]
        elif op.name in _CUTS or not op.state.grad:
            graph = -1
        for slot in op.outputs if op.mutates is None else (*op.outputs, op.mutates):
            fed[slot], linked[slot] = value, graph
    return {slot for slot, value in fed.items() if value >= 0}


def _reads_on(tape: Tape, calls: Sequence[int], fed: set[int]) -> bool:
    """Whether each call is given another piece of a sequence; what is refined again and again is no recurrence over time."""
    seen: set[object] = set()
    for k, call in enumerate(calls):
        near = [tape.operations[p] for p in _before(tape, calls, k)]
        used = {s for op in (*near, tape.operations[call]) for s in op.inputs} - tape.parameters.keys() - fed
        sliced = [(op, i, s) for op in near if op.name in _SLICES for i, s in enumerate(op.outputs) if s in used]
        read = {s for s in used if s in tape.outside} | {(op.name, repr((op.args, op.kwargs)), i) for op, i, _ in sliced}
        if read <= seen:
            return False
        seen |= read
    return True


def _before(tape: Tape, calls: Sequence[int], number: int) -> list[int]:
    """Positions of the operations that make what a call is given, back to what is detached or was made by the call before."""
    earlier = tape.operations[calls[max(number - 1, 0)]]

    def through(op: Operation) -> Sequence[int]:
        return () if op.name in _CUTS or op is earlier else op.inputs

    inputs = tape.operations[calls[number]].inputs
    return sorted({p for s in inputs if s not in tape.parameters for p in tape.upstream(s, through, _NEAR)})


def _with_gradient(tape: Tape) -> set[int]:
    """Slots through which the loss's gradient goes."""
    reached = {tape.loss}
    for op in reversed(tape.operations):
        made = op.outputs if op.mutates is None else (*op.outputs, op.mutates)
        if op.name not in _CUTS and op.state.grad and not reached.isdisjoint(made):
            reached.update(op.inputs)
    return reached
