"""What a model answered to the batches of one pass, used by the number of the batch in another that holds other samples."""

from __future__ import annotations

from typing import Any

from trainlint.measurements import KeptAnswers
from trainlint.record.recording import Recording

__all__ = ["kept_answers"]

#: Steps that must show it, and the share of samples in their place up to which two batches are others.
_STEPS, _SAME = 2, 0.5


def kept_answers(recording: Recording) -> KeptAnswers | None:
    """None unless every step that used kept answers used those of other samples."""
    apart: list[tuple[int, int]] = []
    for reused in recording.answers.reused:
        before, now = (_at(i.indices, reused.position) for i in (reused.answered, reused.used))
        if not before or not now or reused.answered.loader.loader.dataset is not reused.used.loader.loader.dataset:
            return None
        apart.append((sum(a == b for a, b in zip(before, now, strict=False)), len(now)))
    if len({reused.position for reused in recording.answers.reused}) < _STEPS or any(same > _SAME * size for same, size in apart):
        return None
    first = recording.answers.reused[0]
    return KeptAnswers(
        model=first.model,
        steps=len(apart),
        samples=sum(size for _, size in apart),
        same=sum(same for same, _ in apart),
        where=recording.frames.location(first.place),
        used_where=recording.frames.location(first.used.place),
    )


def _at(indices: list[Any], position: int) -> list[Any]:
    found = indices[position] if position < len(indices) else None
    return found if isinstance(found, list) else []
