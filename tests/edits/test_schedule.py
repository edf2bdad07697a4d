import pytest

from .edited import becomes, edited, refused


@pytest.mark.parametrize(
    ("call", "after"),
    [
        ("ReduceLROnPlateau(o)", 'ReduceLROnPlateau(o, mode="max")'),
        ("ReduceLROnPlateau(o, patience=1)", 'ReduceLROnPlateau(o, mode="max", patience=1)'),
        ("ReduceLROnPlateau(o, 'min')", "ReduceLROnPlateau(o, 'max')"),
    ],
)
def test_a_plateau_gets_its_direction(call: str, after: str) -> None:
    assert edited("plateau-mode", f"s = {call}  # here\n", mode="max") == f"s = {after}\n"


@pytest.mark.parametrize(
    ("call", "after"),
    [
        ("LambdaLR(o, rate_at)", "LambdaLR(o, lambda step: rate_at(step) / 0.003)"),
        ("LambdaLR(o, lr_lambda=self.lr_at)", "LambdaLR(o, lr_lambda=lambda step: self.lr_at(step) / 0.003)"),
        ("LambdaLR(o, lambda e: lr * 0.9**e)", "LambdaLR(o, lambda e: (lr * 0.9**e) / 0.003)"),
    ],
)
def test_a_function_that_returns_rates_is_divided(call: str, after: str) -> None:
    assert edited("schedule-factor", f"s = {call}  # here\n", highest=0.003) == f"s = {after}\n"


@pytest.mark.parametrize("call", ["StepLR(o, 3)", "LambdaLR(o, [f, g])", "LambdaLR(o, made(3))"])
def test_what_is_not_one_function_is_left_alone(call: str) -> None:
    refused("schedule-factor", f"s = {call}  # here\n", highest=0.003)


def test_a_schedule_moves_into_the_loop_over_batches() -> None:
    becomes(
        "schedule-each-step",
        """
        for epoch in range(9):
            for x in loader:
                loss(x).backward()
                optimizer.step()
            scheduler.step()  # here
        """,
        """
        for epoch in range(9):
            for x in loader:
                loss(x).backward()
                optimizer.step()
                scheduler.step()
        """,
    )


def test_a_schedule_is_handed_to_the_function_that_trains() -> None:
    becomes(
        "schedule-each-step",
        """
        def train(model, loader, optimizer):
            for x in loader:
                model(x).backward()
                scaler.step(optimizer)
                scaler.update()

        def main():
            for epoch in range(9):
                train(model, loader, optimizer)
                scheduler.step()  # here
        """,
        """
        def train(model, loader, optimizer, scheduler):
            for x in loader:
                model(x).backward()
                scaler.step(optimizer)
                scaler.update()
                scheduler.step()

        def main():
            for epoch in range(9):
                train(model, loader, optimizer, scheduler=scheduler)
        """,
    )


def test_a_function_that_is_called_twice_is_left() -> None:
    script = """
    def train(model):
        for x in loader:
            optimizer.step()

    train(warm)
    for epoch in range(9):
        train(model)
        scheduler.step()  # here
    """
    assert refused("schedule-each-step", script)


def test_a_schedule_moves_out_of_the_loop_over_batches() -> None:
    becomes(
        "schedule-each-epoch",
        """
        for epoch in range(9):
            for x in loader:
                optimizer.step()
                scheduler.step()  # here
            validate()
        """,
        """
        for epoch in range(9):
            for x in loader:
                optimizer.step()
            scheduler.step()
            validate()
        """,
    )


def test_a_schedule_moves_to_the_caller_under_its_name_there() -> None:
    becomes(
        "schedule-each-epoch",
        """
        def train(model, schedule):
            for x in loader:
                optimizer.step()
                schedule.step()  # here

        for epoch in range(9):
            loss = train(model, cosine)
            validate()
        """,
        """
        def train(model, schedule):
            for x in loader:
                optimizer.step()

        for epoch in range(9):
            loss = train(model, cosine)
            cosine.step()
            validate()
        """,
    )


def test_a_schedule_steps_behind_the_optimizer() -> None:
    becomes(
        "schedule-after-step",
        """
        for epoch in range(9):
            scheduler.step()  # here
            for x in loader:
                optimizer.step()
            validate()
        """,
        """
        for epoch in range(9):
            for x in loader:
                optimizer.step()
            scheduler.step()
            validate()
        """,
    )


@pytest.mark.parametrize(
    ("each", "after"),
    [
        ("epoch", "for e in range(9):\n    for x in loader:\n        optimizer.step()\n    s.step()\n"),
        ("step", "for e in range(9):\n    for x in loader:\n        optimizer.step()\n        s.step()\n"),
    ],
)
def test_a_schedule_that_never_stepped_steps(each: str, after: str) -> None:
    script = "s = CosineAnnealingLR(optimizer, 9)  # here\nfor e in range(9):\n    for x in loader:\n        optimizer.step()\n"
    assert edited("schedule-start", script, each=each) == f"s = CosineAnnealingLR(optimizer, 9)\n{after}"


def test_a_schedule_gets_the_length_of_the_run() -> None:
    assert edited("schedule-length", "s = CosineAnnealingLR(o, T_max=5)  # here\n", calls=50) == "s = CosineAnnealingLR(o, T_max=50)\n"
    after = edited("schedule-share", "s = OneCycleLR(o, 0.1, total_steps=9 * len(loader))  # here\n", share=4)
    assert after == "s = OneCycleLR(o, 0.1, total_steps=-(-(9 * len(loader)) // 4))\n"


@pytest.mark.parametrize("call", ["trainer.add_event_handler(Events.{}, s)", "s.attach(trainer, event=Events.{})"])
def test_a_schedule_is_attached_to_another_event(call: str) -> None:
    after = edited("schedule-event", call.format("ITERATION_STARTED") + "  # here\n", event="EPOCH_STARTED")
    assert after == call.format("EPOCH_STARTED") + "\n"


@pytest.mark.parametrize("call", ["s.attach(trainer)", "trainer.add_event_handler(event, s)", "run(Events.EPOCH_STARTED)"])
def test_an_event_that_is_not_named_is_left_alone(call: str) -> None:
    refused("schedule-event", f"{call}  # here\n", event="EPOCH_STARTED")
