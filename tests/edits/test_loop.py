import pytest

from .edited import becomes, edited, refused


def test_gradients_are_cleared_before_backward() -> None:
    becomes(
        "clear-gradients",
        """
        for x, y in loader:
            loss = criterion(model(x), y)

            # back
            loss.backward()
            if norm < 10:
                optimizer.step()  # here
        """,
        """
        for x, y in loader:
            loss = criterion(model(x), y)

            optimizer.zero_grad()
            # back
            loss.backward()
            if norm < 10:
                optimizer.step()
        """,
        batches=1,
    )


def test_accumulated_gradients_are_cleared_after_the_step() -> None:
    becomes(
        "clear-gradients",
        """
        for i, x in enumerate(loader):
            self.scaler.scale(model(x)).backward()
            if (i + 1) % 4 == 0:
                self.scaler.step(self.optimizer)  # here
                self.scaler.update()
        """,
        """
        for i, x in enumerate(loader):
            self.scaler.scale(model(x)).backward()
            if (i + 1) % 4 == 0:
                self.scaler.step(self.optimizer)
                self.optimizer.zero_grad()
                self.scaler.update()
        """,
        batches=4,
    )


@pytest.mark.parametrize(
    ("call", "divided"),
    [
        ("loss.backward()", "(loss / 4).backward()"),
        ("(a + b).backward()", "((a + b) / 4).backward()"),
        ("accelerator.backward(loss)", "accelerator.backward(loss / 4)"),
        ("self.manual_backward(a + b)", "self.manual_backward((a + b) / 4)"),
        ("scaler.scale(loss).backward(retain_graph=True)", "scaler.scale(loss / 4).backward(retain_graph=True)"),
    ],
)
def test_the_loss_is_divided(call: str, divided: str) -> None:
    assert edited("divide-loss", f"{call}  # here\n", batches=4) == f"{divided}\n"


def test_the_loss_is_divided_by_the_name_of_the_number() -> None:
    assert "(loss / args.every).backward()" in edited(
        "divide-loss",
        """
        def train():
            for i, x in enumerate(loader):
                loss.backward()  # here
                if (i + 1) % args.every == 0:
                    optimizer.step()
        """,
        batches=4,
    )


@pytest.mark.parametrize(
    ("loop", "number"),
    [
        (
            "for micro in range(GRAD_ACCUM):\n        loss.backward()  # here\n    opt.step()\n    if step % 100 == 0:\n        print(step)",
            "GRAD_ACCUM",
        ),
        ("for micro in range(2):\n        loss.backward()  # here\n    opt.step()", "4"),
        ("loss.backward()  # here\n    if step % 100 == 0:\n        print(step)\n    if step % 4 == 3:\n        opt.step()", "4"),
        ("loss.backward()  # here\n    opt.step()\n    if step % every == 0:\n        scheduler_of_logs()", "4"),
    ],
)
def test_a_number_that_tells_of_something_else_is_not_divided_by(loop: str, number: str) -> None:
    source = f"for step in range(1000):\n    {loop}\n"
    assert f"(loss / {number}).backward()" in edited("divide-loss", source, batches=4)


@pytest.mark.parametrize(
    "loop",
    [
        "loss = criterion(x)\n    loss = loss / steps\n    accelerator.backward(loss)  # here",
        "loss = criterion(x)\n    loss /= steps\n    accelerator.backward(loss)  # here",
        "loss = criterion(x) / steps\n    accelerator.backward(loss)  # here",
        "loss = criterion(x)\n    accelerator.backward(loss / steps)  # here",
    ],
)
def test_the_loop_leaves_the_division_to_the_library(loop: str) -> None:
    changed = edited("divide-once", f"for x in loader:\n    {loop}\n")
    assert "/" not in changed
    assert "accelerator.backward(loss)" in changed


def test_a_loss_function_leaves_the_division_to_the_trainer() -> None:
    before = "def objective(out, y):\n    return F.cross_entropy(out, y) / PARTS  # here\n"
    assert edited("divide-once", before) == "def objective(out, y):\n    return F.cross_entropy(out, y)\n"
    assert "loss = criterion(x)\n" in edited("divide-once", "loss = criterion(x) / 4  # here\nhelper(loss)\n")
    assert "/" not in edited("divide-once", "loss = criterion(x)\nloss = loss / 4  # here\nhelper(loss)\n")
    assert "/" not in edited("divide-once", "loss = criterion(x)\nloss /= 4  # here\nhelper(loss)\n")
    assert refused("divide-once", "loss = criterion(x) / 4 + penalty / 4  # here\n")
    assert refused("divide-once", "loss = (criterion(x) / 4).mean()  # here\n")


def test_step_goes_behind_backward_and_clipping() -> None:
    becomes(
        "order-step",
        """
        for x, y in loader:
            optimizer.step()  # here
            scheduler.step()
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            clip_grad_norm_(model.parameters(), 1.0)
        """,
        """
        for x, y in loader:
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
        """,
    )


def test_clearing_goes_before_backward() -> None:
    becomes(
        "order-step",
        """
        for x, y in loader:
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.zero_grad()  # here
            optimizer.step()
        """,
        """
        for x, y in loader:
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        """,
    )


def test_what_stands_in_order_is_left() -> None:
    assert refused("order-step", "optimizer.zero_grad()\nloss.backward()\noptimizer.step()  # here\n")


def test_accumulating_loops_clear_after_their_step() -> None:
    becomes(
        "clear-after-step",
        """
        for i, x in enumerate(loader):
            optimizer.zero_grad()  # here
            loss.backward()
            if i % 4 == 3:
                optimizer.step()
                scheduler.step()
        """,
        """
        for i, x in enumerate(loader):
            loss.backward()
            if i % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
                scheduler.step()
        """,
    )


def test_clipping_goes_before_the_step() -> None:
    becomes(
        "clip-before-step",
        """
        loss.backward()
        optimizer.step()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # here
        """,
        """
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        """,
    )


def test_the_clipping_norm_is_set() -> None:
    assert edited("clip-norm", "clip_grad_norm_(p, 1e-6)  # here\n", norm="2") == "clip_grad_norm_(p, 2)\n"
    assert edited("clip-norm", "clip_grad_norm_(p, max_norm=1e-6)  # here\n", norm="2") == "clip_grad_norm_(p, max_norm=2)\n"
    assert refused("clip-norm", "clip_grad_norm_(p, args.clip)  # here\n", norm="2")


def test_a_missing_backward_is_called_on_the_loss_at_hand() -> None:
    assert edited("backward", "loss = f(x)\noptimizer.step()  # here\n") == "loss = f(x)\nloss.backward()\noptimizer.step()\n"
    assert refused("backward", "optimizer.step()  # here\n")


def test_a_missing_step_is_taken_behind_clipping() -> None:
    becomes(
        "optimizer-step",
        """
        optimizer.zero_grad()
        loss.backward()  # here
        clip_grad_norm_(p, 1.0)
        log(loss)
        """,
        """
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(p, 1.0)
        optimizer.step()
        log(loss)
        """,
    )


def test_a_step_that_waits_for_more_batches_than_come_is_taken_at_the_last_as_well() -> None:
    script = """
        for i, (x, y) in enumerate(loader):
            loss = f(x, y) / accumulate
            loss.backward()  # here
            if (i + 1) % accumulate == 0:
                optimizer.step()
                optimizer.zero_grad()
        """
    after = edited("optimizer-step", script)
    assert "    if (i + 1) % accumulate == 0 or i + 1 == len(loader):\n" in after
    both = edited("optimizer-step", script.replace("== 0:", "== 0 and i > 9:"))
    assert "    if ((i + 1) % accumulate == 0 and i > 9) or i + 1 == len(loader):\n" in both
    assert refused("optimizer-step", script.replace("enumerate(loader)", "zip(count(), loader)"))


def test_gradients_are_unscaled_before_clipping() -> None:
    becomes(
        "unscale",
        """
        def train(scaler):
            scaler.scale(loss).backward()
            clip_grad_norm_(model.parameters(), 1.0)  # here
            scaler.step(optimizer)
        """,
        """
        def train(scaler):
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
        """,
    )


def test_the_scaler_takes_the_step() -> None:
    becomes(
        "scaler-step",
        """
        scaler.scale(loss).backward()
        optimizer.step()  # here
        """,
        """
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        """,
    )


@pytest.mark.parametrize(
    ("line", "kept"),
    [("running += loss", "running += loss.item()"), ("losses.append(loss)", "losses.append(loss.item())")],
)
def test_a_loss_is_kept_as_its_value(line: str, kept: str) -> None:
    assert edited("keep-value", f"{line}  # here\n", loss=True) == f"{kept}\n"


def test_an_output_is_kept_without_its_graph() -> None:
    assert edited("keep-value", "outs.append(out)  # here\n", loss=False) == "outs.append(out.detach())\n"
