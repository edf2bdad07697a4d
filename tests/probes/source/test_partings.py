"""The line that splits what two loaders are made of."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainlint.probes.source.partings import parted_at
from trainlint.record.frames import Frames
from trainlint.record.seen import Loader

FOUND = {
    "a table split in one call": """
x, y = repeat(*load())
x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=0.2)  # HERE
scaler = StandardScaler().fit(x_train)
train = DataLoader(TensorDataset(torch.tensor(scaler.transform(x_train)), torch.tensor(y_train)))  # train
val = DataLoader(TensorDataset(torch.tensor(scaler.transform(x_val)), torch.tensor(y_val)))  # val
""",
    "slices": """
def parts():
    rows = torch.cat([rare.repeat(9, 1), common])
    n = int(0.8 * len(rows))
    kept = rows[:n]
    held = rows[n:]  # HERE
    return kept, held

def main():
    kept, held = parts()
    train = DataLoader(TensorDataset(kept.float()))  # train
    val = DataLoader(TensorDataset(held.float()))  # val
""",
    "rows of a frame": """
class Rows(Dataset):
    def __init__(self, frame):
        self.x = torch.tensor(frame.drop(columns="y").to_numpy())
        self.y = torch.tensor(frame["y"].to_numpy())

    def __getitem__(self, i):
        return self.x[i], self.y[i]

frame = read(name)
train_part, val_part = frame.iloc[order[9:]], frame.iloc[order[:9]]  # HERE
train = DataLoader(Rows(train_part))  # train
val = DataLoader(Rows(val_part))  # val
""",
    "parts that another file makes": """
train_x, val_x = helper.split(seed=3)  # HERE
train = DataLoader(TensorDataset(train_x))  # train
val = DataLoader(TensorDataset(val_x))  # val
""",
}
UNTOLD = {
    "the same file read twice": """
root = "data"
train = DataLoader(TensorDataset(load(root)))  # train
val = DataLoader(TensorDataset(load(root)))  # val
""",
    "a dataset that reads its own part": """
class Files(Dataset):
    def __init__(self, root, part):
        self.x = np.load(root)[part]

    def __getitem__(self, i):
        return self.x[i], 0

root = "data"
train = DataLoader(Files(root, "a"))  # train
val = DataLoader(Files(root, "b"))  # val
""",
    "different data": """
train = DataLoader(TensorDataset(torch.load("a")))  # train
val = DataLoader(TensorDataset(torch.load("b")))  # val
""",
    "one dataset": """
rows = TensorDataset(load())
train = DataLoader(rows)  # train
val = DataLoader(rows)  # val
""",
}


def parted(script: Path, text: str) -> int | None:
    script.write_text(text)
    lines = text.splitlines()
    numbers = [next(n for n, line in enumerate(lines, 1) if line.endswith(f"# {mark}")) for mark in ("train", "val")]
    train, val = [Loader(object(), i, (str(script), number, "")) for i, number in enumerate(numbers)]  # type: ignore[arg-type]
    recording: Any = SimpleNamespace(frames=Frames(), loaders=[train, val])
    found = parted_at(recording, (train, "[0]"), (val, "[0]"))
    return found[1] if found is not None else None


@pytest.mark.parametrize("text", FOUND.values(), ids=list(FOUND))
def test_the_line_that_splits_is_found(tmp_path: Path, text: str) -> None:
    line = parted(tmp_path / "script.py", text)
    assert line is not None
    assert text.splitlines()[line - 1].endswith("# HERE")


@pytest.mark.parametrize("text", UNTOLD.values(), ids=list(UNTOLD))
def test_parts_that_no_line_splits_are_left_alone(tmp_path: Path, text: str) -> None:
    assert parted(tmp_path / "script.py", text) is None
