"""What a script does to files happens as far as it can see, and to nothing of the user's."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import py_compile
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainlint.record.edited import edited
from trainlint.record.sandbox import clean_up, sandboxed


def removes_a_folder_and_makes_it_again() -> None:
    shutil.rmtree("data")
    assert not os.path.exists("data")
    assert not os.path.exists("data/a/b.txt")
    os.makedirs("data/a")
    assert os.listdir("data/a") == []
    Path("data/a/new.txt").write_text("new")
    assert Path("data/a/new.txt").read_text() == "new"
    shutil.rmtree("data", ignore_errors=True)
    assert not os.path.exists("data/a/new.txt")


def removes_through_an_open_folder() -> None:
    folder = os.open("data/a", os.O_RDONLY)
    os.unlink("b.txt", dir_fd=folder)
    os.close(folder)
    assert not os.path.exists("data/a/b.txt")


def copies_with_times_and_modes() -> None:
    Path("new.txt").write_text("new")
    shutil.copy("new.txt", "log.txt")
    shutil.copy2("config.yaml", "copy.yaml")
    assert (Path("log.txt").read_text(), Path("copy.yaml").read_text()) == ("new", "mine")
    shutil.copytree("data", "second")
    assert Path("second/a/b.txt").read_text() == "mine"


def changes_times_and_modes() -> None:
    os.chmod("log.txt", 0o600)
    os.utime("log.txt", (1, 1))
    with pytest.raises(FileNotFoundError):
        os.chmod("nowhere.txt", 0o600)


def links() -> None:
    os.symlink("config.yaml", "latest")
    os.link("log.txt", "second.txt")
    assert (Path("latest").read_text(), Path("second.txt").read_text()) == ("mine", "mine")
    assert os.path.islink("latest")
    os.remove("latest")
    assert not os.path.lexists("latest")
    with pytest.raises(FileExistsError):
        os.symlink("config.yaml", "log.txt")


def truncates() -> None:
    os.truncate("log.txt", 2)
    assert Path("log.txt").read_text() == "mi"


def moves() -> None:
    shutil.move("config.yaml", "old.yaml")
    assert not Path("config.yaml").exists()
    assert Path("old.yaml").read_text() == "mine"
    Path("log.txt").replace("old.yaml")
    Path("old.yaml").unlink()
    assert not os.path.exists("log.txt")


DEEDS: list[Callable[[], None]] = [
    removes_a_folder_and_makes_it_again, removes_through_an_open_folder, copies_with_times_and_modes, changes_times_and_modes, links, truncates, moves,
]  # fmt: skip


def fingerprint(folder: Path) -> dict[str, tuple[str, int, int]]:
    return {
        str(p): (
            hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "folder",
            p.stat().st_mode,
            p.stat().st_mtime_ns if p.is_file() else 0,
        )
        for p in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_nothing_of_the_users_changes(deed: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, scratch = tmp_path / "project", tmp_path / "scratch"
    scratch.mkdir()
    for name in ("log.txt", "config.yaml", "data/a/b.txt"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("mine")
    before = fingerprint(project)
    monkeypatch.chdir(project)
    with sandboxed(scratch, [str(project)]):
        deed()
    clean_up(scratch)
    assert fingerprint(project) == before


def test_looking_at_files_after_a_write_costs_no_more_than_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path.joinpath(*"abcdefgh")
    deep.mkdir(parents=True)
    (deep / "data.txt").write_text("mine")
    (deep / "same.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    looked: list[object] = []
    lstat = os.lstat
    monkeypatch.setattr(os, "lstat", lambda *args, **kwargs: (looked.append(args), lstat(*args, **kwargs))[1])
    with sandboxed(tmp_path.parent / f"{tmp_path.name}-scratch", [str(tmp_path)]):
        Path("same.txt").write_text("written")
        looked.clear()
        os.stat(deep / "data.txt")
        assert looked == []  # no file of that name was written
        assert (deep / "same.txt").read_text() == "mine"
        assert len(looked) <= 4 * len(deep.parts)  # each folder once for each question, not once for each folder below it


def test_an_edited_file_is_read_imported_and_looked_at_in_the_place_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "edited_module.py"
    module.write_text("VALUE = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    text = tmp_path.parent / f"{tmp_path.name}-text.py"
    text.write_text("VALUE = 2222\n")
    py_compile.compile(str(module))
    with sandboxed(tmp_path.parent / f"{tmp_path.name}-scratch", [str(tmp_path)]) as overlay, edited(overlay, {str(module): str(text)}):
        assert importlib.import_module("edited_module").VALUE == 2222
        assert inspect.getsource(sys.modules["edited_module"]) == "VALUE = 2222\n"
        assert os.path.getsize("edited_module.py") == len("VALUE = 2222\n")
    del sys.modules["edited_module"]
    assert importlib.import_module("edited_module").VALUE == 1
    assert module.read_text() == "VALUE = 1\n"
