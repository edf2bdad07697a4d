from .edited import becomes, edited, refused


def test_training_mode_is_switched_on_before_the_batches() -> None:
    becomes(
        "train-mode",
        """
        class Trainer:
            def fit(self):
                for epoch in range(3):
                    for x, y in self.loader:  # here
                        loss = self.criterion(self.model(x), y)
                        loss.backward()

            def validate(self):
                self.model.eval()
        """,
        """
        class Trainer:
            def fit(self):
                for epoch in range(3):
                    self.model.train()
                    for x, y in self.loader:
                        loss = self.criterion(self.model(x), y)
                        loss.backward()

            def validate(self):
                self.model.eval()
        """,
    )


def test_of_two_models_none_is_chosen() -> None:
    script = """
    generator.to(device), critic.to(device)
    for x in loader:  # here
        critic(generator(x)).backward()
    """
    assert "which model" in refused("train-mode", script)


def test_a_validating_function_gets_eval_and_a_decorator() -> None:
    becomes(
        "eval-mode",
        """
        import torch

        def accuracy(model, loader):
            hits = 0
            for x, y in loader:  # here
                hits += (model(x).argmax(1) == y).sum().item()
            return hits

        def epoch(model, loader, optimizer):
            model.train()
            for x, y in loader:
                f(model(x), y).backward()
        """,
        """
        import torch

        @torch.no_grad()
        def accuracy(model, loader):
            hits = 0
            model.eval()
            for x, y in loader:
                hits += (model(x).argmax(1) == y).sum().item()
            return hits

        def epoch(model, loader, optimizer):
            model.train()
            for x, y in loader:
                f(model(x), y).backward()
        """,
        gradients=True,
    )


def test_a_loop_that_never_returns_to_training_mode_is_made_to() -> None:
    becomes(
        "eval-mode",
        """
        import torch.nn as nn
        model = nn.Linear(2, 2)
        model.train()
        for epoch in range(3):
            for x, y in train:
                f(model(x), y).backward()
            for x, y in val:  # here
                text = '''kept
        as it is'''
                total += f(model(x), y).item()
        """,
        """
        import torch
        import torch.nn as nn
        model = nn.Linear(2, 2)
        model.train()
        for epoch in range(3):
            for x, y in train:
                f(model(x), y).backward()
            model.eval()
            with torch.no_grad():
                for x, y in val:
                    text = '''kept
        as it is'''
                    total += f(model(x), y).item()
            model.train()
        """,
        gradients=True,
    )


def test_a_loop_that_takes_derivatives_keeps_its_gradients() -> None:
    script = """
    import torch
    for x in val:  # here
        torch.autograd.grad(model(x).sum(), x)
    """
    assert "derivatives" in refused("no-grad", script)


def test_main_is_not_decorated() -> None:
    after = edited("no-grad", "import torch\ndef main():\n    for x in val:  # here\n        model(x)\n")
    assert after == "import torch\ndef main():\n    with torch.no_grad():\n        for x in val:\n            model(x)\n"
