"""Writes edits to the user's files: all checks first, then each file replaced in one go, and put back when asked."""

from __future__ import annotations

import difflib
import os
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trainlint.choosing import held_back, in_order
from trainlint.edits import Made, diff_of, lines_of, make
from trainlint.edits.source import EditError, Source
from trainlint.finding import Finding
from trainlint.report import Report

__all__ = ["Plan", "check", "plan", "project_root", "restore", "write"]

_INSTALLED = {"site-packages", "dist-packages"}


@dataclass
class _File:
    """What is to become of one file."""

    source: Source
    changes: list[tuple[int, int, list[str]]] = field(default_factory=list)
    """(first line, line behind the last, new lines), in the numbers of the file as it is."""

    @property
    def text(self) -> str:
        """The file with all changes."""
        lines = lines_of(self.source.text)
        for first, last, new in sorted(self.changes, reverse=True):
            lines[first:last] = new
        return "".join(lines)


@dataclass
class Plan:
    """Which edits are made together, and which are left out and why."""

    chosen: list[Made] = field(default_factory=list)
    left: list[tuple[Finding, str]] = field(default_factory=list)
    files: dict[Path, _File] = field(default_factory=dict)

    @property
    def diff(self) -> str:
        """All changes as one unified diff."""
        return "".join(diff_of(f.source, f.text) for f in self.files.values())


def plan(report: Report, *, unsafe: bool, explains: dict[str, tuple[str, ...]]) -> Plan:
    """Choose the edits of a report that can be made together.

    The root cause comes first, then the gravest. Left out are edits to be reviewed unless ``unsafe``, of those also the ones of notes, edits
    of a failure that another one explains, and edits of lines that another edit changes.
    """
    result = Plan()
    for finding in in_order(report):
        made = make(finding)
        if made.source is None:
            result.left.append((finding, made.reason))
        elif reason := held_back(finding, report, explains, safe=made.safe):
            result.left.append((finding, reason))
        elif not made.safe and not unsafe:
            result.left.append((finding, "to be reviewed: --diff shows it, --unsafe-fixes applies it"))
        elif not _joins(result.files, made):
            result.left.append((finding, "its lines are changed by another edit; scan again after this one"))
        else:
            result.chosen.append(made)
    return result


def _joins(files: dict[Path, _File], made: Made) -> bool:
    """Add an edit's changed lines to those of its file, unless they meet."""
    source = made.source
    assert source is not None
    known = files.get(source.path)
    before, after = lines_of(source.text), lines_of(made.text)
    codes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    new = [(i, j, after[k:m]) for tag, i, j, k, m in codes if tag != "equal"]
    old = known.changes if known is not None else []
    fresh = [change for change in new if change not in old]
    if any(i <= last and first <= j for i, j, _ in fresh for first, last, _ in old):
        return False
    target = files.setdefault(source.path, _File(source))
    target.changes.extend(fresh)
    try:
        compile(target.text, str(source.path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        target.changes = [c for c in target.changes if c not in fresh]
        return False
    return True


def project_root(script: Path) -> Path:
    """The folder that edits stay in: the git working tree around a script, else the script's own folder."""
    folder = Path(os.path.abspath(script)).parent
    return next((p for p in (folder, *folder.parents) if (p / ".git").exists()), folder)


def check(files: Iterable[Path], root: Path, *, allow_dirty: bool) -> None:
    """Raise unless every file may be written.

    Raises:
        EditError: A file lies outside the project or in an installed package, is a link, cannot be written, or git has changes that are
            not committed.
    """
    paths = list(files)
    for path in paths:
        whole = Path(os.path.abspath(path))
        if path.is_symlink() or whole.resolve() != whole.parent.resolve() / whole.name:
            raise EditError(f"{path} is a symbolic link; edit the file that it points to, {whole.resolve()}, by scanning that")
        if _INSTALLED & set(whole.parts) or not whole.resolve().is_relative_to(root.resolve()):
            raise EditError(f"{path} does not belong to the scanned project {root}, so it is not edited")
        if not os.access(whole, os.W_OK) or not os.access(whole.parent, os.W_OK):
            raise EditError(f"{path} is read-only; make it writable to have it edited")
    if not allow_dirty:
        changed = _uncommitted(root, paths)
        if changed:
            shown = ", ".join(changed[:3]) + (", …" if len(changed) > 3 else "")
            raise EditError(f"{root} has changes that are not committed ({shown}); commit or stash them, or pass --allow-dirty")


def _uncommitted(root: Path, paths: Sequence[Path]) -> list[str]:
    """Tracked files with changes, and files to edit that git does not hold; nothing outside a git working tree."""
    if not (root / ".git").exists():
        return []
    mine = [os.path.relpath(os.path.abspath(p), root) for p in paths]
    found: list[str] = []
    commands = [["status", "--porcelain", "--untracked-files=no"]]
    if mine:
        commands.append(["status", "--porcelain", "--untracked-files=all", "--ignored", "--", *mine])
    for command in commands:
        try:
            run = subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True, check=True, timeout=60)
        except (OSError, subprocess.SubprocessError) as error:
            raise EditError(f"git could not be asked whether {root} has uncommitted changes ({error}); pass --allow-dirty") from error
        found += [line[3:] for line in run.stdout.splitlines()]
    return list(dict.fromkeys(found))


def write(plan: Plan) -> dict[Path, bytes]:
    """Write all files of a plan, each replaced in one go; returns what they held before.

    Raises:
        EditError: A file has changed since it was read, or cannot be written; all are as before then.
    """
    new = {path: file.source.encode(file.text) for path, file in plan.files.items()}
    old: dict[Path, bytes] = {}
    for path, file in plan.files.items():
        held = path.read_bytes()
        if held != file.source.encode(file.source.text):
            raise EditError(f"{path} has changed since it was scanned; nothing was written")
        old[path] = held
    done: dict[Path, bytes] = {}
    try:
        for path, content in new.items():
            _replace(path, content)
            done[path] = old[path]
    except OSError as error:
        restore(done)
        raise EditError(f"{path} could not be written ({error.strerror or error}); nothing was changed") from error
    return old


def restore(files: dict[Path, bytes]) -> None:
    """Put back what :func:`write` returned."""
    for path, content in files.items():
        _replace(path, content)


def _replace(path: Path, content: bytes) -> None:
    """Write beside a file and put it in its place, its permissions kept."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, path.stat().st_mode & 0o7777)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
