"""The line that joins labels to inputs by an index that one of the tables has lost."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainlint.probes.source.index_joins import joined_apart
from trainlint.record.frames import Frames
from trainlint.record.seen import Loader

LOADER = """
data = TensorDataset(torch.tensor(rows.drop(columns="y").to_numpy()), torch.tensor(rows["y"].to_numpy()))
train = DataLoader(data)  # train
"""
FOUND = {
    "join": """
table = pd.read_csv("a.csv").sample(frac=1)
rows = pd.DataFrame(scaler.fit_transform(table[columns]), columns=columns)
rows = rows.join(table["y"])  # HERE
""",
    "a column": """
table = pd.read_csv("a.csv")
table = table.dropna()
rows = pd.DataFrame(np.fft.rfft(table[columns].to_numpy()).real)
rows["y"] = table["y"]  # HERE
""",
    "concat": """
table = pd.read_csv("a.csv")
kept = table[table.quality > 3]
values = kept[columns].values
rows = pd.concat([pd.DataFrame(values / 10), kept["y"]], axis=1)  # HERE
""",
    "a part of a split": """
one, other = train_test_split(table, test_size=0.2)
scaled = pd.DataFrame(scaler.fit_transform(one[columns]))
rows = scaled.assign(y=one["y"])  # HERE
""",
    "labels that were counted anew": """
table = pd.read_csv("a.csv").sort_values("time")
labels = table["y"].reset_index(drop=True)
rows = table.drop(columns="y").join(labels)  # HERE
""",
}
UNTOLD = {
    "the index is handed on": """
table = pd.read_csv("a.csv").sample(frac=1)
rows = pd.DataFrame(scaler.fit_transform(table[columns]), index=table.index).join(table["y"])
""",
    "rows in their own order": """
table = pd.read_csv("a.csv")
rows = pd.DataFrame(scaler.fit_transform(table[columns])).join(table["y"])
""",
    "counted anew after the shuffle": """
table = pd.read_csv("a.csv").sample(frac=1).reset_index(drop=True)
rows = pd.DataFrame(scaler.fit_transform(table[columns])).join(table["y"])
""",
    "shuffled with a new index": """
table = pd.read_csv("a.csv").sample(frac=1, ignore_index=True)
rows = pd.DataFrame(scaler.fit_transform(table[columns]))
rows["y"] = table["y"]
""",
    "values, not a column": """
table = pd.read_csv("a.csv").sample(frac=1)
rows = pd.DataFrame(scaler.fit_transform(table[columns]))
rows["y"] = table["y"].to_numpy()
""",
    "a table of a table": """
table = pd.read_csv("a.csv").sample(frac=1)
rows = pd.DataFrame(np.log1p(table[columns])).join(table["y"])
""",
    "joined by a key": """
table = pd.read_csv("a.csv").sample(frac=1)
rows = pd.DataFrame(table[columns].to_numpy(), columns=columns).join(table["y"], on="name")
""",
    "the index is set": """
table = pd.read_csv("a.csv").sample(frac=1)
rows = pd.DataFrame(scaler.fit_transform(table[columns]))
rows.index = table.index
rows = rows.join(table["y"])
""",
    "counted anew in place": """
table = pd.read_csv("a.csv").sample(frac=1)
table.reset_index(drop=True, inplace=True)
rows = pd.DataFrame(scaler.fit_transform(table[columns])).join(table["y"])
""",
}


def joined(script: Path, text: str) -> int | None:
    script.write_text(text + LOADER)
    line = len((text + LOADER).splitlines())
    entry = Loader(object(), 0, (str(script), line, ""))  # type: ignore[arg-type]
    recording: Any = SimpleNamespace(frames=Frames(), loaders=[entry])
    found = joined_apart(recording, entry, "[1]")
    return found[1] if found is not None else None


@pytest.mark.parametrize("text", FOUND.values(), ids=list(FOUND))
def test_the_line_that_joins_is_found(tmp_path: Path, text: str) -> None:
    line = joined(tmp_path / "script.py", text)
    assert line is not None
    assert text.splitlines()[line - 1].endswith("# HERE")


@pytest.mark.parametrize("text", UNTOLD.values(), ids=list(UNTOLD))
def test_tables_that_fit_each_other_are_left_alone(tmp_path: Path, text: str) -> None:
    assert joined(tmp_path / "script.py", text) is None
