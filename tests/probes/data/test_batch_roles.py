"""Which recorded tensors are inputs, which targets, and which neither."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from probes.recorded import classify, conv, first, measured, record, roles, train
from trainlint.measurements import Batches
from trainlint.probes.data.batches import measure_batches


def test_weights_loaded_after_training_do_not_make_a_pretrained_model():
    def batches(load_first: bool) -> Batches:
        model = conv()
        state = {k: v.clone() for k, v in model.state_dict().items()}
        loader = DataLoader(TensorDataset(torch.rand(16, 3, 8, 8), torch.arange(16) % 4), 8)

        def run() -> None:
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            if load_first:
                model.load_state_dict(state)
            for batch in loader:
                classify(model, batch).backward()
                optimizer.step()
            model.load_state_dict(state)

        return measured(measure_batches, record(run))

    assert batches(load_first=True).pretrained
    assert not batches(load_first=False).pretrained


def test_labels_that_a_gan_leaves_aside_are_no_targets():
    torch.manual_seed(0)
    generator, critic = nn.Linear(3, 5), nn.Linear(5, 1)
    loader = DataLoader(TensorDataset(torch.randn(32, 5), torch.arange(32) % 4), 8)

    def run() -> None:
        first_optimizer = torch.optim.SGD(generator.parameters(), lr=0.1)
        second_optimizer = torch.optim.SGD(critic.parameters(), lr=0.1)
        for _ in range(2):
            for x, _ in loader:
                made = generator(torch.randn(8, 3))
                critic(made).mean().backward()
                first_optimizer.step()
                second_optimizer.zero_grad()
                (critic(x) - critic(made.detach())).mean().backward()
                second_optimizer.step()

    assert roles(measured(measure_batches, record(run)).train[0]) == {"[0]": ("input", "table"), "[1]": ("other", "labels")}


def test_hand_written_losses_have_targets_too():
    model = nn.Linear(5, 1)
    data = TensorDataset(torch.randn(16, 5), torch.randn(16), torch.rand(16))
    view = first(train(model, DataLoader(data, 8), lambda m, b: (b[2] * (m(b[0]).squeeze(1) - b[1]) ** 2).mean()))
    assert roles(view)["[0]"] == ("input", "table")
    assert roles(view)["[1]"] == ("target", "scalar")
    assert view.table is not None
    assert view.table.columns == (*(f"input, column {i}" for i in range(5)), "target")
    assert view.table.rows[0][0] == pytest.approx(float(data.tensors[0][0, 0]))


def test_weights_of_a_loss_are_no_target():
    model = nn.Linear(5, 1)

    def weighted(m, b):
        return F.binary_cross_entropy_with_logits(m(b[0]).squeeze(1), b[1], weight=b[2])

    data = TensorDataset(torch.randn(16, 5), torch.randint(0, 2, (16,)).float(), torch.rand(16))
    view = first(train(model, DataLoader(data, 8), weighted))
    assert roles(view) == {"[0]": ("input", "table"), "[1]": ("target", "labels"), "[2]": ("other", "scalar")}


def test_a_target_that_is_also_the_input_is_an_input():
    model = nn.Sequential(nn.Linear(6, 2), nn.Linear(2, 6))
    loader = DataLoader(TensorDataset(torch.rand(16, 6), torch.arange(16)), 8)
    view = first(train(model, loader, lambda m, b: F.mse_loss(m(b[0]), b[0])))
    assert roles(view) == {"[0]": ("input", "table"), "[1]": ("other", "labels")}


def test_tokens_their_targets_and_attention_masks():
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(20, 8)
            self.head = nn.Linear(8, 20)

        def forward(self, ids, mask):
            return self.head(self.embed(ids) * mask[..., None])

    class Text(Dataset):
        itos = "abcdefghijklmnopqrst"

        def __len__(self) -> int:
            return 16

        def __getitem__(self, index: int):
            ids = torch.arange(index, index + 8) % 20
            return {"ids": ids[:-1], "mask": torch.tensor([1] * 6 + [0]), "next": ids[1:]}

    def loss(m, b):
        return F.cross_entropy(m(b["ids"], b["mask"]).transpose(1, 2), b["next"])

    batches = measured(measure_batches, train(Model(), DataLoader(Text(), 4), loss))
    view = batches.train[0]
    assert roles(view) == {"['ids']": ("input", "tokens"), "['mask']": ("input", "mask"), "['next']": ("target", "tokens")}
    assert batches.first_layer == "Embedding"
    assert view.table is not None
    assert view.table.rows[0][0] == "abcdefg"


def test_validation_has_roles_by_path_and_is_drawn():
    data = TensorDataset(torch.rand(16, 3, 8, 8), torch.arange(16) % 4)
    model = conv()

    def run() -> None:
        loader = DataLoader(data, 8)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            for batch in loader:
                classify(model, batch).backward()
                optimizer.step()
            with torch.no_grad():
                for x, _ in DataLoader(data, 16):
                    model(x)

    batches = measured(measure_batches, record(run))
    assert batches.val[0].phase == "val"
    assert [view.where.text for view in (batches.train[0], batches.val[0]) if view.where] == [
        "loader = DataLoader(data, 8)",
        "for x, _ in DataLoader(data, 16):",
    ]
    assert roles(batches.val[0]) == {"[0]": ("input", "image"), "[1]": ("target", "labels")}
    assert batches.val[0].pictures is not None


def test_validation_inputs_that_the_loop_changes_are_never_taken_from_the_loader():
    data = TensorDataset(torch.rand(16, 3, 8, 8) * 255, torch.arange(16) % 4)
    model = conv()

    def run() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            for x, y in DataLoader(data, 8):
                F.cross_entropy(model(x / 255), y).backward()
                optimizer.step()
            with torch.no_grad():
                for x, _ in DataLoader(data, 16):
                    model(x / 255)

    view = measured(measure_batches, record(run)).val[0]
    shown = view.inputs or tuple(leaf for leaf in view.leaves if leaf.role == "input")
    assert all(leaf.maximum <= 1 for leaf in shown)


def test_a_validation_loader_of_another_structure_does_not_inherit_roles():
    model = nn.Linear(5, 5)
    pairs = TensorDataset(torch.randn(16, 5), torch.randn(16, 5))
    gallery = TensorDataset(torch.randn(16, 5), torch.arange(16) % 4)

    def run() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            for a, b in DataLoader(pairs, 4):
                (model(a) - model(b)).square().mean().backward()
                optimizer.step()
            with torch.no_grad():
                for x, _ in DataLoader(gallery, 8):
                    model(x)

    batches = measured(measure_batches, record(run))
    assert roles(batches.train[0]) == {"[0]": ("input", "table"), "[1]": ("input", "table")}
    assert roles(batches.val[0])["[1]"] == ("other", "labels")


def test_next_token_targets_without_a_loader_are_tokens():
    ids = torch.randint(0, 20, (500,), generator=torch.Generator().manual_seed(0))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(20, 20)

        def forward(self, x, y):
            return F.cross_entropy(self.embed(x).view(-1, 20), y.reshape(-1))

    model = Model()

    def run() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(13):
            rows = ids[step * 36 : step * 36 + 36].view(4, 9)
            model(rows[:, :-1], rows[:, 1:]).backward()
            optimizer.step()

    view = measured(measure_batches, record(run)).train[0]
    assert roles(view) == {"input 0": ("input", "tokens"), "target 0": ("target", "tokens")}


def test_a_pass_that_only_reads_statistics_is_not_taken_for_training():
    data = TensorDataset(torch.rand(16, 3, 8, 8) * 255, torch.arange(16) % 4)
    model = conv()

    def run() -> None:
        loader = DataLoader(data, 8)
        mean = torch.stack([x.mean() for x, _ in loader]).mean()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            for x, y in loader:
                F.cross_entropy(model((x - mean) / 255), y).backward()
                optimizer.step()

    batches = measured(measure_batches, record(run))
    assert all(leaf.maximum < 1 for view in batches.train for leaf in view.inputs)
    assert all(view.inputs for view in batches.train)


def test_masks_and_indices_on_the_way_to_the_loss_are_no_targets():
    graph = nn.Linear(5, 3)
    features, labels, chosen = torch.randn(20, 5), torch.arange(20) % 3, torch.arange(8)

    def run() -> None:
        optimizer = torch.optim.SGD(graph.parameters(), lr=0.1)
        for _ in range(13):
            F.cross_entropy(graph(features)[chosen], labels[chosen]).backward()
            optimizer.step()

    view = measured(measure_batches, record(run)).train[0]
    assert [(leaf.path, leaf.kind, leaf.maximum) for leaf in view.leaves if leaf.role == "target"] == [("target 0", "labels", 2.0)]


def test_labels_that_pick_log_probabilities_are_targets():
    loader = DataLoader(TensorDataset(torch.randn(16, 5), torch.arange(16) % 3), 8)
    view = first(train(nn.Linear(5, 3), loader, lambda m, b: -m(b[0]).log_softmax(1).gather(1, b[1][:, None]).mean()))
    assert roles(view) == {"[0]": ("input", "table"), "[1]": ("target", "labels")}


def test_the_zeros_that_a_recurrent_model_begins_with_are_no_samples():
    torch.manual_seed(0)

    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(5 + 7, 7), nn.Linear(7, 3)

        def forward(self, letter: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            hidden = self.inner(torch.cat((letter, hidden), 1)).tanh()
            return self.outer(hidden), hidden

    def run() -> None:
        cell = Cell()
        optimizer = torch.optim.SGD(cell.parameters(), lr=0.1)
        for _ in range(6):
            hidden = torch.zeros(1, 7)
            for letter in torch.randn(4, 1, 5):
                output, hidden = cell(letter, hidden)
            optimizer.zero_grad()
            F.cross_entropy(output, torch.tensor([1])).backward()
            optimizer.step()

    shapes = {leaf.shape for view in measured(measure_batches, record(run)).train for leaf in view.inputs}
    assert shapes == {(1, 5)}
