"""Finds the line of the user's own code that led to a call into torch."""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
from collections.abc import Collection
from types import FrameType

from trainlint.location import Location
from trainlint.notebook import Notebook

__all__ = ["Frames", "Place"]

#: (file, line, function): cheap enough to take for every operation, turned into a Location when it is shown.
Place = tuple[str, int, str]

_LIBRARY = tuple(
    os.path.realpath(path) + os.sep for path in {*sysconfig.get_paths().values(), sys.prefix + "/lib", sys.base_prefix + "/lib"} if path
)
_PACKAGES = tuple(os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep + part for part in ("", "../rules/", "../reports/"))


class Frames:
    """Tells user code from library code, and remembers the answer for each file."""

    def __init__(self, root: str | None = None, notebook: Notebook | None = None) -> None:
        self.root = os.path.realpath(root or os.getcwd())
        self._notebook = notebook
        self._cells = os.path.realpath(notebook.file) if notebook is not None else ""
        self._user: dict[str, bool] = {}

    def is_user(self, filename: str) -> bool:
        """Whether a source file is the user's: not of an installed package, the standard library or this package."""
        known = self._user.get(filename)
        if known is None:
            real = os.path.realpath(filename)
            parts = real.split(os.sep)
            known = self._user[filename] = not (
                filename.startswith("<frozen")
                or "site-packages" in parts
                or "dist-packages" in parts
                or real.startswith(_LIBRARY)
                or real.startswith(tuple(os.path.realpath(p) + os.sep for p in _PACKAGES))
                or (filename.startswith("<") and not filename.startswith("<ipython"))
            )
        return known

    def here(self, building: object = None, until: FrameType | None = None, beyond: Collection[Place] = ()) -> Place | None:
        """The nearest line of user code on the current stack; None when there is none (a library's thread).

        With ``building`` the object's own constructors are passed over: the line that asked for it is wanted. With ``until`` only
        frames called from that one count. Lines in ``beyond`` are passed over too: their callers are wanted.
        """
        frame: FrameType | None = sys._getframe(1)
        user = self._user
        while frame is not None and frame is not until:
            name = frame.f_code.co_filename
            own = building is not None and frame.f_code.co_name == "__init__" and frame.f_locals.get("self") is building
            if not own and (user.get(name, None) or (name not in user and self.is_user(name))):
                place = (name, frame.f_lineno, frame.f_code.co_name)
                if place not in beyond:
                    return place
            frame = frame.f_back
        return None

    def stack(self) -> list[Place]:
        """All lines of user code on the current stack, the nearest first."""
        frame: FrameType | None = sys._getframe(1)
        found = []
        while frame is not None:
            if self.is_user(frame.f_code.co_filename):
                found.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
            frame = frame.f_back
        return found

    def location(self, place: Place | None) -> Location | None:
        """A place as it is shown: the path relative to the working directory, with the source line."""
        if place is None:
            return None
        filename, line, function = place
        real = os.path.realpath(filename)
        shown = os.path.relpath(real, self.root) if real.startswith(self.root + os.sep) else real
        text = linecache.getline(filename, line).strip()
        cell = None
        if self._notebook is not None and real == self._cells:
            cell, line = self._notebook.place(line)
        return Location(shown, line, "" if function == "<module>" else function, text, cell)
