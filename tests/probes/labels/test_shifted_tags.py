"""Tags of sequences that lie beside their tokens, by what a loader hands out and a loss sees."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from probes.recorded import Net, measured, train
from trainlint.probes.labels.shifted_tags import shifted_tags

VOCABULARY, TAGS = 40, 4


def tagger(two_ways=True):
    return Net(
        lambda self, ids: self.head(self.rnn(self.embed(ids))[0]),
        embed=nn.Embedding(VOCABULARY, 8),
        rnn=nn.GRU(8, 8, batch_first=True, bidirectional=two_ways),
        head=nn.Linear(16 if two_ways else 8, TAGS),
    )


def data(seed=0):
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(2, VOCABULARY, (160, 12), generator=draw)
    return tokens, tokens % TAGS


class Sentences(Dataset):
    def __init__(self, move: int) -> None:
        self.tokens, self.tags = data()
        self.move = move

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int):
        tags = self.tags[index].roll(self.move)  # the tags
        return {"ids": self.tokens[index], "tags": tags}


def loss(model, batch):
    return F.cross_entropy(model(batch["ids"]).flatten(0, 1), batch["tags"].flatten())


def shifted(model, dataset, loss, **options):
    recording = train(model, DataLoader(dataset, 16, shuffle=True, **options), loss)
    return measured(lambda recording, deadline, _settings: shifted_tags(recording, deadline), recording)


@pytest.mark.parametrize("move", [0, 1, -1])
def test_tags_that_a_dataset_moves_are_told_with_their_line(move):
    found = shifted(tagger(), Sentences(move), loss)
    assert (found is None) == (move == 0)
    if found is not None:
        assert (found.phase, found.shift) == ("train", -move)
        assert found.where.text.endswith("# the tags")


def test_tags_that_a_collate_function_moves_are_told():
    def collate(rows):
        return {"ids": torch.stack([r["ids"] for r in rows]), "tags": torch.stack([r["tags"] for r in rows]).roll(1, 1)}

    assert shifted(tagger(), Sentences(0), loss, collate_fn=collate).shift == -1


def test_tags_of_tokens_that_a_model_has_not_seen_yet_are_a_forecast():
    assert shifted(tagger(two_ways=False), Sentences(-1), loss) is None
    assert shifted(tagger(two_ways=False), Sentences(1), loss).shift == -1


def test_a_loop_that_lines_up_what_it_was_given_is_let_be():
    def cut(model, batch):
        return F.cross_entropy(model(batch["ids"])[:, :-1].flatten(0, 1), batch["tags"][:, 1:].flatten())

    assert shifted(tagger(), Sentences(1), cut) is None


def test_a_loop_that_moves_tags_as_for_a_language_model_is_told():
    def moved(model, batch):
        scores = model(batch["ids"])[:, :-1]
        return F.cross_entropy(scores.flatten(0, 1), batch["tags"][:, 1:].flatten())  # the cut

    found = shifted(tagger(), Sentences(0), moved)
    assert found.shift == 1
    assert found.where.text.endswith("# the cut")
    assert shifted(tagger(two_ways=False), Sentences(0), moved) is None


def test_a_loop_that_takes_the_same_stretch_of_both_is_let_be():
    def both(model, batch):
        return F.cross_entropy(model(batch["ids"][:, 1:]).flatten(0, 1), batch["tags"][:, 1:].flatten())

    assert shifted(tagger(), Sentences(0), both) is None
    assert shifted(tagger(), Sentences(1), both).shift == -1


def test_places_that_a_mask_picks_are_judged_too():
    def masked(model, batch):
        known = batch["ids"] > 5
        return F.cross_entropy(model(batch["ids"])[known], batch["tags"][known])

    assert shifted(tagger(), Sentences(1), masked).shift == -1
    assert shifted(tagger(), Sentences(0), masked) is None


def test_next_tokens_are_no_tags():
    tokens, _ = data()
    model = Net(lambda self, ids: self.head(self.embed(ids)), embed=nn.Embedding(VOCABULARY, 8), head=nn.Linear(8, VOCABULARY))
    pairs = TensorDataset(tokens[:, :-1], tokens[:, 1:])
    assert shifted(model, pairs, lambda m, b: F.cross_entropy(m(b[0]).flatten(0, 1), b[1].flatten())) is None
