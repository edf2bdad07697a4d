"""How the script's own process goes: at once, whatever the script has left behind, and never without handing over what was recorded."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import Any

__all__ = ["leave", "leave_soon", "measure_before_hard_exit"]

#: Seconds that a script gets to end after it was told that enough was seen.
_LAST_WORDS = 5.0


def leave(status: int) -> None:
    """End this process without waiting for anything of the script's."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


def leave_soon() -> None:
    """End the process soon, whatever the script does with the exception that was to stop it."""
    timer = threading.Timer(_LAST_WORDS, leave, (0,))
    timer.daemon = True
    timer.start()


def measure_before_hard_exit(recorder: Any) -> None:
    """os._exit() of the script's process first hands over what was recorded."""
    leave, pid = os._exit, os.getpid()

    def measured_exit(status: int) -> None:
        if os.getpid() == pid and not recorder.finished and sys._getframe(1).f_globals.get("__name__") != __name__:
            recorder.recording.status = "exited"
            with contextlib.suppress(BaseException):
                recorder.finish()
        leave(status)

    os._exit = measured_exit  # type: ignore[assignment]
