"""Where the files of a scanned script really are: reads find what it wrote, writes land in a scratch folder."""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["Overlay", "RealFiles"]


class RealFiles:
    """The functions on files as they are now, for use while those of os are replaced."""

    def __init__(self) -> None:
        self.open, self.os_open = io.open, os.open
        self.stat, self.lstat, self.access, self.listdir = os.stat, os.lstat, os.access, os.listdir
        self.remove, self.rename, self.truncate, self.symlink, self.link = os.remove, os.rename, os.truncate, os.symlink, os.link
        self.mkdir, self.rmdir, self.rmtree = os.mkdir, os.rmdir, shutil.rmtree

    def exists(self, path: str) -> bool:
        """Whether there is anything, if only a link that leads nowhere."""
        try:
            self.lstat(path)
        except OSError:
            return False
        return True

    def is_file(self, path: str) -> bool:
        """Whether it is, or leads to, a plain file."""
        try:
            return stat.S_ISREG(self.stat(path).st_mode)
        except OSError:
            return False


class Overlay:
    """Where the script's files really are."""

    def __init__(self, scratch: Path, project: Sequence[str], real: RealFiles) -> None:
        self.real = real
        self.scratch = scratch
        self.journal = scratch / "folders"
        self.files: dict[str, str] = {}
        self.gone: set[str] = set()
        self._names: set[str] = set()
        """Last parts of all paths that were ever in one of the two: nothing else needs a second look."""
        self._asking = threading.local()
        self.made: list[str] = []
        home = Path.home()
        free = [
            tempfile.gettempdir(),
            "/dev",
            "/proc",
            "/sys",
            str(scratch),
            str(home / ".cache"),
            str(home / ".triton"),
            str(home / ".config" / "matplotlib"),
        ]
        free += [
            os.environ[k]
            for k in ("HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "HF_DATASETS_CACHE", "TMPDIR")
            if os.environ.get(k)
        ]
        self.free = tuple(os.path.realpath(p) for p in free)
        self.scratch_root = os.path.realpath(scratch)
        self.project = tuple(os.path.realpath(p) for p in project)

    def key(self, path: Any) -> str | None:
        """Absolute path of something that the script may not change; None for what it may, and for descriptors."""
        try:
            text = os.fsdecode(os.fspath(path))
        except TypeError:
            return None
        full = os.path.join(self._resolved(os.path.dirname(text) or "."), os.path.basename(text))
        mine = full.startswith(tuple(p.rstrip(os.sep) + os.sep for p in self.project)) and not full.startswith(self.scratch_root)
        if not mine and (full.startswith(tuple(f + os.sep for f in self.free)) or full in self.free):
            return None
        return None if full.startswith(tuple(m + os.sep for m in self.made)) else full

    def _resolved(self, folder: str) -> str:
        """The folder without links, which are looked up where they really are."""
        self._asking.now = True
        try:
            return os.path.realpath(folder)
        finally:
            self._asking.now = False

    def read_as(self, path: str, text: str) -> None:
        """From now on another file is read in the place of one."""
        key = self.key(path)
        if key is not None:
            self._names.add(os.path.basename(key))
            self.files[key] = text

    def for_reading(self, path: Any) -> Any:
        """The path to read in its place."""
        if not self._names or getattr(self._asking, "now", False):
            return path
        try:
            known = os.path.basename(os.fsdecode(path)) in self._names
        except TypeError:
            return path
        if not known:
            return path
        key = self.key(path)
        if key in self.gone:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self.files.get(key, path) if key else path

    def for_writing(self, path: Any, *, keep: bool) -> Any:
        """The path to write in its place, with a copy of what is there when ``keep``."""
        key = self.key(path)
        if key is None:
            return path
        if key not in self.files:
            if not os.path.isdir(os.path.dirname(key)):
                return path  # the user's own error
            inner = self.scratch / "files" / str(len(self.files))
            inner.mkdir(parents=True, exist_ok=True)
            target = inner / os.path.basename(key)
            if keep and key not in self.gone and self.real.is_file(key):
                shutil.copyfile(key, target)
            self.read_as(key, str(target))
        self.gone.discard(key)
        return self.files[key]

    def note_folder(self, path: Any) -> None:
        """Remember that the script has made a folder, so that it is removed when all is over."""
        key = self.key(path)
        if key is not None:
            self.made.append(key)
            with self.real.open(self.journal, "a", encoding="utf-8", errors="surrogateescape") as journal:
                journal.write(key + "\n")

    def forget_folder(self, path: Any) -> None:
        """Remove a folder of the user's, and all that lies in it, as far as the script can see."""
        root = os.path.realpath(path)
        for folder, _, names in os.walk(root):
            self.gone |= {folder, *(os.path.join(folder, name) for name in names)}
            self._names |= {os.path.basename(folder), *names}
        for key in [k for k in self.files if k.startswith(root + os.sep)]:
            self.real.remove(self.files.pop(key))
        for made in [m for m in self.made if m.startswith(root + os.sep)]:
            shutil.rmtree(made, ignore_errors=True)

    def forget(self, path: Any) -> bool:
        """Remove a file as far as the script can see; False when it may be removed for real."""
        key = self.key(path)
        if key is None:
            return False
        target = self.files.pop(key, None)
        if target:
            self.real.remove(target)
        elif not self.real.exists(key) or key in self.gone:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if self.real.exists(key):
            self.gone.add(key)
            self._names.add(os.path.basename(key))
        return True
