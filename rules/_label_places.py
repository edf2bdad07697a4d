"""Verdicts of label-signal on labels that lie at another place of their own sample."""

from __future__ import annotations

from trainlint.finding import Fix, Severity
from trainlint.measurements import ShiftedTags
from trainlint.rule import Verdict, failed

__all__ = ["shifted"]

_WHAT = {"train": "training", "val": "validation"}


def shifted(tags: ShiftedTags) -> Verdict:
    """Each tag belongs to a token beside its own."""
    side, steps = "before" if tags.shift < 0 else "after", abs(tags.shift)
    token = f"the token {side} its own" if steps == 1 else f"the token {steps} places {side} its own"
    extra, missing = ("tags", "tokens") if tags.shift < 0 else ("tokens", "tags")
    return failed(
        f"Each tag belongs to {token}: in {tags.sequences:,} {_WHAT[tags.phase]} sequences a table from that token to the tag is right at "
        f"{tags.accuracy:.0%} of the places, one from the tag's own token at {tags.own_accuracy:.0%}, and the most frequent tag at {tags.base:.0%}.",
        severity=Severity.ERROR,
        evidence={
            "measured": tags.z,
            "expected": "a tag's own token tells most of it",
            "threshold": 8.0,
            "shift": tags.shift,
            "accuracy": tags.accuracy,
            "own_accuracy": tags.own_accuracy,
            "most_frequent": tags.base,
            "places": tags.places,
        },
        location=tags.where,
        fix=Fix(
            summary=f"Line tags up with their tokens: the {extra} hold {steps} more at the front than the {missing}, such as [CLS] or BOS, or one of "
            "the two was cut or rolled.",
            code="tokens = [CLS, *tokens, SEP]\ntags = [-100, *tags, -100]  # what is added to tokens is added to tags; the loss ignores -100",
        ),
    )
