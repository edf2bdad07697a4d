"""The line that scales inputs and whose result nothing reads."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainlint.probes.source.lost_scaling import lost_scaling
from trainlint.record.frames import Frames
from trainlint.record.seen import Loader

LOADER = """
train = DataLoader(TensorDataset(torch.tensor(rows, dtype=torch.float32), torch.tensor(y)))  # train
"""
FOUND = {
    "a loop's own variable": """
rows, others = table[:80].to_numpy(), table[80:].to_numpy()
for part in (rows, others):
    part = (part - rows.mean(0)) / rows.std(0)  # HERE
""",
    "a name that is forgotten": """
rows = np.loadtxt("a.csv")
scaled = StandardScaler().fit_transform(rows)  # HERE
""",
    "methods, and no name": """
rows = read("a.csv")
rows.sub(rows.mean()).div(rows.std())  # HERE
""",
    "a part of a split": """
rows, others, y, z = train_test_split(table, labels)
scaler = MinMaxScaler().fit(rows)
scaler.transform(rows)  # HERE
scaler.transform(others)
""",
    "divided by a range": """
rows = np.load("a.npy")
for each in [rows]:
    each = each / 255  # HERE
""",
}
UNTOLD = {
    "kept": "rows = np.loadtxt('a.csv')\nrows = (rows - rows.mean(0)) / rows.std(0)\n",
    "kept in a list": "rows, others = read()\nparts = []\nfor part in (rows, others):\n    part = (part - 3) / 4\n    parts.append(part)\n",
    "changed in place": "rows, others = read()\nfor part in (rows, others):\n    part -= part.mean(0)\n    part /= part.std(0)\n",
    "read elsewhere": "rows = read()\nscaled = (rows - 3) / 4\ndef plot():\n    draw(scaled)\n",
    "something else is scaled": "rows = read()\nscale = (other - 3) / 4\n",
    "no scaling": "rows = read()\ncentred = rows - rows.mean(0)\nrows.describe()\n",
    "fitted by a call that also transforms": "rows = read()\nscaler.fit_transform(rows)\nrows = scaler.transform(rows)\n",
    "the fit is used": "rows = read()\nscaler.fit(rows)\nrows = scaler.transform(rows)\n",
}


def lost(script: Path, text: str) -> int | None:
    script.write_text(text + LOADER)
    line = len((text + LOADER).splitlines())
    entry = Loader(object(), 0, (str(script), line, ""))  # type: ignore[arg-type]
    recording: Any = SimpleNamespace(frames=Frames(), loaders=[entry])
    found = lost_scaling(recording, entry, "[0]")
    return found[1] if found is not None else None


@pytest.mark.parametrize("text", FOUND.values(), ids=list(FOUND))
def test_the_line_that_scales_for_nothing_is_found(tmp_path: Path, text: str) -> None:
    line = lost(tmp_path / "script.py", text)
    assert line is not None
    assert text.splitlines()[line - 1].endswith("# HERE")


@pytest.mark.parametrize("text", UNTOLD.values(), ids=list(UNTOLD))
def test_results_that_are_kept_are_left_alone(tmp_path: Path, text: str) -> None:
    assert lost(tmp_path / "script.py", text) is None
