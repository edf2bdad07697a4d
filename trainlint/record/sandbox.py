"""Keeps a scan from leaving anything behind: what the script writes goes to a scratch folder, what it deletes stays.

Files are redirected where Python opens them. A folder that the script makes is made for real (compiled writers need it) and is
written to a journal, so that the supervisor removes it afterwards even when the script was killed. Reads of redirected files see
what was written. Temporary folders, caches and devices are left alone.
"""

from __future__ import annotations

import builtins
import errno
import importlib
import io
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainlint.record.overlay import Overlay, RealFiles

__all__ = ["QUIET_TRACKERS", "clean_up", "sandboxed"]

#: Environment that keeps trackers and hubs from writing or sending; set for the script's process only.
QUIET_TRACKERS = {
    "WANDB_MODE": "disabled", "WANDB_SILENT": "true", "COMET_MODE": "disabled", "COMET_START_ONLINE": "0", "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "CLEARML_OFFLINE_MODE": "1", "NEPTUNE_MODE": "debug", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
    "SWANLAB_MODE": "disabled", "TORCH_COMPILE_DISABLE": "1", "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip


#: Functions of os that only look at a file.
_LOOKING = ("stat", "lstat", "readlink", "listxattr", "getxattr")
#: Functions of os that change a file's metadata.
_CHANGING = ("chmod", "chown", "lchown", "lchmod", "utime", "chflags", "lchflags", "setxattr", "removexattr")


@contextmanager
def sandboxed(scratch: Path, project: Sequence[str] = ()) -> Iterator[Overlay]:
    """While the context lasts, this process changes no file outside ``scratch``, temporary folders and caches.

    Below the ``project`` folders it changes none at all, wherever they lie.
    """
    overlay = Overlay(scratch, project, RealFiles())
    patches = [*_Files(overlay).replacements(), *_compiled_writers(overlay)]
    # Until Python 3.10 pathlib kept functions of os for itself.
    accessor = getattr(pathlib, "_NormalAccessor", None)
    patches += [(accessor, name, staticmethod(new)) for owner, name, new in patches if owner in (os, io) and hasattr(accessor, name)]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in patches]
    for owner, name, new in patches:
        setattr(owner, name, new)
    try:
        yield overlay
    finally:
        for owner, name, old in before:
            setattr(owner, name, old)


class _Files:
    """What a script gets in place of the functions that open, look at, make, move and remove files; each takes what the real one takes."""

    def __init__(self, overlay: Overlay) -> None:
        self.overlay = overlay
        self.real = overlay.real

    def replacements(self) -> Iterator[tuple[Any, str, Any]]:
        """Each function that is replaced: the module, its name there, and the new one."""
        yield builtins, "open", self.open
        yield io, "open", self.open
        yield os, "open", self.os_open
        for name in ("access", "remove", "rename", "mkdir", "rmdir", "listdir", "truncate", "symlink", "link"):
            yield os, name, getattr(self, name)
        yield os, "unlink", self.remove
        yield os, "replace", self.rename
        yield shutil, "rmtree", self.rmtree
        for name in _LOOKING:
            if hasattr(os, name):
                yield os, name, self.looking(getattr(os, name))
        for name in _CHANGING:
            if hasattr(os, name):
                yield os, name, self.changing(getattr(os, name))

    def open(self, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if not isinstance(file, int):
            writing = any(c in mode for c in "wax+")
            if writing and "x" in mode and self.overlay.key(file) and self.seen(file):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), file)
            file = self.overlay.for_writing(file, keep="w" not in mode) if writing else self.overlay.for_reading(file)
            mode = mode.replace("x", "w") if writing else mode
        return self.real.open(file, mode, *args, **kwargs)

    def os_open(self, path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        path = _at(path, kwargs)
        if kwargs.get("dir_fd") is None and not isinstance(path, int):
            writing = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            path = self.overlay.for_writing(path, keep=not flags & os.O_TRUNC) if writing else self.overlay.for_reading(path)
        return self.real.os_open(path, flags, *args, **kwargs)

    def seen(self, path: Any) -> bool:
        """Whether there is such a file as far as the script can see."""
        try:
            self.real.stat(self.overlay.for_reading(path))
        except OSError:
            return False
        return True

    def looking(self, real: Any) -> Any:
        def look(path: Any, *args: Any, **kwargs: Any) -> Any:
            return real(self.overlay.for_reading(path) if not isinstance(path, int) else path, *args, **kwargs)

        return look

    def changing(self, real: Any) -> Any:
        """Modes and times of the user's own files stay as they are."""

        def change(path: Any, *args: Any, **kwargs: Any) -> Any:
            path = _at(path, kwargs)
            key = None if isinstance(path, int) else self.overlay.key(path)
            if key is None or key in self.overlay.files:
                return real(path if key is None else self.overlay.files[key], *args, **kwargs)
            self.real.stat(self.overlay.for_reading(path))  # the user's own error when it is not there
            return None

        return change

    def access(self, path: Any, mode: int, **kwargs: Any) -> bool:
        try:
            return self.real.access(self.overlay.for_reading(path), mode, **kwargs)
        except FileNotFoundError:
            return False

    def remove(self, path: Any, **kwargs: Any) -> None:
        path = _at(path, kwargs)
        if not self.overlay.forget(path):
            self.real.remove(path, **kwargs)

    def rename(self, source: Any, target: Any, **kwargs: Any) -> None:
        if self.overlay.key(source) is None and self.overlay.key(target) is None:
            self.real.rename(source, target, **kwargs)
            return
        if os.path.isdir(self.overlay.for_reading(source)):
            if self.overlay.key(source) is None and not os.path.exists(target):
                self.real.rename(source, target, **kwargs)
                self.overlay.note_folder(target)
            return  # moving the user's own folders is not needed to judge a training step
        shutil.copyfile(self.overlay.for_reading(source), self.overlay.for_writing(target, keep=False))
        self.remove(source)

    def mkdir(self, path: Any, *args: Any, **kwargs: Any) -> None:
        path = _at(path, kwargs)
        key = self.overlay.key(path)
        if key is not None and key in self.overlay.gone and self.real.exists(key):
            self.overlay.gone.discard(key)  # a folder of the user's that the script removed and makes again
            return
        self.real.mkdir(path, *args, **kwargs)
        self.overlay.note_folder(path)

    def rmdir(self, path: Any, **kwargs: Any) -> None:
        path = _at(path, kwargs)
        if self.overlay.key(path) is None or os.path.realpath(path) in self.overlay.made:
            self.real.rmdir(path, **kwargs)

    def rmtree(self, path: Any, *args: Any, **kwargs: Any) -> None:
        made = self.overlay.key(path) is None or os.path.realpath(path) in self.overlay.made
        if made or not os.path.isdir(path) or os.path.islink(path):
            self.real.rmtree(path, *args, **kwargs)
        else:
            self.overlay.forget_folder(path)

    def truncate(self, path: Any, length: int) -> None:
        self.real.truncate(path if isinstance(path, int) else self.overlay.for_writing(path, keep=True), length)

    def symlink(self, source: Any, target: Any, *args: Any, **kwargs: Any) -> None:
        target = _at(target, kwargs)
        if self.overlay.key(target) is None:
            self.real.symlink(source, target, *args, **kwargs)
            return
        if self.real.exists(target) or self.overlay.key(target) in self.overlay.files:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        whole = os.path.join(os.path.dirname(os.path.abspath(os.fsdecode(target))), os.fsdecode(source))
        self.real.symlink(self.overlay.for_reading(whole), self.overlay.for_writing(target, keep=False))

    def link(self, source: Any, target: Any, **kwargs: Any) -> None:
        if self.overlay.key(source) is None and self.overlay.key(target) is None:
            self.real.link(source, target, **kwargs)
        else:
            shutil.copyfile(self.overlay.for_reading(source), self.overlay.for_writing(target, keep=False))

    def listdir(self, path: Any = ".") -> Any:
        names = self.real.listdir(path)
        if isinstance(path, int | bytes) or not (self.overlay.files or self.overlay.gone):
            return names
        folder = os.path.realpath(path)
        hidden = {os.path.basename(g) for g in self.overlay.gone if os.path.dirname(g) == folder}
        written = {os.path.basename(f) for f in self.overlay.files if os.path.dirname(f) == folder}
        return sorted(({*names} - hidden) | written) if hidden or written else names


def _at(path: Any, kwargs: dict[str, Any]) -> Any:
    """The whole path of a name that is given within an open folder, ``dir_fd``, which is taken out of the arguments where it is known."""
    folder = kwargs.get("dir_fd")
    if folder is None or isinstance(path, int) or os.path.isabs(path):
        return path
    try:
        known = os.readlink(f"/proc/self/fd/{folder}")
    except OSError:
        return path
    del kwargs["dir_fd"]
    return os.path.join(known, os.fsdecode(path))


def _compiled_writers(overlay: Overlay) -> Iterator[tuple[Any, str, Any]]:
    """Writers and readers that open files in compiled code: torch's, and safetensors' where it is installed."""
    import torch

    for name, writing in (("PyTorchFileWriter", True), ("PyTorchFileReader", False)):
        kind = getattr(torch._C, name)

        def opened(target: Any, *args: Any, kind: Any = kind, writing: bool = writing, **kwargs: Any) -> Any:
            if isinstance(target, str | os.PathLike):
                target = str(overlay.for_writing(target, keep=False) if writing else overlay.for_reading(target))
            return kind(target, *args, **kwargs)

        yield torch._C, name, opened
    try:
        tensors: Any = importlib.import_module("safetensors.torch")
    except ImportError:
        return
    save, load = tensors.serialize_file, tensors.safe_open

    def serialize(items: Any, filename: Any, *args: Any, **kwargs: Any) -> Any:
        return save(items, overlay.for_writing(filename, keep=False), *args, **kwargs)

    yield tensors, "serialize_file", serialize

    def opened_safely(filename: Any, *args: Any, **kwargs: Any) -> Any:
        return load(overlay.for_reading(filename), *args, **kwargs)

    yield tensors, "safe_open", opened_safely


def clean_up(scratch: Path) -> None:
    """Remove the folders that a script made, newest first, and the scratch folder. Called when the script's process is gone."""
    journal = scratch / "folders"
    if journal.exists():
        for folder in reversed(journal.read_text("utf-8", "surrogateescape").splitlines()):
            shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(scratch, ignore_errors=True)
