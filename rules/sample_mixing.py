"""The prediction for one sample depends on that sample alone, and on no token that is still to come.

## What it checks

With dropout off and batch statistics kept, the change in one sample's prediction when *another* sample's input is exchanged must be
zero. When it is not, the first operation after which the outputs depend on other samples is named.

- A `view` or `reshape` that should have been a `permute`, attention or an RNN that takes the batch for the sequence
  (`batch_first`), a softmax over the batch: an error.
- Other ways to mix, such as statistics over the batch written by hand: a warning; a note where the others count for less than a
  hundredth, as through the step size that an adaptive solver chooses for the whole batch.
- Batch norm without running statistics, losses that compare samples with each other (contrastive, triplet) and graphs,
  whose nodes see their neighbours, mix by design.

Each prediction is of the sample whose target it is compared with. An **error** where samples were brought into another order, as sorted by their
length for a packed sequence, and predictions not back.

Samples that keep to themselves are moved on by one place in the batch as well: each prediction must move along. An **error** where it
does not, as with a positional encoding that is cut by the size of the batch.

A **warning** where samples change each other before any model sees them: neighbours of the dataset share values, as overlapping windows do, and
reading one of them changes the stored values in place.

An **error** where a collate function that joins graphs end to end leads edges of one to nodes of another: handed some samples, it moves their edges
by something else than the number of nodes before them, or places blocks of a matrix of links wrongly.

In a model that predicts the next token, the prediction at one position must not depend on later tokens. Nor may targets be the
input as it stands: a model that sees no later token is then asked to repeat the one that it was just given. Where it depends on later tokens alone,
the mask is said to be the wrong way round.

## Why it matters

Shapes fit, nothing crashes, the loss even goes down, but the model learns from the neighbours in the batch and fails on
single samples. A language model that sees the next token reaches a perplexity close to one and cannot write a sentence.

## Example

```python
layer = nn.TransformerEncoderLayer(64, 4)               # expects (time, batch, features)
h = nn.TransformerEncoder(layer, 2)(x)                  # x is (batch, time, features)
```

## Fix

Say which axis is the batch; swap axes with `permute` or `transpose`, never with `view`. Give a language model a causal
mask.

```python
layer = nn.TransformerEncoderLayer(64, 4, batch_first=True)
h = nn.TransformerEncoder(layer, 2)(x)
```

## Thresholds

- 0.001 for the largest change by another sample's input over the change by the sample's own, and for later tokens. It is exactly 0 when
  nothing mixes; a softmax over a batch of 1,000 gives about 0.001, while terms that balance the load of experts lie
  below. Healthy pipelines give exactly 0, but for losses that compare samples, which are told apart.

- 0.01 for the same between a note and a warning where no known slip mixes: a solver's steps differ by about its tolerance, 0.001 to 0.01.
- 0.01 for what a sample's values change when its neighbour is read, over the distance between the two, random generators held still. It is 0 up to
  rounding where samples share nothing, or are copied; as many stored values as half a sample has must have changed with it.
- 0.01 for what a prediction changes by its place, over what two samples differ by. It is 0 up to rounding, a few 1e-6, where nothing
  depends on the place.

## References

- Andrej Karpathy, A Recipe for Training Neural Networks, "use backprop to chart dependencies":
  <https://karpathy.github.io/2019/04/25/recipe/>
- PyTorch, TransformerEncoderLayer, `batch_first`:
  <https://docs.pytorch.org/docs/stable/generated/torch.nn.TransformerEncoderLayer.html>
- Vaswani et al., Attention Is All You Need, section 3.2.3 on masking: <https://arxiv.org/abs/1706.03762>
"""

from __future__ import annotations

from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.measurements import Batches, CrossedLinks, Leaf, Mixing, Overwritten
from trainlint.rule import Rule, Verdict, failed, not_run, passed

SHARE = 1e-3
#: Below this, what mixes samples other than by a known slip is a note.
SLIGHT = 0.01
#: Change of a prediction by its place, over that between samples.
PLACE = 0.01

#: Operations that mix samples only by a slip, and how to mend it.
SLIPS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("view", "reshape", "unsafe_view", "flatten", "unflatten"),
        ("Keep the batch axis in its place and swap axes with permute before flattening.", "x = x.permute(1, 0, 2).flatten(1)"),
    ),
    **dict.fromkeys(
        ("permute", "transpose", "t", "swapaxes", "movedim"),
        ("Keep the batch axis where the next layer expects it.", "x = x.permute(0, 2, 1)"),
    ),
    **dict.fromkeys(
        ("softmax", "log_softmax"), ("Normalise over the feature or class axis, not over the batch.", "weights = scores.softmax(dim=-1)")
    ),
    **dict.fromkeys(
        ("scaled_dot_product_attention", "multi_head_attention_forward", "native_multi_head_attention", "bmm", "baddbmm"),
        ("Tell the attention layer that the batch comes first.", "nn.TransformerEncoderLayer(d_model, heads, batch_first=True)"),
    ),
    **dict.fromkeys(
        ("transformer_encoder_layer_fwd", "lstm", "gru", "rnn_tanh", "rnn_relu"),
        ("Tell the layer that the batch comes first.", "nn.LSTM(features, hidden, batch_first=True)"),
    ),
}
BATCH_STATISTICS = ("batch_norm",)


class SampleMixing(Rule):
    """Asks whether samples of a batch, or positions of a sequence, see what they must not."""

    code = "TL108"
    name = "sample-mixing"
    stage = Stage.WIRING
    severity = Severity.ERROR
    summary = "The loss of one sample does not depend on the others, nor on tokens to come"
    why = "A model that mixes samples learns from its neighbours in the batch; one that sees the next token has nothing left to learn."
    source = "Karpathy, A Recipe for Training Neural Networks, https://karpathy.github.io/2019/04/25/recipe/"
    requires = (Mixing, Batches)

    def judge(self, mixing: Mixing, batches: Batches) -> Verdict:
        """What is wrong in the data first, then later tokens: a leak there makes everything else look good."""
        if mixing.overwritten is not None:
            return _overwritten(mixing.overwritten)
        if mixing.crossed is not None and mixing.crossed.wrong:
            return _crossed(mixing.crossed)
        if mixing.future_tokens and mixing.future_share >= SHARE:
            return _unshifted(mixing) if mixing.unshifted else _future(mixing)
        if mixing.across_samples is None and mixing.future_tokens is None and mixing.crossed is not None:
            return passed(f"Of {mixing.crossed.samples} graphs put together each keeps its edges.", evidence={"measured": 0, "expected": 0})
        if mixing.across_samples is None and mixing.future_tokens is None:
            return not_run("the recorded step could not be replayed with one sample changed")
        evidence: dict[str, Json] = {"measured": mixing.share, "expected": 0.0, "threshold": SHARE, "samples": mixing.samples}
        if mixing.place_share is not None and mixing.place_share >= PLACE:
            return _by_place(mixing)
        if not mixing.across_samples or mixing.share < SHARE:
            tokens = ", and no position on a later one" if mixing.future_tokens is False else ""
            return passed(f"No sample's loss depends on another of {mixing.samples} samples{tokens}.", evidence=evidence)
        if mixing.contrastive:
            return passed("The loss compares samples with each other by design.", evidence=evidence)
        if _graph(batches, mixing.samples):
            return passed("Samples are the nodes of a graph, which see their neighbours by design.", evidence=evidence)
        if mixing.answered is not None:
            return _answered(mixing, mixing.answered, evidence)
        operation = _plain(mixing.operation)
        if operation.endswith(BATCH_STATISTICS):
            return passed("Samples meet only in a batch norm that uses the statistics of the batch in eval mode too.", evidence=evidence)
        summary, code = SLIPS.get(operation, ("Keep samples apart: no operation in forward() may run over the batch axis.", ""))
        at = f"; {operation} is the first operation that mixes them" if operation else ""
        return failed(
            f"The loss of one sample depends on other samples of the batch, which change it {mixing.share:.2g} times as much as its own input does{at}.",
            severity=Severity.ERROR if operation in SLIPS else Severity.WARNING if mixing.share >= SLIGHT else Severity.NOTE,
            evidence=evidence | {"operation": operation},
            location=mixing.first_where,
            fix=Fix(summary=summary, code=code, edit=_edit(operation)),
        )


def _overwritten(found: Overwritten) -> Verdict:
    data = {"train": "training", "val": "validation"}[found.phase]
    return failed(
        f"Reading a {data} sample changes, in place, what the dataset holds, and other samples with it: once sample {found.read:,} was read, sample "
        f"{found.sample:,} is another one, changed by {found.change:.0%} of the distance between the two. Later epochs see other data than the first.",
        severity=Severity.WARNING,
        evidence={"measured": found.change, "expected": 0.0, "threshold": 0.01, "sample": found.sample, "read": found.read},
        location=found.where,
        fix=Fix(
            summary="Change a copy: slices of arrays and tensors are views, and -=, /= and functions that work in place write through them.",
            code="window = self.series[start : start + length].copy()  # clone() for a tensor",
            edit=Edit(kind="not-in-place"),
        ),
    )


def _crossed(found: CrossedLinks) -> Verdict:
    return failed(
        f"Edges of one graph join nodes of others: of {found.samples} graphs put together, the collate function moves the edges ({found.path}) of "
        f"{found.wrong} by something else than the number of nodes before them.",
        severity=Severity.ERROR,
        evidence={"measured": found.wrong, "expected": 0, "threshold": 0, "samples": found.samples, "edges": found.path},
        location=found.where,
        fix=Fix(
            summary="Move the edges of each graph by the nodes of all graphs before it.",
            code="for graph in graphs:\n    edges.append(graph.edge_index + offset)\n    offset += graph.num_nodes",
            edit=Edit(kind="running-sum") if found.counted else None,
        ),
    )


def _by_place(mixing: Mixing) -> Verdict:
    at = f" ({mixing.place_operation} is the first operation where it comes in)" if mixing.place_operation else ""
    return failed(
        f"A prediction depends on the place of its sample in the batch: moved on by one place, it changes by {mixing.place_share:.0%} of what two samples "
        f"differ by{at}.",
        severity=Severity.ERROR,
        evidence={"measured": mixing.place_share, "expected": 0.0, "threshold": PLACE, "samples": mixing.samples},
        location=mixing.place_where,
        fix=Fix(
            summary="Index what belongs to positions by the axis of the sequence, not by that of the batch.",
            code="x = x + self.pe[: x.size(1)]  # x is (batch, time, features), pe is (time, features)",
        ),
    )


def _answered(mixing: Mixing, pair: tuple[int, int], evidence: dict[str, Json]) -> Verdict:
    """Samples keep to themselves, and come back in another order than their targets."""
    return failed(
        f"Predictions come back in another order than their targets: of a batch of {mixing.samples}, what is predicted for sample {pair[0]} is compared with "
        f"the target of sample {pair[1]}. Samples were brought into another order here, and not back.",
        severity=Severity.ERROR,
        evidence=evidence,
        location=mixing.first_where,
        fix=Fix(
            summary="Bring the predictions back into the order of the batch, or the targets into theirs; pack_padded_sequence sorts by itself, and back, with "
            "enforce_sorted=False.",
            code="out = out[order.argsort()]  # undoes x[order]",
        ),
    )


def _edit(operation: str) -> Edit | None:
    if operation in ("view", "reshape"):
        return Edit(kind="batch-axis-first")
    return Edit(kind="batch-first") if "batch_first" in SLIPS.get(operation, ("", ""))[1] else None


def _turned(mixing: Mixing) -> Verdict:
    """Only tokens to come are seen: what the mask should hide and what it should show have changed places."""
    shown = _plain(mixing.operation) == "scaled_dot_product_attention"
    return failed(
        "The mask is the wrong way round: the prediction of the next token depends on that token and later ones, and of those before it on the last "
        "at most.",
        severity=Severity.ERROR,
        evidence={"measured": mixing.future_share, "expected": 0.0, "threshold": SHARE},
        location=mixing.first_where,
        fix=Fix(
            summary="A True of a boolean mask takes part in scaled_dot_product_attention, and is hidden in nn.MultiheadAttention and nn.Transformer.",
            code="mask = torch.ones(t, t, dtype=torch.bool).tril()  # True: may be seen"
            if shown
            else "mask = torch.ones(t, t, dtype=torch.bool).triu(1)  # True: is hidden\nscores = scores.masked_fill(mask, float('-inf'))",
        ),
    )


def _future(mixing: Mixing) -> Verdict:
    if mixing.future_alone:
        return _turned(mixing)
    return failed(
        "The model sees the answer: the prediction of the next token depends on that token and later ones, "
        f"which move it by {mixing.future_share:.2g} of what the tokens before it do.",
        severity=Severity.ERROR,
        evidence={"measured": mixing.future_share, "expected": 0.0, "threshold": SHARE},
        location=mixing.first_where,
        fix=Fix(
            summary="Give the attention a causal mask, and check that targets are shifted by one against the inputs.",
            code="mask = nn.Transformer.generate_square_subsequent_mask(x.size(1))\nh = self.encoder(x, mask=mask, is_causal=True)",
            edit=Edit(kind="causal-mask"),
        ),
    )


def _unshifted(mixing: Mixing) -> Verdict:
    return failed(
        "Targets are the input's own tokens, not shifted: each prediction is compared with the token that it was made from "
        f"(which moves it by {mixing.future_share:.2g} of what any token does), so the model learns to copy.",
        severity=Severity.ERROR,
        evidence={"measured": mixing.future_share, "expected": 0.0, "threshold": SHARE},
        location=mixing.first_where,
        fix=Fix(
            summary="Compare the prediction at each position with the token that comes after it.",
            code="logits = model(ids[:, :-1])\nloss = F.cross_entropy(logits.transpose(1, 2), ids[:, 1:])",
        ),
    )


def _graph(batches: Batches, samples: int) -> bool:
    """Whether the model gets a square adjacency over the samples, or a list of edges (2, E), beside their features."""
    return any(_links(leaf, samples) for view in batches.train[:1] for leaf in (*view.inputs, *view.leaves))


def _links(leaf: Leaf, samples: int) -> bool:
    square = leaf.shape == (samples, samples) and samples > 2
    edges = len(leaf.shape) == 2 and leaf.shape[0] == 2 and samples != 2 and "int" in leaf.dtype
    return leaf.role != "target" and (square or edges)


def _plain(operation: str) -> str:
    """``aten._softmax.default`` -> ``softmax``."""
    return operation.removeprefix("torch.").removeprefix("ops.").removeprefix("aten.").removeprefix("aten::").split(".")[0].strip("_")
