"""What is said and drawn of how well labels are predicted from their inputs."""

from __future__ import annotations

from trainlint.details import Bars, Mark
from trainlint.finding import Json
from trainlint.measurements import Labels, Repair, Signal

__all__ = ["SIGNAL_Z", "WHAT", "bars", "evidence_of", "words"]

#: Standard deviations from permuted labels that are a signal (p < 0.01).
SIGNAL_Z = 2.33
WHAT = {"train": "training", "val": "validation"}


def words(signal: Signal) -> str:
    """A sentence on how well the labels are predicted."""
    accuracy = f", balanced accuracy {signal.accuracy:.0%}" if signal.accuracy is not None else ""
    return (
        f"A cheap probe predicts the labels of {signal.samples:,} {WHAT[signal.phase]} samples from their inputs: held-out correlation "
        f"{signal.score:.2f}{accuracy}, {signal.z:.0f} standard deviations above {_chance(signal)}."
    )


def _chance(signal: Signal) -> str:
    """What a signal is compared with."""
    return "other samples' masks" if signal.kind == "masks" else "permuted labels"


def evidence_of(signal: Signal) -> dict[str, Json]:
    """The numbers behind it."""
    return {
        "measured": signal.z,
        "expected": f"more than {SIGNAL_Z} standard deviations above {_chance(signal)}",
        "threshold": SIGNAL_Z,
        "correlation": signal.score,
        "correlation_by_chance": signal.chance,
        "samples": signal.samples,
    }


def bars(labels: Labels, repair: Repair | None = None) -> Bars:
    """Training beside validation, and beside the repair where there is one."""
    rows = [(WHAT[s.phase], s.score) for s in labels.signals] + ([(repair.name, repair.score)] if repair is not None else [])
    return Bars(
        title="How well labels are predicted from inputs",
        value_label="held-out correlation",
        labels=tuple(name for name, _ in rows),
        values=tuple(value for _, value in rows),
        marks=(Mark(label="chance", y=labels.signals[0].chance),) if labels.signals else (),
    )
