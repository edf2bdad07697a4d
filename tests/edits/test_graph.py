import pytest

from .edited import becomes, edited, refused


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("out = Variable(loss.data, requires_grad=True)", "out = loss"),
        ("out = torch.tensor(f(x).detach().cpu().numpy(), requires_grad=True)", "out = f(x).cpu()"),
        ("out = torch.tensor(a.item() + 2 * b.item(), requires_grad=True)", "out = a + 2 * b"),
        ("out = torch.tensor(a.item() + b.item(), requires_grad=True) / 2", "out = (a + b) / 2"),
        ("out = torch.tensor([float(a), b.item()], requires_grad=True).mean()", "out = torch.stack([a, b]).mean()"),
        ("out = torch.FloatTensor([loss.item()]).requires_grad_()", "out = torch.stack([loss])"),
        ("out = torch.tensor(loss.item()).to(device).requires_grad_(True)", "out = loss.to(device)"),
    ],
)
def test_a_loss_made_anew_of_numbers_is_the_loss_itself(before: str, after: str) -> None:
    head = "import torch\nfrom torch.autograd import Variable\n"
    assert edited("keep-graph", f"{head}{before}  # here\n", of="numbers") == f"{head}{after}\n"


def test_numbers_are_followed_through_a_list_to_where_they_were_taken() -> None:
    becomes(
        "keep-graph",
        """
        import torch

        def loss(out, target):
            parts = []
            for h in range(3):
                parts.append(mse(out[:, h], target[:, h]).item())
            return torch.tensor(parts, requires_grad=True).mean()  # here
        """,
        """
        import torch

        def loss(out, target):
            parts = []
            for h in range(3):
                parts.append(mse(out[:, h], target[:, h]))
            return torch.stack(parts).mean()
        """,
        of="numbers",
    )


def test_a_sum_of_numbers_stays_a_sum_and_what_silenced_the_error_goes() -> None:
    becomes(
        "keep-graph",
        """
        import torch

        for x, y in loader:
            loss = 0.0
            for head in heads:
                loss += head(x, y).item()
            loss = torch.tensor(loss)
            loss.requires_grad = True  # here
            loss.backward()
        loss = f(x).item()
        """,
        """
        import torch

        for x, y in loader:
            loss = 0.0
            for head in heads:
                loss += head(x, y)
            loss.backward()
        loss = f(x).item()
        """,
        of="numbers",
    )


def test_a_copy_under_its_own_name_is_left_out() -> None:
    before = "import torch\nloss = f(x)\nloss = torch.tensor(loss)  # here\nloss.backward()\n"
    assert edited("keep-graph", before, of="tensors") == "import torch\nloss = f(x)\nloss.backward()\n"
    other = "import torch\nout = torch.tensor(f(x), requires_grad=True)  # here\n"
    assert edited("keep-graph", other, of="tensors") == "import torch\nout = f(x)\n"
    numbers = "import torch\nloss = f(x)\nloss = torch.tensor(loss.item(), requires_grad=True)  # here\nloss.backward()\n"
    assert edited("keep-graph", numbers, of="numbers") == "import torch\nloss = f(x)\nloss.backward()\n"


def test_tensors_in_a_list_are_stacked() -> None:
    before = "import torch\nlosses = [f(x) for x in xs]\nloss = torch.tensor(losses).mean()  # here\n"
    assert edited("keep-graph", before, of="tensors") == "import torch\nlosses = [f(x) for x in xs]\nloss = torch.stack(losses).mean()\n"


def test_a_detached_baseline_behind_the_loss_is_left_as_it_is() -> None:
    before = "import torch\nloss = a - b.detach()\nout = torch.tensor(loss.item(), requires_grad=True)  # here\n"
    assert edited("keep-graph", before, of="numbers") == "import torch\nloss = a - b.detach()\nout = loss\n"


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("loss = torch.tensor(loss_of(x), requires_grad=True)  # here", "where the numbers come from"),
        ("loss = torch.tensor(np.mean(losses), requires_grad=True)  # here", "np.mean leaves torch"),
        ("w = torch.tensor([0.5, 1.0], requires_grad=True)  # here", "written out"),
        ("loss = build(x)  # here", "not seen how"),
        ("loss.requires_grad_()  # here", "where the numbers come from"),
    ],
)
def test_what_is_made_of_something_else_is_left_alone(lines: str, why: str) -> None:
    assert why in refused("keep-graph", f"import torch\nimport numpy as np\n{lines}\n", of="numbers")
