"""Inputs and labels that are one table's rows in two orders."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainlint.probes.source.table_orders import ordered_apart
from trainlint.record.frames import Frames
from trainlint.record.seen import Loader

HEAD = """
columns = ["price", "count"]"""
LOADER = """
train = DataLoader(TensorDataset(torch.tensor(x), torch.tensor(y)))  # train
"""
SPLIT = """
x, x_val, y, y_val = train_test_split(x, y, test_size=0.2)
mean = x.mean(0)
x, x_val = (x - mean) / 2, (x_val - mean) / 2
"""
FOUND = {
    "groups and first rows": """
sales = pd.read_csv("sales.csv")
sums = sales.groupby("shop")[["price", "count"]].sum()
sums["price"] = sums["price"] / 100
kept = sales.drop_duplicates(subset=["shop"])["closed"]  # HERE
x, y = sums.to_numpy(), kept.to_numpy()
""",
    "after a split": """
sales = read_sales()
x = sales.groupby(by="shop").agg(["mean", "max"]).to_numpy(dtype=np.float32)
y = sales.groupby("shop", sort=False)["closed"].first().values  # HERE
"""
    + SPLIT,
    "in a function and a dataset of the user's": """
def tables(sales):
    sums = sales.groupby("shop")[columns].mean().fillna(0)
    closed = sales.drop_duplicates("shop")["closed"]  # HERE
    return sums.to_numpy(), closed.to_numpy()

x, y = tables(pd.read_csv("sales.csv"))
""",
    "inputs shuffled alone": """
sales = pd.read_csv("sales.csv")
x = sales.sample(frac=1)[columns].to_numpy()  # HERE
y = sales["closed"].to_numpy()
""",
    "labels sorted alone": """
sales = pd.read_csv("sales.csv").dropna()
late = sales.sort_values("day")["closed"]  # HERE
x, y = sales[columns].values, late.values
""",
    "inputs of groups, sorted the other way": """
sales = pd.read_csv("sales.csv")
one = sales.drop_duplicates("shop")
x = one[["price"]].to_numpy()
y = sales.groupby("shop")["closed"].max().to_numpy()  # HERE
""",
}
UNTOLD = {
    "both by groups": """
sales = pd.read_csv("sales.csv")
x = sales.groupby("shop")[columns].mean().to_numpy()
y = sales.groupby("shop")["closed"].first().to_numpy()
""",
    "sorted before": """
sales = pd.read_csv("sales.csv").sort_values("shop")
x = sales.groupby("shop")[columns].mean().to_numpy()
y = sales.drop_duplicates("shop")["closed"].to_numpy()
""",
    "asked by the groups' index": """
sales = pd.read_csv("sales.csv")
sums = sales.groupby("shop")[columns].mean()
x = sums.to_numpy()
y = sales.drop_duplicates("shop").set_index("shop").loc[sums.index, "closed"].to_numpy()
""",
    "put in order again": """
sales = pd.read_csv("sales.csv")
x = sales.groupby("shop")[columns].mean().to_numpy()
y = sales.drop_duplicates("shop").set_index("shop").sort_index()["closed"].to_numpy()
""",
    "joined": """
sales = pd.read_csv("sales.csv")
sums = sales.groupby("shop")[columns].mean()
table = sums.join(sales.drop_duplicates("shop").set_index("shop")["closed"])
x, y = table[columns].to_numpy(), table["closed"].to_numpy()
""",
    "shuffled together": """
sales = pd.read_csv("sales.csv").sample(frac=1)
x, y = sales[columns].to_numpy(), sales["closed"].to_numpy()
""",
    "two tables": """
sales, shops = pd.read_csv("sales.csv"), pd.read_csv("shops.csv")
x = sales.groupby("shop")[columns].mean().to_numpy()
y = shops.drop_duplicates("shop")["closed"].to_numpy()
""",
    "two tables of one function": """
sales, shops = read_both("a.csv")
x = sales.sort_values("shop")[columns].to_numpy()
y = shops["closed"].to_numpy()
""",
    "in place": """
sales = pd.read_csv("sales.csv")
sales.sort_values("shop", inplace=True)
x = sales.groupby("shop")[columns].mean().to_numpy()
y = sales.drop_duplicates("shop")["closed"].to_numpy()
""",
    "a part, set by its index": """
sales = pd.read_csv("sales.csv")
sales["rank"] = sales.sort_values("day")["price"].rank()
x, y = sales[columns].to_numpy(), sales["closed"].to_numpy()
""",
    "picked in an order, by a name": """
sales = pd.read_csv("sales.csv")
order = np.argsort(sales["shop"])
x = sales.sort_values("shop")[columns].to_numpy()
y = sales["closed"].to_numpy()
y = y[order]
""",
    "picked in an order": """
sales = pd.read_csv("sales.csv")
order = np.argsort(sales["shop"])
x = sales.sort_values("shop")[columns].to_numpy()
y = sales["closed"].to_numpy()[order]
""",
}


def apart(script: Path, text: str) -> int | None:
    script.write_text(text + LOADER)
    line = len((text + LOADER).splitlines())
    entry = Loader(object(), 0, (str(script), line, ""))  # type: ignore[arg-type]
    recording: Any = SimpleNamespace(frames=Frames(), loaders=[entry])
    found = ordered_apart(recording, entry, "[0]", "[1]")
    return found[1] if found is not None else None


@pytest.mark.parametrize("text", FOUND.values(), ids=list(FOUND))
def test_the_line_that_orders_alone_is_found(tmp_path: Path, text: str) -> None:
    line = apart(tmp_path / "script.py", HEAD + text)
    assert line is not None
    assert (HEAD + text).splitlines()[line - 1].endswith("# HERE")


@pytest.mark.parametrize("text", UNTOLD.values(), ids=list(UNTOLD))
def test_rows_in_one_order_are_left_alone(tmp_path: Path, text: str) -> None:
    assert apart(tmp_path / "script.py", HEAD + text) is None
