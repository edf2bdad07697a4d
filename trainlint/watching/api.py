"""``trainlint.watch`` in a program of one's own: a context manager, and the object that framework adapters drive."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from trainlint.errors import InputError, UsageError
from trainlint.report import Report
from trainlint.settings import Settings

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from trainlint.watching.session import Session

__all__ = ["Watch", "watch"]

#: Seconds that the first rank waits for the others when it finishes.
_LAST_WORDS = 10.0


class Watch:
    """A watch that a program starts and finishes itself.

    As a context manager, or by hand: :meth:`start`, :meth:`step` as often as there is something to tell, :meth:`finish`. Between
    start and finish every training step of the process is seen through hooks; ``step`` is not needed for that.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        optimizer: Optimizer | Iterable[Optimizer] | None = None,
        *,
        folder: str | Path | None = "trainlint-watch",
        stop_on: str | None = None,
        only: Sequence[str] = (),
        ignore: Sequence[str] = (),
        progress: Callable[[str], None] | None = None,
    ) -> None:
        if isinstance(only, str) or isinstance(ignore, str):
            msg = "only= and ignore= take a list of rule names, not one string"
            raise InputError(msg)
        if stop_on not in (None, "error", "warning", "note"):
            msg = f"stop_on= takes 'error', 'warning', 'note' or None, not {stop_on!r}"
            raise UsageError(msg)
        self.settings = Settings(select=tuple(only), ignore=tuple(ignore))
        self.folder = Path(folder) if folder is not None else None
        self.report: Report | None = None
        """The report, once finished."""
        self._model, self._optimizers = model, _listed(optimizer)
        self._stop_on, self._progress = stop_on, progress or _to_stderr
        self._session: Session | None = None
        self._began = time.monotonic()

    def start(self) -> Watch:
        """Begin to watch this process. Raises UsageError when it is being watched already by this object."""
        from trainlint.watching.ranks import this_place
        from trainlint.watching.session import Session

        if self._session is not None:
            msg = "this watch was started already"
            raise UsageError(msg)
        self._began = time.monotonic()
        session = self._session = Session(
            self.settings, folder=self.folder, place=this_place(), stop_on=self._stop_on,
            say=lambda kind, text: self._progress(text) if kind == "verdict" or not this_place().rank else None,
        )  # fmt: skip
        for optimizer in self._optimizers:
            session.monitor.built(optimizer)
        if self._model is not None:
            session.monitor.origins.models.append(self._model)
        session.start()
        return self

    def step(self, **values: float) -> None:
        """Write values of the program's own into the history: ``val_loss=0.3``, ``accuracy=0.9``. Steps themselves are counted by hooks."""
        if self._session is not None and values:
            self._session.monitor.log({key: float(value) for key, value in values.items()})

    def finish(self, status: str = "ended") -> Report:
        """Stop watching and judge the run; writes ``report.html`` beside the history.

        Args:
            status: How the run came to its end: ``ended``, ``crashed``, ``interrupted`` or ``stopped``.

        Raises:
            UsageError: The watch was never started.
        """
        from trainlint.renderers import load_renderers
        from trainlint.watching.judging import report
        from trainlint.watching.ranks import wait_for_all

        session = self._session
        if session is None:
            msg = "finish() comes after start()"
            raise UsageError(msg)
        if self.report is not None:
            return self.report
        evidence = session.finish(status)
        place = session.place
        if place.world > 1 and not place.rank and self.folder is not None:
            evidence.measurements["ranks"] = wait_for_all(self.folder, place, _LAST_WORDS)
        name = type(self._model).__name__ if self._model is not None else Path(sys.argv[0] or "program").name
        self.report = report(
            evidence, session.history, self.settings, name=name, seconds=time.monotonic() - self._began, status=status, kind="objects",
            several=place.world > 1,
        )  # fmt: skip
        if self.folder is not None and not place.rank:
            (self.folder / "report.html").write_text(load_renderers()["html"].render(self.report), "utf-8")
        return self.report

    def __enter__(self) -> Watch:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        from trainlint.watching.monitor import StopTraining

        stopped = isinstance(error, StopTraining)
        ended = "interrupted" if isinstance(error, KeyboardInterrupt) else "crashed"
        self.finish("stopped" if stopped else ended if error is not None else "ended")
        return stopped


def watch(model: nn.Module | None = None, optimizer: Optimizer | Iterable[Optimizer] | None = None, **options: Any) -> Watch:
    """Watch the training that runs in a ``with`` block, at almost no cost, and change nothing of it.

    ::

        with trainlint.watch(model, optimizer) as run:
            train(model, optimizer)
        print(bool(run.report))

    Args:
        model: The model, for names in messages; found by itself when left out.
        optimizer: The optimizer, or several, that were built before the block.
        folder: Where ``history.jsonl`` and ``report.html`` go (default ``trainlint-watch``); None keeps all in memory.
        stop_on: ``error``, ``warning`` or ``note``: a finding of that severity ends the block early, without an exception.
        only: Rules to judge by, by name or code.
        ignore: Rules not to judge by.
        progress: Told each line of progress and each verdict; they go to stderr by default.

    Raises:
        InputError, UsageError: An option has a wrong value; the message says what to pass.
    """
    return Watch(model, optimizer, **options)


def _listed(optimizer: Any) -> list[Any]:
    if optimizer is None:
        return []
    return list(optimizer) if isinstance(optimizer, list | tuple) else [optimizer]


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"trainlint: {text}\n")
    sys.stderr.flush()
