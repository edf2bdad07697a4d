"""In a notebook the report shows itself under the cell."""

from __future__ import annotations

import nbformat
import pytest

CELL = """
import torch, trainlint
from torch import nn
x = torch.randn(32, 4)
data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, (x[:, 0] > 0).long()), 8)
trainlint.check(nn.Sequential(nn.Linear(4, 2), nn.Softmax(1)), data, loss_fn=nn.CrossEntropyLoss(), only=["output-activation"])
"""


@pytest.mark.filterwarnings("ignore")
def test_the_report_shows_inline() -> None:
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(notebook, timeout=200, kernel_name="python3").execute()
    shown = [o["data"]["text/html"] for o in notebook.cells[0].outputs if "text/html" in o.get("data", {})]
    assert len(shown) == 1
    assert shown[0].startswith("<iframe")
    assert "output-activation" in shown[0]
