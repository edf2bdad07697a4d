"""Validation pictures whose colour channels come in another order than training's, as a probe fitted on training tells."""

from __future__ import annotations

from trainlint.finding import Fix, Severity
from trainlint.measurements import ColourOrder
from trainlint.rule import Verdict, failed

__all__ = ["reordered", "swap"]

#: What another order must gain in score, over the order as it is and over renamed classes, and by how many standard errors.
GAIN, OVER_RENAMING, CLEAR_Z = 0.2, 0.1, 6.0
#: Share of the score on held-out training samples that it must reach to be a warning, and an error.
REACHED, MENDED = 0.7, 0.85
#: A probe that knows too little of training says nothing of validation.
KNOWN = 0.4


def swap(colours: ColourOrder) -> Severity | None:
    """How sure it is that channels come in another order; None where they do not, or renamed classes explain as much."""
    others = max(colours.as_given + GAIN, (colours.renamed or 0.0) + OVER_RENAMING)
    if not colours.order or colours.expected < KNOWN or colours.z < CLEAR_Z or colours.reordered < max(others, REACHED * colours.expected):
        return None
    return Severity.ERROR if colours.reordered >= MENDED * colours.expected else Severity.WARNING


def reordered(colours: ColourOrder, severity: Severity) -> Verdict:
    """The verdict on such pictures."""
    reverse = colours.order == (2, 1, 0)
    how = "in reverse order, BGR in place of RGB or the other way round" if reverse else "in another order"
    value = "{:.0%} right" if colours.kind == "classes" else "at a correlation of {:.2f}"
    given, then, home = (value.format(v) for v in (colours.as_given, colours.reordered, colours.expected))
    known = f" ({colours.renamed:.0%} with its classes renamed at best)" if colours.renamed is not None else ""
    return failed(
        f"Validation pictures have their colour channels {how}: a probe fitted on training pictures is {given} on {colours.samples:,} of validation as "
        f"they are{known} and {then} with their channels in the order {', '.join(map(str, colours.order))} ({home} on held-out training pictures).",
        severity=severity,
        evidence={
            "measured": colours.as_given,
            "expected": colours.reordered,
            "threshold": GAIN,
            "order": list(colours.order),
            "renamed": colours.renamed,
            "held_out": colours.expected,
            "z": colours.z,
            "samples": colours.samples,
        },
        location=colours.where,
        fix=Fix(
            summary="Read pictures in the same way for training and validation (OpenCV gives BGR, PIL gives RGB).",
            code="image = np.ascontiguousarray(image[:, :, ::-1])  # in torch: image.flip(0)"
            if reverse
            else f"image = image[:, :, {list(colours.order)}]  # in torch: image[{list(colours.order)}]",
        ),
    )
