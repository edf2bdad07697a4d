"""The recorder's books of a loop: which loader trains, what each step's gradients hold, when enough was seen."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from training_loops import loaders, record, train

from trainlint.settings import Settings


def test_training_and_validation_loaders_are_told_apart_by_what_happens_between_their_batches() -> None:
    model, (train_loader, val_loader) = nn.Linear(6, 3), loaders()
    recording = record(lambda: train(model, torch.optim.SGD(model.parameters(), 0.1), train_loader, val_loader))
    assert [entry.loader for entry in recording.loaders_of("train")] == [train_loader]
    assert [entry.loader for entry in recording.loaders_of("val")] == [val_loader]


def test_epochs_are_cut_short_until_the_second_has_begun() -> None:
    model, (train_loader, val_loader) = nn.Linear(6, 3), loaders()
    recording = record(lambda: train(model, torch.optim.SGD(model.parameters(), 0.1), train_loader, val_loader, epochs=50))
    assert [i.batches for i in recording.loaders_of("train")[0].iterations] == [6, 2]
    assert [i.batches for i in recording.loaders_of("val")[0].iterations] == [2]
    assert len(train_loader) == 100


def test_workers_change_nothing_of_what_is_seen() -> None:
    model, (train_loader, val_loader) = nn.Linear(6, 3), loaders(workers=1)
    recording = record(lambda: train(model, torch.optim.SGD(model.parameters(), 0.1), train_loader, val_loader))
    assert [i.batches for i in recording.loaders_of("train")[0].iterations] == [6, 2]
    assert recording.trust == "next step"
    first = recording.loaders_of("train")[0].iterations[0]
    assert torch.equal(recording.batches[0].leaves["[0]"], train_loader.dataset.tensors[0][first.indices[0]])


def test_missing_zero_grad_leaves_stale_gradients_in_every_step_after_the_first() -> None:
    model, (train_loader, val_loader) = nn.Linear(6, 3), loaders()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def each(i, x, y) -> None:
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    steps = record(lambda: train(model, optimizer, train_loader, val_loader, each=each)).steps
    assert [s.stale for s in steps[:4]] == [0, 1, 2, 3]


@pytest.mark.parametrize("clear", ["optimizer", "module", "by hand", "to zero"])
def test_gradients_count_as_cleared_however_it_is_done(clear: str) -> None:
    model, (train_loader, val_loader) = nn.Linear(6, 3), loaders()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def each(i, x, y) -> None:
        if clear == "optimizer":
            optimizer.zero_grad()
        elif clear == "module":
            model.zero_grad()
        elif clear == "to zero":
            optimizer.zero_grad(set_to_none=False)
        else:
            for parameter in model.parameters():
                parameter.grad = None
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    steps = record(lambda: train(model, optimizer, train_loader, val_loader, each=each)).steps
    assert not any(s.stale or s.discarded for s in steps)


def test_accumulation_is_seen_as_several_backwards_for_one_step() -> None:
    model, (train_loader, val_loader) = nn.Linear(6, 3), loaders()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def each(i, x, y) -> None:
        (F.cross_entropy(model(x), y) / 4).backward()
        if i % 4 == 3:
            optimizer.step()
            optimizer.zero_grad()

    steps = record(lambda: train(model, optimizer, train_loader, val_loader, each=each)).steps
    assert len(steps) >= 3
    assert all(len(s.backwards) == len(s.kept) == 4 and not s.discarded for s in steps[:3])


def test_clearing_within_an_accumulation_group_discards_its_gradients() -> None:
    model, (train_loader, val_loader) = nn.Linear(6, 3), loaders()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def each(i, x, y) -> None:
        optimizer.zero_grad()
        (F.cross_entropy(model(x), y) / 4).backward()
        if i % 4 == 3:
            optimizer.step()

    steps = record(lambda: train(model, optimizer, train_loader, val_loader, each=each)).steps
    later = steps[1:3]  # the optimizer was built before the recorder listened, so the first group's clearing was not seen
    assert all(s.discarded == 3 and len(s.kept) == 1 for s in later)
    assert all(s.discarded_place is not None and s.discarded_place[0] == __file__ for s in later)


def test_alternating_optimizers_of_a_gan_discard_nothing() -> None:
    generator, critic = nn.Linear(2, 6), nn.Linear(6, 1)
    optimizer_g, optimizer_c = torch.optim.Adam(generator.parameters(), 1e-3), torch.optim.Adam(critic.parameters(), 1e-3)
    train_loader, _ = loaders()

    def run() -> None:
        for _ in range(3):
            for real, _ in train_loader:
                fake = generator(torch.randn(len(real), 2))
                critic.zero_grad()
                F.softplus(-critic(real)).mean().backward()
                F.softplus(critic(fake.detach())).mean().backward()
                optimizer_c.step()
                generator.zero_grad()
                F.softplus(-critic(fake)).mean().backward()
                optimizer_g.step()

    steps = record(run).steps
    assert len({s.optimizer for s in steps}) == 2
    assert not any(s.stale or s.discarded for s in steps)


def test_the_users_own_line_is_kept_for_each_event() -> None:
    model, (train_loader, val_loader) = nn.Linear(6, 3), loaders()
    recording = record(lambda: train(model, torch.optim.SGD(model.parameters(), 0.1), train_loader, val_loader))
    location = recording.frames.location(recording.steps[0].place)
    assert location is not None
    assert location.text == "optimizer.step()"


def test_a_loop_without_a_loader_ends_after_enough_steps() -> None:
    model = nn.Linear(6, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, y = torch.randn(40, 6), torch.randint(0, 3, (40,))

    def run() -> None:
        for _ in range(10_000):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()

    recording = record(run)
    assert len(recording.steps) == 2 * Settings().steps
    assert recording.trust == "next step"


def test_a_graph_cut_is_named_with_its_line_and_the_parameters_behind_it() -> None:
    body, head = nn.Linear(6, 4), nn.Linear(4, 3)
    optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], 0.1)

    def run() -> None:
        for _ in range(4):
            x, y = torch.randn(8, 6), torch.randint(0, 3, (8,))
            optimizer.zero_grad()
            F.cross_entropy(head(body(x).detach()), y).backward()
            optimizer.step()

    cuts = [c for b in record(run).backwards for c in b.cuts if c.kind == "detach"]
    assert cuts
    assert cuts[0].leaves == {id(body.weight), id(body.bias)}


def test_hooks_leave_torch_as_it_was() -> None:
    before = {name: getattr(nn.Module, name) for name in ("__call__", "train", "zero_grad", "load_state_dict")}
    backward, compile_, iterate = torch.Tensor.backward, torch.compile, DataLoader.__iter__
    record(lambda: None)
    assert {name: getattr(nn.Module, name) for name in before} == before
    assert (torch.Tensor.backward, torch.compile, DataLoader.__iter__) == (backward, compile_, iterate)
    assert "train" in vars(nn.Module)


def test_training_is_bit_for_bit_the_same_under_the_recorder() -> None:
    def run(watched: bool) -> torch.Tensor:
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))
        optimizer, (train_loader, _) = torch.optim.Adam(model.parameters(), 1e-2), loaders()
        data = [b for b, _ in zip(train_loader, range(5), strict=False)]

        def steps() -> None:
            for x, y in data:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()

        record(steps) if watched else steps()
        return torch.cat([t.flatten().double() for t in model.state_dict().values()])

    assert torch.equal(run(watched=False), run(watched=True))


@pytest.mark.parametrize(
    "call", [lambda p: nn.utils.clip_grad_norm_(p, 0.5), lambda p: nn.utils.clip_grad_norm_(parameters=p, max_norm=0.5)]
)
def test_clipping_is_seen_however_its_limit_is_passed(call) -> None:
    model, (train_loader, val_loader) = nn.Linear(6, 3), loaders()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def each(i, x, y) -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        call(model.parameters())
        optimizer.step()

    steps = record(lambda: train(model, optimizer, train_loader, val_loader, each=each)).steps
    assert all(s.clip is not None and s.clip[1] == 0.5 for s in steps[1:])


def clips(given) -> list[tuple[int, bool, bool]]:
    """``(tensors, idle, used up)`` of each recorded clipping; ``given(model)`` returns what gives a step its tensors, and what the optimizer gets."""
    model, (train_loader, val_loader) = nn.Linear(6, 3), loaders()

    def run() -> None:
        tensors, trained = given(model)
        optimizer = torch.optim.SGD(trained, 0.1)

        def each(i, x, y) -> None:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            nn.utils.clip_grad_norm_(tensors(), 0.5)
            optimizer.step()

        train(model, optimizer, train_loader, val_loader, each=each)

    return [tuple(h.info[k] for k in ("tensors", "idle", "used_up")) for h in record(run).happenings if h.kind == "clip"]


def shared(model: nn.Module):
    """One iterator for the optimizer and for clipping."""
    once = filter(lambda p: p.requires_grad, model.parameters())
    return lambda: once, once


def kept(model: nn.Module):
    """An iterator that clipping reads to its end at its first call."""
    once = model.parameters()
    return lambda: once, model.parameters()


def test_iterators_that_were_read_to_their_end_are_told() -> None:
    assert clips(shared)[:3] == [(0, True, False), (0, True, True), (0, True, True)]
    assert clips(kept)[:3] == [(2, False, False), (0, True, True), (0, True, True)]


def test_what_is_clipped_and_not_trained_is_told() -> None:
    assert set(clips(lambda m: (nn.Linear(2, 2).parameters, m.parameters()))) == {(2, True, False)}
    assert set(clips(lambda m: (m.parameters, m.parameters()))) == {(2, False, False)}
    assert set(clips(lambda m: (lambda: [p for p in m.parameters() if p.ndim > 4], m.parameters()))) == {(0, True, False)}


@pytest.mark.parametrize("around", [False, True])
def test_steps_through_a_gradient_scaler_are_told_from_steps_around_it(around: bool) -> None:
    model, (train_loader, val_loader) = nn.Linear(6, 3), loaders()
    optimizer, scaler = torch.optim.SGD(model.parameters(), 0.1), torch.amp.GradScaler("cpu", init_scale=8.0)

    def each(i, x, y) -> None:
        optimizer.zero_grad()
        scaler.scale(F.cross_entropy(model(x), y)).backward()
        if around:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()

    steps = record(lambda: train(model, optimizer, train_loader, val_loader, each=each)).steps
    assert {(s.scaled, s.scaler) for s in steps} == {(True, not around)}


def test_a_model_is_placed_where_it_was_asked_for_not_in_its_own_constructor() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 3)

    built = []
    recording = record(lambda: built.append(Net()))
    location = recording.frames.location(recording.places[id(built[0])])
    assert location is not None
    assert location.text == "recording = record(lambda: built.append(Net()))"


def test_lbfgs_trains_the_same_under_the_recorder() -> None:
    def run(watched: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model, x = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)), torch.randn(40, 6)
        optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), x.sum(1, keepdim=True))
            loss.backward()
            return loss

        def steps() -> None:
            for _ in range(3):
                optimizer.step(closure)

        record(steps) if watched else steps()
        return [p.detach().clone() for p in model.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(run(watched=True), run(watched=False), strict=True))


def test_calls_of_a_loss_are_events_where_the_loop_makes_them_and_nowhere_else() -> None:
    """Not in the replay that verifies a tape, not inside a model, and once for many calls at one line."""

    class WithLoss(nn.Linear):
        def forward(self, x):
            return super().forward(x), F.l1_loss(x, x)

    model, (train_loader, val_loader) = WithLoss(6, 3), loaders()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def each(i, x, y) -> None:
        out, _ = model(x)
        loss = sum(nn.CrossEntropyLoss()(out[j : j + 2], y[j : j + 2]) for j in range(0, 4, 2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    recording = record(lambda: train(model, optimizer, train_loader, val_loader, epochs=1, each=each))
    kinds = [
        h.kind for h in recording.happenings if h.iteration is not None and h.iteration.phase == "train" and h.kind not in ("epoch", "eval")
    ]
    step = ["batch", "forward", "loss", "clear", "backward", "step"]
    assert kinds[: 4 * len(step)] == 4 * step
