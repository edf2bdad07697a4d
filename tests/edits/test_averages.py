import pytest

from .edited import becomes, edited, refused


def test_all_batch_norm_layers_with_the_momentum_get_the_other_one() -> None:
    becomes(
        "norm-momentum",
        """
        class Net(nn.Module):
            def __init__(self):
                self.a = nn.BatchNorm2d(8, momentum=0.99)  # here
                self.b = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8, 1e-3, 0.99))
                self.c = nn.BatchNorm1d(8, momentum=0.1)

        optimizer = SGD(net.parameters(), lr=0.1, momentum=0.99)
        """,
        """
        class Net(nn.Module):
            def __init__(self):
                self.a = nn.BatchNorm2d(8, momentum=0.01)
                self.b = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8, 1e-3, 0.01))
                self.c = nn.BatchNorm1d(8, momentum=0.1)

        optimizer = SGD(net.parameters(), lr=0.1, momentum=0.99)
        """,
        momentum=0.99,
        new=0.01,
    )


def test_the_momentum_is_written_where_its_name_gets_it() -> None:
    before = "BN = 0.9997\ndef block(n):\n    return nn.BatchNorm2d(n, momentum=BN)  # here\n"
    after = "BN = 0.0003\ndef block(n):\n    return nn.BatchNorm2d(n, momentum=BN)\n"
    assert edited("norm-momentum", before, momentum=0.9997, new=0.0003) == after


def test_a_momentum_that_the_optimizer_shares_is_left_alone() -> None:
    before = "M = 0.99\nbn = nn.BatchNorm2d(8, momentum=M)  # here\noptimizer = SGD(bn.parameters(), lr=0.1, momentum=M)\n"
    assert "SGD takes its momentum" in refused("norm-momentum", before, momentum=0.99, new=0.01)


@pytest.mark.parametrize("line", ["bn = nn.BatchNorm2d(8)", "bn = nn.BatchNorm2d(8, momentum=1 - m)", "bn = make_norm(8, momentum=0.99)"])
def test_a_momentum_that_is_not_written_there_is_left_alone(line: str) -> None:
    assert refused("norm-momentum", f"{line}  # here\n", momentum=0.99, new=0.01)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("ema = EMA(model, decay=0.9999)  # here\n", "ema = EMA(model, decay=0.95)\n"),
        ("ema = AveragedModel(model, multi_avg_fn=f(0.9999))  # here\n", "ema = AveragedModel(model, multi_avg_fn=f(0.95))\n"),
        ("s.mul_(0.9999).add_(f, alpha=0.0001)  # here\n", "s.mul_(0.95).add_(f, alpha=0.05)\n"),
        ("D = 0.9999\ns.mul_(D).add_(f, alpha=1 - D)  # here\n", "D = 0.95\ns.mul_(D).add_(f, alpha=1 - D)\n"),
        ("TAU = 1e-4\ns.lerp_(f, TAU)  # here\n", "TAU = 0.05\ns.lerp_(f, TAU)\n"),
    ],
)
def test_the_decay_of_an_average_is_written_where_it_stands(before: str, after: str) -> None:
    assert edited("average-decay", before, decay=0.9999, new=0.95) == after


def test_the_decay_is_followed_to_where_the_average_is_built() -> None:
    becomes(
        "average-decay",
        """
        class EMA:
            def __init__(self, model, decay):
                self.decay = decay

            def update(self, model):
                for s, f in zip(self.copy, model.parameters()):
                    s.mul_(self.decay).add_(f, alpha=1 - self.decay)  # here

        ema = EMA(model, decay=0.9999)
        """,
        """
        class EMA:
            def __init__(self, model, decay):
                self.decay = decay

            def update(self, model):
                for s, f in zip(self.copy, model.parameters()):
                    s.mul_(self.decay).add_(f, alpha=1 - self.decay)

        ema = EMA(model, decay=0.95)
        """,
        decay=0.9999,
        new=0.95,
    )


def test_a_decay_from_elsewhere_is_left_alone() -> None:
    assert "not written" in refused("average-decay", "ema = EMA(model)  # here\n", decay=0.9999, new=0.95)
    assert "several" in refused("average-decay", "ema = EMA(model, 0.9999, 0.9999)  # here\n", decay=0.9999, new=0.95)
    option = "p.add_argument('--decay', type=float, default=0.99)\nargs = p.parse_args()\nema = EMA(model, args.decay)  # here\n"
    assert "pass --decay 0.95" in refused("average-decay", option, decay=0.9999, new=0.95)


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("best = model.state_dict()", "best = copy.deepcopy(model.state_dict())"),
        ("best = self.model", "best = copy.deepcopy(self.model)"),
        ("least, best = loss, model.state_dict()", "least, best = loss, copy.deepcopy(model.state_dict())"),
    ],
)
def test_what_is_kept_is_copied(line: str, after: str) -> None:
    text = "import torch\nif loss < least:\n    {}\n"
    assert edited("copy-kept", text.format(f"{line}  # here"), what="best") == "import copy\n" + text.format(after)


def test_copying_uses_the_name_that_is_imported() -> None:
    text = "from copy import deepcopy\nbest = model.state_dict()  # here\n"
    assert edited("copy-kept", text, what="best") == "from copy import deepcopy\nbest = deepcopy(model.state_dict())\n"


@pytest.mark.parametrize(
    "line",
    ["best = copy.deepcopy(model.state_dict())", "best = state = model.state_dict()", "keep(best, model.state_dict())", "other = model"],
)
def test_what_is_copied_already_or_used_otherwise_is_left_alone(line: str) -> None:
    assert refused("copy-kept", f"import copy\n{line}  # here\n", what="best")
    assert "something else" in refused("copy-kept", "copy = 1\nbest = model.state_dict()  # here\n", what="best")


@pytest.mark.parametrize(
    ("call", "after", "better"),
    [
        ('TrainingArguments("out", metric_for_best_model="mae", seed=1)',
         'TrainingArguments("out", metric_for_best_model="mae", greater_is_better=False, seed=1)', "False"),
        ("ModelCheckpoint(monitor='mae', mode='max')", "ModelCheckpoint(monitor='mae', mode='min')", "min"),
        ('Trainer(callbacks=[EarlyStopping("mae", patience=3)])', 'Trainer(callbacks=[EarlyStopping("mae", patience=3, mode="min")])', "min"),
    ],
)  # fmt: skip
def test_the_better_direction_is_set_beside_the_metric(call: str, after: str, better: str) -> None:
    setting = "greater_is_better" if better == "False" else "mode"
    assert edited("better-direction", f"a = {call}  # here\n", metric="mae", setting=setting, better=better) == f"a = {after}\n"


@pytest.mark.parametrize(
    "call",
    [
        'EarlyStopping("mae", 0.0, 3, False, "max")',
        'ModelCheckpoint(monitor="mae", mode=mode)',
        "EarlyStopping(metric)",
        'F("mae", **more)',
    ],
)
def test_a_direction_that_is_not_written_is_left(call: str) -> None:
    assert refused("better-direction", f"a = {call}  # here\n", metric="mae", setting="mode", better="min")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("slow = m * slow + (1 - m) * fast", "slow.data.copy_(m * slow + (1 - m) * fast)"),
        ("own[k] = own[k] * m", "own[k].data.copy_(own[k] * m)"),
        ("slow.data.mul(m).add(fast)", "slow.data.copy_(slow.data.mul(m).add(fast))"),
    ],
)
def test_a_new_value_is_written_into_the_tensor(before: str, after: str) -> None:
    assert edited("write-into", f"for slow, fast in pairs:\n    {before}  # here\n") == f"for slow, fast in pairs:\n    {after}\n"
    assert "one name" in refused("write-into", "for slow, fast in pairs:  # here\n    pass\n")


def test_the_direction_of_a_score_that_may_be_given_without_its_name_is_left() -> None:
    told = {"metric": "f1", "setting": "lower_is_better", "better": "False"}
    assert edited("better-direction", 'a = EpochScoring("f1")  # here\n', **told) == 'a = EpochScoring("f1", lower_is_better=False)\n'
    assert "without a keyword" in refused("better-direction", 'a = EpochScoring("f1", True)  # here\n', **told)
