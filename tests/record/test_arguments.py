"""Where the arguments of a Hugging Face Trainer are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from trainlint.record.arguments import arguments_place, warmup_told
from trainlint.record.frames import Frames, Place


@dataclass
class TrainingArguments:
    learning_rate: float = 5e-5
    warmup_steps: float = 0
    warmup_ratio: float | None = None
    lr_scheduler_type: str = "linear"


def place(
    script: str, folder: Path, module: str = "transformers.trainer", find: Callable[[Frames], object] = arguments_place
) -> Place | None:
    """What is found when a trainer of this module calls from line 1 of the script's last function."""
    inside: dict[str, object] = {"__name__": module, "found": partial(find, Frames())}
    exec(compile("def build(self):\n    return found()\n", f"<frozen {module}>", "exec"), inside)
    file = folder / "tune.py"
    file.write_text(script, "utf-8")
    names: dict[str, object] = {
        "__name__": "__main__",
        "build": inside["build"],
        "TrainingArguments": TrainingArguments,
        "Trainer": SimpleNamespace,
    }
    exec(compile(script, str(file), "exec"), names)
    return names["place"]  # type: ignore[return-value]


RUN = "place = build(Trainer(args=args))\n"


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("args = TrainingArguments(\n    learning_rate=0.3,\n)\n" + RUN, 2),
        ("args = TrainingArguments()\n" + RUN, 1),
        ("args = TrainingArguments(learning_rate=0.3)\nother = TrainingArguments()\n" + RUN, None),
        ("args = type('TrainingArguments', (), {'learning_rate': 0.3})()\n" + RUN, None),
    ],
)
def test_the_only_arguments_of_the_file_are_meant(script: str, line: int | None, tmp_path: Path) -> None:
    found = place(script, tmp_path)
    assert (found and found[1]) == line


def test_other_libraries_trainers_are_left_alone(tmp_path: Path) -> None:
    assert place("args = TrainingArguments(learning_rate=0.3)\n" + RUN, tmp_path, module="elsewhere.trainer") is None


def test_another_argument_is_found_by_its_name(tmp_path: Path) -> None:
    found = place(
        "args = TrainingArguments(\n    0.1,\n    lr_scheduler_type='constant',\n)\n" + RUN,
        tmp_path,
        find=partial(arguments_place, named="lr_scheduler_type"),
    )
    assert found is not None
    assert found[1] == 3


@pytest.mark.parametrize(("given", "told"), [("warmup_steps=50", 50.0), ("warmup_ratio=0.1", 0.1), ("", 0.0)])
def test_the_warm_up_is_told_where_a_trainer_builds(given: str, told: float, tmp_path: Path) -> None:
    script = f"args = TrainingArguments({given})\n" + RUN
    assert place(script, tmp_path, find=warmup_told) == told
    assert place(script, tmp_path, find=warmup_told, module="elsewhere") == 0.0
