from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from probes.recorded import Net, classify, measured, record, train
from trainlint.measurements import Labels
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.labels.labels import measure_labels

CENTRES = torch.randn(4, 6, generator=torch.Generator().manual_seed(9)) * 2.5


def clouds(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=generator)
    return CENTRES[labels] + torch.randn(count, 6, generator=generator), labels


def both(train_set: Dataset, val_set: Dataset | None = None, model: nn.Module | None = None, loss=classify) -> Labels:
    """The measurement of a run that trains, and validates where there is something to validate on."""
    model = model or nn.Linear(6, 6)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def run() -> None:
        loader = DataLoader(train_set, batch_size=32, shuffle=True)
        val_loader = DataLoader(val_set, batch_size=64) if val_set is not None else []
        for _ in range(2):
            for batch in loader:
                optimizer.zero_grad()
                loss(model, batch).backward()
                optimizer.step()
            with torch.no_grad():
                for batch in val_loader:
                    model(batch[0])

    return measured(measure_labels, record(run))


def test_clear_classes_show_a_signal_and_agree() -> None:
    found = both(TensorDataset(*clouds(400)), TensorDataset(*clouds(200, 1)))
    assert [s.phase for s in found.signals] == ["train", "val"]
    assert all(s.z > 10 and s.accuracy > 0.9 and s.repair is None and s.mismatch is None for s in found.signals)
    assert found.match.as_given > 0.9
    assert found.match.moved == ()
    assert found.suspect_share < 0.01


@pytest.mark.parametrize(("shift", "name"), [(1, "labels moved by +1"), (-3, "labels moved by -3")])
def test_labels_that_slipped_are_found(shift: int, name: str) -> None:
    inputs, labels = clouds(400)
    found = both(TensorDataset(inputs, labels.roll(-shift)))
    signal = found.signals[0]
    assert signal.z < 2.33
    assert signal.repair.name == name
    assert signal.repair.z > 8


def test_alphabetic_order_is_found_through_a_subset() -> None:
    inputs, labels = clouds(500)
    order = torch.tensor(sorted(range(500), key=str))
    whole = TensorDataset(inputs[order], labels)
    found = both(Subset(whole, range(400)), Subset(whole, range(400, 500)))
    assert "numeric instead of alphabetic" in found.signals[0].repair.name
    assert found.signals[0].repair.z > 8


def test_random_labels_fit_no_pairing() -> None:
    inputs, labels = clouds(400)
    found = both(TensorDataset(inputs, labels[torch.randperm(400, generator=torch.Generator().manual_seed(0))]))
    assert found.signals[0].repair.z < 5


def test_shuffled_training_labels_are_contradicted_by_validation() -> None:
    inputs, labels = clouds(400)
    shuffled = labels[torch.randperm(400, generator=torch.Generator().manual_seed(0))]
    found = both(TensorDataset(inputs, shuffled), TensorDataset(*clouds(300, 1)))
    mismatch = found.signals[0].mismatch
    assert mismatch.other == "the validation data"
    assert mismatch.z < 2.33
    assert mismatch.expected_z > 6
    assert 0.7 < mismatch.confidence < 1.4


def test_a_file_in_the_middle_that_was_joined_wrongly_is_located() -> None:
    inputs, labels = clouds(800)
    labels[300:500] = labels[300:500][torch.randperm(200, generator=torch.Generator().manual_seed(0))]
    stretch = both(TensorDataset(inputs, labels)).signals[0].mismatch
    assert abs(stretch.first - 300) <= 40
    assert abs(stretch.last - 499) <= 40
    assert stretch.own_z < 2.33


def test_sorted_classes_are_no_stretch() -> None:
    inputs, labels = clouds(600)
    order = labels.argsort()
    assert both(TensorDataset(inputs[order], labels[order])).signals[0].mismatch is None


def test_moved_classes_are_matched() -> None:
    inputs, labels = clouds(200, 1)
    found = both(TensorDataset(*clouds(400)), TensorDataset(inputs, (labels + 1) % 4))
    assert found.match.moved == (0.0, 1.0, 2.0, 3.0)
    assert found.match.as_given < 0.1
    assert found.match.as_matched > 0.9
    shifted = both(TensorDataset(*clouds(400)), TensorDataset(inputs, labels + 1))
    assert shifted.unseen == (4.0,)


def test_exchanged_labels_are_suspects() -> None:
    inputs, labels = clouds(600)
    wrong = labels.clone()
    wrong[::12] = (wrong[::12] + 1) % 4
    found = both(TensorDataset(inputs, wrong))
    assert 0.06 < found.suspect_share < 0.1
    assert sum(s.index % 12 == 0 for s in found.suspects) >= 0.9 * len(found.suspects)
    assert found.ambiguous < found.suspect_share


def test_classes_that_the_probe_does_not_tell_apart_hold_no_suspects() -> None:
    """A word that is missing tells one class; counts of words say nothing about the other two."""
    torch.manual_seed(0)
    words, labels = torch.randint(2, 20, (800, 12)), torch.arange(800) % 3
    words[labels < 2, 5 * labels[labels < 2]] = 1
    words = torch.where(labels[:, None] < 2, words.gather(1, torch.rand(800, 12).argsort(1)), words)
    model = Net(lambda net, ids: net.head(net.table(ids).mean(1)), table=nn.Embedding(20, 8), head=nn.Linear(8, 3))
    found = both(TensorDataset(words, labels), None, model)
    assert found.held_out > 0.6
    assert found.suspect_share < 0.02
    wrong = labels.clone()
    wrong[::10] = torch.where(labels[::10] == 2, 0, 2)
    assert 0.02 < both(TensorDataset(words, wrong), None, model).suspect_share < 0.2


def test_numbers_and_flags_have_signals_too() -> None:
    inputs, _ = clouds(300)
    score = inputs.sum(1, keepdim=True)
    values = both(TensorDataset(inputs, score), None, nn.Linear(6, 1), lambda m, b: F.mse_loss(m(b[0]), b[1]))
    assert (values.signals[0].kind, values.signals[0].z > 8) == ("values", True)
    flags = (inputs[:, :3] > 0).float()
    many = both(TensorDataset(inputs, flags), None, nn.Linear(6, 3), lambda m, b: F.binary_cross_entropy_with_logits(m(b[0]), b[1]))
    assert (many.signals[0].kind, many.signals[0].z > 8) == ("flags", True)


def blobs(count: int, turned: bool) -> TensorDataset:
    generator = torch.Generator().manual_seed(3)
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    centres = torch.rand(count, 2, 1, 1, generator=generator) * 16 + 4
    masks = (((rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2) < 16).float()[:, None]
    images = masks + 0.2 * torch.randn(count, 1, 24, 24, generator=generator)
    if turned:
        masks = torch.stack([m.flip(-1) if i % 2 else m for i, m in enumerate(masks)])
    return TensorDataset(images, masks)


@pytest.mark.parametrize("turned", [False, True])
def test_masks_lie_on_their_pictures_or_do_not(turned: bool) -> None:
    model = nn.Conv2d(1, 1, 3, padding=1)
    found = both(blobs(120, turned), blobs(80, False), model, lambda m, b: F.binary_cross_entropy_with_logits(m(b[0]), b[1]))
    repair = found.signals[0].repair
    if turned:
        assert 0.3 < repair.share < 0.6
        assert "mirrored" in repair.name
        assert repair.stackable
        assert repair.z > 8
    else:
        assert repair is None or repair.share < 0.05


class Flipped(Dataset):
    """Flips picture and mask each for itself."""

    def __init__(self) -> None:
        self.blobs = blobs(100, False)

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, mask = self.blobs[index]
        image = image.flip(-1) if torch.rand(()) < 0.5 else image
        mask = mask.flip(-1) if torch.rand(()) < 0.5 else mask
        return image, mask


def test_the_line_that_flips_the_mask_by_itself_is_named() -> None:
    model = nn.Conv2d(1, 1, 3, padding=1)
    found = both(Flipped(), None, model, lambda m, b: F.binary_cross_entropy_with_logits(m(b[0]), b[1]))
    assert found.signals[0].repair.where.text.startswith("mask = mask.flip(-1)")


def test_a_product_of_two_numbers_is_no_hard_case() -> None:
    inputs = torch.rand(600, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    labels = (inputs[:, 0] * inputs[:, 1] > 0).long()
    found = both(TensorDataset(inputs, labels), None, nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2)))
    assert found.signals[0].z > 8


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(*clouds(100), strict=True))


class Drawn(Dataset):
    def __len__(self) -> int:
        return 300

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        label = int(torch.randint(4, ()))
        return CENTRES[label] + torch.randn(6), label


def test_says_why_nothing_can_be_read() -> None:
    model = nn.Linear(6, 4)
    for loader, reason in (
        (DataLoader(Stream(), batch_size=20), "sample by sample"),
        (DataLoader(Drawn(), batch_size=20), "at random"),
        (DataLoader(TensorDataset(*clouds(20)), batch_size=10), "too few"),
    ):
        with pytest.raises(CannotMeasureError, match=reason):
            measured(measure_labels, train(model, loader, classify))
    autoencoder = nn.Linear(6, 6)
    with pytest.raises(CannotMeasureError, match="no labels"):
        measured(
            measure_labels,
            train(autoencoder, DataLoader(TensorDataset(clouds(200)[0]), batch_size=20), lambda m, b: F.mse_loss(m(b[0]), b[0])),
        )


def test_random_state_is_left_alone() -> None:
    recording = train(nn.Linear(6, 4), DataLoader(TensorDataset(*clouds(200)), batch_size=20), classify)
    before = torch.get_rng_state()
    measured(measure_labels, recording)
    assert torch.equal(before, torch.get_rng_state())


def test_texts_are_counted() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (300,), generator=generator)
    tokens = torch.randint(0, 40, (300, 12), generator=generator) + labels[:, None] * 10
    model = Net(lambda self, ids: self.out(self.embed(ids).mean(1)), embed=nn.Embedding(60, 8), out=nn.Linear(8, 2))
    found = both(TensorDataset(tokens, labels), None, model, partial(classify))
    assert found.signals[0].z > 8


class Texts(Dataset):
    """Texts of different lengths, whose first token says the label."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(count)
        self.texts = [torch.randint(1, 20, (4 + i % 7,), generator=generator) for i in range(count)]

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        text = torch.cat([torch.tensor([30 + index % 3]), self.texts[index]])
        return text, torch.ones_like(text), index % 3


def test_texts_of_different_lengths_are_counted_with_their_masks() -> None:
    def collate(rows: list[tuple[Tensor, Tensor, int]]) -> tuple[Tensor, Tensor, Tensor]:
        texts, masks, labels = zip(*rows, strict=True)
        padded = [nn.utils.rnn.pad_sequence(list(part), batch_first=True) for part in (texts, masks)]
        return padded[0], padded[1], torch.tensor(labels)

    model = Net(lambda net, x, m: net.head((net.embed(x) * m[:, :, None]).sum(1)), embed=nn.Embedding(40, 8), head=nn.Linear(8, 3))
    loader = DataLoader(Texts(300), 32, shuffle=True, collate_fn=collate)
    recording = train(model, loader, lambda m, b: F.cross_entropy(m(b[0], b[1]), b[2]))
    found = measured(measure_labels, recording)
    assert found.signals[0].accuracy > 0.9


class Pairs(nn.Module):
    """Scores of a user and an item."""

    def __init__(self) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(60, 4), nn.Embedding(90, 4)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        return (self.user(user) * self.item(item)).sum(1)


def plays(negatives: int, *, behind: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Users in ascending order with drawn items, and with each play drawn negatives: beside it, or all behind the plays."""
    generator = torch.Generator().manual_seed(0)
    user = torch.arange(60).repeat_interleave(12)
    drawn = user.repeat_interleave(negatives)
    users, labels = torch.cat([user, drawn]), torch.cat([torch.ones(len(user)), torch.zeros(len(drawn))])
    items = torch.randint(90, (len(users),), generator=generator)
    order = torch.arange(len(users)) if behind else torch.cat([user, drawn]).argsort(stable=True)
    return users[order], items[order], labels[order]


def play_loss(model: nn.Module, batch: list[Tensor]) -> Tensor:
    return F.binary_cross_entropy_with_logits(model(batch[0], batch[1]), batch[2])


@pytest.mark.parametrize("behind", [False, True])
def test_drawn_negatives_in_any_order_fit_no_other_pairing(behind: bool) -> None:
    signal = both(TensorDataset(*plays(4, behind=behind)), model=Pairs(), loss=play_loss).signals[0]
    assert signal.relational
    assert signal.repair is signal.mismatch is None


class Towers(nn.Module):
    """Scores of the features of a user and of an item."""

    def __init__(self) -> None:
        super().__init__()
        self.user, self.item = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        return (self.user(user) * self.item(item)).sum(1)


@pytest.mark.parametrize("behind", [False, True])
def test_stretches_of_users_and_of_negatives_are_no_pairing(behind: bool) -> None:
    users, items, labels = plays(4, behind=behind)
    generator = torch.Generator().manual_seed(1)
    whole = TensorDataset(torch.randn(60, 6, generator=generator)[users], torch.randn(90, 6, generator=generator)[items], labels)
    signal = both(whole, model=Towers(), loss=play_loss).signals[0]
    assert signal.relational
    assert signal.repair is None or signal.repair.z < 8
    assert signal.mismatch is None
