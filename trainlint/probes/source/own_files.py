"""Which files are the user's own, those that matter most first: what is read off the source is looked for in them."""

from __future__ import annotations

import itertools
import os
import sys
import traceback
from collections.abc import Mapping

from trainlint.record.frames import Frames

__all__ = ["own_files"]

#: Files of the user's that are read at most.
_FILES = 40


def own_files(frames: Frames, modules: Mapping[str, object]) -> list[str]:
    """The script, then what is running of the user's, then what was imported, in the order of import."""
    names = [getattr(modules.get("__main__"), "__file__", None)]
    names += [frame.f_code.co_filename for frame, _ in traceback.walk_stack(sys._getframe(1))]
    names += [getattr(module, "__file__", None) for module in list(modules.values())]
    # The script's own name is as it was given; an edited text is known by the whole path alone.
    whole = dict.fromkeys(os.path.abspath(name) for name in names if isinstance(name, str) and name.endswith(".py"))
    return list(itertools.islice(filter(frames.is_user, whole), _FILES))
