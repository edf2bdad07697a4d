"""What the recorder saw of graphs that outlive their step."""

from __future__ import annotations

from trainlint.measurements import Retained
from trainlint.probes.errors import CannotMeasureError
from trainlint.record.frames import Place
from trainlint.record.recording import Recording
from trainlint.settings import Settings

__all__ = ["measure_retained"]


def measure_retained(recording: Recording, deadline: float, settings: Settings) -> Retained:
    """Tell the place with the most living graphs, losses before outputs, and that whose graph grows most."""
    if not recording.backwards:
        msg = "no backward() was seen"
        raise CannotMeasureError(msg)
    worst = max(recording.kept, key=lambda k: (k.alive, k.kind == "loss"), default=None)
    sizes: dict[Place | None, list[int]] = {}
    for backward in recording.backwards:
        sizes.setdefault(backward.place, []).append(backward.nodes)
    place, nodes = max(sizes.items(), key=lambda item: (len(item[1]) > 1) * item[1][-1] / max(item[1][0], 1))
    return Retained(
        kind=worst.kind if worst is not None else "",
        alive=worst.alive if worst is not None else 0,
        made=worst.made if worst is not None else 0,
        variable=worst.name if worst is not None else "",
        listed=worst.listed if worst is not None else False,
        added=worst is None or worst.line is not None,
        where=recording.frames.location((worst.line or worst.place) if worst is not None else None),
        nodes=tuple(nodes[:64]),
        backward_where=recording.frames.location(place),
    )
