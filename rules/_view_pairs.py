"""Contrastive losses that take a row of another sample for the other view."""

from __future__ import annotations

from trainlint.finding import Fix, Severity
from trainlint.measurements import ViewPairs
from trainlint.rule import Verdict, failed

__all__ = ["pairs_apart"]

#: Share of the rows from which the order of the rows is another than the targets': judged, as two orders share a row or two by chance.
APART = 0.75


def pairs_apart(views: ViewPairs) -> Verdict | None:
    """None where the loss pairs the views as they come."""
    if views.apart < APART * views.looked_at:
        return None
    half = views.rows // 2
    joined = (
        f"(torch.arange({views.rows}) + {half}) % {views.rows}" if views.view - views.row == half else f"torch.arange({views.rows}) ^ 1"
    )
    return failed(
        f"The contrastive loss pulls together views of different samples: rows {views.row} and {views.view} of {views.rows} are views of one sample, but "
        f"the target of row {views.row} is {views.paired}, and so it is for {views.apart} of {views.looked_at} rows that were looked at.",
        severity=Severity.ERROR,
        evidence={"measured": views.apart, "expected": 0, "threshold": APART, "rows": views.looked_at},
        location=views.where,
        fix=Fix(
            summary="Let targets follow the order in which the views are joined: behind each other (cat) or beside each other (stack).",
            code=f"positive = {joined}",
        ),
    )
