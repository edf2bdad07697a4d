"""What a process leaves behind that cannot speak for itself: where a native crash or a hang took place, and that nobody outlives a scan.

Imports no torch: the script's process prepares, the supervisor reads.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from trainlint.record.frames import Frames

__all__ = ["UNWRITABLE", "die_with_parent", "end_marked", "leave_stack", "nearest_line", "no_core", "place_left", "time_of_children"]

#: Exit status of a process whose measurements cannot be written (EX_IOERR of sysexits.h).
UNWRITABLE = 74
#: prctl's option for the signal that a process gets when its parent is gone (Linux).
_PARENT_DEATH = 1
_FRAME = re.compile(r'File "(.+)", line (\d+) in ')


def leave_stack(path: Path) -> None:
    """Have the Python stack written to ``path`` when this process crashes in native code or is sent SIGABRT.

    Where the user has asked Python for such a stack already, it stays where they want it.
    """
    if not faulthandler.is_enabled():
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        faulthandler.enable(_high_descriptor(opened), all_threads=True)


def no_core() -> None:
    """Have no core file written when this process crashes."""
    import resource

    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _high_descriptor(opened: int, least: int = 900) -> int:
    """The same open file under a number that ``os.closerange`` over the usual ones does not meet; the old number is closed."""
    import fcntl

    try:
        high = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, least)
    except (OSError, ValueError):  # few descriptors are allowed
        return opened
    os.close(opened)
    return high


def die_with_parent(number: int) -> None:
    """Have this process sent a signal when its parent ends, whatever way (Linux; elsewhere nothing is done)."""
    if sys.platform.startswith("linux"):
        parent = os.getppid()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PARENT_DEATH, number, 0, 0, 0)
        if os.getppid() != parent:  # it ended just now
            os.kill(os.getpid(), number)


def nearest_line(trace: TracebackType | None, frames: Frames) -> str:
    """``file:line`` of the innermost line of user code in a traceback; empty when there is none."""
    lines = [(f.f_code.co_filename, n) for f, n in traceback.walk_tb(trace) if frames.is_user(f.f_code.co_filename)]
    return _shown(*lines[-1], frames) if lines else ""


def place_left(path: Path) -> str:
    """``file:line`` of the user code that a process was in when its stack was written; empty when none was."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return ""
    frames = Frames()
    for thread in sorted(text.split("\n\n"), key=lambda part: "Current thread" not in part):
        for name, line in _FRAME.findall(thread):
            plain = re.sub(r"\\x..|\\u....|\\U........", lambda m: chr(int(m[0][2:], 16)), name)
            if frames.is_user(plain):
                return _shown(plain, int(line), frames)
    return ""


def _shown(filename: str, line: int, frames: Frames) -> str:
    place = frames.location((filename, line, ""))
    return f"{place.file}:{place.line}" if place is not None else ""


def end_marked(mark: str) -> None:
    """Kill every process of this user whose environment holds a variable set to ``mark``: daemons that left the script's group.

    Where there is no /proc nothing is done.
    """
    for pid in _marked(mark.encode()):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _marked(mark: bytes) -> Iterator[int]:
    own = str(os.getpid())
    for entry in Path("/proc").glob("[0-9]*"):
        if entry.name != own:
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)


def time_of_children() -> float:
    """Processor seconds of the processes that this one has started and seen end."""
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
