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

from trainlint.record.overlay import REAL, Overlay

__all__ = ["QUIET_TRACKERS", "clean_up", "sandboxed"]

#: Environment that keeps trackers and hubs from writing or sending; set for the script's process only.
QUIET_TRACKERS = {
    "WANDB_MODE": "disabled", "WANDB_SILENT": "true", "COMET_MODE": "disabled", "COMET_START_ONLINE": "0", "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "CLEARML_OFFLINE_MODE": "1", "NEPTUNE_MODE": "debug", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
    "SWANLAB_MODE": "disabled", "TORCH_COMPILE_DISABLE": "1", "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip


#: Functions of os that change a file's metadata.
_CHANGING = ("chmod", "chown", "lchown", "lchmod", "utime", "chflags", "lchflags", "setxattr", "removexattr")


@contextmanager
def sandboxed(scratch: Path, project: Sequence[str] = ()) -> Iterator[Overlay]:
    """While the context lasts, this process changes no file outside ``scratch``, temporary folders and caches.

    Below the ``project`` folders it changes none at all, wherever they lie.
    """
    overlay = Overlay(scratch, project)
    real_open, stat, lstat, access = io.open, os.stat, os.lstat, os.access
    remove, rename, mkdir, rmdir, listdir, os_open = os.remove, os.rename, os.mkdir, os.rmdir, os.listdir, os.open
    rmtree, truncate, symlink, link = shutil.rmtree, os.truncate, os.symlink, os.link
    REAL["remove"] = remove
    REAL["isfile"] = lambda p: _is(stat, p)
    REAL["exists"] = lambda p: _is(lstat, p, any_kind=True)

    def open_(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if not isinstance(file, int):
            writing = any(c in mode for c in "wax+")
            if writing and "x" in mode and overlay.key(file) and _exists(file):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), file)
            file = overlay.for_writing(file, keep="w" not in mode) if writing else overlay.for_reading(file)
            mode = mode.replace("x", "w") if writing else mode
        return real_open(file, mode, *args, **kwargs)

    def os_open_(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        path = _at(path, kwargs)
        if kwargs.get("dir_fd") is None and not isinstance(path, int):
            writing = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            path = overlay.for_writing(path, keep=not flags & os.O_TRUNC) if writing else overlay.for_reading(path)
        return os_open(path, flags, *args, **kwargs)

    def _exists(path: Any) -> bool:
        try:
            stat(overlay.for_reading(path))
        except OSError:
            return False
        return True

    def looking(real: Any) -> Any:
        def look(path: Any, *args: Any, **kwargs: Any) -> Any:
            return real(overlay.for_reading(path) if not isinstance(path, int) else path, *args, **kwargs)

        return look

    def access_(path: Any, mode: int, **kwargs: Any) -> bool:
        try:
            return access(overlay.for_reading(path), mode, **kwargs)
        except FileNotFoundError:
            return False

    def remove_(path: Any, **kwargs: Any) -> None:
        path = _at(path, kwargs)
        if not overlay.forget(path):
            remove(path, **kwargs)

    def rename_(source: Any, target: Any, **kwargs: Any) -> None:
        if overlay.key(source) is None and overlay.key(target) is None:
            rename(source, target, **kwargs)
            return
        if os.path.isdir(overlay.for_reading(source)):
            if overlay.key(source) is None and not os.path.exists(target):
                rename(source, target, **kwargs)
                note_folder(target)
            return  # moving the user's own folders is not needed to judge a training step
        shutil.copyfile(overlay.for_reading(source), overlay.for_writing(target, keep=False))
        remove_(source)

    def mkdir_(path: Any, *args: Any, **kwargs: Any) -> None:
        path = _at(path, kwargs)
        key = overlay.key(path)
        if key is not None and key in overlay.gone and REAL["exists"](key):
            overlay.gone.discard(key)  # a folder of the user's that the script removed and makes again
            return
        mkdir(path, *args, **kwargs)
        note_folder(path)

    def note_folder(path: Any) -> None:
        key = overlay.key(path)
        if key is not None:
            overlay.made.append(key)
            with real_open(overlay.journal, "a", encoding="utf-8", errors="surrogateescape") as journal:
                journal.write(key + "\n")

    def rmdir_(path: Any, **kwargs: Any) -> None:
        path = _at(path, kwargs)
        if overlay.key(path) is None or os.path.realpath(path) in overlay.made:
            rmdir(path, **kwargs)

    def rmtree_(path: Any, *args: Any, **kwargs: Any) -> None:
        if overlay.key(path) is None or os.path.realpath(path) in overlay.made or not os.path.isdir(path) or os.path.islink(path):
            rmtree(path, *args, **kwargs)
        else:
            overlay.forget_folder(path)

    def changing(real: Any) -> Any:
        """Modes and times of the user's own files stay as they are."""

        def change(path: Any, *args: Any, **kwargs: Any) -> Any:
            path = _at(path, kwargs)
            key = None if isinstance(path, int) else overlay.key(path)
            if key is None or key in overlay.files:
                return real(path if key is None else overlay.files[key], *args, **kwargs)
            stat(overlay.for_reading(path))  # the user's own error when it is not there
            return None

        return change

    def truncate_(path: Any, length: int) -> None:
        truncate(path if isinstance(path, int) else overlay.for_writing(path, keep=True), length)

    def symlink_(source: Any, target: Any, *args: Any, **kwargs: Any) -> None:
        target = _at(target, kwargs)
        if overlay.key(target) is None:
            symlink(source, target, *args, **kwargs)
            return
        if REAL["exists"](target) or overlay.key(target) in overlay.files:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        whole = os.path.join(os.path.dirname(os.path.abspath(os.fsdecode(target))), os.fsdecode(source))
        symlink(overlay.for_reading(whole), overlay.for_writing(target, keep=False))

    def link_(source: Any, target: Any, **kwargs: Any) -> None:
        if overlay.key(source) is None and overlay.key(target) is None:
            link(source, target, **kwargs)
        else:
            shutil.copyfile(overlay.for_reading(source), overlay.for_writing(target, keep=False))

    def listdir_(path: Any = ".") -> Any:
        names = listdir(path)
        if isinstance(path, int | bytes) or not (overlay.files or overlay.gone):
            return names
        folder = os.path.realpath(path)
        hidden = {os.path.basename(g) for g in overlay.gone if os.path.dirname(g) == folder}
        written = {os.path.basename(f) for f in overlay.files if os.path.dirname(f) == folder}
        return sorted(({*names} - hidden) | written) if hidden or written else names

    patches: list[tuple[Any, str, Any]] = [
        (builtins, "open", open_), (io, "open", open_), (os, "open", os_open_), (os, "stat", looking(stat)), (os, "lstat", looking(lstat)),
        (os, "access", access_), (os, "remove", remove_), (os, "unlink", remove_), (os, "rename", rename_), (os, "replace", rename_),
        (os, "mkdir", mkdir_), (os, "rmdir", rmdir_), (os, "listdir", listdir_), (shutil, "rmtree", rmtree_), (os, "truncate", truncate_),
        (os, "symlink", symlink_), (os, "link", link_), *((os, name, changing(getattr(os, name))) for name in _CHANGING if hasattr(os, name)),
        *((os, name, looking(getattr(os, name))) for name in ("readlink", "listxattr", "getxattr") if hasattr(os, name)), *_compiled_writers(overlay),
    ]  # fmt: skip
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
        REAL.update(remove=remove, isfile=os.path.isfile, exists=os.path.exists)


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


def _is(stat: Any, path: str, *, any_kind: bool = False) -> bool:
    try:
        found = stat(path)
    except OSError:
        return False
    return any_kind or os.path.stat.S_ISREG(found.st_mode)  # type: ignore[attr-defined]


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
