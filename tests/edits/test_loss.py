import pytest

from .edited import becomes, edited, refused

HEAD = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"


@pytest.mark.parametrize(
    ("line", "without"),
    [
        ("y = F.softmax(self.out(F.relu(h)), dim=1)", "y = self.out(F.relu(h))"),
        ("y = torch.softmax(input=out, dim=1)", "y = out"),
        ("y = self.out(h).softmax(-1)", "y = self.out(h)"),
        ("y = nn.Softmax(dim=1)(self.out(h))", "y = self.out(h)"),
        ("loss = F.cross_entropy(F.softmax(out, 1), y)", "loss = F.cross_entropy(out, y)"),
    ],
)
def test_a_softmax_is_left_out(line: str, without: str) -> None:
    assert edited("drop-activation", f"{HEAD}{line}  # here\n", activation="softmax") == f"{HEAD}{without}\n"


def test_an_activation_kept_as_a_module_is_left_out() -> None:
    becomes(
        "drop-activation",
        """
        class Net(nn.Module):
            def __init__(self):
                self.act, self.last = nn.ReLU(), nn.Sigmoid()
                self.out = nn.Sigmoid()

            def forward(self, x):
                return self.out(self.fc(self.act(x)))  # here
        """,
        """
        class Net(nn.Module):
            def __init__(self):
                self.act, self.last = nn.ReLU(), nn.Sigmoid()
                self.out = nn.Sigmoid()

            def forward(self, x):
                return self.fc(self.act(x))
        """,
        activation="sigmoid",
    )


def test_an_activation_at_the_end_of_a_sequential_is_left_out() -> None:
    becomes(
        "drop-activation",
        """
        class Net(nn.Module):
            def __init__(self):
                self.net = nn.Sequential(
                    nn.Linear(2, 2),
                    nn.Softmax(dim=1),
                )

            def forward(self, x):
                return self.net(x)  # here
        """,
        """
        class Net(nn.Module):
            def __init__(self):
                self.net = nn.Sequential(
                    nn.Linear(2, 2),
                )

            def forward(self, x):
                return self.net(x)
        """,
        activation="softmax",
    )


def test_an_activation_that_is_not_on_the_line_is_left() -> None:
    assert refused("drop-activation", f"{HEAD}y = head(x)  # here\n", activation="softmax")
    assert refused("drop-activation", f"{HEAD}y = F.relu(x)  # here\n", activation="softmax")


def test_softmax_becomes_log_softmax() -> None:
    assert edited("log-softmax", f"{HEAD}y = F.softmax(x, dim=1)  # here\n") == f"{HEAD}y = F.log_softmax(x, dim=1)\n"


@pytest.mark.parametrize(
    ("line", "values", "squeezed"),
    [
        ("F.mse_loss(model(x), y)", {"loss": "mse_loss", "change": "prediction"}, "F.mse_loss(model(x).squeeze(-1), y)"),
        ("criterion(pred, y)", {"loss": "mse_loss", "change": "target"}, "criterion(pred, y.squeeze(-1))"),
        ("F.mse_loss(pred, a + b)", {"loss": "mse_loss", "change": "view"}, "F.mse_loss(pred, (a + b).view_as(pred))"),
        ("F.mse_loss(target=y, input=p)", {"loss": "mse_loss", "change": "prediction"}, "F.mse_loss(target=y, input=p.squeeze(-1))"),
    ],
)
def test_shapes_are_made_equal(line: str, values: dict[str, str], squeezed: str) -> None:
    assert edited("match-shape", f"loss = {line}  # here\n", **values) == f"loss = {squeezed}\n"


def test_a_target_without_a_named_prediction_is_left() -> None:
    assert refused("match-shape", "loss = F.mse_loss(model(x), y)  # here\n", loss="mse_loss", change="view")


def test_a_sum_becomes_a_mean() -> None:
    after = edited("reduction", "self.loss = nn.MSELoss(reduction='sum')  # here\n", loss="mse_loss", reduction="mean")
    assert after == "self.loss = nn.MSELoss()\n"
    after = edited("reduction", "F.kl_div(p, q, reduction='mean')  # here\n", loss="kl_div", reduction="batchmean")
    assert after == "F.kl_div(p, q, reduction='batchmean')\n"
    assert refused("reduction", "nn.MSELoss(reduction=how)  # here\n", loss="mse_loss", reduction="mean")


def test_another_loss_takes_the_place_of_one() -> None:
    values = {"loss": "nll_loss", "to": "cross_entropy"}
    assert edited("swap-loss", "F.nll_loss(out, y)  # here\n", **values) == "F.cross_entropy(out, y)\n"
    assert edited("swap-loss", "criterion = nn.NLLLoss(weight=w)  # here\n", **values) == "criterion = nn.CrossEntropyLoss(weight=w)\n"
    assert refused("swap-loss", "nll_loss(out, y)  # here\n", **values)


def test_padding_is_ignored_by_its_name() -> None:
    script = "BOS, PAD_ID = 1, 0\nloss = F.cross_entropy(out, y)  # here\n"
    assert edited("ignore-index", script, index="0", loss="cross_entropy").endswith("F.cross_entropy(out, y, ignore_index=PAD_ID)\n")
    assert "ignore_index=3" in edited("ignore-index", script, index="3", loss="cross_entropy")


def test_padding_is_ignored_where_the_criterion_is_built() -> None:
    script = "criterion = nn.CrossEntropyLoss()\ndef step():\n    loss = criterion(out, y)  # here\n"
    assert "nn.CrossEntropyLoss(ignore_index=0)" in edited("ignore-index", script, index="0", loss="cross_entropy")


def test_positives_are_weighted() -> None:
    script = "import torch\ncriterion = nn.BCEWithLogitsLoss()  # here\n"
    assert "nn.BCEWithLogitsLoss(pos_weight=torch.tensor(24.0))" in edited("pos-weight", script, weight=24)
    assert "pos_weight=torch.tensor(2.57)" in edited("pos-weight", script, weight=2.5678)


@pytest.mark.parametrize(
    ("line", "soft"),
    [
        ("F.cross_entropy(out, y.argmax(1))", "F.cross_entropy(out, y)"),
        ("F.cross_entropy(out, torch.argmax(y, 1))", "F.cross_entropy(out, y)"),
    ],
)
def test_soft_targets_stay_soft(line: str, soft: str) -> None:
    assert edited("soft-target", f"import torch\nloss = {line}  # here\n", by="argmax") == f"import torch\nloss = {soft}\n"


def test_a_blended_input_has_both_labels() -> None:
    becomes(
        "mix-losses",
        """
        def train():
            x = lam * x + (1 - lam) * x[order]
            out = model(x)
            loss = criterion(out, y)  # here
            loss.backward()
        """,
        """
        def train():
            x = lam * x + (1 - lam) * x[order]
            out = model(x)
            loss = lam * criterion(out, y) + (1 - lam) * criterion(out, y[order])
            loss.backward()
        """,
        loss="cross_entropy",
    )


def test_both_labels_are_taken_from_the_function_that_mixes() -> None:
    script = "mixed, y_a, y_b, lam = mixup(x, y)\nout = model(mixed)\nloss = F.cross_entropy(out, y_a)  # here\n"
    after = edited("mix-losses", script, loss="cross_entropy")
    assert after.endswith("loss = lam * F.cross_entropy(out, y_a) + (1 - lam) * F.cross_entropy(out, y_b)\n")


def test_a_prediction_is_not_computed_twice() -> None:
    script = "x = lam * x + (1 - lam) * x[order]\nloss = F.cross_entropy(model(x), y)  # here\n"
    assert refused("mix-losses", script, loss="cross_entropy")


def test_labels_are_smoothed_once_and_targets_scaled() -> None:
    assert edited("label-smoothing", "c = nn.CrossEntropyLoss(weight=w, label_smoothing=0.1)  # here\n", loss="cross_entropy") == (
        "c = nn.CrossEntropyLoss(weight=w)\n"
    )
    assert edited("target", "loss = F.cross_entropy(out, a + b)  # here\n", loss="cross_entropy", to="{} - 1") == (
        "loss = F.cross_entropy(out, (a + b) - 1)\n"
    )
