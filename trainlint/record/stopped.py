"""How a script came to its end, in words that name nothing of this package."""

from __future__ import annotations

import os
import traceback
from dataclasses import dataclass

from trainlint.notebook import Notebook
from trainlint.record.frames import Frames
from trainlint.record.lastwords import nearest_line

__all__ = ["Stopped", "is_own", "own_traceback", "stopped_by"]

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


@dataclass(frozen=True)
class Stopped:
    """How a script ended."""

    status: str = "ended"
    """``ended``, ``recorded`` (stopped, as enough was seen), ``exited``, ``interrupted`` or ``crashed``."""
    crash: str = ""
    """What there is to say of it: the script's own traceback where it raised."""
    place: str = ""
    """``file:line`` of the user's code that it was in, where it was stopped or stopped itself."""


def stopped_by(error: BaseException, frames: Frames, notebook: Notebook | None = None) -> Stopped:
    """What an exception that left the script says of its end."""
    place = nearest_line(error.__traceback__, frames)
    if isinstance(error, SystemExit):
        if error.code in (None, 0):
            return Stopped(place=place)
        said = f": {error.code}" if isinstance(error.code, str) else f" with exit status {error.code}"
        return Stopped("exited", f"the script ended itself{said}", place)
    if isinstance(error, KeyboardInterrupt):
        return Stopped("interrupted", f"KeyboardInterrupt at {place}" if place else "KeyboardInterrupt", place)
    return Stopped("crashed", own_traceback(error, notebook))


def is_own(filename: str) -> bool:
    """Whether a source file is one of this package's."""
    return filename.startswith(_HERE)


def own_traceback(error: BaseException, notebook: Notebook | None = None) -> str:
    """The script's traceback without the frames of this package and of the import system; a notebook's places by cell."""
    shown = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = shown
    while part is not None:
        part.stack = traceback.StackSummary.from_list(
            [f for f in part.stack if not is_own(f.filename) and not f.filename.startswith("<frozen importlib")]
        )
        part = part.__cause__ or part.__context__
    text = "".join(shown.format())
    return notebook.placed(text) if notebook is not None else text
