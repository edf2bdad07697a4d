from .edited import becomes, refused


def test_a_seed_set_in_each_epoch_is_set_once() -> None:
    becomes(
        "seed-once",
        """
        for fold in range(3):
            for epoch in range(9):
                random.seed(1)
                np.random.seed(seed)
                torch.manual_seed(seed)  # here
                for x, y in loader:
                    step(x, y)
        """,
        """
        random.seed(1)
        np.random.seed(seed)
        torch.manual_seed(seed)
        for fold in range(3):
            for epoch in range(9):
                for x, y in loader:
                    step(x, y)
        """,
    )


def test_the_only_seed_in_a_loop_is_found_from_the_loader() -> None:
    becomes(
        "seed-once",
        """
        def fit():
            loader = DataLoader(data, shuffle=True, generator=g)  # here
            for epoch in range(9):
                g.manual_seed(0)
                for x, y in loader:
                    step(x, y)
        """,
        """
        def fit():
            loader = DataLoader(data, shuffle=True, generator=g)
            g.manual_seed(0)
            for epoch in range(9):
                for x, y in loader:
                    step(x, y)
        """,
    )


def test_a_function_called_in_each_epoch_leaves_the_seed_to_its_caller() -> None:
    becomes(
        "seed-once",
        """
        def train_epoch(model, seed):
            set_seed(seed)  # here
            step(model)

        def main(seed=0):
            set_seed(seed)
            for epoch in range(9):
                train_epoch(model, seed)
        """,
        """
        def train_epoch(model, seed):
            step(model)

        def main(seed=0):
            set_seed(seed)
            for epoch in range(9):
                train_epoch(model, seed)
        """,
    )
    becomes(
        "seed-once",
        """
        def train_epoch(model):
            torch.manual_seed(0)  # here
            step(model)

        for epoch in range(9):
            train_epoch(model)
        """,
        """
        def train_epoch(model):
            step(model)

        torch.manual_seed(0)
        for epoch in range(9):
            train_epoch(model)
        """,
    )


def test_in_doubt_a_seed_stays_where_it_is() -> None:
    for script in (
        "for e in range(9):\n    set_seed(seed + e)  # here\n",
        "for e in range(9):\n    set_seed(draw())  # here\n",
        "for e in range(9):\n    k = 3\n    set_seed(k)  # here\n",
        "for e in range(9):\n    if e > 2:\n        set_seed(0)  # here\n",
        "set_seed(0)  # here\n",
        "for e in range(9):\n    step()  # here\n",
        "def f(seed):\n    set_seed(seed)  # here\n\nfor e in range(9):\n    f(e)\n",
        "def f():\n    set_seed(0)  # here\n\nfor e in range(9):\n    f()\nf()\n",
        "for e in range(9):\n    state = set_seed(0)  # here\n",
    ):
        assert refused("seed-once", script)
