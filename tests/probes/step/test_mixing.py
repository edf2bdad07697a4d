"""Which sample's and which token's input reaches a prediction."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, TensorDataset

from probes.mixed import B, D, K, N, T, loader, mix, sequences
from probes.recorded import Net, measured, record
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.mixing import measure_mixing


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_a_view_of_the_last_hidden_states_mixes_samples():
    def forward(net, x):
        _, h = net.rnn(x)
        h = net.drop(h)
        return net.head(h.view(x.shape[0], -1))

    net = Net(forward, rnn=nn.GRU(D, 7, bidirectional=True, batch_first=True), drop=nn.Dropout(0.2), head=nn.Linear(14, K))
    found = mix(net, sequences())
    assert (found.across_samples, found.operation, found.samples) == (True, "view", B)
    assert found.share > 0.1
    assert "h.view(" in found.first_where.text


def test_a_recurrent_layer_that_takes_the_batch_for_time():
    net = Net(lambda net, x: net.head(net.rnn(x)[0][:, -1]), rnn=nn.LSTM(D, 7), head=nn.Linear(7, K))
    found = mix(net, sequences())
    assert (found.across_samples, found.operation) == (True, "lstm")


def test_attention_that_takes_the_batch_for_time():
    block = nn.TransformerEncoder(nn.TransformerEncoderLayer(D, 2, 16), 1, enable_nested_tensor=False)
    found = mix(Net(lambda net, x: net.head(net.block(x).mean(1)), block=block, head=nn.Linear(D, K)), sequences())
    assert (found.across_samples, found.operation) == (True, "multi_head_attention_forward")


def test_attention_written_by_hand_over_the_batch():
    def forward(net, x):
        q, k, v = net.qkv(x).chunk(3, dim=-1)
        return net.head(torch.softmax(q @ k.t(), dim=-1) @ v)

    data = loader(torch.randn(B * 8, D), torch.randint(0, K, (B * 8,)))
    found = mix(Net(forward, qkv=nn.Linear(D, 3 * D), head=nn.Linear(D, K)), data)
    assert (found.across_samples, found.contrastive) == (True, False)
    assert "q @ k.t()" in found.first_where.text


@pytest.mark.parametrize("inside", [True, False])
def test_a_softmax_over_the_batch(inside):
    data = loader(torch.randn(B * 8, D), torch.randint(0, K, (B * 8,)))
    if inside:
        found = mix(nn.Sequential(nn.Linear(D, K), nn.Softmax(dim=0)), data)
    else:
        found = mix(nn.Linear(D, K), data, lambda model, batch: F.nll_loss(F.log_softmax(model(batch[0]), dim=0), batch[1]))
    assert found.across_samples
    assert found.operation in ("softmax", "log_softmax")


@pytest.mark.parametrize(
    "mixed",
    [
        lambda x: x + x.roll(len(x) // 2, 0),
        lambda x: x + x.flip(0),
        lambda x: x + x.view(-1, 2, D).flip(1).view(-1, D),
        lambda x: torch.cat([x[:-2], x[-2:].flip(0)]),
        lambda x: x.roll(1, 0),
        lambda x: x + x[-1],
    ],
    ids=["halves", "both ends", "neighbours", "the last two", "all moved on by one", "one for all"],
)
def test_samples_of_a_larger_batch_that_meet_are_not_called_apart(mixed):
    data = DataLoader(TensorDataset(torch.randn(64, D), torch.randint(0, K, (64,))), 16)
    net = Net(lambda net, x: net.head(mixed(net.body(x))), body=nn.Linear(D, D), head=nn.Linear(D, K))
    try:
        share = mix(net, data).share
    except CannotMeasureError as error:
        share = float("combined by an index" in str(error))  # they were seen to meet, by an operation that may mean it
    assert share > 0.1


def test_a_reshape_in_the_loop_where_a_transpose_was_meant():
    net = Net(lambda net, x: net.head(net.rnn(x)[0][-1]), rnn=nn.LSTM(D, 7), head=nn.Linear(7, K))
    found = mix(net, sequences(), lambda model, batch: F.cross_entropy(model(batch[0].reshape(T, B, D)), batch[1]))
    assert (found.across_samples, found.operation) == (True, "reshape")


def test_predictions_that_are_flattened_time_first_and_targets_batch_first():
    net = Net(lambda net, x: net.head(net.rnn(x.transpose(0, 1))[0]), rnn=nn.LSTM(D, 7), head=nn.Linear(7, K))
    found = mix(net, sequences((B * 8, T)), lambda m, b: F.cross_entropy(m(b[0]).reshape(-1, K), b[1].reshape(-1)))
    assert (found.across_samples, found.operation) == (True, "reshape")


def sorted_model(embed, back=lambda h, order: h):
    """Rows are sorted by length for a packed sequence; ``back`` undoes that."""

    def forward(net, x, lengths):
        order = lengths.argsort(descending=True)
        packed = pack_padded_sequence(embed(net, x[order]), lengths[order], batch_first=True)
        return net.head(back(net.rnn(packed)[1][-1], order))

    return Net(forward, words=nn.Embedding(20, D), rnn=nn.GRU(D, 7, batch_first=True), head=nn.Linear(7, K))


LENGTHS = torch.tensor([2, 5, 3, 1, 4, 5] * 8)
ROWS = {
    "vectors": (lambda net, x: x, lambda: torch.randn(B * 8, T, D)),
    "words": (lambda net, x: net.words(x), lambda: torch.randint(1, 20, (B * 8, T))),
}


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(("back", "text"), [(lambda h, order: h, "x[order]"), (lambda h, order: h[order], "h[order]")])
def test_rows_sorted_by_length_and_never_sorted_back(rows, back, text):
    embed, made = ROWS[rows]
    data = loader(made(), LENGTHS, torch.randint(0, K, (B * 8,)))
    found = mix(sorted_model(embed, back), data, lambda m, b: F.cross_entropy(m(b[0], b[1]), b[2]))
    assert (found.across_samples, found.operation) == (True, "getitem")
    assert found.answered is not None
    assert found.answered[0] != found.answered[1]
    assert text in found.first_where.text or "lambda h" in found.first_where.text


@pytest.mark.parametrize("rows", ROWS)
def test_rows_that_are_sorted_back_or_with_their_targets(rows):
    embed, made = ROWS[rows]
    data = loader(made(), LENGTHS, torch.randint(0, K, (B * 8,)))
    undone = mix(sorted_model(embed, lambda h, order: h[order.argsort()]), data, lambda m, b: F.cross_entropy(m(b[0], b[1]), b[2]))
    along = mix(sorted_model(embed), data, lambda m, b: F.cross_entropy(m(b[0], b[1]), b[2][b[1].argsort(descending=True)]))
    assert not undone.across_samples
    assert not along.across_samples


def test_a_loss_may_set_samples_against_each_other():
    net = Net(lambda net, x: net.head(net.body(x)), body=nn.Linear(D, D), head=nn.Linear(D, K))

    def loss(model, batch):
        out = model(batch[0])
        others = out[torch.arange(len(out)).roll(1)]
        return F.cross_entropy(out, batch[1]) - 0.1 * F.cross_entropy(others, batch[1])

    assert mix(net, loader(torch.randn(B * 8, D), torch.randint(0, K, (B * 8,))), loss).answered is None


def test_statistics_over_the_batch_are_named():
    net = Net(lambda net, x: net.head(net.body(x) - net.body(x).mean(0)), body=nn.Linear(D, D), head=nn.Linear(D, K))
    found = mix(net, loader(torch.randn(B * 8, D), torch.randint(0, K, (B * 8,))))
    assert (found.across_samples, found.operation) == (True, "mean")


def test_a_loss_within_the_model_hides_no_slip():
    def forward(net, x, y):
        return -net.head(net.rnn(x)[0][:, -1]).log_softmax(1).gather(1, y[:, None]).mean()

    found = mix(Net(forward, rnn=nn.LSTM(D, 7), head=nn.Linear(7, K)), sequences(), lambda m, b: m(*b))
    assert (found.across_samples, found.operation) == (True, "lstm")


# -- sound pipelines ---------------------------------------------------------------------------------------------------


# -- comparisons by design ---------------------------------------------------------------------------------------------


def two_views(model, batch):
    a, b = F.normalize(model(batch[0]), dim=1), F.normalize(model(batch[1]), dim=1)
    return a, b


def clip(model, batch):
    a, b = two_views(model, batch)
    return F.cross_entropy(a @ b.t() / 0.1, torch.arange(len(a)))


def simclr(model, batch):
    z = torch.cat(two_views(model, batch))
    similar = (z @ z.t() / 0.5).masked_fill(torch.eye(len(z), dtype=torch.bool), -1e9)
    return F.cross_entropy(similar, (torch.arange(len(z)) + len(z) // 2) % len(z))


@pytest.mark.parametrize("loss", [clip, simclr])
def test_losses_that_compare_samples_do_so_by_design(loss):
    found = mix(nn.Linear(D, 7), loader(torch.randn(N, D), torch.randn(N, D)), loss)
    assert (found.across_samples, found.contrastive) == (True, True)
    assert found.share > 0


def test_a_comparison_within_the_model_is_a_design_too():
    net = Net(lambda net, x, y: net.a(x) @ net.b(y).t(), a=nn.Linear(D, 7), b=nn.Linear(D, 7))
    data = loader(torch.randn(N, D), torch.randn(N, D))
    found = mix(net, data, lambda m, b: F.cross_entropy(m(*b), torch.arange(B)))
    assert (found.across_samples, found.contrastive) == (True, True)


def test_negatives_from_the_batch_are_no_mixing():
    def loss(model, batch):
        anchor = model(batch[0])
        return F.triplet_margin_loss(anchor, model(batch[1]), anchor.roll(1, 0))

    assert mix(nn.Linear(D, 7), loader(torch.randn(N, D), torch.randn(N, D)), loss).across_samples is False


# -- what cannot be told -----------------------------------------------------------------------------------------------


def test_nodes_of_a_graph_are_no_samples():
    features, links, labels = torch.randn(30, D), (torch.rand(30, 30) > 0.8).float(), torch.randint(0, K, (30,))
    model = nn.Linear(D, K)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def run():
        for _ in range(8):
            optimizer.zero_grad()
            F.cross_entropy(links @ model(features), labels).backward()
            optimizer.step()

    with pytest.raises(CannotMeasureError):
        measured(measure_mixing, record(run))


def test_nodes_with_sparse_links_are_no_samples():
    features, links, labels = torch.randn(30, D), (torch.rand(30, 30) > 0.8).float().to_sparse(), torch.randint(0, K, (30,))
    model = Net(lambda net, x: torch.spmm(links, net.head(x)), head=nn.Linear(D, K))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def run():
        for _ in range(8):
            optimizer.zero_grad()
            F.cross_entropy(model(features)[:20], labels[:20]).backward()
            optimizer.step()

    with pytest.raises(CannotMeasureError):
        measured(measure_mixing, record(run))


def test_batches_whose_rows_are_not_samples():
    def collate(samples):
        x = torch.cat([x[: 2 + i % 3] for i, (x, _) in enumerate(samples)])
        owner = torch.cat([torch.full((2 + i % 3,), i) for i in range(len(samples))])
        return x, owner, torch.stack([y for _, y in samples])

    data = DataLoader(TensorDataset(torch.randn(N, T, D), torch.randint(0, K, (N,))), B, collate_fn=collate)

    def loss(model, batch):
        x, owner, y = batch
        return F.cross_entropy(torch.zeros(B, K).index_add(0, owner, model(x)), y)

    with pytest.raises(CannotMeasureError, match="rows are not samples"):
        mix(nn.Linear(D, K), data, loss)


def test_a_sequence_axis_without_a_loader_stays_unknown():
    tokens = torch.randint(0, 9, (60, T))
    net = Net(lambda net, x: net.head(net.rnn(net.embed(x))[0]), embed=nn.Embedding(9, D), rnn=nn.LSTM(D, 7), head=nn.Linear(7, 9))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)

    def run():
        for start in range(0, 40, 5):
            optimizer.zero_grad()
            F.cross_entropy(net(tokens[start : start + 8]).view(-1, 9), tokens[start + 1 : start + 9].reshape(-1)).backward()
            optimizer.step()

    with pytest.raises(CannotMeasureError):
        measured(measure_mixing, record(run))


def test_a_step_that_cannot_be_replayed_cannot_be_measured():
    with pytest.raises(CannotMeasureError, match="cannot be replayed"):
        measured(measure_mixing, record(lambda: None))


# -- place in the batch ------------------------------------------------------------------------------------------------


def positions(net, x, axis: int):
    code = torch.linspace(-1, 1, 40)[:, None]
    coded = x + (code[: x.size(0), None] if axis == 0 else code[: x.size(1)])
    return net.head(torch.tanh(net.body(coded)).mean(1))


@pytest.mark.parametrize(("axis", "depends"), [(0, True), (1, False)])
def test_a_code_of_the_place_in_the_batch_is_told_from_one_of_the_time(axis, depends):
    facts = mix(Net(lambda net, x: positions(net, x, axis), body=nn.Linear(D, D), head=nn.Linear(D, K)), sequences())
    assert (facts.place_share > 0.01) is depends
    if depends:
        assert facts.place_operation == "add"
