import pytest

from .edited import becomes, edited, refused


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("o = torch.optim.SGD(p, lr=1e-6)  # here\n", "o = torch.optim.SGD(p, lr=0.003)\n"),
        (
            "a = TrainingArguments('out', learning_rate=1e-6, num_train_epochs=3)  # here\n",
            "a = TrainingArguments('out', learning_rate=0.003, num_train_epochs=3)\n",
        ),
        ("o = torch.optim.SGD(p, 1e-6)  # here\n", "o = torch.optim.SGD(p, 0.003)\n"),
        ("o = torch.optim.Adam(p)  # here\n", "o = torch.optim.Adam(p, lr=0.003)\n"),
        ("LR = 1e-6\ndef f():\n    o = torch.optim.Adam(p, lr=LR)  # here\n", "LR = 0.003\ndef f():\n    o = torch.optim.Adam(p, lr=LR)\n"),
        (
            "parser.add_argument('--lr', type=float, default=1e-6)\no = torch.optim.Adam(p, lr=float(args.lr))  # here\n",
            "parser.add_argument('--lr', type=float, default=0.003)\no = torch.optim.Adam(p, lr=float(args.lr))\n",
        ),
        (
            "@dataclass\nclass Config:\n    lr: float = 1e-6\ndef f(cfg):\n    o = torch.optim.Adam(p, lr=cfg.lr)  # here\n",
            "@dataclass\nclass Config:\n    lr: float = 0.003\ndef f(cfg):\n    o = torch.optim.Adam(p, lr=cfg.lr)\n",
        ),
        (
            'config = {"lr": 1e-6, "n": 3}\no = torch.optim.Adam(p, lr=config["lr"])  # here\n',
            'config = {"lr": 0.003, "n": 3}\no = torch.optim.Adam(p, lr=config["lr"])\n',
        ),
        (
            "def f(lr):\n    o = torch.optim.Adam(p, lr=lr)  # here\nf(lr=1e-2)\nf(1e-6)\n",
            "def f(lr):\n    o = torch.optim.Adam(p, lr=lr)\nf(lr=1e-2)\nf(0.003)\n",
        ),
        (
            "class T:\n    def __init__(self, lr=1e-6):\n        self.lr = lr\n    def g(self):\n        o = torch.optim.Adam(p, lr=self.lr)  # here\n",
            "class T:\n    def __init__(self, lr=0.003):\n        self.lr = lr\n    def g(self):\n        o = torch.optim.Adam(p, lr=self.lr)\n",
        ),
        (
            "o = torch.optim.SGD(p, lr=0.1)  # here\ns = OneCycleLR(o, max_lr=1e-6, total_steps=9)\n",
            "o = torch.optim.SGD(p, lr=0.1)\ns = OneCycleLR(o, max_lr=0.003, total_steps=9)\n",
        ),
        ("fit(model, lr=1e-6)  # here\n", "fit(model, lr=0.003)\n"),
    ],
)
def test_the_learning_rate_is_changed_where_it_is_written(before: str, after: str) -> None:
    assert edited("learning-rate", before, lr=0.003, configured=1e-6) == after


@pytest.mark.parametrize(
    "script",
    [
        "o = torch.optim.SGD(p, lr=1e-2)  # here\n",
        "o = torch.optim.SGD(p, lr=base * size)  # here\n",
        "o = torch.optim.SGD(p, **options)  # here\n",
        "lr = 1e-6\nlr = 1e-6\no = torch.optim.SGD(p, lr=lr)  # here\n",
        "o = make(p)  # here\n",
    ],
)
def test_a_learning_rate_from_elsewhere_is_left(script: str) -> None:
    assert refused("learning-rate", script, lr=0.003, configured=1e-6)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import torch\no = torch.optim.Adam(p)  # here\n", "import torch\no = torch.optim.AdamW(p)\n"),
        ("from torch import optim\no = optim.Adam(p)  # here\n", "from torch import optim\no = optim.AdamW(p)\n"),
        ("from torch.optim import Adam\no = Adam(p)  # here\n", "from torch.optim import AdamW\no = AdamW(p)\n"),
        (
            "from torch.optim import Adam, SGD\no = Adam(p)  # here\nq = Adam(r)\n",
            "from torch.optim import Adam, AdamW, SGD\no = AdamW(p)\nq = Adam(r)\n",
        ),
        ("import torch\no = torch.optim.NAdam(p)  # here\n", "import torch\no = torch.optim.NAdam(p, decoupled_weight_decay=True)\n"),
    ],
)
def test_decay_is_decoupled(before: str, after: str) -> None:
    assert edited("decoupled-decay", before) == after


def test_adam_of_another_package_is_left() -> None:
    assert refused("decoupled-decay", "from apex.optimizers import Adam\no = Adam(p)  # here\n")


def test_vectors_do_not_decay() -> None:
    after = edited("decay-groups", "import torch\no = torch.optim.AdamW(net.parameters(), weight_decay=0.1)  # here\n")
    assert after == (
        "import torch\no = torch.optim.AdamW([\n"
        '    {"params": [p for p in net.parameters() if p.ndim >= 2]},\n'
        '    {"params": [p for p in net.parameters() if p.ndim < 2], "weight_decay": 0.0},\n'
        "], weight_decay=0.1)\n"
    )
    assert refused("decay-groups", "import torch\no = torch.optim.AdamW(groups(net), weight_decay=0.1)  # here\n")


def test_no_rate_is_set_that_cures_nothing() -> None:
    assert "something else" in refused("learning-rate", "o = torch.optim.SGD(p, lr=0.1)  # here\n", lr=330.0)


def test_the_optimizer_moves_behind_the_new_head_with_what_uses_it() -> None:
    becomes(
        "all-parameters",
        """
        def main():
            model = Net()
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)  # here
            scheduler = StepLR(optimizer, 3)
            print("ready")
            model.head = nn.Linear(4, 2)
            train(model, optimizer)
        """,
        """
        def main():
            model = Net()
            print("ready")
            model.head = nn.Linear(4, 2)
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
            scheduler = StepLR(optimizer, 3)
            train(model, optimizer)
        """,
    )


def test_an_optimizer_that_is_used_before_stays() -> None:
    script = """
    optimizer = torch.optim.Adam(model.parameters())  # here
    for x in loader:
        optimizer.step()
    model.head = nn.Linear(4, 2)
    """
    assert refused("all-parameters", script)


def test_an_optimizer_of_a_part_gets_the_whole() -> None:
    after = edited("all-parameters", "o = torch.optim.Adam(net.head.parameters())  # here\n")
    assert after == "o = torch.optim.Adam(net.parameters())\n"


OPTION = """\
parser.add_argument("--lr", "--learning-rate", type=float, default=0.1)
args = parser.parse_args()
o = torch.optim.SGD(p, lr=args.lr)  # here
"""


def test_a_rate_from_the_command_line_is_not_changed_in_its_default() -> None:
    given = refused("learning-rate", OPTION, lr=0.0013, configured=0.4)
    assert given == "it comes from the command line: pass --lr 0.0013"
    assert "may come from the command line" in refused("learning-rate", OPTION, lr=0.0013)
    assert "default=0.0013" in edited("learning-rate", OPTION, lr=0.0013, configured=0.1)
    handed = OPTION.replace("lr=args.lr", "lr=lr").replace("o = ", "lr = args.lr\no = ")
    assert "pass --lr 0.0013" in refused("learning-rate", handed, lr=0.0013, configured=0.4)


def test_groups_stand_in_the_block_of_their_optimizer() -> None:
    becomes(
        "decay-groups",
        """
        def main():
            if adam:
                o = torch.optim.AdamW(net.parameters(), weight_decay=0.1)  # here
        """,
        """
        def main():
            if adam:
                o = torch.optim.AdamW([
                    {"params": [p for p in net.parameters() if p.ndim >= 2]},
                    {"params": [p for p in net.parameters() if p.ndim < 2], "weight_decay": 0.0},
                ], weight_decay=0.1)
        """,
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("o.load_state_dict(s)  # here\n", 'o.load_state_dict(s)\nfor group in o.param_groups:\n    group["lr"] = 0.001\n'),
        (
            "def resume(self, s):\n    if s:\n        self.optimizer.load_state_dict(s['optimizer'])  # here\n    return s\n",
            "def resume(self, s):\n    if s:\n        self.optimizer.load_state_dict(s['optimizer'])\n        for group in self.optimizer.param_groups:\n"
            '            group["lr"] = 0.001\n    return s\n',
        ),
    ],
)
def test_a_restored_learning_rate_is_set_again(before: str, after: str) -> None:
    becomes("restored-rate", before, after, lr=0.001)
