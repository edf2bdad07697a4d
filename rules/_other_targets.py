"""Targets of losses that are neither over class indices nor binary: those over pairs, and CTC."""

from __future__ import annotations

from collections.abc import Iterator

from trainlint.finding import Edit, Fix, Severity
from trainlint.measurements import LossCall

__all__ = ["PAIR_LOSSES", "ctc_faults", "pair_faults"]

Fault = tuple[str, Severity, Fix]
#: What the target 0 does in losses that know -1 and 1 only, from their formulas.
PAIR_LOSSES = {
    "cosine_embedding_loss": "count for nothing",
    "margin_ranking_loss": "give a constant",
    "hinge_embedding_loss": "are taken for both similar and different",
    "soft_margin_loss": "give a constant",
}
#: Share of sequences without an alignment that is an error.
HALF = 0.5


def pair_faults(call: LossCall) -> Iterator[Fault]:
    """Find targets that a loss for -1 and 1 has no meaning for."""
    if call.target_values is None:
        return
    counts = {float(v): n for v, n in call.target_values.items()}
    other = sum(n for v, n in counts.items() if v not in (-1.0, 1.0))
    if not other:
        return
    zero_one = set(counts) <= {0.0, 1.0}
    pairs = sum(counts.values())
    yield (
        f"{call.kind} takes the targets -1 and 1, but {other:,} of {pairs:,} targets are others (from {call.target_min:g} to "
        f"{call.target_max:g})" + (f": those of 0 {PAIR_LOSSES[call.kind]}." if zero_one else "."),
        Severity.ERROR if zero_one else Severity.WARNING,
        Fix(
            summary="Turn 0 and 1 into -1 and 1." if zero_one else "Give each pair the target 1 or -1.",
            code="target = 2 * target - 1",
            edit=Edit(kind="target", at=call.where, values={"loss": call.kind, "to": "2 * {} - 1"}) if zero_one else None,
        ),
    )


def ctc_faults(call: LossCall) -> Iterator[Fault]:
    """Find labels that CTC cannot spell: the blank, those without an output, and more of them than time steps."""
    outputs = call.input_shape[-1] if call.input_shape else 0
    if call.target_values is not None and len(call.target_shape) == 1:  # a padded matrix may be padded with the blank
        blanks = call.target_values.get(str(call.blank), 0)
        total = sum(call.target_values.values())
        if blanks:
            yield (
                f"The blank of ctc_loss is {call.blank}, and {blanks:,} of {total:,} labels are {call.blank} as well: they are never read out.",
                Severity.ERROR,
                Fix(
                    summary="Give the blank an output of its own: one more than there are labels.",
                    code=f"head = nn.Linear(hidden, num_labels + 1)\ncriterion = nn.CTCLoss(blank=num_labels)  # here {outputs}",
                ),
            )
    if call.target_max is not None and len(call.target_shape) == 1 and call.target_max >= outputs > 0:
        yield (
            f"Labels go up to {call.target_max:g}, but {outputs} outputs can only answer 0 to {outputs - 1}.",
            Severity.ERROR,
            Fix(summary="Use an output for each label and one for the blank.", code="head = nn.Linear(hidden, num_labels + 1)"),
        )
    if call.too_short > 0:
        yield (
            f"{call.too_short:.0%} of the sequences have fewer time steps than labels: no alignment spells them, and their CTC loss is infinite.",
            Severity.ERROR if call.too_short >= HALF else Severity.WARNING,
            Fix(
                summary="Pass the lengths of the network's output, after its strides, and see that it has more steps than labels.",
                code="input_lengths = torch.full((batch,), log_probs.size(0))",
            ),
        )
