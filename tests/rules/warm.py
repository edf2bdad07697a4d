"""Scans whose process is forked off one that has imported torch already: importing takes longer than most of them.

``tests/test_scan.py`` starts processes as users do; here it is the verdicts that count.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import types
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from trainlint.record import supervisor
from trainlint.scanning import scan
from trainlint.serialise import to_json
from trainlint.settings import Settings

__all__ = ["forked", "warm_scan"]

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["torch", "torch._dynamo", "trainlint.probes.session", "trainlint.record.hooks", "trainlint_rules"])


def _child(job: str, environment: dict[str, str], folder: str, output: str, method: str) -> None:
    os.setsid()
    multiprocessing.set_start_method(method, force=True)  # for loaders' workers, as in a process of its own
    os.chdir(folder)
    os.environ.update(environment)
    written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(written, stream)
    from trainlint.record.child import main

    main(job)


class _Forked:
    """What the supervisor needs of ``subprocess.Popen``."""

    def __init__(self, command: list[str], *, env: dict[str, str], stdout: Any, **_: Any) -> None:
        self.process = _FORKS.Process(target=_child, args=(command[-1], env, os.getcwd(), stdout.name, multiprocessing.get_start_method()))
        self.process.start()
        self.pid = self.process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self) -> None:
        self.process.join()


def forked(monkeypatch: Any) -> None:
    """From now on the processes of scans are forked."""
    forkserver.ensure_running()  # its socket lies in the temporary folder of now: a test's own may be too deep for one
    stand_in = types.SimpleNamespace(Popen=_Forked, DEVNULL=subprocess.DEVNULL, STDOUT=subprocess.STDOUT)
    monkeypatch.setattr(supervisor, "subprocess", stand_in)


def warm_scan(script: Path, monkeypatch: Any, *, args: tuple[str, ...] = (), select: tuple[str, ...] = ()) -> dict[str, Any]:
    """The report on a script, from its own folder, without trying fixes."""
    forked(monkeypatch)
    monkeypatch.chdir(script.parent)
    report = scan(script.name, args, settings=Settings(select=select, prove=False))
    return json.loads(to_json(report))
