import pytest

from .edited import becomes, edited, refused

NET = "import torch\nimport torch.nn as nn\nclass Net(nn.Module):\n    def __init__(self):\n        {}  # here\n"


@pytest.mark.parametrize(
    ("line", "registered"),
    [
        ("self.blocks = [nn.Linear(2, 2), nn.Linear(2, 2)]", "self.blocks = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])"),
        ("self.blocks = [Block(i) for i in range(3)]", "self.blocks = nn.ModuleList([Block(i) for i in range(3)])"),
        ("self.blocks = []", "self.blocks = nn.ModuleList()"),
        ('self.blocks = {"a": Block()}', 'self.blocks = nn.ModuleDict({"a": Block()})'),
    ],
)
def test_modules_are_registered(line: str, registered: str) -> None:
    assert edited("register-modules", NET.format(line), owner="Net.blocks") == NET.format(registered).replace("  # here", "")


def test_a_dict_that_is_worked_out_is_registered_where_its_keys_are_names() -> None:
    built = "self.blocks = {name: Block() for name in names}"
    line = built + "  # here"
    assert f"nn.ModuleDict({built[14:]})" in edited("register-modules", NET.format(line), owner="Net.blocks", named=True)
    assert refused("register-modules", NET.format(line), owner="Net.blocks", named=False)


@pytest.mark.parametrize("line", ["self.blocks = [[Block()], [Block()]]", "self.blocks = {1: Block()}", "self.blocks = make()"])
def test_what_a_module_list_cannot_hold_is_left(line: str) -> None:
    assert refused("register-modules", NET.format(line), owner="Net.blocks")


def test_frozen_parts_are_thawed() -> None:
    assert edited("unfreeze", "m = Net()\nm.body.requires_grad_(False)  # here\nrun(m)\n") == "m = Net()\nrun(m)\n"
    becomes(
        "unfreeze",
        """
        def main():
            for p in model.body.parameters():
                p.requires_grad = False  # here
        """,
        """
        def main():
            pass
        """,
    )
    assert edited("unfreeze", "for p in ps:\n    p.requires_grad = False  # here\n    n += 1\n") == "for p in ps:\n    n += 1\n"
    assert refused("unfreeze", "w = nn.Parameter(x, requires_grad=False)  # here\n")


@pytest.mark.parametrize(
    ("before", "after", "cut"),
    [
        ("h = self.enc(x)[:, -1].detach()  # here\n", "h = self.enc(x)[:, -1]\n", "detach"),
        ("loss = a.item() + b  # here\n", "loss = a + b\n", "item"),
        ("def f(x):\n    with torch.no_grad():\n        # text\n        h = enc(x)  # here\n        g = h\n    return g\n", "def f(x):\n    # text\n    h = enc(x)\n    g = h\n    return g\n", "no_grad"),
        ("@torch.no_grad()\ndef f(x):\n    return enc(x)  # here\n", "def f(x):\n    return enc(x)\n", "no_grad"),
    ],
)  # fmt: skip
def test_what_cuts_the_graph_is_left_out(before: str, after: str, cut: str) -> None:
    assert edited("keep-gradients", before, cut=cut) == after


def test_gradients_are_off_for_one_function_only() -> None:
    becomes(
        "allow-gradients",
        """
        import torch

        def score(model):
            torch.set_grad_enabled(False)  # here
            return model(x)

        print()
        loss.requires_grad = True
        loss.backward()
        """,
        """
        import torch

        @torch.no_grad()
        def score(model):
            return model(x)

        print()
        loss.backward()
        """,
    )


def test_the_batch_comes_first() -> None:
    script = """
    class Net(nn.Module):
        def __init__(self):
            layer = nn.TransformerEncoderLayer(8, 2)
            self.enc = nn.TransformerEncoder(layer, 2)

        def forward(self, x):
            h = self.enc(x)  # here
            return h.mean(1)
    """
    assert "nn.TransformerEncoderLayer(8, 2, batch_first=True)" in edited("batch-first", script)
    assert refused("batch-first", script.replace("h.mean(1)", "h[-1]"))


def test_the_last_state_is_flattened_by_sample() -> None:
    script = """
    class Net(nn.Module):
        def __init__(self):
            self.rnn = nn.GRU(4, 4, batch_first=True, bidirectional=True)

        def forward(self, x):
            _, h = self.rnn(x)
            return self.fc(h.view(x.size(0), -1))  # here
    """
    assert "self.fc(h.transpose(0, 1).reshape(x.size(0), -1))" in edited("batch-axis-first", script)
    assert refused("batch-axis-first", "y = x.view(4, -1)  # here\n")


def test_later_positions_are_hidden() -> None:
    script = """
    import torch.nn as nn
    class Net(nn.Module):
        def __init__(self):
            layer = nn.TransformerEncoderLayer(8, 2, batch_first=True)
            self.enc = nn.TransformerEncoder(layer, 2)

        def forward(self, x):
            return self.enc(x)  # here
    """
    assert "self.enc(x, mask=nn.Transformer.generate_square_subsequent_mask(x.size(1), device=x.device), is_causal=True)" in edited(
        "causal-mask", script
    )
    after = edited("causal-mask", "y = F.scaled_dot_product_attention(q, k, v)  # here\n")
    assert after == "y = F.scaled_dot_product_attention(q, k, v, is_causal=True)\n"
    after = edited("causal-mask", "y = F.scaled_dot_product_attention(q, k, v, is_causal=False)  # here\n")
    assert after == "y = F.scaled_dot_product_attention(q, k, v, is_causal=True)\n"


@pytest.mark.parametrize(
    ("line", "safe", "operation"),
    [
        ("d = torch.sqrt(a.sum(1))", "d = torch.sqrt(a.sum(1) + 1e-8)", "sqrt"),
        ("d = a.sum(1).sqrt()", "d = (a.sum(1) + 1e-8).sqrt()", "sqrt"),
        ("e = (p * p.log()).sum()", "e = (p * p.clamp(min=1e-9).log()).sum()", "log"),
        ("e = torch.log(1 - p)", "e = torch.log((1 - p).clamp(min=1e-9))", "log"),
    ],
)
def test_roots_and_logarithms_stay_off_zero(line: str, safe: str, operation: str) -> None:
    assert edited("off-the-edge", f"import torch\n{line}  # here\n", operation=operation) == f"import torch\n{safe}\n"


def test_dropout_is_lowered_and_an_embedding_starts_small() -> None:
    assert edited("dropout", "self.drop = nn.Dropout(0.9)  # here\n", p=0.2) == "self.drop = nn.Dropout(0.2)\n"
    assert "nn.init.normal_(self.e.weight, std=0.02)" in edited("embedding-scale", NET.format("self.e = nn.Embedding(9, 4)"), std=0.02)


def test_embeddings_that_are_summed_keep_one_scale() -> None:
    after = edited("embedding-scale", NET.format("self.e = nn.Embedding(9, 4)") + "        self.p = nn.Embedding(5, 4)\n", std=0.02)
    assert after.endswith(
        "        self.e = nn.Embedding(9, 4)\n        nn.init.normal_(self.e.weight, std=0.02)\n"
        "        self.p = nn.Embedding(5, 4)\n        nn.init.normal_(self.p.weight, std=0.02)\n"
    )


def test_samples_that_two_networks_learn_from_stay_detached_for_the_first():
    becomes(
        "keep-gradients",
        """
        for real in loader:
            fake = G(z).detach()  # here
            opt_d.zero_grad()
            loss_d = bce(D(real), one) + bce(D(fake), zero)
            loss_d.backward()
            opt_d.step()
            loss_g = bce(D(fake), one)
            loss_g.backward()
        """,
        """
        for real in loader:
            fake = G(z)
            opt_d.zero_grad()
            loss_d = bce(D(real), one) + bce(D(fake.detach()), zero)
            loss_d.backward()
            opt_d.step()
            loss_g = bce(D(fake), one)
            loss_g.backward()
        """,
        cut="detach",
    )


def test_what_is_used_before_one_backward_alone_keeps_its_graph():
    becomes(
        "keep-gradients",
        """
        h = body(x).detach()  # here
        loss = criterion(head(h), y)
        loss.backward()
        print(loss)
        """,
        """
        h = body(x)
        loss = criterion(head(h), y)
        loss.backward()
        print(loss)
        """,
        cut="detach",
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("target = F.softmax(self.teacher(x) / t, dim=1)  # here\n", "target = F.softmax(self.teacher(x).detach() / t, dim=1)\n"),
        ("loss = kd(student(x), teacher(x))  # here\n", "loss = kd(student(x), teacher(x).detach())\n"),
        ("logits = big(x).logits  # here\n", "logits = big(x).logits.detach()\n"),
        ("logits = big(x) / 4  # here\n", "logits = (big(x) / 4).detach()\n"),
    ],
)
def test_what_a_teacher_says_is_detached(before: str, after: str) -> None:
    becomes("detach-target", before, after, parameters=["teacher.0.weight", "teacher.0.bias"])


def test_a_loss_of_which_no_part_is_known_to_be_the_teacher_is_left() -> None:
    refused("detach-target", "return kd(student(x), big(x))  # here\n", parameters=["0.weight"])


@pytest.mark.parametrize(
    ("call", "after"),
    [
        ("nn.Embedding.from_pretrained(v, padding_idx=0)", "nn.Embedding.from_pretrained(v, padding_idx=0, freeze=False)"),
        ("EmbeddingBag.from_pretrained(v, True)", "EmbeddingBag.from_pretrained(v, False)"),
        ("nn.Embedding.from_pretrained(v, freeze=True)", "nn.Embedding.from_pretrained(v, freeze=False)"),
    ],
)
def test_an_embedding_of_given_values_learns(call: str, after: str) -> None:
    assert edited("learn-table", f"e = {call}  # here\n") == f"e = {after}\n"


@pytest.mark.parametrize("call", ["nn.Embedding.from_pretrained(v, freeze=static)", "AutoModel.from_pretrained(v)"])
def test_what_may_be_frozen_on_purpose_is_left(call: str) -> None:
    assert refused("learn-table", f"e = {call}  # here\n")


def test_a_state_is_handed_on_without_detaching_any_of_it():
    becomes(
        "keep-gradients",
        """
        for t in range(n):
            h, c = cell(x[:, t], (h, c))
            state = (h.detach(), c.detach())  # here
        """,
        """
        for t in range(n):
            h, c = cell(x[:, t], (h, c))
            state = (h, c)
        """,
        cut="detach",
        lines=[3],
    )
    after = edited("keep-gradients", "h = h.detach()  # here\nc = c.detach()\n", cut="detach", lines=[1, 2])
    assert after == "h = h\nc = c\n"
    assert refused("keep-gradients", "h = norm(h).detach()  # here\n", cut="detach", lines=[1])


def test_a_draw_is_made_differentiable():
    assert edited("keep-gradients", "z = q(x).sample((4,))  # here\n", cut="sample") == "z = q(x).rsample((4,))\n"
    assert refused("keep-gradients", "z = sample(q)  # here\n", cut="sample")
