"""Whether a model that predicts the next token can see it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import Net, measured, record, train
from trainlint.measurements import Mixing
from trainlint.probes.step.mixing import measure_mixing

B, D, K, N = 6, 8, 3, 48
L, V = 12, 20


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def loader(*columns: torch.Tensor) -> DataLoader:
    return DataLoader(TensorDataset(*columns), B)


def mix(model, data, loss) -> Mixing:
    return measured(measure_mixing, train(model, data, loss))


def language_model(causal: bool = True, length: int = L) -> nn.Module:
    def forward(net, ids):
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1]) if causal else None
        h = net.embed(ids) + net.places(torch.arange(ids.shape[1]))
        return net.head(net.block(h, mask=mask))

    block = nn.TransformerEncoder(nn.TransformerEncoderLayer(D, 2, 16, batch_first=True), 1, enable_nested_tensor=False)
    return Net(forward, embed=nn.Embedding(V, D), places=nn.Embedding(length, D), block=block, head=nn.Linear(D, V))


def text(length: int = L + 1) -> torch.Tensor:
    return torch.randint(1, V, (N, length))


def shifted_pair(model, batch):
    return F.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())


def shift_in_loop(model, batch):
    ids = batch[0]
    return F.cross_entropy(model(ids[:, :-1]).transpose(1, 2), ids[:, 1:])


def shift_of_logits(model, batch):
    ids = batch[0]
    return F.cross_entropy(model(ids)[:, :-1].reshape(-1, V), ids[:, 1:].reshape(-1))


def shift_by_padding(model, batch):
    labels = F.pad(batch[1], (0, 1), value=-100)[..., 1:].contiguous()
    return F.cross_entropy(model(batch[0]).view(-1, V), labels.view(-1), ignore_index=-100)


def padded_labels(ids: torch.Tensor) -> torch.Tensor:
    labels = ids.clone()
    labels[:, L - 3 :] = -100
    return labels


LANGUAGE = {
    "pair": (lambda ids: (ids[:, :-1], ids[:, 1:]), shifted_pair),
    "shift in the loop": (lambda ids: (ids,), shift_in_loop),
    "shift of the logits": (lambda ids: (ids[:, :-1],), shift_of_logits),
    "shift by padding": (lambda ids: (ids[:, :-1], padded_labels(ids[:, :-1])), shift_by_padding),
}


@pytest.mark.parametrize("name", LANGUAGE)
@pytest.mark.parametrize("causal", [True, False])
def test_a_next_token_model_needs_a_causal_mask(name, causal):
    columns, loss = LANGUAGE[name]
    found = mix(language_model(causal), loader(*columns(text())), loss)
    assert found.future_tokens is (not causal)
    assert found.across_samples is False
    if not causal:
        assert found.future_share > 0.01
        assert found.operation == "multi_head_attention_forward"
        assert "net.block(" in found.first_where.text


def begun(model, batch):
    ids = torch.cat([torch.zeros(len(batch[0]), 1, dtype=torch.long), batch[0]], 1)
    return F.cross_entropy(model(ids[:, :-1]).transpose(1, 2), ids[:, 1:])


@pytest.mark.parametrize("causal", [True, False])
def test_the_loop_may_put_a_first_token_before_them(causal):
    found = mix(language_model(causal, L), loader(text(L)), begun)
    assert found.future_tokens is not causal
    assert not found.future_alone
    if not causal:
        assert found.operation.startswith(("transformer_encoder", "multi_head", "scaled_dot"))


@pytest.mark.parametrize(("loss", "length"), [(shift_in_loop, L + 1), (begun, L)])
def test_a_decoder_may_be_given_what_an_encoder_made_of_the_sentence(loss, length):
    def forward(net, ids):
        whole = net.encoder(net.embed(net.sentence))[1]
        return net.head(net.decoder(net.embed(ids), whole)[0])

    def coded(model, batch):
        model.sentence = batch[0]
        return loss(model, batch)

    layers = {"encoder": nn.GRU(D, D, batch_first=True), "decoder": nn.GRU(D, D, batch_first=True)}
    found = mix(Net(forward, embed=nn.Embedding(V, D), head=nn.Linear(D, V), **layers), loader(text(length)), coded)
    assert not found.future_tokens


def masked_model(hide, length: int = L) -> nn.Module:
    """Attention by torch's own function; ``hide`` gives its mask."""

    def forward(net, ids):
        h = net.embed(ids) + net.places(torch.arange(ids.shape[1]))
        q, k, v = net.qkv(h).chunk(3, -1)
        return net.head(h + hide(q, k, v))

    return Net(forward, embed=nn.Embedding(V, D), places=nn.Embedding(length, D), qkv=nn.Linear(D, 3 * D), head=nn.Linear(D, V))


def shown(upper: bool):
    def attend(q, k, v):
        ones = torch.ones(q.shape[1], q.shape[1], dtype=torch.bool)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=ones.triu() if upper else ones.tril())

    return attend


def by_hand(upper: bool):
    def attend(q, k, v):
        ones = torch.ones(q.shape[1], q.shape[1], dtype=torch.bool)
        scores = (q @ k.transpose(1, 2)).masked_fill(~ones.triu() if upper else ~ones.tril(), float("-inf"))
        return scores.softmax(-1) @ v

    return attend


@pytest.mark.parametrize("attend", [shown, by_hand])
@pytest.mark.parametrize(("loss", "length"), [(shift_in_loop, L + 1), (begun, L)])
def test_a_mask_the_wrong_way_round_shows_the_future_alone(attend, loss, length):
    found = mix(masked_model(attend(True)), loader(text(length)), loss)
    assert (found.future_tokens, found.future_alone) == (True, True)
    assert mix(masked_model(attend(False)), loader(text(length)), loss).future_tokens is False
    both = mix(masked_model(F.scaled_dot_product_attention), loader(text(length)), loss)
    assert (both.future_tokens, both.future_alone) == (True, False)


def test_a_bidirectional_recurrent_language_model_sees_the_answer():
    net = Net(
        lambda net, ids: net.head(net.rnn(net.embed(ids))[0]),
        embed=nn.Embedding(V, D), rnn=nn.GRU(D, 7, batch_first=True, bidirectional=True), head=nn.Linear(14, V),
    )  # fmt: skip
    found = mix(net, loader(text()[:, :-1], text()[:, 1:]), shifted_pair)
    assert found.future_tokens is None, "targets that are other texts make no language model"
    ids = text()
    found = mix(net, loader(ids[:, :-1], ids[:, 1:]), shifted_pair)
    assert (found.future_tokens, found.operation) == (True, "gru")


def test_one_hot_tokens_are_tokens():
    net = Net(lambda net, ids: net.head(net.rnn(F.one_hot(ids, V).float())[0]), rnn=nn.GRU(V, 7, batch_first=True), head=nn.Linear(7, V))
    ids = text()
    found = mix(net, loader(ids[:, :-1], ids[:, 1:]), shifted_pair)
    assert (found.future_tokens, found.across_samples) == (False, False)


def test_masked_language_models_and_autoencoders_look_both_ways_by_design():
    ids = text(L)
    hidden = torch.rand(ids.shape) < 0.2
    masked = loader(ids.masked_fill(hidden, 0), ids.masked_fill(~hidden, -100))
    assert mix(language_model(causal=False), masked, shifted_pair).future_tokens is None
    assert mix(language_model(causal=False), loader(ids, ids), shifted_pair).future_tokens is None


def test_a_classifier_of_texts_is_no_language_model():
    net = Net(lambda net, ids: net.head(net.embed(ids).mean(1)), embed=nn.Embedding(V, D), head=nn.Linear(D, K))
    found = mix(net, loader(text(L), torch.randint(0, K, (N,))), lambda m, b: F.cross_entropy(m(b[0]), b[1]))
    assert (found.future_tokens, found.across_samples) == (None, False)


def test_a_language_model_without_a_loader():
    ids, model = text(), language_model(causal=False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def run():
        for _ in range(8):
            rows = torch.randint(0, N, (B,))
            optimizer.zero_grad()
            shifted_pair(model, (ids[rows, :-1], ids[rows, 1:])).backward()
            optimizer.step()

    found = measured(measure_mixing, record(run))
    assert (found.future_tokens, found.across_samples) == (True, False)


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize(("given", "hide"), [(False, 0.0), (True, float("-inf")), (True, -1e9), (True, torch.finfo(torch.float16).min)])
def test_a_mask_of_another_length_than_the_batch_is_no_sample(shift, given, hide):
    """Neither one that the model makes, nor one that it is given beside tokens drawn from one long text."""

    def forward(net, ids, mask):
        return net.head(net.block(net.embed(ids), mask=mask))

    model = language_model()
    if given:
        model.run = forward
    stream, mask = torch.randint(1, V, (400,)), torch.triu(torch.full((L, L), hide), diagonal=1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def run():
        for _ in range(8):
            starts = torch.randint(0, 400 - L - 1, (B,)).tolist()
            ids = torch.stack([stream[i : i + L] for i in starts])
            targets = torch.stack([stream[i + shift : i + shift + L] for i in starts])
            optimizer.zero_grad()
            F.cross_entropy(model(ids, *((mask,) if given else ())).flatten(0, 1), targets.flatten()).backward()
            optimizer.step()

    found = measured(measure_mixing, record(run))
    assert (found.future_tokens, found.unshifted, found.across_samples) == (not shift, not shift, False)


def test_targets_that_are_the_input_as_it_stands_are_copied_by_a_causal_model():
    ids = text(L)
    found = mix(language_model(), loader(ids, ids), shifted_pair)
    assert (found.future_tokens, found.unshifted) == (True, True)
    assert found.first_where is not None
    assert "cross_entropy" in found.first_where.text
    assert not mix(language_model(), loader(text()), shift_in_loop).unshifted
