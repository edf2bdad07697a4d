"""What cannot be run is told before anything runs, with what may have been meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainlint.errors import UsageError
from trainlint.record.target import check_target


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_training").mkdir()
    (tmp_path / "my_training" / "fit.py").write_text("raise SystemExit('this must not run')")
    (tmp_path / "training.py").touch()
    (tmp_path / "run.csv").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "module", "says"),
    [
        ("trainign.py", False, "did you mean training.py?"),
        ("my_training", False, "is a folder"),
        ("run.csv", False, "`trainlint curves run.csv`"),
        ("my_trainign.fit", True, "there is no module my_trainign"),
        ("training.py", True, "leave out -m"),
    ],
)
def test_what_is_not_there_is_told_with_what_may_be_meant(name: str, module: bool, says: str, folder: Path) -> None:
    with pytest.raises(UsageError) as error:
        check_target(name, module=module)
    assert says in str(error.value)


@pytest.mark.parametrize(("name", "module"), [("training.py", False), ("training", True), ("my_training.fit", True), ("timeit", True)])
def test_what_is_there_is_not_run_to_know_it(name: str, module: bool, folder: Path) -> None:
    check_target(name, module=module)
