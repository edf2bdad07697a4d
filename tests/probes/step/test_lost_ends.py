"""End marks that the loss ignores because the same token fills sequences up."""

from __future__ import annotations

import ast
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import measured, train
from trainlint.measurements import LostEnds
from trainlint.probes.step.lost_ends import _joins
from trainlint.probes.step.padding import measure_padding

WORDS, LENGTH, END = 20, 12, 1


def texts(*, left: bool = False, end: int = END, fill: int = END) -> tuple[Tensor, Tensor]:
    """``(ids, mask)``: words of 3 and more, each text with its end mark, filled up."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, WORDS, (32, LENGTH), generator=generator)
    lengths = torch.randint(4, LENGTH + 1, (32, 1), generator=generator)
    places = torch.arange(LENGTH)
    begin = LENGTH - lengths if left else torch.zeros_like(lengths)
    mask = ((places >= begin) & (places < begin + lengths)).long()
    ids[places == begin + lengths - 1] = end
    return ids.masked_fill(mask == 0, fill), mask


def ends(ids: Tensor, mask: Tensor, labels: Tensor, *, ignored: int = -100) -> LostEnds | None:
    model = nn.Sequential(nn.Embedding(WORDS, 8), nn.Linear(8, WORDS))

    def loss(model: nn.Module, batch: list[Tensor]) -> Tensor:
        return F.cross_entropy(model(batch[0])[:, :-1].flatten(0, 1), batch[2][:, 1:].flatten(), ignore_index=ignored)

    torch.manual_seed(0)
    return measured(measure_padding, train(model, DataLoader(TensorDataset(ids, mask, labels), 16), loss)).lost_ends


@pytest.mark.parametrize("left", [False, True])
def test_ends_that_are_ignored_as_padding_are_seen(left: bool):
    ids, mask = texts(left=left)
    found = ends(ids, mask, ids.masked_fill(ids == END, -100))
    assert found is not None
    assert (found.token, found.sequences, found.of, found.pretrained) == (END, 16, 16, False)
    assert found.where is not None
    assert found.set_where is None


def test_ends_that_have_the_index_that_the_loss_ignores_are_seen():
    ids, mask = texts()
    assert ends(ids, mask, ids, ignored=END) is not None


def test_an_answer_behind_a_question_is_to_end_too():
    ids, mask = texts()
    labels = ids.masked_fill(ids == END, -100)
    labels[:, :2] = -100
    assert ends(ids, mask, labels) is not None


def _ends_scored(ids: Tensor, mask: Tensor) -> Tensor:
    return ids.masked_fill(mask == 0, -100)


def _only_the_end_of_the_first(ids: Tensor, mask: Tensor) -> Tensor:
    labels = ids.masked_fill(ids == END, -100)
    labels[::4] = _ends_scored(ids, mask)[::4]
    return labels


def _question_alone(ids: Tensor, mask: Tensor) -> Tensor:
    return ids.masked_fill(torch.arange(LENGTH) >= 2, -100)  # what follows, its end too, is not to be learned


@pytest.mark.parametrize("labels", [_ends_scored, _only_the_end_of_the_first, _question_alone])
def test_ends_that_are_learned_or_left_out_with_their_text_are_fine(labels: Callable[[Tensor, Tensor], Tensor]):
    ids, mask = texts()
    assert ends(ids, mask, labels(ids, mask)) is None


def test_a_token_for_padding_alone_and_texts_without_an_end_are_fine():
    ids, mask = texts(fill=0)
    assert ends(ids, mask, ids.masked_fill(ids == 0, -100)) is None
    ids, mask = texts(end=5)
    assert ends(ids, mask, ids.masked_fill(ids == END, -100)) is None


def test_few_texts_that_end_with_it_by_chance_are_fine():
    ids, mask = texts(end=5)
    ids[::5] = texts()[0][::5]
    assert ends(ids, mask, ids.masked_fill(ids == END, -100)) is None


def test_tokens_that_are_to_be_restored_are_fine():
    ids, mask = texts()
    hidden = (torch.arange(LENGTH) % 3 == 1) & (mask == 1) & (ids != END)
    assert ends(ids.masked_fill(hidden, 2), mask, ids.masked_fill(~hidden, -100)) is None


@pytest.mark.parametrize(
    ("line", "joins"),
    [
        ("tokenizer.pad_token = tokenizer.eos_token", True),
        ("config.pad_token_id = tokenizer.eos_token_id", True),
        ("PAD = EOS", True),
        ("pad_id = vocab.eos_id", True),
        ("PAD = BOS", False),
        ("padding = eos", False),
        ("eos = pad", False),
    ],
)
def test_the_line_that_makes_one_token_both_is_told_by_what_it_sets(line: str, joins: bool):
    assert _joins(ast.parse(line).body[0]) is joins
