"""What a script does to files happens as far as it can see, and to nothing of the user's."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

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
