"""Runs the script under the recorder, measures each of its trainings, and writes evidence as it goes."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from trainlint.evidence import EvidenceWriter
from trainlint.probes.session import ProbeSession
from trainlint.record.as_main import notebook_of, run_as_main
from trainlint.record.edited import edited
from trainlint.record.environment import environment
from trainlint.record.frames import Frames
from trainlint.record.hooks import listening, note_datasets
from trainlint.record.lastwords import UNWRITABLE, time_of_children
from trainlint.record.leaving import leave, leave_soon, measure_before_hard_exit
from trainlint.record.processes import one_process
from trainlint.record.recorder import Recorder, StopRecording
from trainlint.record.recording import Recording
from trainlint.record.sandbox import sandboxed
from trainlint.record.stopped import Stopped, own_traceback, stopped_by
from trainlint.record.threads import join_threads, note_threads, workers_may_die
from trainlint.registry import load_catalogue
from trainlint.settings import Settings

__all__ = ["Script"]

#: Trainings of one script that are recorded: pre-training and fine-tuning.
_MOST_TRAININGS = 2
#: Seconds for measuring once the user has asked for the end.
_AFTER_INTERRUPT = 15.0
#: Seconds between two words of what is going on.
_SELDOM = 0.2


class Script:
    """One script, run as ``__main__`` in this process. ``job`` is what the supervisor wrote, ``folder`` where the evidence goes."""

    def __init__(self, job: dict[str, Any], folder: Path) -> None:
        self.job = job
        self.folder = folder
        self.settings = msgspec.convert(job["settings"], Settings)
        self.catalogue = load_catalogue().choose(self.settings.select, self.settings.ignore, self.settings.options)
        self.evidence = EvidenceWriter(folder / "evidence.jsonl", on_error=lambda _: leave(UNWRITABLE))
        self.notebook = notebook_of(job)
        self.frames = Frames(notebook=self.notebook)
        self.recorder = Recorder(self.settings, self.frames, self.measure)
        self.recorder.most_trainings = _MOST_TRAININGS
        self.recorder.on_progress = self.say
        self._measuring = threading.Lock()
        self._said = 0.0

    def run(self) -> None:
        """Run it, and return when all there is to know is written. Files are as they were, but for the evidence."""
        self.evidence.line("status", environment=environment(self.settings))
        self.evidence.line("progress", text="running the script")
        note_datasets(self.recorder)
        measure_before_hard_exit(self.recorder)
        signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        before = time_of_children()
        project = [os.getcwd(), *([] if self.job["module"] else [os.path.dirname(os.path.realpath(self.job["script"]))])]
        with (
            sandboxed(self.folder, project) as overlay,
            edited(overlay, self.job["edited"]),
            listening(self.recorder),
            one_process(self.recorder),
        ):
            end = self._executed()
            if self.recorder.finished:
                end = Stopped("recorded")
            else:
                end = self._excused(end)
                self.recorder.recording.status = end.status
                self._write(end)
                with contextlib.suppress(StopRecording, KeyboardInterrupt):
                    self.recorder.finish()
        with contextlib.suppress(KeyboardInterrupt), self._measuring:  # a thread of the script may be at it
            pass
        self._write(end, children_seconds=time_of_children() - before, done=True)

    def measure(self, recording: Recording) -> None:
        """Make the measurements that the rules ask for, of a training of which enough was seen."""
        recording.notes += [self.notebook.note] if self.notebook is not None and self.notebook.note else []
        if self.recorder.trainings > 1 and not recording.training:
            leave_soon()  # an optimizer was built and never used
            return
        if self.recorder.trainings > 1:
            self.evidence.line("training", number=self.recorder.trainings)
        self.evidence.line(
            "status", ended=recording.status, notes=recording.notes, step_seconds=recording.step_time, cut_short=recording.cut_short
        )
        try:
            with self._measuring, workers_may_die():
                ProbeSession(recording, self._share(recording), self.evidence).judge(self.catalogue)
        except MemoryError:
            recording.notes.append("memory ran out while measuring")
            self.evidence.line("status", notes=recording.notes)
        except Exception:
            self.evidence.line("status", internal=traceback.format_exc())
        if not self.recorder.goes_on:
            leave_soon()

    def say(self, text: str) -> None:
        """Write what is going on, not too often."""
        if time.monotonic() - self._said > _SELDOM:
            self._said = time.monotonic()
            self.evidence.line("progress", text=f"recording: {text}")

    def _executed(self) -> Stopped:
        """Run the script and its threads to their end."""
        died = note_threads()
        try:
            try:
                run_as_main(self.job)
            finally:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would raise again for each worker that ends
            join_threads()
        except StopRecording:
            return Stopped("recorded")
        except BaseException as error:
            return stopped_by(error, self.frames, self.notebook)
        return Stopped("crashed", own_traceback(died[0])) if died else Stopped()

    def _excused(self, end: Stopped) -> Stopped:
        """What a script does with the few results that a cut validation leaves is no fault of its own."""
        if end.status not in ("crashed", "exited") or not self.recorder.cut_validation:
            return end
        said = end.crash.strip().splitlines()[-1] if end.crash.strip() else end.status
        self.recorder.recording.notes.append(
            f"after a validation that had been cut short for the scan the script stopped by itself ({said}); a full run may get further"
        )
        return Stopped("recorded", place=end.place)

    def _share(self, recording: Recording) -> Settings:
        """The settings with what this training may take of the budget."""
        if self.recorder.goes_on:  # leave the next training its part
            return replace(self.settings, budget=0.5 * self.settings.budget)
        if recording.status == "interrupted":
            return replace(
                self.settings, budget=min(self.settings.budget, recording.seconds + _AFTER_INTERRUPT), prove=False, compare=False
            )
        return self.settings

    def _write(self, end: Stopped, **more: Any) -> None:
        self.evidence.line("status", ended=end.status, crash=end.crash, place=end.place, **more)
