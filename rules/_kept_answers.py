"""The verdict on answers of a teacher that are kept by the number of the batch."""

from __future__ import annotations

from trainlint.finding import Fix, Severity
from trainlint.measurements import KeptAnswers
from trainlint.rule import Verdict, failed

__all__ = ["of_other_samples"]


def of_other_samples(kept: KeptAnswers) -> Verdict:
    """The verdict on a loss that uses such answers."""
    return failed(
        f"What {kept.model} answered to the batches of an earlier pass is used in the loss by the number of the batch, but the loader draws other "
        f"samples in each pass: {kept.samples - kept.same:,} of {kept.samples:,} samples meet the answer to another sample.",
        severity=Severity.ERROR,
        evidence={"measured": kept.samples - kept.same, "expected": 0, "threshold": 0, "steps": kept.steps},
        location=kept.where or kept.used_where,
        fix=Fix(
            summary="Let the model answer to the batch at hand, or keep its answers by the number of the sample.",
            code="with torch.no_grad():\n    soft = teacher(x)  # in the loop that trains the student",
        ),
    )
