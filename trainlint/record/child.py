"""The script's own process: runs it as __main__ under the recorder, measures, and writes evidence as it goes."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import linecache
import os
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainlint.notebook import Notebook, is_notebook, read_notebook

__all__ = ["UNWRITABLE", "is_own", "main", "notebook_of", "own_traceback", "run_as_main"]

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
#: Trainings of one script that are recorded: pre-training and fine-tuning.
_MOST_TRAININGS = 2
#: Seconds that a script gets to end after it was told that enough was seen.
_LAST_WORDS = 5.0
#: Seconds for measuring once the user has asked for the end.
_AFTER_INTERRUPT = 15.0
#: Exit status of a process whose measurements cannot be written (EX_IOERR of sysexits.h).
UNWRITABLE = 74


def main(job_file: str) -> None:
    """Run the job written in a JSON file by the supervisor. Never returns."""
    folder = Path(job_file).parent
    try:
        _run(json.loads(Path(job_file).read_text("utf-8")), folder)
    except KeyboardInterrupt:  # before the script began; whoever sent it says so
        _leave(1)
    except BaseException:
        from trainlint.evidence import EvidenceWriter

        EvidenceWriter(folder / "evidence.jsonl", on_error=lambda _: None).line("status", internal=traceback.format_exc())
    _leave(1)


def _run(job: dict[str, Any], folder: Path) -> None:
    """Run the script, record it, and measure. Returns only by an error."""
    import msgspec

    from trainlint.evidence import EvidenceWriter
    from trainlint.record.lastwords import die_with_parent, leave_stack, nearest_line, no_core, time_of_children

    die_with_parent(signal.SIGKILL)
    no_core()
    leave_stack(folder / "stack")
    from trainlint.probes.session import ProbeSession
    from trainlint.record.edited import edited
    from trainlint.record.environment import environment
    from trainlint.record.frames import Frames
    from trainlint.record.hooks import listening, note_datasets
    from trainlint.record.processes import one_process
    from trainlint.record.recorder import Recorder, StopRecording
    from trainlint.record.sandbox import sandboxed
    from trainlint.registry import load_catalogue
    from trainlint.settings import Settings

    settings = msgspec.convert(job["settings"], Settings)
    catalogue = load_catalogue().choose(settings.select, settings.ignore, settings.options)
    evidence = EvidenceWriter(folder / "evidence.jsonl", on_error=lambda _: _leave(UNWRITABLE))
    evidence.line("status", environment=environment(settings))
    evidence.line("progress", text="running the script")

    def measure(recording: Any) -> None:
        recording.notes += notes
        if recorder.trainings > 1 and not recording.training:
            start_watchdog()  # an optimizer was built and never used
            return
        if recorder.trainings > 1:
            evidence.line("training", number=recorder.trainings)
        mine = settings
        if recorder.goes_on:  # leave the next training its part
            mine = replace(settings, budget=0.5 * settings.budget)
        elif recording.status == "interrupted":
            mine = replace(settings, budget=min(settings.budget, recording.seconds + _AFTER_INTERRUPT), prove=False, compare=False)
        evidence.line(
            "status", ended=recording.status, notes=recording.notes, step_seconds=recording.step_time, cut_short=recording.cut_short
        )
        try:
            with measuring, _workers_may_die():
                ProbeSession(recording, mine, evidence).judge(catalogue)
        except MemoryError:
            recording.notes.append("memory ran out while measuring")
            evidence.line("status", notes=recording.notes)
        except Exception:
            evidence.line("status", internal=traceback.format_exc())
        if not recorder.goes_on:
            start_watchdog()

    notebook = notebook_of(job)
    notes: list[str] = [notebook.note] if notebook is not None and notebook.note else []
    measuring = threading.Lock()
    frames = Frames(notebook=notebook)
    recorder = Recorder(settings, frames, measure)
    recorder.most_trainings = _MOST_TRAININGS
    last_said = [0.0]

    def progress(text: str) -> None:
        if time.monotonic() - last_said[0] > 0.2:
            last_said[0] = time.monotonic()
            evidence.line("progress", text=f"recording: {text}")

    recorder.on_progress = progress
    note_datasets(recorder)
    _measure_before_hard_exit(recorder)
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    broken_threads = _note_threads()
    status, crash, place = "ended", "", ""
    project = [os.getcwd(), *([] if job["module"] else [os.path.dirname(os.path.realpath(job["script"]))])]
    before = time_of_children()
    with sandboxed(folder, project) as overlay, edited(overlay, job["edited"]), listening(recorder), one_process(recorder):
        try:
            try:
                run_as_main(job)
            finally:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would raise again for each worker that ends
            _join_threads()
            if broken_threads and not recorder.finished:
                status, crash = "crashed", own_traceback(broken_threads[0])
        except StopRecording:
            status = "recorded"
        except SystemExit as stop:
            status = "exited" if stop.code not in (None, 0) else "ended"
            crash = f"the script ended itself with exit status {stop.code}" if status == "exited" else ""
            if isinstance(stop.code, str):
                crash = f"the script ended itself: {stop.code}"
            place = nearest_line(stop.__traceback__, frames)
        except KeyboardInterrupt as interrupt:
            status, place = "interrupted", nearest_line(interrupt.__traceback__, frames)
            crash = f"KeyboardInterrupt at {place}" if place else "KeyboardInterrupt"
        except BaseException as error:
            status, crash = "crashed", own_traceback(error, notebook)
        if status in ("crashed", "exited") and recorder.cut_validation:
            # What a script does with the few results that a cut validation leaves is no fault of its own.
            said = crash.strip().splitlines()[-1] if crash.strip() else status
            recorder.recording.notes.append(
                f"after a validation that had been cut short for the scan the script stopped by itself ({said}); a full run may get further"
            )
            status, crash = "recorded", ""
        if recorder.finished:
            status, crash = "recorded", ""
        else:
            recorder.recording.status = status
            evidence.line("status", ended=status, crash=crash, place=place)
            with contextlib.suppress(StopRecording, KeyboardInterrupt):
                recorder.finish()
    with contextlib.suppress(KeyboardInterrupt), measuring:  # a thread of the script may be at it
        pass
    evidence.line("status", ended=status, crash=crash, place=place, children_seconds=time_of_children() - before, done=True)
    _leave(0)


def run_as_main(job: dict[str, Any]) -> None:
    """Execute the script as ``python script.py`` or ``python -m module`` would, a notebook's cells as Jupyter would run them all."""
    main_module = types.ModuleType("__main__")
    sys.modules["__main__"] = main_module
    if job.get("module"):
        sys.path.insert(0, os.getcwd())
        name = job["module"]
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(name + ".__main__")
        if spec is None or spec.origin is None:
            msg = f"No module named {name}"
            raise ModuleNotFoundError(msg)
        path, main_module.__spec__, main_module.__package__ = spec.origin, spec, spec.parent or ""
        sys.argv = [path, *job["args"]]
    else:
        path = job["script"]
        sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
        sys.argv = [path, *job["args"]]
    if (notebook := notebook_of(job)) is not None:
        _run_cells(notebook, main_module)
        return
    main_module.__file__ = os.path.abspath(path) if job.get("module") else path
    main_module.__dict__["__builtins__"] = __builtins__
    with open(path, "rb") as source:
        code = compile(source.read(), os.path.abspath(path), "exec")
    exec(code, main_module.__dict__)


def notebook_of(job: dict[str, Any]) -> Notebook | None:
    """The notebook that a job runs; None when it runs a script or a module."""
    return read_notebook(job["script"]) if not job.get("module") and is_notebook(job["script"]) else None


def _run_cells(notebook: Notebook, main_module: types.ModuleType) -> None:
    """Run the cells as one script, in the notebook's folder, with what IPython puts into a notebook's names."""
    path = notebook.file
    # Without a time of change the lines stay in the cache, for whoever reads the source of a running line.
    linecache.cache[path] = (len(notebook.script), None, notebook.script.splitlines(keepends=True), path)
    main_module.__dict__.update(__builtins__=__builtins__, display=lambda *_, **__: None, get_ipython=lambda: None)
    try:
        code = compile(notebook.script, path, "exec")
    except SyntaxError as error:
        error.text = linecache.getline(path, error.lineno or 0)  # Python has looked into the file, which is JSON
        raise
    os.chdir(os.path.dirname(path))
    exec(code, main_module.__dict__)


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


@contextlib.contextmanager
def _workers_may_die() -> Iterator[None]:
    """While measuring, a loader's worker that ends raises nothing out of the blue, as torch's handler of SIGCHLD would."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def _note_threads() -> list[BaseException]:
    """What threads of the script die of, from now on; a thread that was stopped because enough was seen is passed over."""
    from trainlint.record.recorder import StopRecording

    died: list[BaseException] = []
    shown = threading.excepthook

    def note(died_of: Any) -> None:
        if died_of.exc_type is not StopRecording:
            died.append(died_of.exc_value)
            shown(died_of)

    threading.excepthook = note
    return died


def _join_threads() -> None:
    """Wait for the script's threads, as Python does at the end of a program."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()


def _measure_before_hard_exit(recorder: Any) -> None:
    """os._exit() of the script's process first hands over what was recorded."""
    leave, pid = os._exit, os.getpid()

    def measured_exit(status: int) -> None:
        if os.getpid() == pid and not recorder.finished and sys._getframe(1).f_globals.get("__name__") != __name__:
            recorder.recording.status = "exited"
            with contextlib.suppress(BaseException):
                recorder.finish()
        leave(status)

    os._exit = measured_exit  # type: ignore[assignment]


def _leave(status: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


def start_watchdog() -> None:
    """End the process soon, whatever the script does with the exception that was to stop it."""
    timer = threading.Timer(_LAST_WORDS, _leave, (0,))
    timer.daemon = True
    timer.start()
