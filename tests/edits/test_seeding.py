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


def test_a_function_gives_back_the_state_that_it_found() -> None:
    becomes(
        "restore-generator",
        """
        import torch

        @torch.no_grad()
        def evaluate():
            \"\"\"The same each time.\"\"\"
            torch.manual_seed(0)  # here
            losses = [loss(batch()) for _ in range(10)]
            return losses
        """,
        """
        import torch

        @torch.no_grad()
        def evaluate():
            \"\"\"The same each time.\"\"\"
            random_state = torch.get_rng_state()
            torch.manual_seed(0)
            losses = [loss(batch()) for _ in range(10)]
            torch.set_rng_state(random_state)
            return losses
        """,
        generator="torch",
    )
    becomes(
        "restore-generator",
        """
        def show():
            np.random.seed(0)  # here
            plot(np.random.rand(3))
        """,
        """
        def show():
            random_state = np.random.get_state()
            np.random.seed(0)
            plot(np.random.rand(3))
            np.random.set_state(random_state)
        """,
        generator="numpy",
    )


def test_a_seed_in_the_loop_itself_is_set_once() -> None:
    becomes(
        "restore-generator",
        """
        for step in range(9):
            torch.manual_seed(0)  # here
            train(batch())
        """,
        """
        torch.manual_seed(0)
        for step in range(9):
            train(batch())
        """,
        generator="torch",
    )


def test_functions_with_several_ways_out_are_left() -> None:
    early = "def evaluate():\n    torch.manual_seed(0)  # here\n    if quick:\n        return 0\n    return measure\n"
    assert refused("restore-generator", early, generator="torch")
    assert refused("restore-generator", "def evaluate():\n    torch.manual_seed(0)  # here\n    return draw()\n", generator="torch")
    assert refused("restore-generator", "def evaluate():\n    set_seed(0)  # here\n    return 1\n", generator="torch")
