"""What the threads and workers of a script die of."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from trainlint.record.recorder import StopRecording

__all__ = ["join_threads", "note_threads", "workers_may_die"]


def note_threads() -> list[BaseException]:
    """What threads of the script die of, from now on; a thread that was stopped because enough was seen is passed over."""
    died: list[BaseException] = []
    shown = threading.excepthook

    def note(died_of: Any) -> None:
        if died_of.exc_type is not StopRecording:
            died.append(died_of.exc_value)
            shown(died_of)

    threading.excepthook = note
    return died


def join_threads() -> None:
    """Wait for the script's threads, as Python does at the end of a program."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()


@contextlib.contextmanager
def workers_may_die() -> Iterator[None]:
    """While measuring, a loader's worker that ends raises nothing out of the blue, as torch's handler of SIGCHLD would."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)
