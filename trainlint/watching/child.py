"""The script's own process under a watch: runs it as __main__ to its end, with nothing of it changed."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainlint.evidence import EvidenceWriter
    from trainlint.notebook import Notebook
    from trainlint.watching.session import Session

__all__ = ["main"]


def main(job_file: str) -> None:
    """Run the job written in a JSON file by the supervisor, and end as the script ends."""
    job: dict[str, Any] = json.loads(Path(job_file).read_text("utf-8"))
    from trainlint.evidence import EvidenceWriter
    from trainlint.record.as_main import notebook_of, run_as_main
    from trainlint.record.lastwords import die_with_parent, leave_stack
    from trainlint.record.stopped import own_traceback
    from trainlint.settings import Settings

    die_with_parent(signal.SIGTERM)
    leave_stack(Path(job_file).with_name("stack"))
    writer = EvidenceWriter(Path(job_file).with_name("evidence.jsonl"), on_error=_unwatched)
    sessions: list[Session] = []
    notebook = notebook_of(job)
    sys.meta_path.insert(0, _Arrival("torch", lambda: sessions.append(_started(job, writer, notebook))))
    status, crash, code = "ended", "", 0
    raised: BaseException | None = None
    try:
        run_as_main(job)
    except SystemExit as stop:
        if stop.code not in (None, 0):
            status, crash = "exited", f"the script ended itself with exit status {stop.code}"
            code = stop.code if isinstance(stop.code, int) else 1
            if isinstance(stop.code, str):
                print(stop.code, file=sys.stderr)
    except KeyboardInterrupt:
        status, crash, code = "interrupted", "interrupted", 130
    except BaseException as error:
        status, crash, code, raised = "crashed", own_traceback(error, notebook), 1, error
    for session in sessions:
        from trainlint.record.environment import environment

        if session.stopped_for is not None:
            status, raised, code = "stopped", None, 0
        session.finish(status)
        skipped = [notebook.note] if notebook is not None and notebook.note else []
        writer.line("status", notes=[*skipped, *session.monitor.notes], environment=environment(Settings()))
    writer.line("status", ended=status, crash=crash, done=True)
    if raised is not None:
        _show(raised, crash)
    raise SystemExit(code)


def _unwatched(error: OSError) -> None:
    """Nothing more can be written; the run is worth more than its watch."""
    with contextlib.suppress(Exception):
        print(f"trainlint: measurements can no longer be written ({error.strerror or error}); the run goes on unwatched", file=sys.stderr)


def _started(job: dict[str, Any], writer: EvidenceWriter, notebook: Notebook | None) -> Session:
    import msgspec

    from trainlint.settings import Settings
    from trainlint.watching.ranks import this_place
    from trainlint.watching.session import Session

    session = Session(
        msgspec.convert(job["settings"], Settings), folder=Path(job["folder"]), place=this_place(), stop_on=job["stop_on"], writer=writer,
        say=lambda kind, text: writer.line(kind, text=text), notebook=notebook,
    )  # fmt: skip
    session.start()
    return session


class _Arrival(MetaPathFinder):
    """Calls back once the script has imported a package: it may want to set variables first that the package reads when it loads."""

    def __init__(self, package: str, then: Callable[[], object]) -> None:
        self.package = package
        self.then = then

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The package's own spec, with a loader that calls back after the package was executed."""
        if name != self.package:
            return None
        sys.meta_path.remove(self)
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path)
        spec = next((s for s in found if s is not None), None)
        if spec is not None and spec.loader is not None:
            execute, then = spec.loader.exec_module, self.then

            def exec_module(module: ModuleType) -> None:
                execute(module)
                then()

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _show(error: BaseException, text: str) -> None:
    """The script's traceback as Python would show it: by the hook that the script has set, if any."""
    from trainlint.record.stopped import is_own

    if sys.excepthook is sys.__excepthook__:
        sys.stderr.write(text)
    else:
        frames = [(f, n) for f, n in traceback.walk_tb(error.__traceback__) if not is_own(f.f_code.co_filename)]
        shown: TracebackType | None = None
        for frame, line in reversed(frames):
            shown = TracebackType(shown, frame, frame.f_lasti, line)
        sys.excepthook(type(error), error.with_traceback(shown), shown)
