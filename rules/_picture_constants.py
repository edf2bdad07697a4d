"""Pictures that are normalised by statistics of another scale."""

from __future__ import annotations

from trainlint.finding import Fix, Severity
from trainlint.measurements import Normaliser
from trainlint.rule import Verdict, failed
from trainlint_rules._inputs import InputStats

__all__ = ["other_constants"]

#: Least standard deviation of pictures in [0, 1]; MNIST has 0.31, a dark picture of the sky 0.02.
CONTRAST = 0.01


def other_constants(train: InputStats, by: Normaliser | None) -> Verdict | None:
    """Catch pictures in [0, 1] that are normalised by the statistics of 0-255 pixels."""
    if by is None or len(by.means) not in (1, len(train.means)):
        return None
    channels = len(train.means)
    constants = list(zip((by.means * channels)[:channels], (by.stds * channels)[:channels], strict=True))
    before = [(m * std + mean, s * std) for m, s, (mean, std) in zip(train.means, train.stds, constants, strict=True)]
    if any(min(c) <= 1 for c in constants) or any(not (0 <= m <= 1 and CONTRAST <= s <= 1) for m, s in before):
        return None
    (mean, std), (was, spread) = constants[0], before[0]
    return failed(
        f"The transform takes {mean:.3g} from pictures and divides them by {std:.3g}, as for pixels from 0 to 255, but gets pictures with mean {was:.2g} "
        f"and standard deviation {spread:.2g}: after it they range from {train}, and next to nothing of them is left.",
        severity=Severity.WARNING,
        evidence={"measured": std, "expected": "statistics of pixels in [0, 1]", "threshold": 1.0},
        location=by.where or train.where,
        fix=Fix(
            summary="Give the transform the statistics of the pictures that it gets: ToTensor() has brought them to [0, 1].",
            code="transforms.Normalize(mean / 255, std / 255)",
        ),
    )
