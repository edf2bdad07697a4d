"""Finds the line that makes the labels of one part and not of the other, by following both back from their loaders through the source."""

from __future__ import annotations

from trainlint.probes.source.ways import way_of_loader
from trainlint.record.frames import Place
from trainlint.record.recording import Recording
from trainlint.record.seen import Loader

__all__ = ["made_apart"]


def made_apart(recording: Recording, train: tuple[Loader, str], val: tuple[Loader, str]) -> Place | None:
    """The last line on the way back from the validation labels that is not on the way from those of training.

    Where validation only hands on what it has, and training works its labels out on a line of its own, that one. Where a function or
    dataset that both go through works them out, for each part by itself, its line.
    """
    ways = [way_of_loader(recording, entry, path) for entry, path in (train, val)]
    if not all(ways):
        return None
    lines = [{step.place[:2] for step in way} for way in ways]
    mine, theirs = ([s for s in way if not s.beyond] for way in ways)
    if (last := theirs[-1]).works and last.within and last.place[:2] in lines[0]:
        return last.place
    mine, theirs = [s for s in mine if s.place[:2] not in lines[1]], [s for s in theirs if s.place[:2] not in lines[0]]
    chosen = mine if any(s.works for s in mine) and not any(s.works for s in theirs) else theirs
    return chosen[-1].place if chosen else None
