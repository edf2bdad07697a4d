"""A loss of the script's own that prefers wrong answers, or is made for probabilities and gets raw scores."""

from __future__ import annotations

import itertools
import math

from trainlint.finding import Fix, Json, Severity
from trainlint.measurements import Answers, Loss
from trainlint.rule import Verdict, failed

__all__ = ["formula_fault"]

#: How far the loss must rise towards right answers, against the first loss; how far raw scores must fall out of the range of probabilities.
CLEAR, TENTH = 0.5, 0.1


def formula_fault(loss: Loss, answers: Answers) -> Verdict | None:
    """Find a formula that prefers wrong answers, and one for probabilities that gets raw scores."""
    losses = answers.losses
    told = [*losses, answers.exact, answers.inverse, answers.beyond, loss.first]
    if len(losses) < 2 or not all(math.isfinite(v) for v in told):
        return None
    steps = [after - before for before, after in itertools.pairwise(losses)]
    spread = losses[-1] - losses[0]
    evidence: dict[str, Json] = {"wrong answers": losses[0], "right answers": losses[-1], "first": loss.first}
    if min(steps) > 0 and spread > CLEAR * abs(loss.first):
        return failed(
            f"This loss is {losses[0]:.3g} when all answers are wrong and {losses[-1]:.3g} when all are right, and rises all the way between: its "
            "sign is wrong, and training drives the predictions away from the targets.",
            severity=Severity.ERROR,
            evidence={**evidence, "formula": "sign", "measured": spread, "expected": "less than 0", "threshold": CLEAR * abs(loss.first)},
            location=loss.formula_where or answers.where,
            fix=Fix(
                summary="Minimise what falls as answers become right: the negative of a log-likelihood or of a score.", code="loss = -loss"
            ),
        )
    good = answers.inverse - answers.exact
    right, beyond = losses[-1] - answers.exact, answers.exact - answers.beyond
    if answers.outside and not answers.activated and good > 0 and right > TENTH * good and beyond > TENTH * good:
        return failed(
            f"This loss takes probabilities but gets raw scores: it is {answers.exact:.3g} for scores equal to the targets, {losses[-1]:.3g} for "
            f"clearly right ones of ±{answers.scores[-1]:g}, and {answers.beyond:.3g}, lower still, for 3 in place of 1.",
            severity=Severity.ERROR,
            evidence={**evidence, "formula": "scores", "measured": answers.beyond, "expected": answers.exact, "threshold": TENTH * good},
            location=answers.where or loss.formula_where,
            fix=Fix(summary="Apply a sigmoid (or softmax over classes) before the formula.", code="probabilities = torch.sigmoid(logits)"),
        )
    return None
