"""A scan is one process: what a script would train in processes of its own is trained in this one, as rank 0 of 1."""

from __future__ import annotations

import ast
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

import torch.distributed as dist
import torch.multiprocessing as mp

from trainlint.record.following import body_of, value_of
from trainlint.record.frames import Frames
from trainlint.record.hooks import replace_attribute
from trainlint.record.planned import source_tree
from trainlint.record.recorder import Recorder

__all__ = ["one_process", "trains"]

#: Calls of functions within functions that are followed in search of a training.
_DEEPEST = 4
_RANKS = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}


@contextmanager
def one_process(recorder: Recorder) -> Iterator[None]:
    """While the context lasts, what is spawned to train runs here, and a process group has this one member."""
    pid, run = os.getpid(), set[int]()

    def note(what: str) -> None:
        recorder.recording.notes.append(f"{what}: a scan is one process, so the function of the first ran in it, as rank 0 of 1")

    def spawning(spawn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(spawn)
        def spawned(fn: Callable[..., Any], args: tuple[Any, ...] = (), nprocs: int = 1, *rest: Any, **options: Any) -> Any:
            if os.getpid() != pid or nprocs < 1:
                return spawn(fn, args, nprocs, *rest, **options)
            note(f"the script spawns {nprocs} {'process' if nprocs == 1 else 'processes'}")
            return fn(0, *args)

        return spawned

    start, join = BaseProcess.start, BaseProcess.join

    @functools.wraps(start)
    def started(self: Any) -> None:
        if os.getpid() != pid or recorder.steps_done or not trains(self._target, recorder.frames):
            start(self)
            return
        run.add(id(self))
        note("the script starts processes that train")
        self._target(*self._args, **self._kwargs)

    @functools.wraps(join)
    def joined(self: Any, timeout: float | None = None) -> None:
        if id(self) not in run:
            join(self, timeout)

    with ExitStack() as stack:
        for name in ("spawn", "start_processes"):
            replace_attribute(stack, mp, name, spawning(getattr(mp, name)))
        replace_attribute(stack, BaseProcess, "start", started)
        replace_attribute(stack, BaseProcess, "join", joined)
        if dist.is_available():
            replace_attribute(stack, dist, "init_process_group", _alone(dist.init_process_group, pid))
        yield


def _alone(initialise: Callable[..., Any], pid: int) -> Callable[..., Any]:
    """``init_process_group()`` that waits for no other process."""

    @functools.wraps(initialise)
    def alone(backend: str | None = None, *rest: Any, **options: Any) -> Any:
        if os.getpid() != pid:
            return initialise(backend, *rest, **options)
        os.environ.update(_RANKS)
        kept = {k: v for k, v in options.items() if k in ("timeout", "pg_options", "device_id", "group_name")}
        return initialise(backend, store=dist.HashStore(), rank=0, world_size=1, **kept)  # type: ignore[attr-defined]

    return alone


def trains(function: Callable[..., Any], frames: Frames) -> bool:
    """Whether the user's function calls ``backward()``, itself or in functions of the user's that it calls. Nothing is called."""
    return _trains(function, frames, set(), _DEEPEST)


def _trains(function: Any, frames: Frames, seen: set[Any], depth: int) -> bool:
    function = getattr(function, "func", function)  # a partial
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if code is None or code in seen or not frames.is_user(code.co_filename):
        return False
    seen.add(code)
    tree = source_tree(code.co_filename)
    names: Mapping[str, Any] = getattr(function, "__globals__", {})
    for statement in (body_of(tree, code) if tree is not None else None) or ():
        for call in (n for n in ast.walk(statement) if isinstance(n, ast.Call)):
            if isinstance(call.func, ast.Attribute) and call.func.attr == "backward":
                return True
            if not depth:
                continue
            called = value_of(call.func, names)
            methods = vars(called).values() if isinstance(called, type) else (called,)
            if any(_trains(m, frames, seen, depth - 1) for m in methods if callable(m)):
                return True
    return False
