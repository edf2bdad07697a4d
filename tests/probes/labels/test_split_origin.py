"""The line that makes the labels of one part and not of the other, by the source alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainlint.probes.labels.split_origin import made_apart
from trainlint.record.frames import Frames
from trainlint.record.seen import Loader

HELPER = """
def encode(names):
    table = {c: i for i, c in enumerate(names)}
    return [table[n] for n in names]

y_train = encode(names[:10])
y_val = encode(names[10:])  # HERE
train_set = TensorDataset(x[:10], torch.tensor(y_train))
val_set = TensorDataset(x[10:], torch.tensor(y_val))
train = DataLoader(train_set, 4)  # train
val = DataLoader(val_set, 4)  # val
"""
TABLES = """
class Words(Dataset):
    def __init__(self, rows, table):
        self.rows, self.table = rows, table

    def __getitem__(self, i):
        word, name = self.rows[i]
        return {"x": word, "labels": self.table[name]}

def main():
    train_table = {n: i for i, n in enumerate(names)}
    val_table = {n: i for i, n in enumerate(other)}  # HERE
    train = Words(rows, train_table)
    val = Words(rows, table=val_table)
    fit(DataLoader(train, 4, shuffle=True),  # train
        DataLoader(dataset=val))  # val
"""
OF_TRAINING = """
class Data:
    def __init__(self):
        x, y = load()
        self.train = arrays(x[:10], y[:10] + 1)  # HERE
        self.val = arrays(x[10:], y[10:])

    def loaders(self):
        train = DataLoader(self.train)  # train
        return train, DataLoader(self.val)  # val

def arrays(x, y):
    return TensorDataset(x, torch.as_tensor(y).long())
"""
SHARED = """
class Words(Dataset):
    def __init__(self, names):
        self.names = names
        self.table = {n: i for i, n in enumerate(names)}  # HERE

    def __getitem__(self, i):
        label = self.table[self.names[i]]
        return i, label

train = DataLoader(Words(names[:10]))  # train
val = DataLoader(Words(names[10:]))  # val
"""
SCALED = """
x_train, x_val, y_train, y_val = train_test_split(x, y)
y_val -= 1  # HERE
train = DataLoader(TensorDataset(x_train, y_train))  # train
val = DataLoader(TensorDataset(x_val, y_val))  # val
"""

READ = """
def read(part):
    x, y = load()
    if part == "train":
        return x[:10], y[:10] + 1  # HERE
    return x[10:], y[10:]

def both():
    x, y = read("train")
    other, labels = read("val")
    return TensorDataset(x, y), TensorDataset(other, labels)

train_set, val_set = both()
train = DataLoader(train_set)  # train
val = DataLoader(val_set)  # val
"""

ENCODED = """
class Table(Dataset):
    def __init__(self, frame):
        self.x = torch.tensor(frame.drop(columns="kind").to_numpy())
        self.y = torch.tensor(
            frame["kind"].astype("category").cat.codes.to_numpy())  # HERE

    def __getitem__(self, i):
        return {"x": self.x[i], "labels": self.y[i]}

train = DataLoader(Table(read("one.csv")))  # train
val = DataLoader(Table(read("other.csv")))  # val
"""
ENCODED_APART = """
frame, other = pd.read_csv("one.csv"), pd.read_csv("other.csv")
y = pd.Categorical(frame.kind).codes
y_val = pd.Categorical(other.kind).codes  # HERE
train = DataLoader(TensorDataset(x, torch.as_tensor(y)))  # train
val = DataLoader(TensorDataset(x_val, torch.as_tensor(y_val)))  # val
"""
FACTORISED = """
def arrays(frame):
    labels, names = pd.factorize(frame["kind"])  # HERE
    return torch.tensor(frame.x.to_numpy()), torch.tensor(labels)

def loader(x, y, shuffle):
    return DataLoader(TensorDataset(x, y), shuffle=shuffle)

train, val = loader(*arrays(one), True), loader(*arrays(other), False)
"""


def entries(script: Path, text: str) -> list[Loader]:
    script.write_text(text)
    lines = text.splitlines()
    numbers = [next(n for n, line in enumerate(lines, 1) if line.endswith(f"# {mark}")) for mark in ("train", "val")]
    return [Loader(object(), i, (str(script), number, "")) for i, number in enumerate(numbers)]  # type: ignore[arg-type]


def apart(loaders: list[Loader], path: str = "[1]") -> Any:
    recording: Any = SimpleNamespace(frames=Frames(), loaders=loaders)
    return made_apart(recording, (loaders[0], path), (loaders[1], path))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (HELPER, "[1]"),
        (TABLES, "['labels']"),
        (OF_TRAINING, "[1]"),
        (SHARED, "[1]"),
        (SCALED, "[1]"),
        (READ, "[1]"),
        (ENCODED, "['labels']"),
        (ENCODED_APART, "[1]"),
    ],
)
def test_the_line_of_the_part_that_differs(tmp_path: Path, text: str, path: str) -> None:
    found = apart(entries(tmp_path / "script.py", text), path)
    assert found is not None
    assert text.splitlines()[found[1] - 1].endswith("# HERE")


def test_loaders_that_a_function_builds_are_followed_to_its_callers(tmp_path: Path) -> None:
    text = "def loader(x, y):\n    return DataLoader(TensorDataset(x, y))\n\ntrain = loader(x, y)\nval = loader(x,\n    other(y))\n"
    script = tmp_path / "script.py"
    script.write_text(text)
    built = [Loader(object(), i, (str(script), 2, "loader"), callers=[(str(script), line, "")]) for i, line in enumerate((4, 5))]  # type: ignore[arg-type]
    assert apart(built) == (str(script), 6, "<module>")


def test_two_calls_on_one_line_are_told_apart_by_their_turns(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(FACTORISED)
    built = [Loader(object(), i, (str(script), 7, "loader"), callers=[(str(script), 9, "<module>")]) for i in range(2)]  # type: ignore[arg-type]
    assert apart(built) == (str(script), 3, "arrays")


def test_nothing_is_told_apart_where_all_lines_are_shared(tmp_path: Path) -> None:
    text = "for part in parts:\n    loaders[part] = DataLoader(TensorDataset(x[part], y[part]))\n"
    script = tmp_path / "script.py"
    script.write_text(text)
    assert apart([Loader(object(), i, (str(script), 2, "")) for i in range(2)]) is None  # type: ignore[arg-type]


def test_nothing_is_told_where_a_way_ends_at_the_dataset(tmp_path: Path) -> None:
    text = "a, b = random_split(data, [8, 2])\ntrain = DataLoader(a)  # train\nval = DataLoader(b)  # val\n"
    assert apart(entries(tmp_path / "script.py", text)) is None


def test_a_script_that_cannot_be_read_tells_nothing(tmp_path: Path) -> None:
    assert apart([Loader(object(), i, (str(tmp_path / "none.py"), 2, "")) for i in range(2)]) is None  # type: ignore[arg-type]
